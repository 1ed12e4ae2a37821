"""The cells of the run: a network and an attack each, and what else is measured of a network under attack.

Accuracies are in per cent of the images that are still answered rightly after the worst change found. A cell
also keeps which images those are, so that worst cases over attacks are taken image by image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bionet import attacks, data
from bionet.attacks import PGD, independent
from bionet_reproduction import views
from bionet_reproduction.robustness import facts
from bionet_reproduction.robustness.nets import Net, directions
from bionet_reproduction.sweeps import Cell, Recipe

Judged = tuple[np.ndarray, dict[str, Any]]  # which images survive, and what the attack says of itself


@dataclass(frozen=True, kw_only=True)
class Walks(Recipe):
    """PGD in several walks, each on the images that the ones before left.

    The first walk climbs the first criterion from the image itself, the second the next one from a random
    point of the ball, and so on, in turn.

    Attributes
    ----------
    steps, restarts : int
        Of a walk; how many walks.
    first_step : float or None
        Length of the first step in radii; the others shrink linearly, the last nearly to nothing. None for
        steps of one length, 2.5 radii over their number.
    criteria : tuple of str
    underflow : float
        Share of zero gradients above which the survivors are attacked in float64, too.
    """

    steps: int
    restarts: int
    first_step: float | None
    criteria: tuple[str, ...]
    underflow: float

    def pgd(self, loss: str, norm: str, eps: float, **more: Any) -> PGD:
        """One walk."""
        if self.first_step is not None:
            more |= {"step_size": 0.5 * self.first_step * eps, "shrink": True}
        return PGD(norm, loss, self.steps, **more)

    def survivors(
        self, net: Any, X: np.ndarray, y: np.ndarray, norm: str, eps: float, seed: int, alive: np.ndarray
    ) -> Judged:
        """Which of the images that are alive stay so, and what is recorded of the walks."""
        alive = alive.copy()
        after: list[float] = []
        zeros, gradients = {"float32": 0.0, "float64": 0.0}, {"float32": 0, "float64": 0}
        for dtype in (None, "float64"):
            if dtype and zeros["float32"] <= self.underflow * gradients["float32"]:
                break
            for walk in range(self.restarts):
                left = np.flatnonzero(alive)
                if len(left):
                    loss = self.criteria[walk % len(self.criteria)]
                    pgd = self.pgd(loss, norm, eps, early_stop=True, dtype=dtype, random_start=walk > 0)
                    found = pgd.search(net, X[left], y[left], eps, np.random.default_rng([seed, walk]))
                    alive[left] = ~found.missed
                    used = dtype or "float32"
                    zeros[used] += found.zero_gradients * found.gradients
                    gradients[used] += found.gradients
                after.append(percent(alive))
        shares = {used: zeros[used] / max(gradients[used], 1) for used in zeros}
        return alive, {
            "after": after,
            "zero_gradients": shares["float32"],
            "zero_gradients_float64": shares["float64"],
            "gradients": sum(gradients.values()),
        }


@dataclass(frozen=True, kw_only=True)
class OnImages(Cell):
    """A cell that looks at a net on test images.

    Attributes
    ----------
    net : Net
    images : int
        How many; see :func:`subset`.
    part : str
        The test images.
    """

    net: Net
    images: int
    part: str = "test"

    def work(self) -> dict[str, Any]:
        began = time.perf_counter()
        index = subset(self.images, self.part)
        X, y = (array[index] for array in views.images(self.part))
        found = self.seen(self.net.trained(), X, y)
        return {**found, "seconds": round(time.perf_counter() - began, 3)}

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        """The result, but for the seconds."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Attack(OnImages):
    """One attack in one ball: which images survive, how many, and what the attack says of itself."""

    norm: str
    eps: float
    seed: int

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        alive, said = self.survivors(net, X, y)
        return {**outcome(alive), **said}

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        """Which images are answered rightly all the same."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Noise(Attack):
    """Noise as large as an attack."""

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        return attacks.survivors(net, attacks.noise(X, self.eps, self.norm, random_state=self.seed), y), {}


@dataclass(frozen=True, kw_only=True)
class Fgsm(Attack):
    """One step along the gradient of each criterion."""

    criteria: tuple[str, ...]

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        alive = attacks.survivors(net, X, y)
        for loss in self.criteria:
            alive &= attacks.survivors(net, attacks.fgsm(net, X, y, self.eps, loss, norm=self.norm), y)
        return alive, {}


@dataclass(frozen=True, kw_only=True)
class Gradient(Attack):
    """Walks along gradients."""

    walks: Walks

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        alive = attacks.survivors(net, X, y)
        return self.walks.survivors(net, X, y, self.norm, self.eps, self.seed, alive)


@dataclass(frozen=True, kw_only=True)
class OwnLoss(Attack):
    """The trap: the net attacked through the loss that it was trained with, in one step and in one walk."""

    walks: Walks

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        single = attacks.survivors(net, attacks.fgsm(net, X, y, self.eps, "trained", norm=self.norm), y)
        found = self.walks.pgd("trained", self.norm, self.eps).search(net, X, y, self.eps, self.seed)
        said = {"zero_gradients": found.zero_gradients, "one_step_accuracy": percent(single)}
        return ~found.missed, said


@dataclass(frozen=True, kw_only=True)
class Apgd(Attack):
    """The library's APGD on each criterion in turn, on the images that are left."""

    steps: int
    restarts: int
    criteria: tuple[str, ...]

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        alive = attacks.survivors(net, X, y)
        for loss in self.criteria:
            left = np.flatnonzero(alive)
            if len(left):
                settings = {"steps": self.steps, "restarts": self.restarts, "random_state": self.seed}
                X_adv = independent.apgd(
                    net, X[left], y[left], self.eps, norm=self.norm, loss=loss, **settings
                )
                alive[left] = attacks.survivors(net, X_adv, y[left])
        return alive, {}


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """The library's Square, on MNIST."""

    iterations: int

    def survivors(self, net: Any, X: np.ndarray, y: np.ndarray) -> Judged:
        shape = data.load("mnist").shape
        settings: dict[str, Any] = {"norm": self.norm, "iterations": self.iterations}
        X_adv = independent.square(net, X, y, self.eps, shape=shape, random_state=self.seed, **settings)
        return attacks.survivors(net, X, y) & attacks.survivors(net, X_adv, y), {}


