"""Curves of the paper: test error against the power n, without anti-Hebbian learning, and by size and epochs.

All are read out shortly, with both losses, at the m and beta that the run ``mnist`` chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction.cells import Measure, entropy_readout, power_readout
from bionet_reproduction.records import chosen_loss
from bionet_reproduction.rows import Ranked
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep

LOSSES = ("power", "cross_entropy")


@dataclass(frozen=True, kw_only=True)
class Curve(Plan):
    """What the curves share."""

    seeds: int = 3
    rows: Ranked = Ranked(seed=0, n_epochs=200)
    readout_epochs: int = 60


@dataclass(frozen=True, kw_only=True)
class Powers(Curve):
    """Every constant of the run ``powers``."""

    rows: Ranked = Ranked(seed=0)  # those of the run ``mnist``
    powers: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Delta(Curve):
    """Every constant of the run ``delta``."""

    deltas: tuple[float, ...] = (0.0, 0.4)


@dataclass(frozen=True, kw_only=True)
class Scale(Curve):
    """Every constant of the run ``scale``."""

    seeds: int = 1
    units: tuple[int, ...] = (100, 500, 2000, 4000)
    epochs: tuple[int, ...] = (10, 50, 200, 1000)


def measured(
    plan: Curve, sweep: Sweep, label: str, rows: Ranked, powers: Sequence[float] = (4.5,)
) -> list[dict[str, Any]]:
    """Readouts of both losses for every power, on the rows of every seed."""
    m, beta = chosen_loss()
    return sweep(
        [
            Measure(
                rows=replace(rows, seed=seed),
                readouts=tuple(
                    readout
                    for n in powers
                    for readout in (
                        power_readout(m, beta, plan.readout_epochs, seed, n),
                        entropy_readout(plan.readout_epochs, seed, n),
                    )
                ),
                train="60k",
                evaluate=("test",),
            )
            for seed in range(plan.seeds)
        ],
        label,
    )


def loss() -> dict[str, float]:
    """m and beta of the readouts with the paper's loss."""
    return dict(zip(("m", "beta"), chosen_loss(), strict=True))


def errors(found: list[dict[str, Any]], position: int = 0) -> dict[str, Any]:
    """Test errors over seeds, of both losses, at the power of this position."""
    return {
        loss: summary([one["readouts"][2 * position + i]["test_error"] for one in found])
        for i, loss in enumerate(LOSSES)
    }


def make_powers(plan: Powers, sweep: Sweep) -> dict[str, Any]:
    """Test error against the power n, on the rows of the run ``mnist`` (Fig. 4)."""
    found = measured(plan, sweep, "powers", plan.rows, plan.powers)
    return {"loss": loss(), "n": {str(n): errors(found, i) for i, n in enumerate(plan.powers)}}


def make_delta(plan: Delta, sweep: Sweep) -> dict[str, Any]:
    """Test error without the anti-Hebbian part, and with it, at equal epochs (Fig. 5)."""
    parts = {}
    for delta in plan.deltas:
        found = measured(plan, sweep, f"delta {delta}", replace(plan.rows, delta=delta))
        parts[str(delta)] = {**errors(found), "rows": [one["rows"] for one in found]}
    return {"loss": loss(), "delta": parts}


def make_scale(plan: Scale, sweep: Sweep) -> dict[str, Any]:
    """Test error against the number of hidden units, and against the number of epochs."""

    def curve(name: str, value: int) -> dict[str, Any]:
        return errors(measured(plan, sweep, f"{name} {value}", replace(plan.rows, **{name: value})))

    return {
        "loss": loss(),
        "hidden": {str(count): curve("n_hidden", count) for count in plan.units},
        "epochs": {str(count): curve("n_epochs", count) for count in plan.epochs},
    }


def table(record: dict[str, Any]) -> Table:
    """Test errors with the paper's loss, beside the paper's where it has them."""
    says = {"n=1": "7.44 %", "n=4.5": "1.46 %", "n=10": "1.98 %", "delta=0": "2.02 %"}
    rows = [
        (f"test error, {point}", says.get(point, "-"), shown(entry["power"]))
        for group in ("n", "delta", "hidden", "epochs")
        for value, entry in record.get(group, {}).items()
        for point in (f"{group}={float(value):g}",)
    ]
    return [("", "the paper", "here"), *rows]


RUNS = {
    "powers": Run(
        plan=Powers(),
        make=make_powers,
        table=table,
        others={
            "tiny": Powers(
                seeds=2, rows=Ranked(seed=0, n_hidden=20, n_epochs=3), readout_epochs=5, powers=(1.0, 4.5)
            )
        },
    ),
    "delta": Run(
        plan=Delta(),
        make=make_delta,
        table=table,
        others={"tiny": Delta(seeds=2, rows=Ranked(seed=0, n_hidden=20, n_epochs=2), readout_epochs=5)},
    ),
    "scale": Run(
        plan=Scale(),
        make=make_scale,
        table=table,
        others={
            "tiny": Scale(
                seeds=2,
                rows=Ranked(seed=0, n_hidden=20, n_epochs=2),
                readout_epochs=5,
                units=(10, 20),
                epochs=(1, 3),
            )
        },
    ),
}
