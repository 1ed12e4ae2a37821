"""The paper on CIFAR-10: a search for what it does not report, its network, controls, and the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet_reproduction.records import record
from bionet_reproduction.cells import (
    Sweep,
    entropy_readout,
    measure_backprop,
    power_readout,
    publish,
    shown,
    summary,
)

PAPER: dict[str, Any] = {"kind": "ranked", "n_hidden": 2000, "learning_rate": 0.02, "batch_size": 1000}
VIEW = "as they are"  # images of unit length, as the paper has them
N, M = 10.0, 6.0  # the paper's power and the exponent of its loss
SEARCH_P = (2.0, 3.0, 4.0, 5.0)
SEARCH_K = (2, 3)
SEARCH_DELTA = (0.0, 0.1, 0.2, 0.3)
FIRST_DELTA = (0.0, 0.2)  # of the first round
POWERS_LEFT = 2  # after it
BETAS = (0.1, 1.0, 10.0)
FULL_BETAS = (0.01, 0.1, 1.0)  # with the paper's kind of readout, a fifth as long
TRIAL: dict[str, int] = {"n_hidden": 500, "batch_size": 100, "n_epochs": 30}  # rows of the search
CONTROL = TRIAL  # rows that are learned to compare views
TRIAL_READOUT = 20  # epochs of a readout in minibatches of 100, where settings are chosen
READOUT = {"batch_size": 10, "n_epochs": 500, "schedule": "cifar"}  # the paper's
BETA_READOUT = {**READOUT, "n_epochs": 100}
EPOCHS, LONG_EPOCHS = 200, 1000
POWERS = (1.0, 2.0, 4.5, 10.0)
CONTROL_READOUT = BETA_READOUT  # where kinds of rows are compared
NETS: tuple[tuple[str | None, float, int], ...] = (  # of the end-to-end net: how it sees images, rate, epochs
    ("standardised", 3e-4, 14),
    ("standardised", 1e-3, 14),
)
NET_BATCH = 250

PAPER_ERRORS = {"bio": 49.25, "bio_train": 44.95, "end_to_end": 44.74}  # per cent


def rows(seed: int, chosen: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A cell's rows with the paper's settings and the chosen p, k, delta."""
    own = {name: chosen[name] for name in ("p", "k", "delta")}
    return {**PAPER, **own, **changes, "seed": seed}


def _cell(
    hidden: dict[str, Any] | None, readouts: list[dict[str, Any]], choosing: bool, **more: Any
) -> dict[str, Any]:
    return {
        "rows": hidden,
        "readouts": readouts,
        "train": "cifar-45k" if choosing else "cifar-50k",
        "evaluate": ["cifar-5k" if choosing else "cifar-test"],
        "view": VIEW,
        "reach": 1,
        **more,
    }


def first_trials() -> list[dict[str, Any]]:
    """Every p, without the anti-Hebbian part and with it."""
    return [{"p": p, "k": SEARCH_K[0], "delta": delta} for p in SEARCH_P for delta in FIRST_DELTA]


def second_trials(powers: list[float]) -> list[dict[str, Any]]:
    """Every k and delta with the p that are left; without the anti-Hebbian part k has no meaning."""
    return [
        {"p": p, "k": k, "delta": delta}
        for p in powers
        for delta in SEARCH_DELTA
        for k in (SEARCH_K if delta else SEARCH_K[:1])
    ]


def _tried(sweep: Sweep, settings: list[dict[str, Any]], label: str) -> list[dict[str, Any]]:
    readouts = [power_readout(M, beta, TRIAL_READOUT, 0, N) for beta in BETAS]
    found = sweep([_cell(rows(0, s, **TRIAL), readouts, True) for s in settings], label=label)
    names = ("diverged", "norms", "norms_within_5_percent", "never_won", "seconds")
    table = []
    for s, result in zip(settings, found, strict=True):
        errors = {
            str(beta): score.get("cifar-5k_error")
            for beta, score in zip(BETAS, result["readouts"], strict=False)
        }
        known = [error for error in errors.values() if error is not None]
        table.append(
            {
                **s,
                "validation_error": min(known, default=100.0),
                "by_beta": errors,
                "rows": {name: result["rows"].get(name) for name in names},
            }
        )
    return table


