"""The paper's network on CIFAR-10: 2000 units; p, k, delta and beta from a search on 5000 held-out images.

The trained net of seed 0 at the most passes is put beside the record, in float16.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bionet_reproduction import cells, cifar
from bionet_reproduction.paper import CIFAR10
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Cifar10(cifar.Network, Plan):
    """Every constant of the run."""

    seeds: int = 3  # of rows and readout, at n_epochs
    long_seeds: int = 1  # at long_epochs, which may be left out
    p_grid: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0)
    k_grid: tuple[int, ...] = (2, 3)
    delta_grid: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
    first_deltas: tuple[float, ...] = (0.0, 0.2)  # of the first round
    powers_left: int = 2  # of p, after it
    trial_betas: tuple[float, ...] = (0.1, 1.0, 10.0)
    trial_readout_epochs: int = 20  # in minibatches of 100
    beta_grid: tuple[float, ...] = (0.01, 0.1, 1.0)
    beta_readout_epochs: int = 100
    readout_epochs: int = 500  # the paper's


def first_trials(plan: Cifar10) -> list[cifar.Rule]:
    """Every p, without the anti-Hebbian part and with it."""
    return [
        cifar.Rule(p=p, k=plan.k_grid[0], delta=delta) for p in plan.p_grid for delta in plan.first_deltas
    ]


def second_trials(plan: Cifar10, powers: list[float]) -> list[cifar.Rule]:
    """Every k and delta with the p that are left; without the anti-Hebbian part k has no meaning."""
    return [
        cifar.Rule(p=p, k=k, delta=delta)
        for p in powers
        for delta in plan.delta_grid
        for k in (plan.k_grid if delta else plan.k_grid[:1])
    ]


def tried(plan: Cifar10, sweep: Sweep, rules: list[cifar.Rule], label: str) -> list[dict[str, Any]]:
    """Validation errors of short runs, each the least over beta."""
    readouts = tuple(
        cells.power_readout(plan.m, beta, plan.trial_readout_epochs, 0, plan.n) for beta in plan.trial_betas
    )
    found = sweep(
        [cifar.on_validation(cifar.trial_rows(plan, rule, 0), readouts, plan.view) for rule in rules], label
    )
    names = ("diverged", "norms", "norms_within_5_percent", "never_won", "seconds")
    table = []
    for rule, result in zip(rules, found, strict=True):
        scores = zip(
            plan.trial_betas, result["readouts"], strict=False
        )  # there are none if the rows diverged
        errors = {str(beta): score.get("cifar-5k_error") for beta, score in scores}
        known = [error for error in errors.values() if error is not None]
        table.append(
            {
                **asdict(rule),
                "validation_error": min(known, default=cifar.DIVERGED),
                "by_beta": errors,
                "rows": {name: result["rows"].get(name) for name in names},
            }
        )
    return table


def search(plan: Cifar10, sweep: Sweep) -> dict[str, Any]:
    """Choose p, k and delta by short runs in two rounds.

    The first compares the four p, without the anti-Hebbian part and with it; the second covers all k and
    delta of the two that are left.
    """
    first = tried(plan, sweep, first_trials(plan), "search, p")
    in_order = sorted(first, key=lambda row: (row["validation_error"], row["p"], row["k"], row["delta"]))
    left = sorted(list(dict.fromkeys(row["p"] for row in in_order))[: plan.powers_left])
    second = tried(plan, sweep, second_trials(plan, left), "search, k and delta")
    best = cells.least(second, "p", "k", "delta")
    return {
        "n_hidden": plan.trial_hidden,
        "batch_size": plan.trial_batch_size,
        "n_epochs": plan.trial_epochs,
        "readout_epochs": plan.trial_readout_epochs,
        "first": first,
        "left": left,
        "second": second,
        "chosen": {name: best[name] for name in ("p", "k", "delta", "validation_error")},
    }


def choose_beta(plan: Cifar10, sweep: Sweep, rule: cifar.Rule, n_epochs: int) -> dict[str, Any]:
    """Choose beta with a shorter readout, for the rows of seed 0.

    These rows have seen all 50 000 images, without labels; the readout learns from 45 000.
    """
    readouts = [cifar.power_readout(plan, beta, plan.beta_readout_epochs, 0) for beta in plan.beta_grid]
    readouts.append(cifar.entropy_readout(plan, plan.n, plan.beta_readout_epochs, 0))
    layer = cifar.rows(plan, rule, 0, n_epochs)
    cell = cifar.on_validation(layer, tuple(readouts), plan.view, rows_from="cifar-50k")
    (found,) = sweep([cell], f"beta, {n_epochs} epochs")
    *errors, entropy = [score.get("cifar-5k_error", cifar.DIVERGED) for score in found["readouts"]]
    table = [{"beta": b, "validation_error": e} for b, e in zip(plan.beta_grid, errors, strict=True)]
    return {"table": table, "cross_entropy": entropy, "chosen": cells.least(table)["beta"]}


def full(plan: Cifar10, sweep: Sweep, rule: cifar.Rule, n_epochs: int, seeds: int) -> dict[str, Any]:
    """The whole network, over seeds."""
    beta = choose_beta(plan, sweep, rule, n_epochs)
    found = sweep(
        [
            cifar.on_test(
                cifar.rows(plan, rule, seed, n_epochs),
                (cifar.power_readout(plan, beta["chosen"], plan.readout_epochs, seed),),
                plan.view,
                keep=f"cifar10-{n_epochs}-seed{seed}",
            )
            for seed in range(seeds)
        ],
        f"{n_epochs} epochs",
    )
    scores = [one["readouts"][0] for one in found]
    return {
        "beta": beta,
        "rows": [one["rows"] for one in found],
        "readouts": {
            "power": {
                "train": summary([score["train_error"] for score in scores]),
                "test": summary([score["cifar-test_error"] for score in scores]),
                "seconds": [score["seconds"] for score in scores],
            }
        },
    }


def make(plan: Cifar10, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record: the search, and the network at both numbers of passes."""
    searched = search(plan, sweep)
    rule = cifar.Rule(**{name: searched["chosen"][name] for name in ("p", "k", "delta")})
    epochs = {
        str(passes): full(plan, sweep, rule, passes, seeds)
        for passes, seeds in ((plan.n_epochs, plan.seeds), (plan.long_epochs, plan.long_seeds))
        if seeds
    }
    cells.publish(f"cifar10-{list(epochs)[-1]}-seed0", "cifar10-seed0")
    return {"search": searched, "epochs": epochs}


def table(record: dict[str, Any]) -> Table:
    """Errors beside the paper's."""
    says = {"train": CIFAR10["bio_train"], "test": CIFAR10["bio"]}
    return [
        ("", "the paper", "here"),
        *(
            (f"{part} error, {passes} epochs", f"{says[part]} %", shown(entry["readouts"]["power"][part]))
            for passes, entry in record["epochs"].items()
            for part in ("train", "test")
        ),
    ]


RUN = Run(
    plan=Cifar10(),
    make=make,
    table=table,
    others={
        "tiny": Cifar10(
            seeds=2,
            n_hidden=20,
            n_epochs=1,
            long_epochs=2,
            trial_hidden=10,
            trial_epochs=1,
            p_grid=(2.0, 3.0, 4.0),
            delta_grid=(0.0, 0.1),
            first_deltas=(0.0,),
            trial_readout_epochs=5,
            readout_batch_size=100,
            beta_readout_epochs=9,
            readout_epochs=9,
        )
    },
)
