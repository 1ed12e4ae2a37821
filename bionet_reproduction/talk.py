"""The talk's own network: the constants of its notebook, its images, its two schemes, its two nets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from tqdm import tqdm

from bionet import dynamics, plasticity
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits


@dataclass(frozen=True)
class Talk:
    """Constants of the talk's notebook, in its own units (dimensionless, or one unit of time)."""

    n_hidden: int = 484
    w_inh: float = 0.7
    h_star: float = 3.0
    delta: float = 0.01
    tau: float = 0.05
    tau_l: float = 5.0
    dt_h: tuple[float, ...] = (0.0005, 0.002)
    steps_h: tuple[int, ...] = (99, 274)
    dt_w: float = 0.01
    steps_w: int = 179
    per_digit: int = 60
    seed: int = 2347

    @property
    def duration(self) -> float:
        """Length of one presentation, in units of ``tau_L``."""
        return self.steps_w * self.dt_w / self.tau_l


TALK = Talk()


def start(n_features: int, talk: Talk = TALK) -> np.ndarray:
    """The notebook's first weights: U[0, 1), shape (hidden, features), float64."""
    return np.random.RandomState(talk.seed).rand(talk.n_hidden, n_features)


def sample(labels: np.ndarray, talk: Talk = TALK) -> np.ndarray:
    """Indices of the notebook's 600 images in its order: 60 a digit, with replacement, shuffled."""
    rng = np.random.RandomState(talk.seed)
    rng.randint(0, 59999, 600)  # the notebook draws these and drops them
    drawn = [rng.choice(np.flatnonzero(labels == digit), talk.per_digit) for digit in range(10)]
    return rng.permutation(np.concatenate(drawn))


def units(talk: Talk = TALK, **changes: Any) -> CompetingUnits:
    """The notebook's unsupervised run as an estimator, solved exactly; `changes` override."""
    settings: dict[str, Any] = {
        "n_hidden": talk.n_hidden,
        "w_inh": talk.w_inh,
        "h_star": talk.h_star,
        "delta": talk.delta,
        "duration": talk.duration,
        "threshold": "absolute",
        "schedule": "constant",
        "normalize": False,
        "shuffle": False,
    }
    return CompetingUnits(**{**settings, **changes})


def readout(rows: Any, **changes: Any) -> PowerReadout:
    """The notebook's supervised net on the given rows (None: straight on the pixels).

    No nonlinearity between the two layers, a sigmoid before cross-entropy, SGD for 40 epochs.
    """
    settings: dict[str, Any] = {
        "n": 1.0,
        "rectify": False,
        "unit_norm": False,
        "fit_intercept": True,
        "loss": "sigmoid_cross_entropy",
        "optimizer": "sgd",
        "learning_rate": 5e-3,
        "batch_size": 128,
        "n_epochs": 40,
    }
    units = FrozenEstimator(rows) if hasattr(rows, "components_") else rows
    return PowerReadout(units, **{**settings, **changes})


def backprop(talk: Talk = TALK, **changes: Any) -> BackpropClassifier:
    """The notebook's back-propagation net: sigmoids everywhere, the pixels included; Adam."""
    settings: dict[str, Any] = {
        "hidden": talk.n_hidden,
        "activation": "sigmoid",
        "loss": "sigmoid_cross_entropy",
        "squash_pixels": True,
        "optimizer": "adam",
        "learning_rate": 5e-3,
        "batch_size": 128,
        "n_epochs": 2,
    }
    return BackpropClassifier(**{**settings, **changes})


@dataclass
class EulerRun:
    """What :func:`euler` leaves behind."""

    W: np.ndarray  # (hidden, features)
    wins: np.ndarray  # (hidden,)
    last_win: np.ndarray  # (hidden,), index of the presentation, or -1
    winners: list[int] = field(default_factory=list)  # units with g = 1, an image
    losers: list[int] = field(default_factory=list)  # units with g = -delta, an image
    seconds_h: float = 0.0
    seconds_w: float = 0.0

    @property
    def silent(self) -> int:
        """Images that brought no unit to h_*."""
        return sum(count == 0 for count in self.winners)


def euler(X: np.ndarray, W: np.ndarray, *, talk: Talk = TALK, progress: bool = False) -> EulerRun:
    """The notebook's own scheme: Euler steps for both equations, h carried from image to image.

    Parameters
    ----------
    X : array, shape (samples, features)
        Images in the order shown; pixels in [0, 1], not normalised.
    W : array, shape (hidden, features)
        Weights at the start (left alone).
    talk : Talk
        Constants.
    progress : bool
        Show a progress bar.

    Returns
    -------
    EulerRun
        Its weights may hold NaN: this loop shows what the talk saw, so it does not check.
    """
    W = np.array(W, dtype=np.float64)
    hidden = W.shape[0]
    run = EulerRun(W, np.zeros(hidden, dtype=np.int64), np.full(hidden, -1, dtype=np.int64))
    h = np.zeros(hidden)
    with np.errstate(over="ignore", invalid="ignore"):
        for index, v in enumerate(tqdm(X, desc="images", disable=not progress)):
            v = np.asarray(v, dtype=np.float64)
            started = time.process_time()
            currents = W @ v
            for dt, steps in zip(talk.dt_h, talk.steps_h, strict=True):
                for _ in range(steps):
                    h = h + dt / talk.tau * dynamics.velocity(h, currents, talk.w_inh)
            settled = time.process_time()
            g = plasticity.learning_activation_unchecked(np, h, talk.h_star, talk.delta)
            for _ in range(talk.steps_w):
                W += talk.dt_w / talk.tau_l * plasticity.velocity_unchecked(W, v, g, 2, 1)
            run.seconds_h += settled - started
            run.seconds_w += time.process_time() - settled
            run.wins += g > 0
            run.last_win[g > 0] = index
            run.winners.append(int((g > 0).sum()))
            run.losers.append(int((g < 0).sum()))
    return run