def search(sweep: Sweep) -> dict[str, Any]:
    """Choose p, k and delta on 5000 held-out images, by short runs in two rounds.

    Runs are short in units and images, not in steps: minibatches of 100, not 1000, make ten times the steps a
    pass, and the largest change of a step is the rate, whatever the minibatch. The first round compares the
    four p, without the anti-Hebbian part and with it; the second covers all k and delta of the two that are
    left. An error of 100 stands for rows or readouts that left their range.
    """
    first = _tried(sweep, first_trials(), "search, p")
    left: list[float] = []
    for row in sorted(first, key=_order):
        if row["p"] not in left and len(left) < POWERS_LEFT:
            left.append(row["p"])
    second = _tried(sweep, second_trials(sorted(left)), "search, k and delta")
    best = min(second, key=_order)
    return {
        **TRIAL,
        "readout_epochs": TRIAL_READOUT,
        "first": first,
        "left": sorted(left),
        "second": second,
        "chosen": {name: best[name] for name in ("p", "k", "delta", "validation_error")},
    }


def _order(row: dict[str, Any]) -> tuple[float, ...]:
    return row["validation_error"], row["p"], row["k"], row["delta"]


def _choose_beta(sweep: Sweep, chosen: dict[str, Any], passes: int) -> dict[str, Any]:
    """Choose beta on the held-out images with a shorter readout, for the rows of seed 0 at `passes`.

    These rows have seen all 50 000 images, without labels; the readout learns from 45 000.
    """
    readouts = [{**power_readout(M, beta, 0, 0, N), **BETA_READOUT} for beta in FULL_BETAS]
    readouts += [{**entropy_readout(0, 0, N), **BETA_READOUT}]
    cell = _cell(rows(0, chosen, n_epochs=passes), readouts, True, rows_from="cifar-50k")
    (found,) = sweep([cell], label=f"beta, {passes} epochs")
    errors = [score.get("cifar-5k_error", 100.0) for score in found["readouts"]]
    table = [{"beta": b, "validation_error": e} for b, e in zip(FULL_BETAS, errors[:-1], strict=True)]
    best = min(table, key=_error)
    return {"readout": BETA_READOUT, "table": table, "cross_entropy": errors[-1], "chosen": best["beta"]}


def _error(row: dict[str, Any]) -> float:
    return float(row["validation_error"])


