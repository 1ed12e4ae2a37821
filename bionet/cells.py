"""What full-scale runs are made of: one cell learns rows and reads them out.

A cell is a plain dict, so that a sweep can keep, resume and distribute it (:mod:`bionet.sweeps`).
"""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from bionet import data, persistence, sweeps
from bionet._records import commit, interval, provenance, record
from bionet.files import atomic_write
from bionet.ledger import results_folder
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.stability import effective_number
from bionet.units import CompetingUnits, RankedUnits, lebesgue_norms

SCHEMA = 1
RATE = 0.04  # of the ranking rule; falls linearly to zero
BATCH = 100
READOUT_EPOCHS = 300
SHORT_EPOCHS = 60  # of readouts where hyperparameters are chosen, and in sweeps
SPLIT = 10_000  # images held out to choose by


def schedule(n_epochs: int) -> tuple[tuple[int, float], ...]:
    """The paper's readout schedule, 300 epochs, shortened in proportion to `n_epochs`."""
    parts = [(1 / 3, 1e-3), (1 / 6, 5e-4), (1 / 6, 1e-4), (1 / 6, 5e-5), (1 / 6, 1e-5)]
    counts = [max(1, round(share * n_epochs)) for share, _ in parts]
    counts[0] = n_epochs - sum(counts[1:])
    return tuple((count, rate) for count, (_, rate) in zip(counts, parts, strict=True))


def workplace() -> Path:
    """Folder of unfinished runs: ``$BIONET_RUNS``, or ``runs`` beside ``results``."""
    named = os.environ.get("BIONET_RUNS")
    return Path(named) if named else results_folder().parent / "runs"


CIFAR_SPLIT = 5000  # images of CIFAR-10 held out to choose by
VIEWS = ("as they are", "centred", "standardised", "whitened")
WHITENING_FLOOR = 0.1  # added to the variances of whitened directions, as a share of their mean


def cifar_schedule(n_epochs: int) -> tuple[tuple[int, float], ...]:
    """The paper's readout schedule for CIFAR-10, 500 epochs, shortened in proportion to `n_epochs`.

    The paper gives the first rate, the last and the number of steps; those between are chosen here.
    """
    rates = (4e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
    counts = [max(1, round(0.1 * n_epochs))] * 8
    return tuple(zip((max(1, n_epochs - sum(counts)), *counts), rates, strict=True))


@lru_cache(maxsize=4)
def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels: ``60k``, ``50k`` and ``10k`` (one stratified split of it), ``talk``, or ``test``.

    ``talk`` are the 600 images that the talk's notebook drew, in its order. Of CIFAR-10 there are
    ``cifar-50k``, ``cifar-45k`` and ``cifar-5k`` (one stratified split of it), and ``cifar-test``.
    """
    if part == "cifar-test":
        test = data.load("cifar10", split="test")
        return test.images, test.labels
    if part.startswith("cifar-"):
        train = data.load("cifar10")
        if part == "cifar-50k":
            return train.images, train.labels
        kept, held = train_test_split(
            np.arange(len(train.labels)), test_size=CIFAR_SPLIT, stratify=train.labels, random_state=0
        )
        index = np.sort(kept) if part == "cifar-45k" else np.sort(held)
        return train.images[index], train.labels[index]
    if part == "test":
        test = data.load("mnist", split="test")
        return test.images, test.labels
    train = data.load("mnist")
    if part == "60k":
        return train.images, train.labels
    if part == "talk":
        from bionet.experiments import talk_sample  # it imports this module

        order = talk_sample(train.labels)
        return train.images[order], train.labels[order]
    kept, held = train_test_split(
        np.arange(len(train.labels)), test_size=SPLIT, stratify=train.labels, random_state=0
    )
    index = np.sort(kept) if part == "50k" else np.sort(held)
    return train.images[index], train.labels[index]


@lru_cache(maxsize=3)
def seen(part: str, view: str | None = None, fitted_on: str | None = None) -> np.ndarray:
    """Images of a part as a network sees them.

    Parameters
    ----------
    part : str
        See :func:`images`.
    view : {None, "as they are", "centred", "standardised", "whitened"}
        None: the pixels. Otherwise images of unit length, after each image's mean has been taken out
        (``centred``), or after each pixel's mean over `fitted_on` has, too, and pixels are divided by their
        standard deviation there (``standardised``) or turned and scaled by ZCA (``whitened``).
    fitted_on : str
        The part whose statistics are used.
    """
    X = images(part)[0]
    if view is None:
        return X
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}; there are {', '.join(VIEWS)}")
    if view != "as they are":
        X = _without_mean(X)
    if view in ("standardised", "whitened"):
        mean, turn = _statistics(fitted_on or part, view)
        X = (X - mean) @ turn if turn.ndim == 2 else (X - mean) * turn
    return _unit(X)


@lru_cache(maxsize=2)
def _statistics(part: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the centred images of a part, and what standardises or whitens them."""
    X = _without_mean(images(part)[0])
    mean = X.mean(axis=0)
    if view == "standardised":
        return mean, (1.0 / np.maximum(X.std(axis=0), 1e-6)).astype(np.float32)
    centred = X - mean
    variances, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64) / len(X))
    variances = np.maximum(variances, 0.0)
    scale = 1.0 / np.sqrt(variances + WHITENING_FLOOR * variances.mean())
    return mean, ((axes * scale) @ axes.T).astype(np.float32)


