"""What full-scale runs are made of: a cell learns rows and reads them out, or trains a net end to end."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bionet import persistence
from bionet.files import atomic_write
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet_reproduction import rows as layers
from bionet_reproduction import views
from bionet_reproduction.paths import results_folder, runs_folder
from bionet_reproduction.rows import BATCH, Rows
from bionet_reproduction.sweeps import Cell, Recipe

Schedule = tuple[tuple[int, float], ...]


def schedule(n_epochs: int) -> Schedule:
    """The paper's readout schedule, 300 epochs, shortened in proportion to `n_epochs`."""
    parts = [(1 / 3, 1e-3), (1 / 6, 5e-4), (1 / 6, 1e-4), (1 / 6, 5e-5), (1 / 6, 1e-5)]
    counts = [max(1, round(share * n_epochs)) for share, _ in parts]
    counts[0] = n_epochs - sum(counts[1:])
    return tuple((count, rate) for count, (_, rate) in zip(counts, parts, strict=True))


def cifar_schedule(n_epochs: int) -> Schedule:
    """The paper's readout schedule for CIFAR-10, 500 epochs, shortened in proportion to `n_epochs`.

    The paper gives the first rate, the last and the number of steps; those between are chosen here.
    """
    rates = (4e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
    counts = [max(1, round(0.1 * n_epochs))] * 8
    return tuple(zip((max(1, n_epochs - sum(counts)), *counts), rates, strict=True))


def backprop_schedule(rate: float, n_epochs: int) -> Schedule:
    """A rate for 70 % of the epochs, then a tenth of it."""
    first = max(1, round(0.7 * n_epochs))
    return ((first, rate), (n_epochs - first, rate / 10)) if n_epochs > first else ((first, rate),)


@dataclass(frozen=True, kw_only=True)
class Readout(Recipe):
    """Settings of a :class:`bionet.readout.PowerReadout`; m and beta belong to the paper's loss."""

    n: float = 4.5
    loss: str = "power"
    m: float = 6.0
    beta: float = 1.0
    learning_rate: Schedule
    batch_size: int = BATCH
    seed: int

    def estimator(self, W: np.ndarray | None) -> PowerReadout:
        """The readout on rows, or on the pixels; not trained yet."""
        return PowerReadout(
            W,
            n=self.n,
            loss=self.loss,
            m=self.m,
            beta=self.beta,
            learning_rate=self.learning_rate,
            n_epochs=sum(count for count, _ in self.learning_rate),
            batch_size=self.batch_size,
            random_state=self.seed,
        )


def power_readout(m: float, beta: float, n_epochs: int, seed: int, n: float = 4.5) -> Readout:
    """A readout with the paper's loss and schedule."""
    return Readout(n=n, m=m, beta=beta, learning_rate=schedule(n_epochs), seed=seed)


def entropy_readout(n_epochs: int, seed: int, n: float = 4.5) -> Readout:
    """A readout with cross-entropy and the paper's schedule."""
    return Readout(n=n, loss="cross_entropy", learning_rate=schedule(n_epochs), seed=seed)


@dataclass(frozen=True, kw_only=True)
class Scale(Recipe):
    """How rows are scaled before they are read out."""

    def scaled(self, W: np.ndarray, X: np.ndarray, part: str) -> tuple[np.ndarray, dict[str, float]]:
        """Return the scaled rows, and what is recorded of it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Length(Scale):
    """Every row gets this Euclidean length."""

    length: float

    def scaled(self, W: np.ndarray, X: np.ndarray, part: str) -> tuple[np.ndarray, dict[str, float]]:
        return layers.of_length(W, self.length), {}


@dataclass(frozen=True, kw_only=True)
class AsLongAs(Scale):
    """One factor for all rows: their median Euclidean length becomes that of other rows."""

    rows: Rows

    def scaled(self, W: np.ndarray, X: np.ndarray, part: str) -> tuple[np.ndarray, dict[str, float]]:
        now, wanted = layers.length(W), layers.length(self.rows.of(part)[0])
        return W * np.float32(wanted / now), {"length": now}


@dataclass(frozen=True, kw_only=True)
class Reach(Scale):
    """One factor for all rows, so that the largest current of the median image is 1.

    For the power loss its n-th power is a part of beta.
    """

    def scaled(self, W: np.ndarray, X: np.ndarray, part: str) -> tuple[np.ndarray, dict[str, float]]:
        reached = layers.reach(W, X)
        return W * np.float32(1.0 / reached), {"reach": reached}


@dataclass(frozen=True, kw_only=True)
class Measure(Cell):
    """Train rows and their readouts; the result has errors in per cent.

    Attributes
    ----------
    rows : Rows or None
        The hidden layer; None for the pixels themselves.
    readouts : tuple of Readout
    train : str
        Part of the images that readouts learn from; see :mod:`bionet_reproduction.views`.
    evaluate : tuple of str
        Parts to measure the error on.
    rows_from : str, optional
        Another part for the rows.
    view : str, optional
        How images are seen.
    scale : Scale, optional
        How rows are scaled before they are read out.
    keep : str, optional
        A name under which the first readout is saved.
    """

    rows: Rows | None
    readouts: tuple[Readout, ...]
    train: str
    evaluate: tuple[str, ...]
    rows_from: str | None = None
    view: str | None = None
    scale: Scale | None = None
    keep: str | None = None

    def work(self) -> dict[str, Any]:
        y, X = views.images(self.train)[1], views.seen(self.train, self.view, self.train)
        W: np.ndarray | None = None
        facts: dict[str, Any] = {}
        try:
            if self.rows is not None:
                W, facts = self.rows.of(self.rows_from or self.train, self.view)
        except ArithmeticError as error:
            return {"rows": {"diverged": str(error)}, "readouts": []}
        if W is not None and self.scale is not None:
            W, more = self.scale.scaled(W, X, self.train)
            facts = {**facts, **more}
        scores: list[dict[str, Any]] = []
        for position, readout in enumerate(self.readouts):
            began = time.perf_counter()
            try:
                net = readout.estimator(W).fit(X, y)
            except ArithmeticError as error:
                scores.append({"diverged": str(error)})
                continue
            seconds = time.perf_counter() - began
            scores.append({**errors(net, self.train, self.evaluate, self.view), "seconds": seconds})
            if position == 0 and self.keep:
                keep(net, self.keep, exactly=("coef_", "intercept_"))
        return {"rows": facts, "readouts": scores}


@dataclass(frozen=True, kw_only=True)
class Backprop(Recipe):
    """Settings of a :class:`bionet.mlp.BackpropClassifier` with ReLU, Adam and cross-entropy."""

    hidden: int
    learning_rate: Schedule
    batch_size: int = BATCH
    seed: int

    def estimator(self) -> BackpropClassifier:
        """The net, not trained yet."""
        return BackpropClassifier(
            hidden=self.hidden,
            learning_rate=self.learning_rate,
            n_epochs=sum(count for count, _ in self.learning_rate),
            batch_size=self.batch_size,
            random_state=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class MeasureBackprop(Cell):
    """Train a net end to end; the result has errors in per cent."""

    net: Backprop
    train: str
    evaluate: tuple[str, ...]
    view: str | None = None
    keep: str | None = None

    def work(self) -> dict[str, Any]:
        y, X = views.images(self.train)[1], views.seen(self.train, self.view, self.train)
        began = time.perf_counter()
        net = self.net.estimator().fit(X, y)
        seconds = time.perf_counter() - began
        if self.keep:
            keep(net, self.keep)
        return {**errors(net, self.train, self.evaluate, self.view), "seconds": seconds}


def errors(net: Any, train: str, evaluate: tuple[str, ...], view: str | None) -> dict[str, float]:
    """Errors in per cent on the images that a net learned from, and on others."""
    parts = {"train": train, **{part: part for part in evaluate}}
    return {
        f"{name}_error": round(
            100.0 * float(np.mean(net.predict(views.seen(part, view, train)) != views.images(part)[1])), 4
        )
        for name, part in parts.items()
    }


def keep(net: Any, name: str, exactly: tuple[str, ...] = ()) -> None:
    """Save a net in the folder of unfinished runs, in float16."""
    path = kept(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    persistence.save(net, path, dtype="float16", exactly=exactly)


def kept(name: str) -> Path:
    """Where a cell saves a net."""
    return runs_folder() / "kept" / f"{name}.npz"


def publish(name: str, target: str) -> None:
    """Copy a net that a cell kept to ``results/TARGET.npz``, if it is there."""
    if kept(name).exists():
        path = results_folder() / f"{target}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(kept(name), "rb") as source, atomic_write(path) as file:
            shutil.copyfileobj(source, file)


def least(table: list[dict[str, Any]], *ties: str, by: str = "validation_error") -> dict[str, Any]:
    """The row of least error; of equal ones the least in `ties`, then the first. Rows without one are out.

    Raises
    ------
    ValueError
        If no row has one.
    """
    known = [row for row in table if row[by] is not None]
    if not known:
        raise ValueError(f"nothing can be chosen: no setting has a {by} (did all diverge?), got {table!r}")
    return min(known, key=lambda row: (row[by], *(row[name] for name in ties)))
