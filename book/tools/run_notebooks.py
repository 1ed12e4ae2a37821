#!/usr/bin/env python3
"""Run the chapters and write them byte-stably: book/chapters/NN-name.md -> notebooks/NN-name.ipynb.

The text file is the source. Its notebook is executed from scratch in notebooks/, with one BLAS thread,
and everything that could differ between two equal runs is removed or fixed: cell ids, timestamps,
execution counts, widget state, the kernel's version, text chunks in PNG files. A second run without a
change leaves no diff.

    run_notebooks.py                 all chapters
    run_notebooks.py 02 05           these
    run_notebooks.py --check         execute, write nothing, fail where an output is not the committed one
    run_notebooks.py --sync          execute nothing, fail where text and notebook are not a pair, or the
                                     notebook is older than the code and the records that it ran
    run_notebooks.py --record        store the measured values in results/ledger/ too
    run_notebooks.py --timings       write the run times to results/chapters.json too

What may differ from one processor to the next is named in VARIES; all else may not. A notebook that differs
in nothing else is left as it is. What each ran is fingerprinted in results/notebooks.json.

Real data is needed to write (BIONET_DATA, the cache or a download): the record is never overwritten by a
run on the stand-in. --check runs on anything and compares outputs on real data only.
"""

import argparse
import base64
import difflib
import hashlib
import io
import json
import os
import platform
import re
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inputs
import jupytext
import nbformat
from kernels import AsyncLocalKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "book" / "chapters"
NOTEBOOKS = ROOT / "notebooks"
TIMINGS = ROOT / "results" / "chapters.json"
RAN = ROOT / "results" / "notebooks.json"

# Figures whose pixels differ from one processor to the next, and why. All else that a page shows is the same
# everywhere: numbers are rounded coarser than they differ.
VARIES = dict.fromkeys(
    (
        *("fig-alignment", "fig-power", "fig-plateau", "fig-labels", "fig-walls", "fig-measures"),
        *("fig-votes", "fig-cifar-error", "fig-adv-small", "fig-adv-trap", "fig-adv-pictures"),
    ),
    "nets trained on the page in float32, whose products every processor rounds in its own way",
)

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
ROUNDING = 4  # levels of 255 by which a pixel of a scaled image may differ: nobody sees them

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
    """What the kernel inherits: one BLAS thread, no progress bars, no warnings, absolute paths."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no kernel is debugged, so none need warn of it
    if os.environ.get("BIONET_DATA"):
        os.environ["BIONET_DATA"] = str(Path(os.environ["BIONET_DATA"]).resolve())
    if record:
        os.environ["BIONET_RECORD"] = "1"
    else:
        os.environ.pop("BIONET_RECORD", None)


def execute(notebook: nbformat.NotebookNode) -> tuple[float, list[str]]:
    """Run every cell in place; return the seconds it took and the files that it loaded and read."""
    watched = nbformat.v4.new_notebook(metadata=notebook.metadata)
    first, last = map(nbformat.v4.new_code_cell, (inputs.WATCH, inputs.TELL))
    watched.cells = [first, *notebook.cells, last]
    client = NotebookClient(
        watched,
        timeout=CELL_TIMEOUT,
        kernel_name=KERNEL["name"],
        kernel_manager_class=AsyncLocalKernelManager,
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
    return seconds, last.outputs[0].text.splitlines()


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


def outdated(path: Path) -> list[str]:
    """What a chapter's notebook ran and is no longer so: a line for each file; empty if it is up to date."""
    recorded = read_json(RAN).get(path.stem)
    if recorded is None:
        return [f"nothing is recorded of what {path.stem} ran"]
    notebook = nbformat.read(NOTEBOOKS / f"{path.stem}.ipynb", as_version=4)
    return inputs.changed(path, recorded, ROOT) or inputs.old_listings(notebook)


