"""The baseline on MNIST: 784-2000-10, trained by back-propagation with Adam, tuned on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bionet_reproduction.cells import Backprop, MeasureBackprop, backprop_schedule, least
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class EndToEnd(Plan):
    """Every constant of the run."""

    seeds: int = 5
    hidden: int = 2000
    batch_size: int = 100
    tried: tuple[tuple[float, int], ...] = ((3e-4, 10), (1e-3, 10), (1e-3, 20))  # first rates and epochs


def make(plan: EndToEnd, sweep: Sweep) -> dict[str, Any]:
    """The choice of rate and epochs, and the errors of what was chosen."""

    def cell(rate: float, n_epochs: int, seed: int, train: str, evaluate: str) -> MeasureBackprop:
        net = Backprop(
            hidden=plan.hidden,
            learning_rate=backprop_schedule(rate, n_epochs),
            batch_size=plan.batch_size,
            seed=seed,
        )
        return MeasureBackprop(net=net, train=train, evaluate=(evaluate,))

    found = sweep([cell(rate, epochs, 0, "50k", "10k") for rate, epochs in plan.tried], "rates")
    entries = [
        {"learning_rate": rate, "n_epochs": epochs, "validation_error": one["10k_error"]}
        for (rate, epochs), one in zip(plan.tried, found, strict=True)
    ]
    best = least(entries)
    final = sweep(
        [cell(best["learning_rate"], best["n_epochs"], s, "60k", "test") for s in range(plan.seeds)], "seeds"
    )
    return {
        "selection": {"table": entries, "chosen": best},
        "train": summary([one["train_error"] for one in final]),
        "test": summary([one["test_error"] for one in final]),
        "seconds": [one["seconds"] for one in final],
    }


def table(record: dict[str, Any]) -> Table:
    """The test error beside the paper's."""
    return [("", "the paper", "here"), ("test error, end to end", "about 1.5 %", shown(record["test"]))]


RUN = Run(
    plan=EndToEnd(),
    make=make,
    table=table,
    others={"tiny": EndToEnd(seeds=2, hidden=20, tried=((1e-3, 2),))},
)
