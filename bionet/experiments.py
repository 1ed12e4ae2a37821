"""The named runs behind the book's numbers: settings, provenance, and records in ``results/``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from bionet import (
    _stability_maps,
    cifar,
    cifar_colour,
    cifar_patches,
    data,
    dynamical,
    dynamics,
    paper,
    persistence,
    plasticity,
    robustness,
)
from bionet._records import interval, provenance, record, write
from bionet._runs import RUNS
from bionet.features import unit_norm
from bionet.ledger import results_folder
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits

__all__ = [
    "RUNS",
    "SCHEMA",
    "TALK",
    "EulerRun",
    "Talk",
    "compare",
    "compare_talk",
    "interval",
    "load_trained",
    "provenance",
    "record",
    "reproduce_talk",
    "talk_backprop",
    "talk_euler",
    "talk_readout",
    "talk_sample",
    "talk_start",
    "talk_units",
    "write",
]

SCHEMA = 1


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


def talk_start(n_features: int, seed: int = TALK.seed) -> np.ndarray:
    """The notebook's first weights: U[0, 1), shape (484, features), float64."""
    return np.random.RandomState(seed).rand(TALK.n_hidden, n_features)


def talk_sample(labels: np.ndarray, seed: int = TALK.seed) -> np.ndarray:
    """Indices of the notebook's 600 images in its order: 60 a digit, with replacement, shuffled."""
    rng = np.random.RandomState(seed)
    rng.randint(0, 59999, 600)  # the notebook draws these and drops them
    drawn = [rng.choice(np.flatnonzero(labels == digit), TALK.per_digit) for digit in range(10)]
    return rng.permutation(np.concatenate(drawn))


def talk_units(**changes: Any) -> CompetingUnits:
    """The notebook's unsupervised run as an estimator, solved exactly; `changes` override."""
    settings: dict[str, Any] = {
        "n_hidden": TALK.n_hidden,
        "w_inh": TALK.w_inh,
        "h_star": TALK.h_star,
        "delta": TALK.delta,
        "duration": TALK.duration,
        "threshold": "absolute",
        "schedule": "constant",
        "normalize": False,
        "shuffle": False,
    }
    return CompetingUnits(**{**settings, **changes})


def talk_readout(rows: Any, **changes: Any) -> PowerReadout:
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


def talk_backprop(**changes: Any) -> BackpropClassifier:
    """The notebook's back-propagation net: sigmoids everywhere, the pixels included; Adam."""
    settings: dict[str, Any] = {
        "hidden": TALK.n_hidden,
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
    """What :func:`talk_euler` leaves behind."""

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


def talk_euler(X: np.ndarray, W: np.ndarray, *, talk: Talk = TALK, progress: bool = False) -> EulerRun:
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
                W += talk.dt_w / talk.tau_l * plasticity.velocity_unchecked(np, W, v, g, 2, 1)
            run.seconds_h += settled - started
            run.seconds_w += time.process_time() - settled
            run.wins += g > 0
            run.last_win[g > 0] = index
            run.winners.append(int((g > 0).sum()))
            run.losers.append(int((g < 0).sum()))
    return run


def reproduce_talk(seeds: int = 10, progress: bool = True) -> dict[str, Any]:
    """Run the whole talk on MNIST, its own scheme and the exact one, and the controls.

    Parameters
    ----------
    seeds : int
        Seeds of every supervised net.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        The record, as written to ``results/talk.json``. Its seconds are processor time, which other
        programs on the machine disturb little; with one BLAS thread a quiet machine's clock agrees.
    """
    train, test = data.load("mnist"), data.load("mnist", split="test")
    order = talk_sample(train.labels)
    X = train.images[order].astype(np.float64)
    start = talk_start(X.shape[1])
    euler = talk_euler(X, start, progress=progress)
    began = time.process_time()
    units = talk_units(init=start).fit(X)
    exact_seconds = time.process_time() - began

    kept, _ = train_test_split(  # the notebook's ValidSplit(5): one stratified 80/20 split
        np.arange(len(train.labels)), test_size=0.2, stratify=train.labels, random_state=0
    )
    images, labels = train.images[kept], train.labels[kept]

    def accuracies(make: Callable[[int], Any], count: int, label: str) -> dict[str, Any]:
        began, scores, last = time.process_time(), [], []
        for seed in tqdm(range(count), desc=label, disable=not progress):
            net = make(seed).fit(images, labels)
            scores.append(net.score(test.images, test.labels))
            last.append(net.loss_history_[-1])
        return {
            "accuracy": scores,
            "last_loss": last,
            "seconds_each": (time.process_time() - began) / count,
        }

    learned = euler.W.astype(np.float32)

    def random_rows(seed: int) -> np.ndarray:
        rows = np.random.default_rng([seed, 1]).standard_normal(learned.shape)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32)

    plain = {"loss": "cross_entropy"}
    nets = {
        "learned": lambda s: talk_readout(learned, random_state=s),
        "exact": lambda s: talk_readout(units.components_.astype(np.float32), random_state=s),
        "random_rows": lambda s: talk_readout(random_rows(s), random_state=s),
        "no_hidden_layer": lambda s: talk_readout(None, random_state=s),
        "training_images": lambda s: talk_readout(
            unit_norm(images[np.random.default_rng([s, 2]).choice(len(images), TALK.n_hidden)]),
            random_state=s,
        ),
        "start_untrained": lambda s: talk_readout(start.astype(np.float32), random_state=s),
        "learned_no_sigmoid": lambda s: talk_readout(learned, random_state=s, **plain),
        "no_hidden_no_sigmoid": lambda s: talk_readout(None, random_state=s, **plain),
    }
    supervised = {name: accuracies(make, seeds, name) for name, make in nets.items()}
    backprop = accuracies(lambda s: talk_backprop(random_state=s), seeds, "back-propagation")
    sweep: dict[str, dict[str, float] | None] = {}
    for delta in (0.01, 0.02, 0.024, 0.025, 0.03, 0.1, 0.4):
        try:
            talk_units(init=start, delta=delta).fit(X)
            sweep[str(delta)] = None
        except plasticity.Divergence as error:
            sweep[str(delta)] = {"unit": error.unit, "y": error.y, "time": error.time}
    norms = np.linalg.norm(euler.W, axis=1)
    won = euler.last_win >= 0
    copied = X[euler.last_win[won]]
    cosine = np.sum(euler.W[won] * copied, axis=1) / (norms[won] * np.linalg.norm(copied, axis=1))
    return {
        "run": "talk",
        "schema": SCHEMA,
        "settings": {**asdict(TALK), "seeds": seeds, "seconds": "processor time of the process"},
        "provenance": provenance(train, test),
        "unsupervised": {
            "images": len(X),
            "distinct_images": len(np.unique(order)),
            "weight_divergence": float(np.abs(euler.W - start).mean()),
            "weight_divergence_exact": float(np.abs(units.components_ - start).mean()),
            "silent_images": euler.silent,
            "silent_images_exact": units.n_silent_,
            "wins": euler.wins.tolist(),
            "last_win": euler.last_win.tolist(),
            "winners_an_image": euler.winners,
            "losers_an_image": euler.losers,
            "row_norms": [round(float(x), 6) for x in norms],
            "rows_within_2_percent": int((np.abs(norms - 1) < 0.02).sum()),
            "rows_within_10_percent": int((np.abs(norms - 1) < 0.10).sum()),
            "median_cosine_with_last_image": float(np.median(cosine)),
            "distinct_images_copied": len(np.unique(order[euler.last_win[won]])),
            "seconds_euler": euler.seconds_h + euler.seconds_w,
            "seconds_euler_h": euler.seconds_h,
            "seconds_euler_w": euler.seconds_w,
            "seconds_exact": exact_seconds,
        },
        "delta_sweep_first_divergence": sweep,
        "training_images": len(labels),
        "supervised": supervised,
        "backprop": backprop,
    }