def differences(
    kept: nbformat.NotebookNode, fresh: nbformat.NotebookNode
) -> Iterator[tuple[str | None, str]]:
    """Where two runs of the same cells differ, and how; first the name in `VARIES`, or None."""
    for number, (old, new) in enumerate(zip(kept.cells, fresh.cells, strict=True), start=1):
        before, after = shown(old), shown(new)
        name = new.metadata.get("mystnb", {}).get("figure", {}).get("name", "")
        where = f"cell {number}{f' ({name})' if name else ''}"
        if before.keys() != after.keys():
            yield None, f"{where} shows {', '.join(after) or 'nothing'}, not {', '.join(before) or 'nothing'}"
            continue
        for kind in before:
            if before[kind] == after[kind]:
                continue
            if kind.endswith("image/png"):
                if found := other_pixels(before[kind], after[kind]):
                    yield (name if name in VARIES else None), f"{where}: {found}"
            else:
                lines = difflib.unified_diff(
                    before[kind].splitlines(), after[kind].splitlines(), "committed", "now", n=0, lineterm=""
                )
                yield None, f"{where}, {kind}:\n" + "\n".join(lines)


def shown(cell: nbformat.NotebookNode) -> dict[str, str]:
    """What a cell shows, by kind and place."""
    found = {}
    for place, output in enumerate(cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
        parts = output.get("data") or {output.get("name", output.output_type): output.get("text", "")}
        for kind, value in parts.items():
            found[" ".join(filter(None, (str(place), name, kind)))] = value
    return found


def other_pixels(before: str, after: str) -> str:
    """How two pictures differ; empty if no pixel does by more than rounding can do."""
    import numpy as np  # not before kernel_environment has set the number of threads
    from matplotlib.image import imread

    old, new = (imread(io.BytesIO(base64.b64decode(text)), format="png") for text in (before, after))
    if old.shape != new.shape:
        return f"a picture of {new.shape}, not of {old.shape}"
    levels = np.rint(255 * np.abs(old - new)).max(axis=-1)
    many = np.count_nonzero(levels > ROUNDING)
    return f"{many} of {levels.size} pixels differ, by up to {levels.max():.0f} of 255" if many else ""


def serialise(notebook: nbformat.NotebookNode) -> str:
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
    known = read_json(TIMINGS) or {"chapters": {}}
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "blas_threads": 1,
    }
    for name, value in seconds.items():
        known["chapters"][name] = {"seconds": round(value, 1), **machine}
    write_json(TIMINGS, known)


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
    seconds, read = execute(notebook)
    ran = inputs.of(path, read, ROOT)
    if check and stand_in:
        return f"runs (stand-in for {', '.join(stand_in)}: outputs not compared)", seconds
    unlike = unpaired(path)
    found = [] if unlike else list(differences(nbformat.read(target, as_version=4), notebook))
    named = sorted({name for name, _ in found if name})
    problems = [unlike] if unlike else [what for name, what in found if not name]
    same = f"the same, but for the pixels of {', '.join(named)}" if named else "unchanged"
    if check:
        if problems:
            raise NotebookProblem("\n".join(["a run differs from the committed notebook:", *problems]))
        return f"runs, {same}", seconds
    recorded = read_json(RAN)
    if not problems and recorded.get(path.stem) == ran:
        return same, seconds
    target.write_text(serialise(notebook), encoding="utf-8")
    write_json(RAN, {**recorded, path.stem: ran})
    if with_header(text) != text and path.read_text(encoding="utf-8") == text:
        path.write_text(with_header(text), encoding="utf-8")
    return "written", seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapter", nargs="*", help="number or name, e.g. 02 (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    parser.add_argument("--sync", action="store_true", help="execute nothing; fail where a pair differs")
    parser.add_argument("--record", action="store_true", help="store measured values in results/ledger/")
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
                if problem := unpaired(path):
                    raise NotebookProblem(problem)
                if old := outdated(path):
                    raise NotebookProblem("\n".join([*old, "Run `make reproduce`."]))
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
