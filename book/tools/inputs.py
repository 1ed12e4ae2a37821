"""What a notebook ran: its code, the project's modules that it loaded, the records that it read.

The kernel tells what it loaded and read (`WATCH` runs before the first cell, `TELL` after the last). A
fingerprint changes with what matters to a result. Comments, docstrings and layout of a module do not, nor
does the prose of a chapter, nor the claims of the other chapters.
"""

import ast
import contextlib
import hashlib
import io
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jupytext

WATCH = """\
import sys as _sys

_opened = set()


def _note(event, given):
    if event == "open" and isinstance(given[0], str) and (given[1] or "r").startswith("r"):
        _opened.add(given[0])


_sys.addaudithook(_note)
"""
TELL = """\
import os as _os

_loaded = {getattr(module, "__file__", None) for module in list(_sys.modules.values())} - {None}
_paths = {_os.path.realpath(name) for name in _opened | _loaded}
print(*sorted(path for path in _paths if "site-packages" not in path), sep="\\n")
"""
READ = (".py", ".json", ".npz", ".toml", ".cu")
WRITTEN = ("chapters.json", "notebooks.json")  # by the chapters' runs themselves, and results/ledger/


def of(chapter: Path, told: Iterable[str], root: Path) -> dict[str, str]:
    """The fingerprint of every file of the project that a chapter's run depended on, by its path."""
    paths = {chapter.resolve()}
    for path in map(Path, told):
        inside = path.parts[len(root.parts) :] if path.is_relative_to(root) else ()
        hidden = any(part.startswith(".") for part in inside)
        if (
            inside
            and not hidden
            and path.suffix in READ
            and path.name not in WRITTEN
            and "ledger" not in inside
        ):
            paths.add(path)
    return {path.relative_to(root).as_posix(): fingerprint(path, chapter.stem) for path in sorted(paths)}


def changed(chapter: Path, recorded: dict[str, str], root: Path) -> list[str]:
    """The files whose fingerprints are no longer the recorded ones."""
    found = []
    for name, known in recorded.items():
        path = root / name
        if not path.exists():
            found.append(f"{name} is gone")
        elif fingerprint(path, chapter.stem) != known:
            found.append(f"{name} has changed")
    return found


def fingerprint(path: Path, chapter: str) -> str:
    """Twelve digits that change when a file could give `chapter` another result."""
    match path.suffix:
        case ".py":
            content = meaning(path.read_text("utf-8"))
        case ".md":
            content = code(path.read_text("utf-8"))
        case ".toml":
            content = own_entries(path.read_text("utf-8"), chapter)
        case ".json":
            content = json.loads(path.read_text("utf-8"))
        case ".npz":
            return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        case _:
            content = path.read_text("utf-8")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def meaning(source: str) -> Any:
    """The syntax tree of a module without its docstrings, the same for every Python that can read it."""

    def tree(node: Any) -> Any:
        if isinstance(node, ast.AST):
            fields = {name: tree(value) for name, value in ast.iter_fields(node)}
            return [type(node).__name__, {name: value for name, value in fields.items() if value != []}]
        if isinstance(node, list):
            return [tree(item) for item in node if not is_text(item)]
        return [] if node is None else repr(node)

    def is_text(node: Any) -> bool:
        return (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )

    return tree(ast.parse(source))


def code(text: str) -> list[str]:
    """The code cells of a chapter."""
    return [cell.source for cell in jupytext.reads(text, fmt="md:myst").cells if cell.cell_type == "code"]


def own_entries(text: str, chapter: str) -> list[Any]:
    """What a claims file says for one chapter."""
    tables = tomllib.loads(text).values()
    entries = [entry for table in tables if isinstance(table, list) for entry in table]
    return [entry for entry in entries if entry.get("chapter", chapter) == chapter]


def old_listings(notebook: Any) -> list[str]:
    """The cells of a notebook that print source code which the package no longer has.

    Such a cell is run by itself, after the notebook's imports.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    names: dict[str, Any] = {}
    found = []
    for number, cell in enumerate(cells, start=1):
        parsed = ast.parse(cell.source)
        if "getsource(" in cell.source:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(parsed, f"code cell {number}", "exec"), names)
            if printed.getvalue() != "".join(output.get("text", "") for output in cell.outputs):
                found.append(f"code cell {number} prints older source:\n{cell.source}")
        else:
            parsed.body = [line for line in parsed.body if isinstance(line, ast.Import | ast.ImportFrom)]
            exec(compile(parsed, f"code cell {number}", "exec"), names)
    return found
