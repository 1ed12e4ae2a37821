"""The networks whose robustness is measured: recipes, and how each becomes a trained net.

Nets that learn are kept in the folder of unfinished runs, in full precision; a lock beside the file keeps two
processes from training the same net twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from sklearn.decomposition import PCA

from bionet import attacks, persistence
from bionet.backend import blocks
from bionet.mlp import BackpropClassifier
from bionet.optim import rates_of
from bionet.plasticity import lebesgue_norms
from bionet.readout import PowerReadout
from bionet_reproduction import cells, sweeps, views
from bionet_reproduction.cells import Readout, Scale, Schedule
from bionet_reproduction.paths import results_folder, runs_folder
from bionet_reproduction.rows import Rows
from bionet_reproduction.sweeps import Cell, Recipe


@dataclass(frozen=True, kw_only=True)
class Net(Recipe):
    """Recipe of a network with one hidden layer."""

    def trained(self) -> Any:
        """The net, trained now or before."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Learned(Net):
    """A net that learns, and is kept.

    Attributes
    ----------
    part : str
        The images that it learns from; see :mod:`bionet_reproduction.views`.
    """

    part: str = "60k"

    def trained(self) -> Any:
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.exists():
                return persistence.load(path)
            net = self.made()
            persistence.save(net, path)
        return net

    def path(self) -> Path:
        """Where this net is kept."""
        return runs_folder() / "nets" / f"{type(self).__name__.lower()}-{sweeps.key(self)}.npz"

    def made(self) -> Any:
        """The net, trained now."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class OnRows(Learned):
    """A readout on rows, which may be scaled first."""

    rows: Rows
    readout: Readout
    scale: Scale | None = None

    def made(self) -> PowerReadout:
        X, y = views.images(self.part)
        W, _ = self.rows.of(self.part)
        if self.scale is not None:
            W, _ = self.scale.scaled(W, X, self.part)
        return self.readout.estimator(W).fit(X, y)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Recipe):
    """The attack of adversarial training, from a random point of the ball (Madry et al. 2018)."""

    norm: str
    eps: float
    steps: int

    def attack(self) -> attacks.PGD:
        """What changes the images of a minibatch."""
        return attacks.PGD(self.norm, steps=self.steps, random_start=True)


@dataclass(frozen=True, kw_only=True)
class Stop(Recipe):
    """Training ends as soon as an accuracy is reached on other images.

    Attributes
    ----------
    accuracy : float
        A share.
    part : str
        The images it is measured on.
    every : int
        Minibatches between two looks.
    """

    accuracy: float
    part: str
    every: int

    def now(self, net: Any, minibatch: int) -> bool:
        """Whether training ends after this minibatch of an epoch."""
        return (
            minibatch % self.every == 0 and attacks.accuracy(net, *views.images(self.part)) >= self.accuracy
        )


@dataclass(frozen=True, kw_only=True)
class Backprop(Learned):
    """A back-propagation net with cross-entropy.

    Attributes
    ----------
    hidden, learning_rate, batch_size, seed, weight_decay, optimizer, activation, n, unit_norm
        See :class:`bionet.mlp.BackpropClassifier`.
    start : float
        A factor of the first weights at the start.
    rows_start_at_norm_1, rows_stay_at_norm_1 : bool
        Give the first rows the 3-norm 1 of converged units at the start; give it back to them after every
        step.
    adversarial : Adversarial, optional
        Train on attacked images.
    stop : Stop, optional
        End early.
    """

    hidden: int
    learning_rate: Schedule
    batch_size: int
    seed: int
    weight_decay: float = 0.0
    optimizer: str = "adam"
    activation: str = "relu"
    n: float = 4.5
    unit_norm: bool = False
    start: float = 1.0
    rows_start_at_norm_1: bool = False
    rows_stay_at_norm_1: bool = False
    adversarial: Adversarial | None = None
    stop: Stop | None = None

    def estimator(self) -> BackpropClassifier:
        """The net, not trained yet."""
        return BackpropClassifier(
            self.hidden,
            activation=self.activation,
            n=self.n,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            n_epochs=sum(count for count, _ in self.learning_rate),
            weight_decay=self.weight_decay,
            unit_norm=self.unit_norm,
            random_state=self.seed,
        )

    def plain(self) -> bool:
        """Whether the estimator can train itself."""
        rows = self.rows_start_at_norm_1 or self.rows_stay_at_norm_1
        return self.start == 1.0 and not (rows or self.adversarial or self.stop)

    def made(self) -> BackpropClassifier:
        X, y = views.images(self.part)
        net = self.estimator()
        if self.plain():
            return net.fit(X, y)
        rng = np.random.default_rng([self.seed, 3])
        net.partial_fit(X[: self.batch_size], y[: self.batch_size], np.unique(y), learning_rate=0.0)
        net.coefs_[0] *= net.coefs_[0].dtype.type(self.start)
        if self.rows_start_at_norm_1 or self.rows_stay_at_norm_1:
            _to_norm_1(net)
        for rate in rates_of(net.learning_rate, net.n_epochs):
            order = rng.permutation(len(X))
            for minibatch, block in enumerate(blocks(len(X), self.batch_size)):
                batch, labels = X[order[block]], y[order[block]]
                if self.adversarial is not None:
                    attack, eps = self.adversarial.attack(), self.adversarial.eps
                    batch = attack.search(net, batch, labels, eps, rng).images
                net.partial_fit(batch, labels, learning_rate=rate)
                if self.rows_stay_at_norm_1:
                    _to_norm_1(net)
                if self.stop is not None and self.stop.now(net, minibatch):
                    return net
        return net


@dataclass(frozen=True, kw_only=True)
class Stored(Net):
    """A net that another run kept in the folder of unfinished runs, or recorded."""

    name: str

    def path(self) -> Path | None:
        """Where it is; None if it is nowhere."""
        places = (cells.kept(self.name), results_folder() / f"{self.name}.npz")
        return next((path for path in places if path.exists()), None)

    def trained(self) -> PowerReadout:
        path = self.path()
        if path is None:
            raise FileNotFoundError(
                f"{results_folder() / self.name}.npz is missing; run `bionet reproduce "
                f"{self.name.partition('-')[0]}` to train and record it"
            )
        return persistence.load(path)


@dataclass(frozen=True, kw_only=True)
class Cleared(Net):
    """A net whose first weights are 0 at pixels with ink in at most a share of its training images."""

    of: Backprop
    share: float

    def trained(self) -> BackpropClassifier:
        net, X = self.of.trained(), views.images(self.of.part)[0]
        net.coefs_[0][:, (X > 0).mean(axis=0) <= self.share] = 0
        return net


@dataclass(frozen=True, kw_only=True)
class Projected(Net):
    """A net whose first rows are projected on the first principal components of its training images.

    What it answers to the mean image is kept; for a net without normalisation.
    """

    of: Backprop
    components: int

    def trained(self) -> BackpropClassifier:
        net = self.of.trained()
        main, mean = directions(self.of.part, self.components)
        W = net.coefs_[0]
        across = W - (W @ main.T) @ main
        net.coefs_[0], net.intercepts_[0] = W - across, net.intercepts_[0] + across @ mean
        return net


@lru_cache(maxsize=4)
def directions(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first principal components of images, shape (count, features), and their mean; float32."""
    X = views.images(part)[0]
    found = PCA(min(count, *X.shape), svd_solver="covariance_eigh").fit(X.astype(np.float64))
    return found.components_.astype(np.float32), found.mean_.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Train(Cell):
    """Train a net, if it is not there; the result has its accuracies in per cent, without an attack."""

    net: Net
    evaluate: tuple[str, ...]

    def work(self) -> dict[str, Any]:
        began = time.perf_counter()
        net = self.net.trained()
        return {
            "seconds": round(time.perf_counter() - began, 3),
            "steps": int(net.n_iter_),
            **{
                f"{part}_accuracy": round(100 * attacks.accuracy(net, *views.images(part)), 4)
                for part in self.evaluate
            },
        }


def _to_norm_1(net: BackpropClassifier) -> None:
    """Give the first rows the 3-norm 1, in place."""
    net.coefs_[0] /= np.asarray(lebesgue_norms(net.coefs_[0], 3.0))[:, None].astype(net.coefs_[0].dtype)
