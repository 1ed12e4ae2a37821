"""The (p, k) grid of the paper's Fig. 6; rows and readouts learn from 50 000 images.

The validation error is there to choose by, the test error to compare with the paper's. Seeds after the first
cover one row and one column. Rows of unit p-norm have lengths that differ with p, and so have the features,
while the readout's rate stays the same; a last part reads that column out again, its rows scaled to the
length that they have at p = 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction import paper
from bionet_reproduction.cells import AsLongAs, Measure, entropy_readout
from bionet_reproduction.rows import Ranked
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Grid(Plan):
    """Every constant of the run."""

    seeds: int = 2
    rows: Ranked = Ranked(seed=0, p=3.0, k=7, n_epochs=50)  # with the paper's choice: its row and column
    p: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0)
    k: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    readout_epochs: int = 60


def make(plan: Grid, sweep: Sweep) -> dict[str, Any]:
    """Errors of all cells, and of the column with rows of equal length."""

    def measured(layer: Ranked, scale: AsLongAs | None = None) -> Measure:
        readout = entropy_readout(plan.readout_epochs, layer.seed)
        return Measure(rows=layer, readouts=(readout,), train="50k", evaluate=("10k", "test"), scale=scale)

    layers = [
        replace(plan.rows, p=p, k=k, seed=seed)
        for seed in range(plan.seeds)
        for p in plan.p
        for k in plan.k
        if seed == 0 or p == plan.rows.p or k == plan.rows.k
    ]
    entries = []
    for layer, found in zip(layers, sweep(map(measured, layers), "grid"), strict=True):
        score = found["readouts"][0] if found["readouts"] else {}
        entries.append(
            {
                "p": layer.p,
                "k": layer.k,
                "seed": layer.seed,
                "validation_error": score.get("10k_error"),
                "test_error": score.get("test_error"),
                "norms_within_5_percent": found["rows"].get("norms_within_5_percent"),
                "diverged": found["rows"].get("diverged"),
            }
        )
    like = AsLongAs(rows=plan.rows)
    scaled = sweep([measured(replace(plan.rows, p=p), like) for p in plan.p], "same length")
    same_length = [
        {
            "p": p,
            "length": found["rows"]["length"],
            "validation_error": found["readouts"][0]["10k_error"],
            "test_error": found["readouts"][0]["test_error"],
        }
        for p, found in zip(plan.p, scaled, strict=True)
        if found["readouts"]
    ]
    return {"cells": entries, "same_length": same_length}


def table(record: dict[str, Any]) -> Table:
    """Test errors of the cells beside the paper's."""
    rows = []
    for cell in record["cells"]:
        found = "diverged" if cell["test_error"] is None else f"{cell['test_error']:.2f} %"
        says = paper.GRID[int(cell["p"])][cell["k"] - paper.GRID_K[0]]
        rows.append(
            (
                f"p={cell['p']:g}, k={cell['k']}, seed {cell['seed']}",
                "did not converge" if says is None else f"{says} %",
                found,
            )
        )
    return [("", "the paper", "here"), *rows]


RUN = Run(
    plan=Grid(),
    make=make,
    table=table,
    others={
        "tiny": Grid(rows=Ranked(seed=0, n_hidden=20, n_epochs=2), p=(2.0, 3.0), k=(2, 7), readout_epochs=5)
    },
)
