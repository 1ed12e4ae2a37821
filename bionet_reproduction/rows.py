"""Hidden layers by recipe: rows that learn, rows that are drawn, rows that are computed.

Rows that learn for long are kept in the folder of unfinished runs, a file for each recipe and its images; a
lock beside the file keeps two processes from learning the same rows twice.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from filelock import FileLock
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA

from bionet.files import atomic_write
from bionet.measures.stability import effective_number
from bionet.plasticity import lebesgue_norms
from bionet.units import CompetingUnits, RankedUnits
from bionet_reproduction import records, sweeps, talk, views
from bionet_reproduction.paths import runs_folder

RATE = 0.04  # of the fast rule on MNIST; it falls linearly to zero
BATCH = 100

Made = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Rows(sweeps.Recipe):
    """Recipe of a hidden layer."""

    def of(self, part: str, view: str | None = None) -> Made:
        """Return the rows for a part of the images, and what is known of them.

        Returns
        -------
        W : numpy.ndarray, shape (hidden, features), float32
        facts : dict
            Seconds; for rows that learned also norms, wins and range.
        """
        X = views.seen(part, view, part) if view else views.images(part)[0]
        clock = time.perf_counter()
        W = self.computed(X)
        W = W / np.asarray(lebesgue_norms(W, 3.0))[:, None]  # the norm of converged units
        return W, {"seconds": time.perf_counter() - clock}

    def computed(self, X: np.ndarray) -> np.ndarray:
        """Rows of any length, from the images."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Random(Rows):
    """Normal numbers."""

    n_hidden: int
    seed: int

    def computed(self, X: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 7])
        return rng.standard_normal((self.n_hidden, X.shape[1])).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Drawn(Rows):
    """Training images."""

    n_hidden: int
    seed: int

    def computed(self, X: np.ndarray) -> np.ndarray:
        return X[np.random.default_rng([self.seed, 7]).choice(len(X), self.n_hidden, replace=False)]


@dataclass(frozen=True, kw_only=True)
class KMeans(Rows):
    """Centroids of images of unit length."""

    n_hidden: int
    seed: int

    def computed(self, X: np.ndarray) -> np.ndarray:
        return self.centroids(views.unit(X))

    def centroids(self, X: np.ndarray) -> np.ndarray:
        """Centroids of vectors of any length."""
        model = MiniBatchKMeans(
            self.n_hidden, batch_size=10_000, max_iter=20, n_init=1, random_state=self.seed
        )
        return model.fit(X).cluster_centers_.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class PrincipalComponents(Rows):
    """Principal components of the images, each with both signs; all of them, or ``n_hidden`` rows."""

    n_hidden: int | None = None

    def computed(self, X: np.ndarray) -> np.ndarray:
        some = None if self.n_hidden is None else self.n_hidden // 2
        components = PCA(some, random_state=0).fit(X).components_.astype(np.float32)
        return np.concatenate([components, -components])


