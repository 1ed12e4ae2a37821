"""How far the same rule goes when its readout and size are chosen on validation, not by the paper.

The number of units and the power n are chosen on 10 000 held-out images, the test images are read once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction.cells import Measure, least, power_readout
from bionet_reproduction.records import chosen_loss
from bionet_reproduction.rows import Ranked
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Beyond(Plan):
    """Every constant of the run."""

    seeds: int = 3
    rows: Ranked = Ranked(seed=0, n_epochs=200)
    units: tuple[int, ...] = (2000, 4000)
    powers: tuple[float, ...] = (4.5, 6.0)
    selection_readout_epochs: int = 60
    readout_epochs: int = 300


def make(plan: Beyond, sweep: Sweep) -> dict[str, Any]:
    """The choice, and the errors of what was chosen."""
    m, beta = chosen_loss()
    tried = sweep(
        [
            Measure(
                rows=replace(plan.rows, n_hidden=count),
                readouts=tuple(
                    power_readout(m, beta, plan.selection_readout_epochs, 0, n) for n in plan.powers
                ),
                train="50k",
                evaluate=("10k",),
            )
            for count in plan.units
        ],
        "choice",
    )
    entries = [
        {"n_hidden": count, "n": n, "validation_error": score["10k_error"]}
        for count, cell in zip(plan.units, tried, strict=True)
        for n, score in zip(plan.powers, cell["readouts"], strict=True)
    ]
    best = least(entries, "n_hidden", "n")
    final = sweep(
        [
            Measure(
                rows=replace(plan.rows, seed=seed, n_hidden=best["n_hidden"]),
                readouts=(power_readout(m, beta, plan.readout_epochs, seed, best["n"]),),
                train="60k",
                evaluate=("test",),
            )
            for seed in range(plan.seeds)
        ],
        "seeds",
    )
    scores = [one["readouts"][0] for one in final]
    return {
        "loss": {"m": m, "beta": beta},
        "selection": {
            "readout_epochs": plan.selection_readout_epochs,
            "table": entries,
            "chosen": best,
        },
        "train": summary([score["train_error"] for score in scores]),
        "test": summary([score["test_error"] for score in scores]),
    }


def table(record: dict[str, Any]) -> Table:
    """Validation errors of the choice, and the test error of what was chosen."""
    best = record["selection"]["chosen"]
    tried = [
        (
            f"validation error, {row['n_hidden']} units, n={row['n']:g}",
            "-",
            f"{row['validation_error']:.2f} %",
        )
        for row in record["selection"]["table"]
    ]
    final = (f"test error, {best['n_hidden']} units, n={best['n']:g}", "-", shown(record["test"]))
    return [("", "the paper", "here"), *tried, final]


RUN = Run(
    plan=Beyond(),
    make=make,
    table=table,
    others={
        "tiny": Beyond(
            seeds=2,
            rows=Ranked(seed=0, n_epochs=2),
            units=(10, 20),
            selection_readout_epochs=5,
            readout_epochs=6,
        )
    },
)