def compare_talk(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the talk-versus-here table: quantity, the talk's value, the value here."""
    part, nets = run["unsupervised"], run["supervised"]

    def spread(entry: dict[str, Any]) -> str:
        values = [100 * a for a in entry["accuracy"]]
        if len(values) == 1:
            return f"{values[0]:.2f} % (1 seed)"
        mean, low, high = interval(values)
        return f"{mean:.2f} % ({low:.2f} to {high:.2f}, {len(values)} seeds)"

    return [
        ("unsupervised run, Euler", "585 s", f"{part['seconds_euler']:.1f} s"),
        ("unsupervised run, exact", "-", f"{part['seconds_exact']:.2f} s"),
        ("mean |W_end - W_start|", "0.482012 (notebook)", f"{part['weight_divergence']:.6f}"),
        ("images that teach no unit", "-", f"{part['silent_images']} of {part['images']}"),
        ("accuracy, learned layer", "83.93 %", spread(nets["learned"])),
        ("accuracy, random rows", "-", spread(nets["random_rows"])),
        ("accuracy, no hidden layer", "-", spread(nets["no_hidden_layer"])),
        ("accuracy, back-propagation, 2 epochs", "82.65 %", spread(run["backprop"])),
    ]


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: quantity, what the source says, the value here."""
    if run["run"] == "talk":
        return [("", "the talk", "here"), *compare_talk(run)]
    if run["run"] in ("dynamical", "repaired"):
        return [("", "the paper", "here"), *dynamical.compare(run)]
    if run["run"] == "cifar10_colour":
        return [("", "the paper", "here"), *cifar_colour.compare(run)]
    if run["run"] == "patches":
        return [("", "the paper", "here"), *cifar_patches.compare(run)]
    if run["run"].startswith("cifar10"):
        return [("", "the paper", "here"), *cifar.compare(run)]
    if run["run"] == "robustness":
        return [("", "clean", "after attacks"), *robustness.compare(run)]
    if run["run"] == "stability":
        return [("", "the talk", "here"), *_stability_maps.compare(run)]
    return [("", "the paper", "here"), *paper.compare(run)]


def load_trained(name: str) -> PowerReadout:
    """Return the recorded net of a run, as stored in ``results/NAME-seed0.npz``.

    Parameters
    ----------
    name : str
        ``"mnist"`` or ``"cifar10"``.

    Returns
    -------
    PowerReadout
        Trained, with the paper's loss; its weights went through float16.

    Raises
    ------
    FileNotFoundError
        If no net of that name has been recorded; the message says how to record it.
    """
    path = results_folder() / f"{name}-seed0.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run `bionet reproduce {name}` to train and record it")
    return persistence.load(path)