@dataclass(frozen=True, kw_only=True)
class Talk(Rows):
    """The talk's own rows, by the exact solution of its scheme."""

    def computed(self, X: np.ndarray) -> np.ndarray:
        units = talk.units(init=talk.start(X.shape[1])).fit(X.astype(np.float64))
        return units.components_.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Learned(Rows):
    """Rows that learn, and are kept."""

    seed: int
    NOT_SETTINGS: ClassVar[tuple[str, ...]] = ("seed",)

    def of(self, part: str, view: str | None = None) -> Made:
        X = views.seen(part, view, part) if view else views.images(part)[0]
        path = self.path(part, view)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".json")
        with FileLock(f"{path}.lock"):
            if beside.exists():
                with np.load(path) as kept:
                    return kept["W"], json.loads(beside.read_text(encoding="utf-8"))
            clock, began = time.perf_counter(), time.process_time()
            units = self.estimator(path.with_suffix(".checkpoint.npz")).fit(X)
            facts = {
                "seconds": time.perf_counter() - clock,
                "processor_seconds": time.process_time() - began,
                "commit": records.commit(),
                **self.facts(units, len(X), bool(view)),
            }
            with atomic_write(path) as file:
                np.savez(file, W=units.components_)
            with atomic_write(beside) as file:
                file.write(json.dumps(facts, allow_nan=False).encode())
            path.with_suffix(".checkpoint.npz").unlink(missing_ok=True)
        return units.components_, facts

    def path(self, part: str, view: str | None) -> Path:
        """Where these rows are kept."""
        name = f"{type(self).__name__.lower()}-{sweeps.key(self)}-{part}"
        return runs_folder() / "rows" / f"{name}{'-' + view.replace(' ', '-') if view else ''}.npz"

    def settings(self) -> dict[str, Any]:
        """What the estimator is given."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.NOT_SETTINGS}

    def estimator(self, checkpoint: Path | None) -> Any:
        """The estimator, not fitted."""
        raise NotImplementedError

    def facts(self, units: Any, count: int, viewed: bool) -> dict[str, Any]:
        """What is recorded of the learned rows."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Ranked(Learned):
    """Rows that learn by the fast rule."""

    n_hidden: int = 2000
    p: float = 3.0
    k: int = 7
    delta: float = 0.4
    n_epochs: int = 1000
    learning_rate: float = RATE
    batch_size: int = BATCH

    def estimator(self, checkpoint: Path | None) -> RankedUnits:
        return RankedUnits(**self.settings(), random_state=self.seed, checkpoint=checkpoint)

    def facts(self, units: Any, count: int, viewed: bool) -> dict[str, Any]:
        W = units.components_
        norms = lebesgue_norms(W, self.p)
        facts = {
            "converged": [round(float(x), 4) for x in _thinned(units.converged_)],
            "norms_within_5_percent": float((np.abs(norms - 1.0) <= 0.05).mean()),
            "weight_range": [float(W.min()), float(W.max())],
            "share_negative": float((W < 0).mean()),
            "share_mass_negative": float(np.abs(W[W < 0]).sum() / np.abs(W).sum()),
            "never_won": int((units.wins_ == 0).sum()),
        }
        if viewed:
            facts["norms"] = [round(float(x), 4) for x in np.quantile(norms, (0.05, 0.25, 0.5, 0.75, 0.95))]
            facts["shares_of_wins"] = round(effective_number(units.wins_), 1)
        return facts


@dataclass(frozen=True, kw_only=True)
class Competing(Learned):
    """Rows that learn by the dynamics, one image after another."""

    n_hidden: int
    n_epochs: int
    w_inh: float
    h_star: float
    delta: float
    duration: float
    init: float | str
    schedule: str = "linear"
    threshold: str = "relative"
    normalize: bool = True

    def estimator(self, checkpoint: Path | None) -> CompetingUnits:
        return CompetingUnits(**self.settings(), random_state=self.seed)

    def facts(self, units: Any, count: int, viewed: bool) -> dict[str, Any]:
        W, presentations = units.components_, count * units.n_epochs
        norms = np.linalg.norm(W.astype(np.float64), axis=1)
        return {
            "norms_within_5_percent": float((np.abs(norms - 1) <= 0.05).mean()),
            "largest_norm": float(norms.max()),
            "share_negative": float((W < 0).mean()),
            "never_won": int((units.wins_ == 0).sum()),
            "effective_units": effective_number(units.wins_),
            "silent_share": units.n_silent_ / presentations,
            "wins_an_image": float(units.wins_.sum() / presentations),
        }


def length(W: np.ndarray) -> float:
    """Median Euclidean length of the rows."""
    return float(np.median(np.linalg.norm(W, axis=1)))


def of_length(W: np.ndarray, wanted: float) -> np.ndarray:
    """Rows of this Euclidean length each."""
    return W * (wanted / np.linalg.norm(W, axis=1, keepdims=True)).astype(np.float32)


def reach(W: np.ndarray, X: np.ndarray, count: int = 5000) -> float:
    """Largest current of the median image, over the first `count` images of unit length."""
    return float(np.median((views.unit(X[:count]) @ W.T).max(axis=1)))


def _thinned(values: np.ndarray, count: int = 100) -> np.ndarray:
    """At most `count` of `values`, evenly spread, the last among them."""
    if len(values) <= count:
        return values
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]
