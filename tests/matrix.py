"""The numerical tests under other arithmetic: every pair of BLAS kernel, threads, Python, and data.

    python tests/matrix.py --python .venv/bin/python other/bin/python --out matrix

Each interpreter brings its own NumPy: give one environment with the oldest versions that pyproject.toml
allows and some with the newest. ``BIONET_DATA`` names the real data. The kernels are those that any x86-64
processor with AVX2 runs; OpenBLAS does not check, and one that is too new is an illegal instruction.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_NUMERICAL = (  # and the workshop, which stands on the rest
    "bionet_reproduction",
    "book",
    "checkpoint",
    "cli_data",
    "data",
    "house",
    "plot",
    "ranked_cuda",
    "threads",
)
FACTORS = {
    "kernel": ("Haswell", "SandyBridge", "Nehalem", "Prescott"),
    "BLAS threads": ("1", "2"),
    "Numba threads": ("1", "2"),
    "data": ("real", "none"),
}
IN_FORCE = re.compile(r"^numerics: (.*)$", re.MULTILINE)
SUMMARY = re.compile(r"^=+ (.*\b(?:passed|failed|error).*) in [\d.]+s.*=+$", re.MULTILINE)


def pairs(row: tuple[str, ...]) -> set[tuple[int, str, int, str]]:
    return {(i, row[i], j, row[j]) for i, j in itertools.combinations(range(len(row)), 2)}


def pairwise(factors: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    """Rows in which every pair of two factors' values occurs, each the one that adds most pairs."""
    every = list(itertools.product(*factors.values()))
    left = set().union(*map(pairs, every))
    rows = []
    while left:
        best = max(every, key=lambda row: len(pairs(row) & left))
        left -= pairs(best)
        rows.append(dict(zip(factors, best, strict=True)))
    return rows


def environment(row: dict[str, str], cache: str) -> dict[str, str]:
    changes = {
        "OPENBLAS_CORETYPE": row["kernel"],
        "OPENBLAS_NUM_THREADS": row["BLAS threads"],
        "OMP_NUM_THREADS": row["Numba threads"],
        "NUMBA_NUM_THREADS": row["Numba threads"],
        "PYTHONPATH": str(ROOT),
    }
    kept = dict(os.environ)
    if row["data"] == "none":
        kept.pop("BIONET_DATA", None)
        changes |= {"BIONET_OFFLINE": "1", "XDG_CACHE_HOME": cache}
    elif "BIONET_DATA" not in kept:
        raise SystemExit("set BIONET_DATA to the folder of the real data")
    return kept | changes


def run(row: dict[str, str], log: Path) -> str:
    """Run the tests; return what was in force, and their result."""
    tests = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if {path.stem.removeprefix("test_"), path.parent.name}.isdisjoint(NOT_NUMERICAL)
    ]
    with tempfile.TemporaryDirectory() as cache, log.open("w", encoding="utf-8") as out:
        command = [row["python"], "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *tests]
        subprocess.run(command, cwd=ROOT, env=environment(row, cache), stdout=out, stderr=out, check=False)
    text = log.read_text(encoding="utf-8")
    in_force, result = IN_FORCE.search(text), SUMMARY.search(text)
    return f"{in_force[1] if in_force else 'did not start'} | {row['data']} | {result[1] if result else '-'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", required=True, help="interpreters, one an environment")
    parser.add_argument("--out", type=Path, default=Path("matrix"), help="folder of the logs and the table")
    parser.add_argument("--row", type=int, nargs="*", help="only these rows, from 0")
    parser.add_argument("--list", action="store_true", help="show the rows and stop")
    args = parser.parse_args()
    rows = pairwise({"python": tuple(str(Path(p).absolute()) for p in args.python), **FACTORS})
    if args.list:
        print(*(" ".join(row.values()) for row in rows), sep="\n")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        if args.row is None or number in args.row:
            line = f"| {number} | {run(row, args.out / f'{number}.log')} |"
            print(line, flush=True)
            with (args.out / "table.md").open("a", encoding="utf-8") as table:
                table.write(line + "\n")


if __name__ == "__main__":
    main()