def as_seen_by_pixels(W: np.ndarray, view: str | None, fitted_on: str) -> np.ndarray:
    """Rows that act on a view of the images, as rows that act on the centred pixels.

    Up to each image's length, which divides all currents alike.
    """
    if view not in ("standardised", "whitened"):
        return W
    turn = _statistics(fitted_on, view)[1]
    return W @ turn.T if turn.ndim == 2 else W * turn


def _without_mean(X: np.ndarray) -> np.ndarray:
    return X - X.mean(axis=1, keepdims=True)


def rows_of(rows: dict[str, Any], part: str, view: str | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Learn or draw a hidden layer.

    Parameters
    ----------
    rows : dict
        ``kind`` (ranked, competing, random, images, talk, kmeans, pca) and its settings.
    part : str
        Images to learn from; see :func:`images`.
    view : str, optional
        See :func:`seen`.

    Returns
    -------
    W : numpy.ndarray, shape (hidden, features), float32
    facts : dict
        Norms, range, seconds.
    """
    X = seen(part, view, part) if view else images(part)[0]
    kind, began, clock = rows["kind"], time.process_time(), time.perf_counter()
    facts: dict[str, Any] = {}
    if kind == "ranked":
        settings = {k: v for k, v in rows.items() if k not in ("kind", "seed")}
        name = "-".join(f"{k}{v:g}" for k, v in sorted(settings.items()))
        where = f"{part}-{view.replace(' ', '-')}" if view else part
        path = workplace() / "weights" / f"{name}-{where}-seed{rows['seed']}.npz"
        settings = {"learning_rate": RATE, "batch_size": BATCH, **settings}
        units = RankedUnits(**settings, random_state=rows["seed"], checkpoint=path).fit(X)
        spent = {
            "seconds": time.perf_counter() - clock,
            "processor_seconds": time.process_time() - began,
            "commit": commit(),
        }
        beside = path.with_suffix(".json")
        if not beside.exists():
            beside.write_text(json.dumps(spent))
        W = units.components_
        norms = lebesgue_norms(W, float(rows["p"]))
        inside = np.abs(norms - 1.0) <= 0.05
        facts = {
            **json.loads(beside.read_text()),
            "converged": [round(float(x), 4) for x in _thinned(units.converged_)],
            "norms_within_5_percent": float(inside.mean()),
            "weight_range": [float(W.min()), float(W.max())],
            "share_negative": float((W < 0).mean()),
            "share_mass_negative": float(np.abs(W[W < 0]).sum() / np.abs(W).sum()),
            "never_won": int((units.wins_ == 0).sum()),
        }
        if view:
            facts["norms"] = [round(float(x), 4) for x in np.quantile(norms, (0.05, 0.25, 0.5, 0.75, 0.95))]
            facts["shares_of_wins"] = round(effective_number(units.wins_), 1)
        return W, facts
    if kind == "competing":
        return _competing(rows, X, part)
    rng = np.random.default_rng([rows.get("seed", 0), 7])
    if kind == "random":
        W = rng.standard_normal((rows["n_hidden"], X.shape[1])).astype(np.float32)
    elif kind == "images":
        W = X[rng.choice(len(X), rows["n_hidden"], replace=False)]
    elif kind == "talk":
        from bionet.experiments import talk_start, talk_units

        units = talk_units(init=talk_start(X.shape[1])).fit(X.astype(np.float64))
        W = units.components_.astype(np.float32)
    elif kind == "kmeans":
        model = MiniBatchKMeans(
            rows["n_hidden"], batch_size=10_000, max_iter=20, n_init=1, random_state=rows["seed"]
        )
        W = model.fit(_unit(X)).cluster_centers_.astype(np.float32)
    elif kind == "pca":
        # all of MNIST's; with n_hidden the first half as many, each with both signs
        some = rows["n_hidden"] // 2 if "n_hidden" in rows else None
        components = PCA(some, random_state=0).fit(X).components_.astype(np.float32)
        W = np.concatenate([components, -components])
    else:
        raise ValueError(
            f"unknown kind of rows {kind!r}; there are ranked, competing, random, images, talk, kmeans, pca"
        )
    W = W / np.asarray(lebesgue_norms(W, 3.0))[:, None]  # the norm of converged units
    return W, {"seconds": time.perf_counter() - clock}


def _competing(rows: dict[str, Any], X: np.ndarray, part: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Rows that learned by the dynamics, one image after another; kept, since readouts share them."""
    settings = {name: value for name, value in rows.items() if name not in ("kind", "seed")}
    path = workplace() / "weights" / f"competing-{sweeps.key({**rows, 'part': part})}.npz"
    beside = path.with_suffix(".json")
    if beside.exists():
        return np.load(path)["W"], json.loads(beside.read_text())
    clock, began = time.perf_counter(), time.process_time()
    units = CompetingUnits(**settings, random_state=rows["seed"]).fit(X)
    seconds, processor = time.perf_counter() - clock, time.process_time() - began
    W = units.components_
    norms = np.linalg.norm(W.astype(np.float64), axis=1)
    facts = {
        "seconds": seconds,
        "processor_seconds": processor,
        "commit": commit(),
        "norms_within_5_percent": float((np.abs(norms - 1) <= 0.05).mean()),
        "largest_norm": float(norms.max()),
        "share_negative": float((W < 0).mean()),
        "never_won": int((units.wins_ == 0).sum()),
        "effective_units": effective_number(units.wins_),
        "silent_share": units.n_silent_ / (len(X) * units.n_epochs),
        "wins_an_image": float(units.wins_.sum() / (len(X) * units.n_epochs)),
    }
    with atomic_write(path) as file:
        np.savez(file, W=W)
    with atomic_write(beside) as file:
        file.write(json.dumps(facts).encode())
    return W, facts


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Train the rows of a cell and its readouts; return errors in per cent.

    Parameters
    ----------
    cell : dict
        ``rows`` (or None for the pixels themselves), ``readouts`` (a list of settings), ``train``
        (``60k`` or ``50k``), ``evaluate`` (``test`` and/or ``10k``) and optionally ``rows_from``, other
        images for the rows; ``keep``, a name under which the first readout is saved; ``as_long_as``, rows
        whose median Euclidean length these rows are scaled to; ``length``, the Euclidean length that each
        row is given; ``reach``, one factor for all rows, so that the largest current of the median image is 1
        (for the power loss its n-th power is a part of beta); ``view``, how images are seen (:func:`seen`).
    """
    y, view = images(cell["train"])[1], cell.get("view")
    X = seen(cell["train"], view, cell["train"])
    try:
        W, facts = (
            (None, {})
            if cell["rows"] is None
            else rows_of(cell["rows"], cell.get("rows_from", cell["train"]), view)
        )
    except ArithmeticError as error:
        return {"rows": {"diverged": str(error)}, "readouts": []}
    if W is not None and cell.get("as_long_as"):
        like = rows_of(cell["as_long_as"], cell["train"])[0]
        facts["length"], wanted = _length(W), _length(like)
        W = W * np.float32(wanted / facts["length"])
    if W is not None and cell.get("length"):
        W = W * (cell["length"] / np.linalg.norm(W, axis=1, keepdims=True)).astype(np.float32)
    if W is not None and cell.get("reach"):
        facts["reach"] = reach(W, X)
        W = W * np.float32(1.0 / facts["reach"])
    scores: list[dict[str, Any]] = []
    for position, settings in enumerate(cell["readouts"]):
        began = time.perf_counter()
        try:
            net = readout_of(W, settings).fit(X, y)
        except ArithmeticError as error:
            scores.append({"diverged": str(error)})
            continue
        seconds = time.perf_counter() - began
        score = {"train_error": _error(net, X, y), "seconds": seconds}
        for part in cell["evaluate"]:
            score[f"{part}_error"] = _error(net, seen(part, view, cell["train"]), images(part)[1])
        scores.append(score)
        if position == 0 and cell.get("keep"):
            path = workplace() / "kept" / f"{cell['keep']}.npz"
            persistence.save(net, path, dtype="float16", exactly=("coef_", "intercept_"))
    return {"rows": facts, "readouts": scores}


def readout_of(W: np.ndarray | None, settings: dict[str, Any]) -> PowerReadout:
    """The readout that settings of a cell describe, on rows or on the pixels; not trained yet."""
    of_rate = {None: schedule, "cifar": cifar_schedule}[settings.get("schedule")]
    kept = {name: value for name, value in settings.items() if name != "schedule"}
    return PowerReadout(W, **{"batch_size": BATCH, **kept, "learning_rate": of_rate(kept["n_epochs"])})


def publish(kept: str, name: str) -> None:
    """Copy a net that a cell kept to ``results/NAME.npz``, if it is there."""
    source, target = workplace() / "kept" / f"{kept}.npz", results_folder() / f"{name}.npz"
    if source.exists():
        with atomic_write(target) as file:
            file.write(source.read_bytes())


def measure_backprop(cell: dict[str, Any]) -> dict[str, Any]:
    """Train the end-to-end net of a cell; return errors in per cent, after every epoch if asked."""
    y, view = images(cell["train"])[1], cell.get("view")
    X = seen(cell["train"], view, cell["train"])
    began = time.perf_counter()
    net = BackpropClassifier(**cell["net"]).fit(X, y)
    score = {"train_error": _error(net, X, y), "seconds": time.perf_counter() - began}
    for part in cell["evaluate"]:
        score[f"{part}_error"] = _error(net, seen(part, view, cell["train"]), images(part)[1])
    if cell.get("keep"):
        path = workplace() / "kept" / f"{cell['keep']}.npz"
        persistence.save(net, path, dtype="float16")
    return score


def _error(net: Any, X: np.ndarray, y: np.ndarray) -> float:
    return round(100.0 * float(np.mean(net.predict(X) != y)), 4)


def reach(W: np.ndarray, X: np.ndarray, count: int = 5000) -> float:
    """Largest current of the median image, over the first `count` images of unit length."""
    return float(np.median((_unit(X[:count]) @ W.T).max(axis=1)))


def _length(W: np.ndarray) -> float:
    """Median Euclidean length of the rows."""
    return float(np.median(np.linalg.norm(W, axis=1)))


def _unit(X: np.ndarray) -> np.ndarray:
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


def _thinned(values: np.ndarray, count: int = 100) -> np.ndarray:
    """At most `count` of `values`, evenly spread, the last among them."""
    if len(values) <= count:
        return values
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]


def summary(values: list[float]) -> dict[str, Any]:
    if len(values) < 2:
        return {"values": values}
    mean, low, high = interval(values)
    return {"values": values, "mean": mean, "low": low, "high": high}


def power_readout(m: float, beta: float, n_epochs: int, seed: int, n: float = 4.5) -> dict[str, Any]:
    return {"n": n, "loss": "power", "m": m, "beta": beta, "n_epochs": n_epochs, "random_state": seed}


def entropy_readout(n_epochs: int, seed: int, n: float = 4.5) -> dict[str, Any]:
    return {"n": n, "loss": "cross_entropy", "n_epochs": n_epochs, "random_state": seed}


class Sweep:
    """How the cells of a run are computed: where results are kept, on how many cores or which cluster."""

    def __init__(
        self,
        name: str,
        jobs: int = 1,
        dask: str | None = None,
        progress: bool = True,
        of: str = "mnist",
    ) -> None:
        self.name, self.jobs, self.dask, self.progress, self.data = name, jobs, dask, progress, of

    def __call__(self, cells: list[dict[str, Any]], worker: Any = measure, label: str = "") -> list[Any]:
        return sweeps.run(
            cells,
            worker,
            workplace() / "cells",
            jobs=self.jobs,
            dask=self.dask,
            label=label or self.name,
            progress=self.progress,
        )

    def record(self, settings: dict[str, Any], **parts: Any) -> dict[str, Any]:
        """The record of a run: its settings, where it was made, and its parts."""
        sets = (data.load(self.data), data.load(self.data, split="test"))
        rates = {"learning_rate": RATE, "batch_size": BATCH} if self.data == "mnist" else {}
        return {
            "run": self.name,
            "schema": SCHEMA,
            "settings": {**settings, **rates, "jobs": self.jobs},
            "provenance": provenance(*sets),
            **parts,
        }


def chosen_loss() -> tuple[float, float]:
    """m and beta as the recorded run ``mnist`` chose them."""
    best = record("mnist")["selection"]["chosen"]
    return best["m"], best["beta"]


def shown(entry: dict[str, Any]) -> str:
    """A summary of errors for the screen."""
    if "mean" not in entry:
        return f"{entry['values'][0]:.2f} % (1 seed)"
    return f"{entry['mean']:.2f} % ({entry['low']:.2f} to {entry['high']:.2f}, {len(entry['values'])} seeds)"
