"""The talk repaired: its 484 units and 600 images, Delta = 0.4 made stable, a readout trained properly.

Settings are those that were best in the search of the run ``dynamical``, but with the paper's Delta; which of
them, and the number of passes over the 600 images, is chosen on validation too. Readouts learn from all
60 000 images, as in the talk from most of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bionet_reproduction import records
from bionet_reproduction.cells import Length, Measure, Readout, entropy_readout, power_readout
from bionet_reproduction.rows import Competing, Drawn, Random, Rows, Talk
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep, described

SETTINGS = ("w_inh", "h_star", "delta", "duration", "init")


@dataclass(frozen=True, kw_only=True)
class Repaired(Plan):
    """Every constant of the run."""

    seeds: int = 5
    n_hidden: int = 484
    delta: float = 0.4
    finalists: int = 2
    passes: tuple[int, ...] = (10, 100, 1000)
    lengths: tuple[float, ...] = (1.5, 2.2, 3.3)  # Euclidean, among which every kind of rows finds its own
    readout_epochs: int = 60
    other_powers: tuple[float, ...] = (1.0, 2.0, 4.5)  # with cross-entropy, for random rows


def candidates(plan: Repaired) -> list[dict[str, Any]]:
    """The best settings of the search for the dynamics that did not diverge, with this delta."""
    searched = [
        row for row in records.record("dynamical")["search"]["random"] if row["validation_error"] is not None
    ]
    found: list[dict[str, Any]] = []
    for row in sorted(searched, key=lambda row: row["validation_error"]):
        trial = {**{name: row[name] for name in SETTINGS}, "delta": plan.delta}
        if trial not in found:
            found.append(trial)
    return found[: plan.finalists]


def validation(result: dict[str, Any], position: int = 0) -> float:
    """Validation error of a cell; infinite where its rows diverged."""
    return result["readouts"][position]["10k_error"] if result["readouts"] else float("inf")


def make(plan: Repaired, sweep: Sweep) -> dict[str, Any]:
    """The choice of settings and readouts, and test errors over seeds."""
    m, beta = records.chosen_loss()
    usual = power_readout(m, beta, plan.readout_epochs, 0)

    def measured(rows: Rows, part: str, readouts: tuple[Readout, ...], length: float, **more: Any) -> Measure:
        split = {"train": "50k", "evaluate": ("10k",), **more}
        return Measure(rows=rows, rows_from=part, readouts=readouts, scale=Length(length=length), **split)

    tried = [
        {"passes": passes, "length": length, **trial}
        for trial in candidates(plan)
        for passes in plan.passes
        for length in plan.lengths
    ]

    def repaired(trial: dict[str, Any], seed: int) -> Competing:
        own = {name: trial[name] for name in SETTINGS}
        return Competing(seed=seed, n_hidden=plan.n_hidden, n_epochs=trial["passes"], **own)

    results = sweep(
        [measured(repaired(trial, 0), "talk", (usual,), trial["length"]) for trial in tried], "choice"
    )
    best = tried[min(range(len(tried)), key=lambda i: validation(results[i]))]

    def layer(kind: str, seed: int) -> tuple[Rows, str]:
        made: dict[str, tuple[Rows, str]] = {
            "repaired": (repaired(best, seed), "talk"),
            "talk": (Talk(), "talk"),
            "images": (Drawn(n_hidden=plan.n_hidden, seed=seed), "talk"),
            "random": (Random(n_hidden=plan.n_hidden, seed=seed), "60k"),
        }
        return made[kind]

    others = tuple(entropy_readout(plan.readout_epochs, 0, n) for n in plan.other_powers)
    final: dict[str, Any] = {}
    readouts: dict[str, Any] = {}
    for kind in ("repaired", "talk", "images", "random"):
        length, readout = best["length"], usual
        if kind != "repaired":
            # The loss suits rows like ours. Random rows have small currents and may choose another readout.
            options = (usual, *others) if kind == "random" else (usual,)
            found = sweep([measured(*layer(kind, 0), options, x) for x in plan.lengths], kind)
            errors = [[validation(result, i) for i in range(len(options))] for result in found]
            row, column = divmod(int(np.argmin(errors)), len(options))
            length, readout = plan.lengths[row], options[column]
        readouts[kind] = {"length": length, **described(readout)}
        runs = sweep(
            [
                measured(
                    *layer(kind, seed),
                    (replace(readout, seed=seed),),
                    length,
                    train="60k",
                    evaluate=("test",),
                )
                for seed in range(plan.seeds)
            ],
            kind,
        )
        final[kind] = {
            "test": summary([run["readouts"][0]["test_error"] for run in runs]),
            "rows": [run["rows"] for run in runs],
        }
    return {
        "readouts": readouts,
        "chosen": best,
        "search": [
            {
                **trial,
                "validation_error": error if np.isfinite(error := validation(result)) else None,
                **{name: result["rows"].get(name) for name in ("diverged", "never_won", "effective_units")},
            }
            for trial, result in zip(tried, results, strict=True)
        ],
        "final": final,
    }


def table(record: dict[str, Any]) -> Table:
    """Test errors of the four kinds of rows."""
    errors = [(f"test error, {name}", "-", shown(part["test"])) for name, part in record["final"].items()]
    return [("", "the paper", "here"), *errors]


RUN = Run(
    plan=Repaired(),
    make=make,
    table=table,
    others={"tiny": Repaired(seeds=2, n_hidden=10, finalists=1, passes=(1, 2), readout_epochs=5)},
)