@dataclass(frozen=True, kw_only=True)
class Radii(OnImages):
    """One attack, judged at several radii of a norm; the result has a list of each entry."""

    norm: str
    eps: tuple[float, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Ladder(Radii):
    """Walks along gradients from the smallest radius to the largest, each on what is left.

    What is lost in a ball is lost in the balls around it.
    """

    walks: Walks

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        alive, rungs = attacks.survivors(net, X, y), []
        for eps in self.eps:
            alive, said = self.walks.survivors(net, X, y, self.norm, eps, self.seed, alive)
            rungs.append({**outcome(alive), **said})
        return {name: [rung[name] for rung in rungs] for name in rungs[0]}


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Radii):
    """The library's HopSkipJump, which looks for a small change, whatever the radius."""

    iterations: int
    evaluations: int
    most_evaluations: int

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        X_adv = independent.hop_skip_jump(
            net,
            X,
            y,
            norm=self.norm,
            iterations=self.iterations,
            evaluations=self.evaluations,
            most_evaluations=self.most_evaluations,
            random_state=self.seed,
        )
        each = [outcome(attacks.survivors_within(net, X_adv, X, y, eps, self.norm)) for eps in self.eps]
        return {name: [one[name] for one in each] for name in each[0]}


@dataclass(frozen=True, kw_only=True)
class Transfer(OnImages):
    """Images made for a net, by one walk along the margin, shown to others: which of them each survives."""

    norm: str
    eps: float
    seed: int
    walks: Walks
    targets: Mapping[str, Net]

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        X_adv = self.walks.pgd("margin", self.norm, self.eps).search(net, X, y, self.eps, self.seed).images
        each = {}
        for name, recipe in self.targets.items():
            target = recipe.trained()
            each[name] = outcome(attacks.survivors(target, X, y) & attacks.survivors(target, X_adv, y))
        return {entry: {name: one[entry] for name, one in each.items()} for entry in ("survived", "accuracy")}


@dataclass(frozen=True, kw_only=True)
class Minimal(OnImages):
    """The smallest L2 changes found: their median, its interval, and what is seen in them.

    Attributes
    ----------
    steps : int
        Of the search.
    components : int
        Principal components of the training images that count as the directions in which they vary.
    """

    steps: int
    components: int

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        X_adv, distances = attacks.minimal_l2(net, X, y, steps=self.steps)
        median, low, high = attacks.median_interval(distances)
        if not np.isfinite(high):
            raise ArithmeticError("over half of the images were never turned; start with a larger radius")
        return {
            "median": median,
            "low": low,
            "high": high,
            "never_turned": int(np.isinf(distances).sum()),
            "distances": [round(float(d), 4) if np.isfinite(d) else None for d in distances],
            **facts.facts(net, X, y, X_adv, directions("60k", self.components)[0]),
        }


@dataclass(frozen=True, kw_only=True)
class Surface(OnImages):
    """The margin of a few images along the gradient and along a random direction."""

    radius: float
    points: int
    seed: int

    def seen(self, net: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        steps, margins = facts.surface(net, X, y, self.radius, self.points, self.seed)
        return {"steps": steps.tolist(), "margins": np.round(margins, 5).tolist()}


def subset(count: int, part: str = "test") -> np.ndarray:
    """Indices of the first `count` images of a fixed random order; of all in their own order if too few."""
    total = len(views.images(part)[1])
    if count >= total:
        return np.arange(total)
    return np.random.default_rng(0).permutation(total)[:count]


def outcome(alive: np.ndarray) -> dict[str, Any]:
    """Which images survive, and how many, as a cell keeps it."""
    return {"survived": packed(alive), "accuracy": percent(alive)}


def percent(alive: np.ndarray) -> float:
    """Share of survivors in per cent."""
    return round(100.0 * float(np.mean(alive)), 4)


def packed(alive: np.ndarray) -> str:
    """Which images survive, as hexadecimal digits."""
    return np.packbits(alive).tobytes().hex()


def unpacked(text: str, count: int) -> np.ndarray:
    """The inverse of :func:`packed`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(bool)
