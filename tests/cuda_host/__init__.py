"""CUDA kernels compiled for the host, unchanged, with threads and barriers of the host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
DEVICE_FUNCTION = re.compile(r"^__device__ \w+ (\w+)\(", re.MULTILINE)
SANITIZER = "-fsanitize=thread"


def parameters(code: str) -> dict[str, list[tuple[str, str]]]:
    """The type and name of each parameter of each kernel."""
    return {
        name: [(kind.strip(), word) for kind, word in re.findall(r"([^,]*?[ *])(\w+)\s*(?:,|$)", inside)]
        for name, inside in KERNEL.findall(code)
    }


def driver(code: str, copies: int) -> str:
    """C++ that holds `copies` of the kernels and an entry ``launch_NAME(blocks, threads, ...)`` for each."""
    kernels = parameters(code)
    names = [*kernels, *DEVICE_FUNCTION.findall(code)]
    lines = ['#include "cuda_host.h"']
    for copy in range(copies):
        lines += [f"#define {name} {name}_{copy}" for name in names]
        lines += ['#include "kernels.cu"']
        lines += [f"#undef {name}" for name in names]
    for name, inside in kernels.items():
        declared = "".join(f", {kind} {word}" for kind, word in inside)
        passed = ", ".join(word for _, word in inside)
        kinds = ", ".join(kind for kind, _ in inside)
        table = ", ".join(f"{name}_{copy}" for copy in range(copies))
        lines += [
            f'extern "C" void launch_{name}(int blocks, int threads{declared}) {{',
            f"  static void (*const kernels[])({kinds}) = {{{table}}};",
            f"  launch(blocks, threads, {copies}, [=](int copy) {{ kernels[copy]({passed}); }});",
            "}",
        ]
    return "\n".join(lines) + "\n"


def compiler() -> str | None:
    """Why the host's compiler cannot be used; None if it can."""
    if shutil.which("g++") is None:
        return "no C++ compiler here: install g++ 11 or later"
    probe = subprocess.run(
        ["g++", "-std=c++20", "-fsyntax-only", "-x", "c++", "-"],
        input="#include <barrier>\nstd::barrier<> b(1);\n",
        capture_output=True,
        text=True,
    )
    return None if probe.returncode == 0 else "g++ here has no C++20 barriers: install g++ 11 or later"


def build(code: str, folder: Path, copies: int = 1, flags: tuple[str, ...] = ()) -> Path:
    """Compile the kernels' text as it is, and return the library."""
    folder.mkdir(parents=True)
    (folder / "kernels.cu").write_text(code)
    (folder / "driver.cpp").write_text(driver(code, copies))
    options = ["-O1", "-g", "-std=c++20", "-fPIC", "-shared", "-pthread", f"-I{FOLDER}", *flags]
    subprocess.run(["g++", *options, "driver.cpp", "-o", "kernels.so"], cwd=folder, check=True)
    return folder / "kernels.so"
