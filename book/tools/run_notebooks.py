#!/usr/bin/env python3
"""Run the chapters and write them byte-stably: book/chapters/NN-name.md -> notebooks/NN-name.ipynb.

The text file is the source. Its notebook is executed from scratch in notebooks/, with one BLAS thread,
and everything that could differ between two equal runs is removed or fixed: cell ids, timestamps,
execution counts, widget state, the kernel's version, text chunks in PNG files. A second run without a
change leaves no diff.

    run_notebooks.py                 all chapters
    run_notebooks.py 02 05           these
    run_notebooks.py --check         execute, write nothing, fail where the committed notebook differs
    run_notebooks.py --sync          execute nothing, fail where text and notebook are not a pair
    run_notebooks.py --record        store the measured values in results/ledger.json too
    run_notebooks.py --timings       write the run times to results/chapters.json too

Real data is needed to write (BIONET_DATA, the cache or a download): the record is never overwritten by a
run on the stand-in. --check runs on anything and compares outputs on real data only.
"""

import argparse
import base64
import hashlib
import json
import os
import platform
import re
import struct
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "book" / "chapters"
NOTEBOOKS = ROOT / "notebooks"
TIMINGS = ROOT / "results" / "chapters.json"

FORMAT = {"extension": ".md", "format_name": "myst"}
PAIRING = "notebooks///ipynb,book/chapters///md:myst"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---
"""
CELL_TIMEOUT = 300  # seconds

ONE_THREAD = (
    "NUMBA_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")
DATA_SET = re.compile(r"""\bload\(\s*\\?["'](mnist|cifar10)\b""")  # in text or in JSON


class NotebookProblem(Exception):
    """A chapter that cannot become part of the record, and why."""


# Text -> notebook


def as_notebook(text: str) -> nbformat.NotebookNode:
    """The unexecuted notebook of a chapter's text, with fixed metadata and cell ids."""
    notebook = jupytext.reads(text, fmt=FORMAT)
    fix_metadata(notebook)
    return notebook


def with_header(text: str) -> str:
    """The chapter's text under the one header every chapter has; the rest untouched."""
    body = re.sub(r"\A---\n.*?\n---\n+", "", text, count=1, flags=re.DOTALL)
    return f"{HEADER}\n{body}"


def fix_metadata(notebook: nbformat.NotebookNode) -> None:
    """Set what jupytext, the kernel and the clock would otherwise decide."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict(
        {"jupytext": {"formats": PAIRING}, "kernelspec": KERNEL, "language_info": LANGUAGE}
    )
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        kept = {key: cell.metadata[key] for key in ("tags", "mystnb") if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)


# Execution


def kernel_environment(record: bool) -> None:
    """What the kernel inherits: one BLAS thread, no progress bars, absolute paths."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    if os.environ.get("BIONET_DATA"):
        os.environ["BIONET_DATA"] = str(Path(os.environ["BIONET_DATA"]).resolve())
    if record:
        os.environ["BIONET_RECORD"] = "1"
    else:
        os.environ.pop("BIONET_RECORD", None)


def execute(notebook: nbformat.NotebookNode) -> float:
    """Run every cell in place; return the seconds it took."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    )
    start = time.perf_counter()
    client.execute()
    seconds = time.perf_counter() - start
    fix_metadata(notebook)
    fix_outputs(notebook)
    return seconds


def fix_outputs(notebook: nbformat.NotebookNode) -> None:
    """Number the cells 1..n, strip PNG text chunks, refuse what cannot be stable or should not be seen."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        for output in cell.outputs:
            output.pop("transient", None)
            if output.output_type == "execute_result":
                output.execution_count = count
            if output.output_type == "stream" and output.name == "stderr":
                raise NotebookProblem(f"a cell writes to stderr:\n{output.text}\nin\n{cell.source}")
            data = output.get("data", {})
            shown = "".join([output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")])
            if ADDRESS.search(shown):
                raise NotebookProblem(f"a cell prints a memory address:\n{shown}\nin\n{cell.source}")
            if "image/png" in data:
                data["image/png"] = stable_png(data["image/png"])
                output.metadata = nbformat.from_dict({})


def stable_png(encoded: str) -> str:
    """The same picture without the chunks that name a program, a version or a time."""
    raw = base64.b64decode(encoded)
    kept, at = raw[:8], 8
    while at < len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        end = at + 12 + length
        if raw[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
            kept += raw[at:end]
        at = end
    return base64.b64encode(kept).decode("ascii")


# The record


def chapters(wanted: list[str]) -> list[Path]:
    """The text files of the chapters asked for (all, if none is named)."""
    every = sorted(CHAPTERS.glob("[0-9][0-9]-*.md"))
    unknown = [name for name in wanted if not any(path.stem.startswith(name) for path in every)]
    if unknown:
        known = ", ".join(path.stem for path in every) or "none"
        raise SystemExit(f"no chapter named {', '.join(unknown)} (there are: {known})")
    return [path for path in every if not wanted or any(path.stem.startswith(name) for name in wanted)]


def data_sets(text: str) -> set[str]:
    """The data sets a chapter, or its notebook, loads."""
    return set(DATA_SET.findall(text))


def missing_data(text: str) -> list[str]:
    """The data sets a chapter loads that cannot be had here."""
    names = sorted(data_sets(text))
    if not names:
        return []
    from bionet import data

    missing = []
    for name in names:
        try:
            data.load(name, split="test")
        except data.DataUnavailable:
            missing.append(name)
    return missing


def unpaired(path: Path) -> str | None:
    """Why a chapter's text and notebook are not a pair; None if they are."""
    target = NOTEBOOKS / f"{path.stem}.ipynb"
    text = path.read_text(encoding="utf-8")
    if not target.exists():
        return f"{target.name} does not exist"
    if with_header(text) != text:
        return f"{path.name} has another header than the rest"
    notebook, expected = nbformat.read(target, as_version=4), as_notebook(text)
    if len(notebook.cells) != len(expected.cells):
        return f"{path.name} has {len(expected.cells)} cells, {target.name} {len(notebook.cells)}"
    for number, (cell, wanted) in enumerate(zip(notebook.cells, expected.cells, strict=True), start=1):
        for key in ("cell_type", "source", "metadata", "id"):
            if cell[key] != wanted[key]:
                return f"{path.name} and {target.name} differ in the {key} of cell {number}"
    if notebook.metadata != expected.metadata:
        return f"{target.name} has other metadata than this tool writes"
    return None


def serialise(notebook: nbformat.NotebookNode) -> str:
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_timings(seconds: dict[str, float]) -> None:
    known = json.loads(TIMINGS.read_text()) if TIMINGS.exists() else {"chapters": {}}
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "blas_threads": 1,
    }
    for name, value in seconds.items():
        known["chapters"][name] = {"seconds": round(value, 1), **machine}
    TIMINGS.parent.mkdir(exist_ok=True)
    TIMINGS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def run_chapter(path: Path, check: bool) -> tuple[str, float]:
    """Execute one chapter; write it unless `check`. Returns what happened and the seconds."""
    text = path.read_text(encoding="utf-8")
    target = NOTEBOOKS / f"{path.stem}.ipynb"
    stand_in = missing_data(text)
    if stand_in and not check:
        raise NotebookProblem(
            f"{', '.join(stand_in)} not found, and the stand-in may not overwrite the record. "
            "Set BIONET_DATA, run `bionet data fetch`, or pass --check to run without writing."
        )
    notebook = as_notebook(text)
    seconds = execute(notebook)
    written = serialise(notebook)
    if check:
        if stand_in:
            return f"runs (stand-in for {', '.join(stand_in)}: outputs not compared)", seconds
        if not target.exists() or target.read_text(encoding="utf-8") != written:
            raise NotebookProblem("a run gives another notebook than the committed one")
        return "runs, unchanged", seconds
    changed = not target.exists() or target.read_text(encoding="utf-8") != written
    if changed:
        target.write_text(written, encoding="utf-8")
    if with_header(text) != text and path.read_text(encoding="utf-8") == text:
        path.write_text(with_header(text), encoding="utf-8")
    return ("written" if changed else "unchanged"), seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapter", nargs="*", help="number or name, e.g. 02 (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    parser.add_argument("--sync", action="store_true", help="execute nothing; fail where a pair differs")
    parser.add_argument("--record", action="store_true", help="store measured values in results/ledger.json")
    parser.add_argument("--timings", action="store_true", help="write results/chapters.json")
    options = parser.parse_args(arguments)
    if options.check and (options.record or options.timings):
        parser.error("--check writes nothing")

    NOTEBOOKS.mkdir(exist_ok=True)
    kernel_environment(options.record)
    failed, seconds = [], {}
    for path in chapters(options.chapter):
        try:
            if options.sync:
                problem = unpaired(path)
                if problem:
                    raise NotebookProblem(problem)
                print(f"{path.stem}: in sync", flush=True)
            else:
                what, seconds[path.stem] = run_chapter(path, options.check)
                print(f"{path.stem}: {what} ({seconds[path.stem]:.1f} s)", flush=True)
        except (NotebookProblem, CellExecutionError) as error:
            failed.append(path.stem)
            print(f"{path.stem}: FAILED\n{error}\n", file=sys.stderr, flush=True)
    if options.timings and seconds:
        write_timings(seconds)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
