"""The paper on MNIST: 2000 units, 1000 epochs, both losses, over seeds of the whole pipeline.

m and beta, which the paper does not report, are chosen on 10 000 held-out training images, on one seed's rows
and by short readouts. The trained net of seed 0 is put beside the record, in float16.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bionet_reproduction import cells
from bionet_reproduction.cells import Measure, entropy_readout, power_readout
from bionet_reproduction.rows import Ranked
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Sweep

LOSSES = ("power", "cross_entropy")


@dataclass(frozen=True, kw_only=True)
class Mnist(Plan):
    """Every constant of the run."""

    seeds: int = 5  # of rows and readout
    rows: Ranked = Ranked(seed=0, n_hidden=2000, n_epochs=1000)  # of the first seed
    n: float = 4.5
    readout_epochs: int = 300
    m_grid: tuple[float, ...] = (4.0, 6.0, 8.0, 10.0, 12.0)
    beta_grid: tuple[float, ...] = (0.01, 0.1, 1.0)
    selection_epochs: int = 200  # of the rows for which m and beta are chosen
    selection_readout_epochs: int = 60


def selection(plan: Mnist, sweep: Sweep) -> dict[str, Any]:
    """Choose m and beta on the held-out images."""
    short = plan.selection_readout_epochs
    found = sweep(
        [
            Measure(
                rows=replace(plan.rows, n_epochs=plan.selection_epochs),
                readouts=tuple(power_readout(m, beta, short, 0, plan.n) for beta in plan.beta_grid),
                train="50k",
                evaluate=("10k",),
            )
            for m in plan.m_grid
        ],
        "m, beta",
    )
    table = [
        {"m": m, "beta": beta, "validation_error": score["10k_error"]}
        for m, cell in zip(plan.m_grid, found, strict=True)
        for beta, score in zip(plan.beta_grid, cell["readouts"], strict=True)
    ]
    return {
        "epochs": plan.selection_epochs,
        "readout_epochs": short,
        "table": table,
        "chosen": cells.least(table, "m", "beta"),
    }


def make(plan: Mnist, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record: the choice, the rows, the errors of both losses."""
    chosen = selection(plan, sweep)
    m, beta = chosen["chosen"]["m"], chosen["chosen"]["beta"]
    found = sweep(
        [
            Measure(
                rows=replace(plan.rows, seed=seed),
                readouts=(
                    power_readout(m, beta, plan.readout_epochs, seed, plan.n),
                    entropy_readout(plan.readout_epochs, seed, plan.n),
                ),
                train="60k",
                evaluate=("test",),
                keep=f"mnist-seed{seed}",
            )
            for seed in range(plan.seeds)
        ],
        "seeds",
    )
    cells.publish("mnist-seed0", "mnist-seed0")
    return {
        "selection": chosen,
        "rows": [one["rows"] for one in found],
        "readouts": {
            loss: {
                part: summary([one["readouts"][i][f"{part}_error"] for one in found])
                for part in ("train", "test")
            }
            | {"seconds": [one["readouts"][i]["seconds"] for one in found]}
            for i, loss in enumerate(LOSSES)
        },
    }


def table(record: dict[str, Any]) -> Table:
    """Test errors of both losses beside the paper's."""
    says = {"power": "1.46 %", "cross_entropy": "-"}
    errors = [(f"test error, {loss}", says[loss], shown(e["test"])) for loss, e in record["readouts"].items()]
    return [("", "the paper", "here"), *errors]


RUN = Run(
    plan=Mnist(),
    make=make,
    table=table,
    others={
        "tiny": Mnist(
            seeds=2,
            rows=Ranked(seed=0, n_hidden=20, n_epochs=3),
            readout_epochs=6,
            m_grid=(4.0, 6.0),
            beta_grid=(0.1, 1.0),
            selection_epochs=2,
            selection_readout_epochs=5,
        )
    },
)
