"""The smallest L2 change that turns an image, and the median over images."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binom

from bionet import checks
from bionet.attacks.ball import Ball, direction
from bionet.backend import Array, blocks, floating, namespace, to_host
from bionet.checks import require_number

_BLOCK = 500


def minimal_l2(
    model: Any,
    X: Any,
    y: Any,
    *,
    steps: int = 100,
    start: float = 1.0,
    gamma: float = 0.05,
    loss: str = "margin",
    bisections: int = 12,
) -> tuple[Array, np.ndarray]:
    """The smallest L2 change found for each image: an upper bound of the distance to another answer.

    The method is the decoupled direction and norm attack (DDN) of Rony et al. (2019). Every image
    has its own radius, which shrinks by `gamma` after a step at which the image is misclassified and
    grows by it otherwise; the steps shrink along a cosine. At last the segment from the image to its
    nearest misclassified point is bisected.

    Parameters
    ----------
    model : classifier with ``logits_and_gradient`` and ``classes_``
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    y : array, shape (samples,)
        True labels.
    steps : int
    start : float
        First radius, and first length of a step.
    gamma : float
        Change of the radius at a step, between 0 and 1.
    loss : {"cross_entropy", "margin", "dlr"}
        What to climb; the margin needs no scale.
    bisections : int
        Halvings of the last segment.

    Returns
    -------
    images : array, shape (samples, features)
        The nearest misclassified images; the image itself where none was found, or none is needed.
    distances : numpy.ndarray, shape (samples,)
        Their L2 distances, in float64: 0 for images that are misclassified as they are, infinity
        where no misclassified point was met.

    Raises
    ------
    ValueError
        For pixels outside [0, 1], labels that do not fit, or parameters out of range.
    """
    xp, X = floating(X)
    if X.ndim != 2 or 0 in X.shape or not (float(xp.min(X)) >= 0.0 and float(xp.max(X)) <= 1.0):
        raise ValueError(f"expected images of shape (samples, features) with pixels in [0, 1], got {X.shape}")
    steps, bisections = checks.integer("steps", steps), checks.integer("bisections", bisections, 0)
    start = require_number("start", start, 0.0, open_low=True)
    gamma = require_number("gamma", gamma, 0.0, 1.0, open_low=True, open_high=True)
    index = checks.labels(model, X, y, reset=False)
    images, distances = [], []
    for block in blocks(X.shape[0], _BLOCK):
        part, target = X[block, :], index[block]
        best, size = _ddn(model, part, target, steps, start, gamma, loss)
        best, size = _bisect(model, part, target, best, size, bisections)
        images.append(best)
        distances.append(to_host(size))
    return xp.concat(images), np.concatenate(distances)


def median_interval(values: Any, confidence: float = 0.95) -> tuple[float, float, float]:
    """Median of `values` and an interval for it that assumes no distribution: (median, low, high).

    The ends are order statistics, chosen from the binomial distribution of how many values lie below
    the true median, so that the interval covers it with at least `confidence`.

    Parameters
    ----------
    values : sequence of float
        Independent values; infinity is allowed.
    confidence : float

    Raises
    ------
    ValueError
        For NaN, or too few values for such an interval.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    confidence = require_number("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    if array.ndim != 1 or np.isnan(array).any():
        raise ValueError("expected values in one dimension without NaN")
    below = int(binom.ppf((1.0 - confidence) / 2.0, array.size, 0.5)) - 1
    if below < 0:
        raise ValueError(f"{array.size} values are too few for an interval of confidence {confidence:g}")
    middle = array[(array.size - 1) // 2], array[array.size // 2]
    median = middle[0] if middle[0] == middle[1] else 0.5 * (middle[0] + middle[1])
    return float(median), float(array[below]), float(array[array.size - 1 - below])


def _ddn(
    model: Any, X: Array, index: Array, steps: int, start: float, gamma: float, loss: str
) -> tuple[Array, Array]:
    xp = namespace(X)
    labels = model.classes_[to_host(index)]
    X_adv, best = X, X
    size = xp.astype(float("inf") * xp.ones_like(X[:, 0]), xp.float64)
    radius = start * xp.ones_like(X[:, :1])
    for step in range(steps + 1):
        logits, _, gradient = model.logits_and_gradient(X_adv, labels, loss)
        wrong = xp.argmax(logits, axis=1) != index
        distance = _distance(X_adv, X)
        better = wrong & (distance < size)
        best = xp.where(better[:, None], X_adv, best)
        size = xp.where(better, distance, size)
        radius = xp.where(wrong[:, None], (1.0 - gamma) * radius, (1.0 + gamma) * radius)
        length = start * (0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * step / steps))))
        change = X_adv + length * direction(gradient, "l2") - X
        # onto the sphere, not only into the ball: a radius too large must come down from outside
        X_adv = Ball(X, radius, "l2").project(X + radius * direction(change, "l2"))
    return best, size


def _bisect(
    model: Any, X: Array, index: Array, best: Array, size: Array, bisections: int
) -> tuple[Array, Array]:
    """Halve the segment between an image (answered rightly) and its misclassified neighbour."""
    xp = namespace(X)
    low, high = xp.zeros_like(X[:, :1]), xp.ones_like(X[:, :1])
    far = best
    for _ in range(bisections):
        middle = 0.5 * (low + high)
        X_mid = X + middle * (far - X)
        wrong = (xp.argmax(model.logits(X_mid), axis=1) != index)[:, None]
        distance = _distance(X_mid, X)
        better = wrong[:, 0] & (distance < size)
        best = xp.where(better[:, None], X_mid, best)
        size = xp.where(better, distance, size)
        low, high = xp.where(wrong, low, middle), xp.where(wrong, middle, high)
    return best, size


def _distance(X_adv: Array, X: Array) -> Array:
    xp = namespace(X)
    change = xp.astype(X_adv, xp.float64) - xp.astype(X, xp.float64)
    return xp.sqrt(xp.sum(change * change, axis=1))