def reproduce_cifar10(
    seeds: int = 3,
    epochs: int | None = None,
    long_seeds: int = 1,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """The paper's network on CIFAR-10: 2000 units, p, k, delta and beta from a search on validation.

    Parameters
    ----------
    seeds : int
        Seeds of rows and readout, at `epochs` passes.
    epochs : int, optional
        Passes of the rows; 200 by default.
    long_seeds : int
        Seeds at the paper's 1000 passes.
    jobs, dask, progress
        See :func:`bionet_reproduction.sweeps.run`.

    Returns
    -------
    dict
        The record, as written to ``results/cifar10.json``; the net of seed 0 at the most passes is put beside
        it, in float16.
    """
    epochs = EPOCHS if epochs is None else epochs
    sweep = Sweep("cifar10", jobs, dask, progress, of="cifar10")
    searched = search(sweep)
    chosen = searched["chosen"]

    def full(count: int, passes: int, beta: float) -> list[dict[str, Any]]:
        return [
            _cell(
                rows(seed, chosen, n_epochs=passes),
                [{**power_readout(M, beta, 0, seed, N), **READOUT}],
                False,
                keep=f"cifar10-{passes}-seed{seed}",
            )
            for seed in range(count)
        ]

    runs = {}
    for passes, count in ((epochs, seeds), (LONG_EPOCHS, long_seeds)):
        if count:
            beta = _choose_beta(sweep, chosen, passes)
            found = sweep(full(count, passes, beta["chosen"]), label=f"{passes} epochs")
            publish(f"cifar10-{passes}-seed0", "cifar10-seed0")
            runs[str(passes)] = {
                "beta": beta,
                "rows": [run["rows"] for run in found],
                "readouts": _losses(found),
            }
    return sweep.record(
        {**PAPER, "n": N, "m": M, "view": VIEW, "seeds": seeds, "readout": READOUT},
        search=searched,
        epochs=runs,
    )


def _losses(found: list[Any]) -> dict[str, Any]:
    return {
        loss: {
            "train": summary([run["readouts"][i]["train_error"] for run in found]),
            "test": summary([run["readouts"][i]["cifar-test_error"] for run in found]),
            "seconds": [run["readouts"][i]["seconds"] for run in found],
        }
        for i, loss in enumerate(("power",))
    }


def _powers(name: str) -> tuple[float, ...]:
    """The powers among which to choose; high ones of bare pixels hold next to nothing."""
    return POWERS[:2] if name.startswith("pixels") else POWERS


def reproduce_cifar10_controls(
    seeds: int = 3,
    many_seeds: int = 3,
    long_seeds: int = 1,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Other rows with the same readout, no anti-Hebbian part, and other views of the images.

    Every kind of rows is read out with cross-entropy at the power n that is best for it on 5000 held-out
    images, and as the paper does (n = 10, its loss), in minibatches of 10 for 100 epochs: shorter readouts
    fit the learned rows worse than random ones. There are as many rows as in the search (``CONTROL``), and
    of some kinds as many as in the paper.

    Parameters
    ----------
    seeds : int
        Seeds of the kinds with few rows; with 0 they are left out.
    many_seeds : int
        Seeds of those with as many as the paper's; their ranked rows are those of `reproduce_cifar10`.
    long_seeds : int
        Of these, seeds at 1000 passes; and of the pixels, whose readout has no rows that a seed could change.
    jobs, dask, progress
        See :func:`bionet_reproduction.sweeps.run`.
    """
    sweep = Sweep("cifar10_controls", jobs, dask, progress, of="cifar10")
    found = record("cifar10")
    chosen = found["search"]["chosen"]
    beta = found["epochs"][str(EPOCHS)]["beta"]["chosen"]

    def drawn(kind: str, count: int) -> Any:
        return lambda seed: {"kind": kind, "n_hidden": count, "seed": seed}

    few, many = CONTROL["n_hidden"], PAPER["n_hidden"]
    kinds: dict[str, tuple[Any, str, int]] = {
        "ranked": (lambda s: rows(s, chosen, **CONTROL), VIEW, seeds),
        "delta = 0": (lambda s: rows(s, {**chosen, "k": 2, "delta": 0.0}, **CONTROL), VIEW, seeds),
        **{kind: (drawn(kind, few), VIEW, seeds) for kind in ("random", "kmeans", "pca")},
        "pixels": (lambda s: None, VIEW, long_seeds),
        **{
            f"ranked, {passes} passes": (lambda s, n=passes: rows(s, chosen, n_epochs=n), VIEW, count)
            for passes, count in ((EPOCHS, many_seeds), (LONG_EPOCHS, long_seeds))
        },
        "random, many": (drawn("random", many), VIEW, many_seeds),  # k-means of 2000 takes too long
    }
    for view in ("centred", "whitened"):
        for kind in ("ranked", "random", "pixels"):
            kinds[f"{kind}, {view}"] = (kinds[kind][0], view, seeds and kinds[kind][2])
    kinds = {name: entry for name, entry in kinds.items() if entry[2]}
    tried = [
        _cell(
            make(0),
            [{**entropy_readout(0, 0, n), **CONTROL_READOUT} for n in _powers(name)],
            True,
            view=view,
            **({"rows_from": "cifar-50k"} if "passes" in name else {}),
        )
        for name, (make, view, _) in kinds.items()
    ]
    own: dict[str, Any] = {}
    for name, cell in zip(kinds, sweep(tried, label="powers"), strict=True):
        errors = [score.get("cifar-5k_error", 100.0) for score in cell["readouts"]]
        own[name] = {
            "validation": dict(zip(map(str, _powers(name)), errors, strict=True)),
            "n": _powers(name)[int(np.argmin(errors))],
        }
    mine = [
        _cell(
            make(seed),
            [
                {**entropy_readout(0, seed, own[name]["n"]), **CONTROL_READOUT},
                {**power_readout(M, beta, 0, seed, N), **CONTROL_READOUT},
            ],
            False,
            view=view,
        )
        for name, (make, view, count) in kinds.items()
        for seed in range(count)
    ]
    runs = iter(sweep(mine, label="controls"))
    table = {}
    for name, (_, view, count) in kinds.items():
        measured = [next(runs) for _ in range(count)]
        table[name] = {
            "view": view,
            **own[name],
            **{
                label: summary([run["readouts"][i]["cifar-test_error"] for run in measured])
                for i, label in enumerate(("own_n", "same_readout"))
                if all("cifar-test_error" in run["readouts"][i] for run in measured)
            },
            "norms_within_5_percent": [run["rows"].get("norms_within_5_percent") for run in measured],
            "never_won": [run["rows"].get("never_won") for run in measured],
        }
    return sweep.record(
        {"seeds": seeds, "readout": CONTROL_READOUT, "m": M, "beta": beta, "n": N, "fewer": CONTROL},
        table=table,
    )


def reproduce_cifar10_end_to_end(
    seeds: int = 3, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """The baseline 3072-2000-10, trained by back-propagation with Adam, tuned on validation."""
    sweep = Sweep("cifar10_end_to_end", jobs, dask, progress, of="cifar10")

    def cell(view: str | None, rate: float, n_epochs: int, seed: int, choosing: bool) -> dict[str, Any]:
        first = max(1, round(0.7 * n_epochs))
        return {
            "net": {
                "hidden": PAPER["n_hidden"],
                "learning_rate": [(first, rate), (n_epochs - first, rate / 10)],
                "batch_size": NET_BATCH,
                "n_epochs": n_epochs,
                "random_state": seed,
            },
            "view": view,
            "train": "cifar-45k" if choosing else "cifar-50k",
            "evaluate": ["cifar-5k" if choosing else "cifar-test"],
            **({} if choosing or seed else {"keep": "cifar10_end_to_end-seed0"}),
        }

    tried = sweep([cell(*net, 0, True) for net in NETS], measure_backprop, label="nets")
    table = [
        {"view": v, "learning_rate": r, "n_epochs": n, "validation_error": t["cifar-5k_error"]}
        for (v, r, n), t in zip(NETS, tried, strict=True)
    ]
    best = min(table, key=_error)
    net = (best["view"], best["learning_rate"], best["n_epochs"])
    runs = sweep([cell(*net, s, False) for s in range(seeds)], measure_backprop, label="seeds")
    return sweep.record(
        {"seeds": seeds, "net": f"3072-{PAPER['n_hidden']}-10, ReLU, Adam, cross-entropy"},
        selection={"table": table, "chosen": best},
        train=summary([r["train_error"] for r in runs]),
        test=summary([r["cifar-test_error"] for r in runs]),
        seconds=[r["seconds"] for r in runs],
    )


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: quantity, the paper's value, the value here."""
    if run["run"] == "cifar10":
        return [
            (
                f"{part} error, {passes} epochs, {loss}",
                f"{PAPER_ERRORS['bio' if part == 'test' else 'bio_train']} %" if loss == "power" else "-",
                shown(losses[loss][part]),
            )
            for passes, losses in ((passes, e["readouts"]) for passes, e in run["epochs"].items())
            for loss in ("power",)
            for part in ("train", "test")
        ]
    if run["run"] == "cifar10_controls":
        return [(f"test error, {name}", "-", shown(e["own_n"])) for name, e in run["table"].items()]
    return [("test error, end to end", f"{PAPER_ERRORS['end_to_end']} %", shown(run["test"]))]
