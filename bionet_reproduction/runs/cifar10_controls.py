"""CIFAR-10: other rows with the same readout, no anti-Hebbian part, and other views of the images.

Every kind of rows is read out with cross-entropy at the power n that is best for it on 5000 held-out images,
and as the paper does (n = 10, its loss), in minibatches of 10 for 100 epochs: shorter readouts fit the
learned rows worse than random ones. There are as many rows as in the search of the run ``cifar10``, and of
some kinds as many as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bionet_reproduction import cifar
from bionet_reproduction.rows import KMeans, PrincipalComponents, Random, Rows
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep

MEASURES = ("own_n", "same_readout")


@dataclass(frozen=True, kw_only=True)
class Controls(Plan):
    """Every constant of the run; the network is that of the recorded run ``cifar10``."""

    seeds: int = 3  # of the kinds with few rows
    many_seeds: int = 3  # of those with as many as the paper's
    long_seeds: int = 1  # of the ranked rows at most passes; and of pixels, which have no rows to draw
    views: tuple[str, ...] = ("centred", "whitened")
    powers: tuple[float, ...] = (1.0, 2.0, 4.5, 10.0)
    pixel_powers: tuple[float, ...] = (1.0, 2.0)  # high ones of bare pixels hold next to nothing
    readout_epochs: int = 100


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of rows: how they are made from a seed, and what they are measured with."""

    rows: Callable[[int], Rows | None]
    view: str
    seeds: int
    powers: tuple[float, ...]
    rows_from: str | None = None  # where rows that another run has learned serve the choice of the power, too


def kinds(plan: Controls, network: cifar.Network, rule: cifar.Rule) -> dict[str, Kind]:
    """All kinds that have seeds, by name."""
    few, many, view = network.trial_hidden, network.n_hidden, network.view
    hebbian = replace(rule, k=2, delta=0.0)

    def kind(rows: Callable[[int], Rows | None], seeds: int, rows_from: str | None = None) -> Kind:
        return Kind(rows=rows, view=view, seeds=seeds, powers=plan.powers, rows_from=rows_from)

    named = {
        "ranked": kind(lambda seed: cifar.trial_rows(network, rule, seed), plan.seeds),
        "delta = 0": kind(lambda seed: cifar.trial_rows(network, hebbian, seed), plan.seeds),
        "random": kind(lambda seed: Random(n_hidden=few, seed=seed), plan.seeds),
        "kmeans": kind(lambda seed: KMeans(n_hidden=few, seed=seed), plan.seeds),
        "pca": kind(lambda _: PrincipalComponents(n_hidden=few), plan.seeds),
        "pixels": replace(kind(lambda _: None, plan.long_seeds), powers=plan.pixel_powers),
        f"ranked, {network.n_epochs} passes": kind(
            lambda seed: cifar.rows(network, rule, seed, network.n_epochs), plan.many_seeds, "cifar-50k"
        ),
        f"ranked, {network.long_epochs} passes": kind(
            lambda seed: cifar.rows(network, rule, seed, network.long_epochs), plan.long_seeds, "cifar-50k"
        ),
        # k-means of as many takes too long
        "random, many": kind(lambda seed: Random(n_hidden=many, seed=seed), plan.many_seeds),
    }
    viewed = {
        f"{name}, {other}": replace(named[name], view=other)
        for other in plan.views
        for name in ("ranked", "random", "pixels")
    }
    return {name: kind for name, kind in {**named, **viewed}.items() if kind.seeds}


def own_power(
    plan: Controls, sweep: Sweep, network: cifar.Network, named: dict[str, Kind]
) -> dict[str, dict[str, Any]]:
    """Choose the power n of each kind on the held-out images."""
    tried = [
        cifar.on_validation(
            kind.rows(0),
            tuple(cifar.entropy_readout(network, n, plan.readout_epochs, 0) for n in kind.powers),
            kind.view,
            kind.rows_from,
        )
        for kind in named.values()
    ]
    own = {}
    for (name, kind), cell in zip(named.items(), sweep(tried, "powers"), strict=True):
        errors = [score.get("cifar-5k_error", cifar.DIVERGED) for score in cell["readouts"]]
        own[name] = {
            "validation": dict(zip(map(str, kind.powers), errors, strict=True)),
            "n": kind.powers[int(np.argmin(errors))],
        }
    return own


def make(plan: Controls, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record: what was read of the run ``cifar10``, and the errors of each kind."""
    network, rule, beta = cifar.recorded()
    named = kinds(plan, network, rule)
    own = own_power(plan, sweep, network, named)
    found = iter(
        sweep(
            [
                cifar.on_test(
                    kind.rows(seed),
                    (
                        cifar.entropy_readout(network, own[name]["n"], plan.readout_epochs, seed),
                        cifar.power_readout(network, beta, plan.readout_epochs, seed),
                    ),
                    kind.view,
                )
                for name, kind in named.items()
                for seed in range(kind.seeds)
            ],
            "controls",
        )
    )
    table = {}
    for name, kind in named.items():
        measured = [next(found) for _ in range(kind.seeds)]
        table[name] = {
            "view": kind.view,
            **own[name],
            **{
                label: summary([one["readouts"][i]["cifar-test_error"] for one in measured])
                for i, label in enumerate(MEASURES)
                if all("cifar-test_error" in one["readouts"][i] for one in measured)
            },
            "norms_within_5_percent": [one["rows"].get("norms_within_5_percent") for one in measured],
            "never_won": [one["rows"].get("never_won") for one in measured],
        }
    fewer = {
        "n_hidden": network.trial_hidden,
        "batch_size": network.trial_batch_size,
        "n_epochs": network.trial_epochs,
    }
    return {"network": {"n": network.n, "m": network.m, "beta": beta, "fewer": fewer}, "table": table}


def table(record: dict[str, Any]) -> Table:
    """Test errors of all kinds, each at its own power."""
    errors = [(f"test error, {name}", "-", shown(entry["own_n"])) for name, entry in record["table"].items()]
    return [("", "the paper", "here"), *errors]


RUN = Run(
    plan=Controls(),
    make=make,
    table=table,
    others={"tiny": Controls(seeds=2, many_seeds=2, readout_epochs=9)},
)
