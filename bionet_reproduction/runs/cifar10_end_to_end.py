"""CIFAR-10: the baseline 3072-2000-10 by back-propagation (ReLU, Adam, cross-entropy), tuned on validation.

The net of seed 0 stays in the folder of unfinished runs, in float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bionet_reproduction import cells
from bionet_reproduction.cells import Backprop, MeasureBackprop, backprop_schedule
from bionet_reproduction.paper import CIFAR10
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class EndToEnd(Plan):
    """Every constant of the run."""

    seeds: int = 3
    n_hidden: int = 2000
    batch_size: int = 250
    # among which to choose: how the net sees images, learning rate, epochs
    nets: tuple[tuple[str | None, float, int], ...] = (("standardised", 3e-4, 14), ("standardised", 1e-3, 14))


def net(plan: EndToEnd, rate: float, n_epochs: int, seed: int) -> Backprop:
    """The net of one seed."""
    return Backprop(
        hidden=plan.n_hidden,
        learning_rate=backprop_schedule(rate, n_epochs),
        batch_size=plan.batch_size,
        seed=seed,
    )


def selection(plan: EndToEnd, sweep: Sweep) -> dict[str, Any]:
    """Choose the view, the rate and the epochs on the held-out images."""
    found = sweep(
        [
            MeasureBackprop(
                net=net(plan, rate, n_epochs, 0), train="cifar-45k", evaluate=("cifar-5k",), view=view
            )
            for view, rate, n_epochs in plan.nets
        ],
        "nets",
    )
    table = [
        {"view": view, "learning_rate": rate, "n_epochs": n_epochs, "validation_error": one["cifar-5k_error"]}
        for (view, rate, n_epochs), one in zip(plan.nets, found, strict=True)
    ]
    return {"table": table, "chosen": cells.least(table)}


def make(plan: EndToEnd, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record: the choice, and the errors."""
    selected = selection(plan, sweep)
    best = selected["chosen"]
    found = sweep(
        [
            MeasureBackprop(
                net=net(plan, best["learning_rate"], best["n_epochs"], seed),
                train="cifar-50k",
                evaluate=("cifar-test",),
                view=best["view"],
                keep=None if seed else "cifar10_end_to_end-seed0",
            )
            for seed in range(plan.seeds)
        ],
        "seeds",
    )
    return {
        "selection": selected,
        "train": summary([one["train_error"] for one in found]),
        "test": summary([one["cifar-test_error"] for one in found]),
        "seconds": [one["seconds"] for one in found],
    }


def table(record: dict[str, Any]) -> Table:
    """The test error beside the paper's."""
    return [
        ("", "the paper", "here"),
        ("test error, end to end", f"{CIFAR10['end_to_end']} %", shown(record["test"])),
    ]


RUN = Run(
    plan=EndToEnd(),
    make=make,
    table=table,
    others={"tiny": EndToEnd(seeds=2, n_hidden=20, nets=((None, 1e-3, 2), ("standardised", 1e-3, 2)))},
)
