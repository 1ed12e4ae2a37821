"""The paper on MNIST at full scale: its network, its grid, its curves, and the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet_reproduction import cells, sweeps
from bionet_reproduction.cells import (
    Sweep,
    chosen_loss,
    entropy_readout,
    measure,
    measure_backprop,
    power_readout,
    publish,
    shown,
    summary,
)

PAPER = {"kind": "ranked", "n_hidden": 2000, "p": 3.0, "k": 7, "delta": 0.4, "n_epochs": 1000}
M_GRID = (4.0, 6.0, 8.0, 10.0, 12.0)
BETA_GRID = (0.01, 0.1, 1.0)
GRID_P = (2.0, 3.0, 4.0, 5.0, 6.0)
GRID_K = (2, 3, 4, 5, 6, 7, 8)
SELECTION_EPOCHS = 200  # of the rows for which m and beta are chosen
SHORT_ROWS = 200  # epochs of the rows in ablations
UNITS = (100, 500, 2000, 4000)
EPOCHS = (10, 50, 200, 1000)
CONTROL_UNITS = 2000
BEYOND_UNITS = (2000, 4000)  # among which `beyond` chooses
BEYOND_POWERS = (4.5, 6.0)
RATES = ((3e-4, 10), (1e-3, 10), (1e-3, 20))  # of the end-to-end net: rate, epochs
POWERS = (1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 8.0, 10.0)

PAPER_ERRORS = {"bio": 1.46, "delta_0": 2.02, "n_1": 7.44, "n_10": 1.98, "end_to_end": 1.5}  # per cent
PAPER_GRID = {  # Fig. 6: test error in per cent, k = 2 to 8; None where it did not converge
    6: (1.78, 1.58, 1.73, 1.70, 1.97, 1.86, None),
    5: (1.86, 1.69, 1.69, 1.89, 1.75, 1.64, 1.89),
    4: (1.72, 1.80, 1.58, 1.69, 1.75, 1.73, 1.71),
    3: (1.81, 1.99, 1.89, 1.76, 1.75, 1.46, 1.64),
    2: (1.92, 1.84, 1.71, 1.75, 1.56, 1.69, None),
}


def ranked_rows(seed: int, **changes: Any) -> dict[str, Any]:
    return {**PAPER, **changes, "seed": seed}


def selection(sweep: Sweep) -> dict[str, Any]:
    """Choose m and beta on the 10 000 held-out images: one seed's rows, short readouts."""
    grid = [(m, beta) for m in M_GRID for beta in BETA_GRID]
    rows = ranked_rows(0, n_epochs=SELECTION_EPOCHS)
    mine = [
        {
            "rows": rows,
            "readouts": [power_readout(m, beta, cells.SHORT_EPOCHS, 0) for beta in BETA_GRID],
            "train": "50k",
            "evaluate": ["10k"],
        }
        for m in M_GRID
    ]
    sweeps.run(  # the rows first, so that no two cells learn the same ones
        [{"rows": rows, "readouts": [], "train": "50k", "evaluate": []}],
        measure,
        cells.workplace() / "cells",
        label="rows",
        progress=sweep.progress,
    )
    found = [score["10k_error"] for cell in sweep(mine, label="m, beta") for score in cell["readouts"]]
    table = [{"m": m, "beta": beta, "validation_error": e} for (m, beta), e in zip(grid, found, strict=True)]
    best = min(table, key=lambda row: (row["validation_error"], row["m"], row["beta"]))
    return {"epochs": SELECTION_EPOCHS, "readout_epochs": cells.SHORT_EPOCHS, "table": table, "chosen": best}


