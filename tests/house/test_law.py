"""The law of the house: who may import whom, imports inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first. A module imports lower levels, or its own level without a circle.
LEVELS = (
    "bionet bionet.backend bionet.checks bionet.files",
    "bionet.dynamics bionet.boosts bionet.plasticity bionet.ranking bionet.activations bionet.losses "
    "bionet.optim bionet.data",
    "bionet.fast bionet.measures bionet.patches bionet.attacks",
    "bionet.units bionet.classifier bionet.readout bionet.mlp",
    "bionet.persistence bionet.plot",
    "bionet_reproduction bionet_reproduction.paths bionet_reproduction.statistics bionet_reproduction.paper "
    "bionet_reproduction.claims bionet_reproduction.ledger bionet_reproduction.records "
    "bionet_reproduction.talk bionet_reproduction.views bionet_reproduction.rows "
    "bionet_reproduction.cells bionet_reproduction.cifar "
    "bionet_reproduction.agreement bionet_reproduction.sweeps bionet_reproduction.run",
    "bionet_reproduction.runs bionet_reproduction.robustness",
    "bionet_reproduction.catalogue bionet_reproduction.options",
    "bionet.cli",
)
COMPILED = {"numba", "ctypes"}  # in fast/ only


def sources(root: Path = ROOT) -> dict[str, str]:
    """The text of every module of both packages, by dotted name."""
    found = {}
    for package in ("bionet", "bionet_reproduction"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(name: str, text: str, known: dict[str, str]) -> set[tuple[str, str]]:
    """What a module imports, anywhere in it: pairs of module and name taken from it."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add((inner, "") if inner in known else (node.module, alias.name))
    return found - {(name, "")}


def level(module: str) -> int:
    """The level of a module or of the nearest package above it."""
    names = [rank.split() for rank in LEVELS]
    while module:
        for height, rank in enumerate(names):
            if module in rank:
                return height
        module = module.rpartition(".")[0]
    raise AssertionError("a module that no level names")


def breaches(known: dict[str, str]) -> list[str]:
    """What breaks the law."""
    graph = {name: imports(name, text, known) for name, text in known.items()}
    wrong = []
    for name, taken in graph.items():
        face = {module for module in known if module.startswith(f"{name}.")}  # a package shows what is in it
        for module, attribute in sorted(taken):
            if module.split(".")[0] not in ("bionet", "bionet_reproduction"):
                top = module.split(".")[0]
                if top in COMPILED and not name.startswith("bionet.fast."):
                    wrong.append(f"{name} imports {top}: only fast/ may")
                if top == "cupy" and not name.startswith("bionet.fast.") and name != "bionet.backend":
                    wrong.append(f"{name} imports cupy: only fast/ and the backend may")
                continue
            if module not in face and level(module) > level(name):
                wrong.append(f"{name} imports {module}, which stands above it")
            hidden = [part for part in (*module.split("."), attribute) if part.startswith("_")]
            if hidden:
                wrong.append(f"{name} takes {hidden[0]} from {module}")
            if name.startswith("bionet_reproduction.runs.") and module.startswith("bionet_reproduction.runs"):
                wrong.append(f"{name} imports the run {module}")
            if (
                module.startswith("bionet_reproduction")
                and name.startswith("bionet.")
                and name != "bionet.cli"
            ):
                wrong.append(f"{name} imports the workshop")
    return wrong + circles(
        {name: {module for module, _ in taken} & known.keys() for name, taken in graph.items()}
    )


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import themselves by way of others; a package and what it shows count as one step down."""
    graph = {name: {m for m in below if not name.startswith(f"{m}.")} for name, below in graph.items()}
    left = dict(graph)
    while free := [name for name, below in left.items() if not below & left.keys()]:
        for name in free:
            del left[name]
    return [f"a circle among {', '.join(sorted(left))}"] if left else []


def test_the_law_holds():
    assert breaches(sources()) == []


@pytest.mark.parametrize(
    ("module", "line", "breach"),
    [
        ("bionet.plasticity", "from bionet.units import CompetingUnits", "stands above it"),
        ("bionet.readout", "def f():\n    from bionet import persistence", "stands above it"),
        ("bionet.mlp", "from bionet_reproduction import talk", "the workshop"),
        ("bionet.readout", "import numba", "only fast/ may"),
        ("bionet.units.ranked", "import cupy", "only fast/ and the backend may"),
        ("bionet.readout", "from bionet.classifier import _anything", "takes _anything"),
        ("bionet_reproduction.runs.grid", "from bionet_reproduction.runs import mnist", "imports the run"),
        ("bionet.dynamics", "import bionet.plasticity", "a circle among"),
    ],
)
def test_a_breach_is_found(module, line, breach):
    """Each paragraph of the law, broken in a copy of the house."""
    known = sources()
    known[module] += f"\n{line}\n"
    if breach == "a circle among":
        known["bionet.plasticity"] += "\nimport bionet.dynamics\n"
    assert any(breach in found for found in breaches(known)), breaches(known)


def test_core_files_are_short():
    """At most 350 lines each."""
    long = {
        path.name: count
        for path in (ROOT / "bionet").rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert long == {}
