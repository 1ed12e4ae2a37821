"""The whole talk on MNIST: its own scheme and the exact solution of it, its two nets, and the controls.

Seconds are processor time, which other programs on the machine disturb little; with one BLAS thread a quiet
machine's clock agrees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from bionet import data, plasticity
from bionet.activations import unit_norm
from bionet_reproduction import talk
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import interval
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class TalkRun(Plan):
    """Every constant of the run."""

    talk: talk.Talk = talk.TALK
    seeds: int = 10  # of every supervised net
    readout_epochs: int = 40
    backprop_epochs: int = 2
    held_out: float = 0.2  # the notebook's ValidSplit(5): one stratified 80/20 split
    deltas: tuple[float, ...] = (0.01, 0.02, 0.024, 0.025, 0.03, 0.1, 0.4)


def make(plan: TalkRun, sweep: Sweep) -> dict[str, Any]:
    """The unsupervised run in both schemes, the nets on its rows and on others, and a sweep over delta."""
    train, test = data.load("mnist"), data.load("mnist", split="test")
    order = talk.sample(train.labels, plan.talk)
    X = train.images[order].astype(np.float64)
    start = talk.start(X.shape[1], plan.talk)
    euler = talk.euler(X, start, talk=plan.talk, progress=sweep.progress)
    began = time.process_time()
    units = talk.units(plan.talk, init=start).fit(X)
    exact_seconds = time.process_time() - began
    kept, _ = train_test_split(
        np.arange(len(train.labels)), test_size=plan.held_out, stratify=train.labels, random_state=0
    )
    images, labels = train.images[kept], train.labels[kept]

    def accuracies(net_of: Callable[[int], Any], label: str) -> dict[str, Any]:
        began, scores, last = time.process_time(), [], []
        for seed in tqdm(range(plan.seeds), desc=label, disable=not sweep.progress):
            net = net_of(seed).fit(images, labels)
            scores.append(net.score(test.images, test.labels))
            last.append(net.loss_history_[-1])
        seconds = (time.process_time() - began) / plan.seeds
        return {"accuracy": scores, "last_loss": last, "seconds_each": seconds}

    learned = euler.W.astype(np.float32)

    def random_rows(seed: int) -> np.ndarray:
        rows = np.random.default_rng([seed, 1]).standard_normal(learned.shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def training_images(seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, 2])
        return unit_norm(images[rng.choice(len(images), plan.talk.n_hidden)])

    def readout(rows: Any, seed: int, **changes: Any) -> Any:
        return talk.readout(rows, random_state=seed, n_epochs=plan.readout_epochs, **changes)

    nets: dict[str, Callable[[int], Any]] = {
        "learned": lambda s: readout(learned, s),
        "exact": lambda s: readout(units.components_.astype(np.float32), s),
        "random_rows": lambda s: readout(random_rows(s), s),
        "no_hidden_layer": lambda s: readout(None, s),
        "training_images": lambda s: readout(training_images(s), s),
        "start_untrained": lambda s: readout(start.astype(np.float32), s),
        "learned_no_sigmoid": lambda s: readout(learned, s, loss="cross_entropy"),
        "no_hidden_no_sigmoid": lambda s: readout(None, s, loss="cross_entropy"),
    }
    return {
        "unsupervised": {
            **unsupervised(X, order, start, euler),
            "weight_divergence_exact": float(np.abs(units.components_ - start).mean()),
            "silent_images_exact": units.n_silent_,
            "seconds_exact": exact_seconds,
        },
        "delta_sweep_first_divergence": {
            str(delta): first_divergence(plan.talk, X, start, delta) for delta in plan.deltas
        },
        "training_images": len(labels),
        "supervised": {name: accuracies(net_of, name) for name, net_of in nets.items()},
        "backprop": accuracies(
            lambda s: talk.backprop(plan.talk, random_state=s, n_epochs=plan.backprop_epochs),
            "back-propagation",
        ),
    }


def unsupervised(X: np.ndarray, order: np.ndarray, start: np.ndarray, euler: talk.EulerRun) -> dict[str, Any]:
    """What the talk's own scheme left behind: who won, row norms, copies of single images."""
    norms = np.linalg.norm(euler.W, axis=1)
    won = euler.last_win >= 0
    copied = X[euler.last_win[won]]
    cosine = np.sum(euler.W[won] * copied, axis=1) / (norms[won] * np.linalg.norm(copied, axis=1))
    return {
        "images": len(X),
        "distinct_images": len(np.unique(order)),
        "weight_divergence": float(np.abs(euler.W - start).mean()),
        "silent_images": euler.silent,
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
    }


def first_divergence(
    constants: talk.Talk, X: np.ndarray, start: np.ndarray, delta: float
) -> dict[str, float] | None:
    """The unit that diverges first over the run at this delta, its projection and its time; None if none."""
    try:
        talk.units(constants, init=start, delta=delta).fit(X)
    except plasticity.Divergence as error:
        return {"unit": error.unit, "y": error.y, "time": error.time}
    return None


def table(record: dict[str, Any]) -> Table:
    """The talk's values beside those here."""
    part, nets = record["unsupervised"], record["supervised"]

    def spread(entry: dict[str, Any]) -> str:
        values = [100 * a for a in entry["accuracy"]]
        if len(values) == 1:
            return f"{values[0]:.2f} % (1 seed)"
        mean, low, high = interval(values)
        return f"{mean:.2f} % ({low:.2f} to {high:.2f}, {len(values)} seeds)"

    return [
        ("", "the talk", "here"),
        ("unsupervised run, Euler", "585 s", f"{part['seconds_euler']:.1f} s"),
        ("unsupervised run, exact", "-", f"{part['seconds_exact']:.2f} s"),
        ("mean |W_end - W_start|", "0.482012 (notebook)", f"{part['weight_divergence']:.6f}"),
        ("images that teach no unit", "-", f"{part['silent_images']} of {part['images']}"),
        ("accuracy, learned layer", "83.93 %", spread(nets["learned"])),
        ("accuracy, random rows", "-", spread(nets["random_rows"])),
        ("accuracy, no hidden layer", "-", spread(nets["no_hidden_layer"])),
        ("accuracy, back-propagation, 2 epochs", "82.65 %", spread(record["backprop"])),
    ]


RUN = Run(
    plan=TalkRun(),
    make=make,
    table=table,
    others={
        "tiny": TalkRun(
            talk=talk.Talk(n_hidden=20, per_digit=3), seeds=2, readout_epochs=1, backprop_epochs=1
        )
    },
)