def reproduce_mnist(
    seeds: int = 5, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """The headline: 2000 units, 1000 epochs, both losses, over seeds of the whole pipeline.

    Parameters
    ----------
    seeds : int
        Seeds of rows and readout.
    jobs, dask
        See :func:`bionet_reproduction.sweeps.run`.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        The record, as written to ``results/mnist.json``. The trained net of seed 0 is put beside it,
        in float16.
    """
    sweep = Sweep("mnist", jobs, dask, progress)
    chosen = selection(sweep)
    m, beta = chosen["chosen"]["m"], chosen["chosen"]["beta"]
    mine = [
        {
            "rows": ranked_rows(seed),
            "readouts": [
                power_readout(m, beta, cells.READOUT_EPOCHS, seed),
                entropy_readout(cells.READOUT_EPOCHS, seed),
            ],
            "train": "60k",
            "evaluate": ["test"],
            "keep": f"mnist-seed{seed}",
        }
        for seed in range(seeds)
    ]
    runs = sweep(mine, label="seeds")
    publish("mnist-seed0", "mnist-seed0")
    losses = ("power", "cross_entropy")
    return sweep.record(
        {**PAPER, "seeds": seeds, "readout_epochs": cells.READOUT_EPOCHS, "n": 4.5},
        selection=chosen,
        rows=[run["rows"] for run in runs],
        readouts={
            loss: {
                part: summary([run["readouts"][i][f"{part}_error"] for run in runs])
                for part in ("train", "test")
            }
            | {"seconds": [run["readouts"][i]["seconds"] for run in runs]}
            for i, loss in enumerate(losses)
        },
    )


def reproduce_controls(
    seeds: int = 3, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """Is the Hebbian layer better than others? The same readout on other rows, and on the pixels.

    For every kind of rows the same readout (n = 4.5), and the one whose n is best on validation.
    """
    sweep = Sweep("controls", jobs, dask, progress)
    m, beta = chosen_loss()
    kinds: dict[str, Any] = {
        "ranked": lambda s: ranked_rows(s),
        "random": lambda s: {"kind": "random", "n_hidden": CONTROL_UNITS, "seed": s},
        "kmeans": lambda s: {"kind": "kmeans", "n_hidden": CONTROL_UNITS, "seed": s},
        "pca": lambda s: {"kind": "pca", "seed": s},
        "pixels": lambda s: None,
    }
    powers = (1.0, 2.0, 4.5)
    tried = [
        {
            "rows": ranked_rows(0, n_epochs=SELECTION_EPOCHS) if name == "ranked" else make(0),
            "readouts": [entropy_readout(cells.SHORT_EPOCHS, 0, n) for n in powers],
            "train": "50k",
            "evaluate": ["10k"],
        }
        for name, make in kinds.items()
    ]
    own: dict[str, Any] = {}
    for name, cell in zip(kinds, sweep(tried, label="powers"), strict=True):
        errors = [score["10k_error"] for score in cell["readouts"]]
        own[name] = {
            "validation": dict(zip(map(str, powers), errors, strict=True)),
            "n": powers[int(np.argmin(errors))],
        }
    mine = [
        {
            "rows": make(seed),
            "readouts": [
                power_readout(m, beta, cells.SHORT_EPOCHS, seed),
                entropy_readout(cells.SHORT_EPOCHS, seed, own[name]["n"]),
            ],
            "train": "60k",
            "evaluate": ["test"],
        }
        for name, make in kinds.items()
        for seed in range(seeds)
    ]
    runs = iter(sweep(mine, label="controls"))
    table = {}
    for name in kinds:
        seen = [next(runs)["readouts"] for _ in range(seeds)]
        table[name] = {
            "same_readout": summary([scores[0]["test_error"] for scores in seen]),
            "own_n": summary([scores[1]["test_error"] for scores in seen]),
            **own[name],
        }
    return sweep.record(
        {"seeds": seeds, "readout_epochs": cells.SHORT_EPOCHS, "m": m, "beta": beta}, table=table
    )


def _curve(
    sweep: Sweep,
    label: str,
    rows: list[dict[str, Any]],
    m: float,
    beta: float,
    n: tuple[float, ...] = (4.5,),
) -> list[Any]:
    """Test errors of short readouts, both losses for every power, on each of `rows`."""
    mine = [
        {
            "rows": r,
            "readouts": [
                readout
                for power in n
                for readout in (
                    power_readout(m, beta, cells.SHORT_EPOCHS, r["seed"], power),
                    entropy_readout(cells.SHORT_EPOCHS, r["seed"], power),
                )
            ],
            "train": "60k",
            "evaluate": ["test"],
        }
        for r in rows
    ]
    return sweep(mine, label=label)


def _errors(results: list[Any], position: int = 0) -> dict[str, Any]:
    pairs = [r["readouts"][2 * position : 2 * position + 2] for r in results]
    return {
        loss: summary([p[i]["test_error"] for p in pairs])
        for i, loss in enumerate(("power", "cross_entropy"))
    }


def reproduce_powers(
    seeds: int = 2, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """Test error against the power n, on the rows of the run ``mnist`` (the paper's Fig. 4)."""
    sweep = Sweep("powers", jobs, dask, progress)
    m, beta = chosen_loss()
    runs = _curve(sweep, "powers", [ranked_rows(s) for s in range(seeds)], m, beta, POWERS)
    return sweep.record(
        {**PAPER, "seeds": seeds, "readout_epochs": cells.SHORT_EPOCHS, "m": m, "beta": beta},
        n={str(n): _errors(runs, i) for i, n in enumerate(POWERS)},
    )


def reproduce_delta(
    seeds: int = 2,
    epochs: int = SHORT_ROWS,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Test error without the anti-Hebbian part, and with it, at equal epochs (the paper's Fig. 5)."""
    sweep = Sweep("delta", jobs, dask, progress)
    m, beta = chosen_loss()
    table = {}
    for delta in (0.0, 0.4):
        rows = [ranked_rows(s, delta=delta, n_epochs=epochs) for s in range(seeds)]
        runs = _curve(sweep, f"delta {delta}", rows, m, beta)
        table[str(delta)] = {**_errors(runs), "rows": [run["rows"] for run in runs]}
    return sweep.record(
        {"seeds": seeds, "epochs": epochs, "readout_epochs": cells.SHORT_EPOCHS, "m": m, "beta": beta},
        delta=table,
    )


def reproduce_scale(
    seeds: int = 2,
    epochs: int = SHORT_ROWS,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Test error against the number of hidden units, at `epochs`, and against the number of epochs."""
    sweep = Sweep("scale", jobs, dask, progress)
    m, beta = chosen_loss()

    def curve(label: str, **changes: Any) -> dict[str, Any]:
        return _errors(_curve(sweep, label, [ranked_rows(s, **changes) for s in range(seeds)], m, beta))

    return sweep.record(
        {"seeds": seeds, "epochs": epochs, "readout_epochs": cells.SHORT_EPOCHS, "m": m, "beta": beta},
        hidden={str(c): curve(f"{c} units", n_hidden=c, n_epochs=epochs) for c in UNITS},
        epochs={str(c): curve(f"{c} epochs", n_epochs=c) for c in EPOCHS},
    )


def reproduce_grid(
    seeds: int = 1, epochs: int = 50, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """The (p, k) grid of the paper's Fig. 6; rows and readouts learn from 50 000 images.

    The validation error is there to choose by, the test error to compare with the paper's. Seeds after the
    first cover the row p = 3 and the column k = 7. Rows of unit p-norm have lengths that differ with p, and
    so have the features, while the readout's rate stays the same; a last part reads the column k = 7 out
    again, its rows scaled to the length that they have at p = 3.
    """
    sweep = Sweep("grid", jobs, dask, progress)
    pairs = [
        (p, k, s)
        for s in range(seeds)
        for p in GRID_P
        for k in GRID_K
        if s == 0 or p == PAPER["p"] or k == PAPER["k"]
    ]
    mine = [
        {
            "rows": ranked_rows(s, p=p, k=k, n_epochs=epochs),
            "readouts": [entropy_readout(cells.SHORT_EPOCHS, s)],
            "train": "50k",
            "evaluate": ["10k", "test"],
        }
        for p, k, s in pairs
    ]
    rows = []
    for (p, k, s), result in zip(pairs, sweep(mine, label="grid"), strict=True):
        score = result["readouts"][0] if result["readouts"] else {}
        rows.append(
            {
                "p": p,
                "k": k,
                "seed": s,
                "validation_error": score.get("10k_error"),
                "test_error": score.get("test_error"),
                "norms_within_5_percent": result["rows"].get("norms_within_5_percent"),
                "diverged": result["rows"].get("diverged"),
            }
        )
    like = ranked_rows(0, n_epochs=epochs)
    scaled = sweep(
        [
            {
                "rows": ranked_rows(0, p=p, n_epochs=epochs),
                "as_long_as": like,
                "readouts": [entropy_readout(cells.SHORT_EPOCHS, 0)],
                "train": "50k",
                "evaluate": ["10k", "test"],
            }
            for p in GRID_P
        ],
        label="same length",
    )
    same_length = [
        {
            "p": p,
            "length": result["rows"]["length"],
            "validation_error": result["readouts"][0]["10k_error"],
            "test_error": result["readouts"][0]["test_error"],
        }
        for p, result in zip(GRID_P, scaled, strict=True)
        if result["readouts"]
    ]
    settings = {
        "seeds": seeds,
        "epochs": epochs,
        "readout_epochs": cells.SHORT_EPOCHS,
        "loss": "cross_entropy",
    }
    return sweep.record(settings, cells=rows, same_length=same_length)


def reproduce_beyond(
    seeds: int = 3,
    epochs: int = SHORT_ROWS,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """How far the same rule goes when its readout and size are chosen on validation, not by the paper.

    The number of units and the power n are chosen on 10 000 held-out images, the test images are read once.
    """
    sweep = Sweep("beyond", jobs, dask, progress)
    m, beta = chosen_loss()
    tried = sweep(
        [
            {
                "rows": ranked_rows(0, n_hidden=count, n_epochs=epochs),
                "readouts": [power_readout(m, beta, cells.SHORT_EPOCHS, 0, n) for n in BEYOND_POWERS],
                "train": "50k",
                "evaluate": ["10k"],
            }
            for count in BEYOND_UNITS
        ],
        label="choice",
    )
    table = [
        {"n_hidden": count, "n": n, "validation_error": score["10k_error"]}
        for count, cell in zip(BEYOND_UNITS, tried, strict=True)
        for n, score in zip(BEYOND_POWERS, cell["readouts"], strict=True)
    ]
    best = min(table, key=lambda row: (row["validation_error"], row["n_hidden"], row["n"]))
    runs = sweep(
        [
            {
                "rows": ranked_rows(seed, n_hidden=best["n_hidden"], n_epochs=epochs),
                "readouts": [power_readout(m, beta, cells.READOUT_EPOCHS, seed, best["n"])],
                "train": "60k",
                "evaluate": ["test"],
            }
            for seed in range(seeds)
        ],
        label="seeds",
    )
    return sweep.record(
        {"seeds": seeds, "epochs": epochs, "readout_epochs": cells.READOUT_EPOCHS, "m": m, "beta": beta},
        selection={"readout_epochs": cells.SHORT_EPOCHS, "table": table, "chosen": best},
        train=summary([run["readouts"][0]["train_error"] for run in runs]),
        test=summary([run["readouts"][0]["test_error"] for run in runs]),
    )


def reproduce_end_to_end(
    seeds: int = 5, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """The baseline 784-2000-10, trained by back-propagation with Adam, tuned on validation."""
    sweep = Sweep("end_to_end", jobs, dask, progress)

    def net(rate: float, n_epochs: int, seed: int) -> dict[str, Any]:
        first = max(1, round(0.7 * n_epochs))
        rates = [(first, rate), (n_epochs - first, rate / 10)]
        return {
            "hidden": 2000,
            "learning_rate": rates,
            "batch_size": cells.BATCH,
            "n_epochs": n_epochs,
            "random_state": seed,
        }

    tried = sweep(
        [{"net": net(r, n, 0), "train": "50k", "evaluate": ["10k"]} for r, n in RATES],
        measure_backprop,
        label="rates",
    )
    table = [
        {"learning_rate": r, "n_epochs": n, "validation_error": t["10k_error"]}
        for (r, n), t in zip(RATES, tried, strict=True)
    ]
    best = min(table, key=lambda row: row["validation_error"])
    runs = sweep(
        [
            {
                "net": net(best["learning_rate"], best["n_epochs"], s),
                "train": "60k",
                "evaluate": ["test"],
            }
            for s in range(seeds)
        ],
        measure_backprop,
        label="seeds",
    )
    return sweep.record(
        {"seeds": seeds, "net": "784-2000-10, ReLU, Adam, cross-entropy"},
        selection={"table": table, "chosen": best},
        train=summary([r["train_error"] for r in runs]),
        test=summary([r["test_error"] for r in runs]),
        seconds=[r["seconds"] for r in runs],
    )


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: quantity, the paper's value, the value here."""

    if run["run"] == "mnist":
        says = {"power": "1.46 %", "cross_entropy": "-"}
        return [(f"test error, {loss}", says[loss], shown(e["test"])) for loss, e in run["readouts"].items()]
    if run["run"] == "controls":
        return [(f"test error, {name}", "-", shown(entry["own_n"])) for name, entry in run["table"].items()]
    if run["run"] in ("powers", "delta", "scale"):
        says = {"n=1": "7.44 %", "n=4.5": "1.46 %", "n=10": "1.98 %", "delta=0": "2.02 %"}
        return [
            (
                f"test error, {group}={float(value):g}",
                says.get(f"{group}={float(value):g}", "-"),
                shown(entry["power"]),
            )
            for group in ("n", "delta", "hidden", "epochs")
            for value, entry in run.get(group, {}).items()
        ]
    if run["run"] == "grid":
        rows = []
        for cell in run["cells"]:
            found = "diverged" if cell["test_error"] is None else f"{cell['test_error']:.2f} %"
            paper = PAPER_GRID[int(cell["p"])][cell["k"] - 2]
            rows.append(
                (
                    f"p={cell['p']:g}, k={cell['k']}, seed {cell['seed']}",
                    "did not converge" if paper is None else f"{paper} %",
                    found,
                )
            )
        return rows
    if run["run"] == "beyond":
        best = run["selection"]["chosen"]
        return [
            (
                f"validation error, {row['n_hidden']} units, n={row['n']:g}",
                "-",
                f"{row['validation_error']:.2f} %",
            )
            for row in run["selection"]["table"]
        ] + [(f"test error, {best['n_hidden']} units, n={best['n']:g}", "-", shown(run["test"]))]
    return [("test error, end to end", "about 1.5 %", shown(run["test"]))]
