"""Is the Hebbian layer better than others? The same readout on other rows, and on the pixels.

Every kind of rows is read out with the same readout, and with the power n that is best for it on validation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction.cells import Measure, entropy_readout, least, power_readout
from bionet_reproduction.records import chosen_loss
from bionet_reproduction.rows import KMeans, PrincipalComponents, Random, Ranked, Rows
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Controls(Plan):
    """Every constant of the run."""

    seeds: int = 3
    rows: Ranked = Ranked(seed=0)  # the learned ones; the others are as many
    selection_epochs: int = 200  # of the learned rows with which a power is chosen
    readout_epochs: int = 60
    powers: tuple[float, ...] = (1.0, 2.0, 4.5)


KINDS = ("ranked", "random", "kmeans", "pca", "pixels")


def rows(learned: Ranked, kind: str) -> Rows | None:
    """The hidden layer of one kind, with the seed and the number of the learned rows; None for the pixels."""
    made: dict[str, Rows | None] = {
        "ranked": learned,
        "random": Random(seed=learned.seed, n_hidden=learned.n_hidden),
        "kmeans": KMeans(seed=learned.seed, n_hidden=learned.n_hidden),
        "pca": PrincipalComponents(),
        "pixels": None,
    }
    return made[kind]


def make(plan: Controls, sweep: Sweep) -> dict[str, Any]:
    """The power of each kind, chosen on validation; then test errors over seeds."""
    m, beta = chosen_loss()
    tried = sweep(
        [
            Measure(
                rows=rows(replace(plan.rows, n_epochs=plan.selection_epochs), kind),
                readouts=tuple(entropy_readout(plan.readout_epochs, 0, n) for n in plan.powers),
                train="50k",
                evaluate=("10k",),
            )
            for kind in KINDS
        ],
        "powers",
    )
    own: dict[str, dict[str, Any]] = {}
    for kind, cell in zip(KINDS, tried, strict=True):
        found = [
            {"n": n, "validation_error": score["10k_error"]}
            for n, score in zip(plan.powers, cell["readouts"], strict=True)
        ]
        own[kind] = {
            "validation": {str(row["n"]): row["validation_error"] for row in found},
            "n": least(found)["n"],
        }
    final = iter(
        sweep(
            [
                Measure(
                    rows=rows(replace(plan.rows, seed=seed), kind),
                    readouts=(
                        power_readout(m, beta, plan.readout_epochs, seed),
                        entropy_readout(plan.readout_epochs, seed, own[kind]["n"]),
                    ),
                    train="60k",
                    evaluate=("test",),
                )
                for kind in KINDS
                for seed in range(plan.seeds)
            ],
            "controls",
        )
    )
    table = {}
    for kind in KINDS:
        scores = [next(final)["readouts"] for _ in range(plan.seeds)]
        table[kind] = {
            "same_readout": summary([each[0]["test_error"] for each in scores]),
            "own_n": summary([each[1]["test_error"] for each in scores]),
            **own[kind],
        }
    return {"loss": {"m": m, "beta": beta}, "table": table}


def table(record: dict[str, Any]) -> Table:
    """Test errors of all kinds, each at its own power."""
    errors = [(f"test error, {kind}", "-", shown(entry["own_n"])) for kind, entry in record["table"].items()]
    return [("", "the paper", "here"), *errors]


RUN = Run(
    plan=Controls(),
    make=make,
    table=table,
    others={
        "tiny": Controls(
            seeds=2, rows=Ranked(seed=0, n_hidden=20, n_epochs=3), selection_epochs=2, readout_epochs=5
        )
    },
)
