"""Adversarial examples: fast gradient sign and projected gradient descent.

An attack is a step, a projection and a criterion, kept apart. Images are rows with pixels in
[0, 1]; `eps` is the radius of the ball in pixels (L_inf) or in the L2 norm of an image.

Sources: Goodfellow et al. (2015) for :func:`fgsm`; Madry et al. (2018) for :func:`pgd`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from bionet.backend import (
    Array,
    asarray_like,
    floating,
    generators,
    namespace,
    require_number,
    to_host,
)
from bionet.validation import choice, integer

NORMS = ("linf", "l2")


def project(X_adv: Array, X: Array, eps: float, norm: str = "linf") -> Array:
    """Move `X_adv` into the ball of radius `eps` around `X`, then clip it to [0, 1].

    Clipping to a box that holds `X` never lengthens the perturbation, so the result is in both.

    Parameters
    ----------
    X_adv, X : array, shape (samples, features)
    eps : float
        Radius of the ball, not negative.
    norm : {"linf", "l2"}

    Returns
    -------
    array, shape (samples, features)

    Raises
    ------
    ValueError
        For images of different shapes, or `eps` or `norm` out of range.
    """
    xp, X_adv, X = floating(X_adv, X)
    eps = require_number("eps", eps, 0.0)
    choice("norm", norm, NORMS)
    if X_adv.shape != X.shape or X.ndim != 2:
        raise ValueError(f"expected two arrays of shape (samples, features), got {X_adv.shape} and {X.shape}")
    change = X_adv - X
    if norm == "linf":
        change = xp.clip(change, -eps, eps)
    else:
        size = _length(xp, change)
        change = change * xp.where(size > eps, eps / xp.where(size > 0, size, 1.0 + size), 1.0 + 0.0 * size)
    return xp.clip(X + change, 0.0, 1.0)


def fgsm(model: Any, X: Any, y: Any, eps: float, loss: str = "cross_entropy") -> Array:
    """Fast gradient sign method: one L_inf step of length `eps` up the loss.

    Parameters
    ----------
    model : classifier with ``loss_gradient``
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    y : array, shape (samples,)
        True labels.
    eps : float
        Radius in pixels.
    loss : {"cross_entropy", "margin", "dlr", "trained"}

    Returns
    -------
    array, shape (samples, features)

    Raises
    ------
    ValueError
        For pixels outside [0, 1], labels that do not fit, or parameters out of range.
    """
    xp, X = _images(X)
    eps = require_number("eps", eps, 0.0)
    gradient = model.loss_gradient(X, y, loss)[1]
    return project(X + eps * xp.sign(gradient), X, eps, "linf")


def pgd(
    model: Any,
    X: Any,
    y: Any,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    loss: str = "cross_entropy",
    random_state: Any = None,
    verbose: bool = False,
) -> Array:
    """Projected gradient descent from random starts; keeps each image's worst case.

    The worst case is a misclassified point if one was met at any step of any restart, else the
    point with the largest loss.

    Parameters
    ----------
    model : classifier with ``loss_gradient`` and ``logits``
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    y : array, shape (samples,)
        True labels.
    eps : float
        Radius of the ball.
    norm : {"linf", "l2"}
    steps : int
    step_size : float, optional
        Length of a step; ``2.5 eps / steps`` by default.
    restarts : int
        The first starts at the image itself, the others at random points of the ball.
    loss : {"cross_entropy", "margin", "dlr", "trained"}
    random_state : None, int or NumPy random generator
    verbose : bool
        Show a progress bar.

    Returns
    -------
    array, shape (samples, features)
        Images in the ball and in [0, 1].

    Raises
    ------
    ValueError
        For pixels outside [0, 1], labels that do not fit, or parameters out of range.
    """
    xp, X = _images(X)
    eps = require_number("eps", eps, 0.0)
    choice("norm", norm, NORMS)
    steps, restarts = integer("steps", steps), integer("restarts", restarts)
    length = 2.5 * eps / steps if step_size is None else require_number("step_size", step_size, 0.0)
    (rng,) = generators(random_state, 1)
    worst, worst_score = X, None
    rounds = tqdm(total=restarts * steps, desc=f"PGD {norm} {eps:g}", disable=not verbose)
    for restart in range(restarts):
        X_adv = X if restart == 0 else project(X + _random(xp, X, eps, norm, rng), X, eps, norm)
        for step in range(steps + 1):
            value, gradient = model.loss_gradient(X_adv, y, loss)
            score = value + 1e6 * xp.astype(_missed(model, X_adv, y), value.dtype)
            if worst_score is None:
                worst, worst_score = X_adv, score
            else:
                better = score > worst_score
                worst = xp.where(better[:, None], X_adv, worst)
                worst_score = xp.where(better, score, worst_score)
            if step == steps:
                break
            if norm == "linf":
                direction = xp.sign(gradient)
            else:
                size = _length(xp, gradient)
                direction = gradient / xp.where(size > 0, size, xp.ones_like(size))
            X_adv = project(X_adv + length * direction, X, eps, norm)
            rounds.update()
    rounds.close()
    return worst


def accuracy(model: Any, X: Any, y: Any) -> float:
    """Share of the images `X`, shape (samples, features), that `model` gives the labels `y`."""
    return float(np.mean(np.asarray(model.predict(X)) == to_host(y)))


def robust_accuracy(model: Any, X: Any, y: Any, eps: float, **settings: Any) -> float:
    """Accuracy under :func:`pgd` with the given settings (``eps = 0`` gives the clean one).

    Raises
    ------
    ValueError
        As :func:`pgd`.
    """
    eps = require_number("eps", eps, 0.0)
    return accuracy(model, pgd(model, X, y, eps, **settings) if eps > 0 else X, y)


def _images(X: Any) -> tuple[Any, Array]:
    xp, X = floating(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"expected images of shape (samples, features), got {X.shape}")
    low, high = float(xp.min(X)), float(xp.max(X))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(
            f"pixels must lie in [0, 1], got values from {low:g} to {high:g}; rescale the images first"
        )
    return xp, X


def _missed(model: Any, X: Array, y: Any) -> Array:
    wrong = np.asarray(model.predict(X)) != to_host(y)
    return asarray_like(wrong, X, dtype=namespace(X).bool)


def _length(xp: Any, change: Array) -> Array:
    return xp.sqrt(xp.sum(change * change, axis=1, keepdims=True))


def _random(xp: Any, X: Array, eps: float, norm: str, rng: np.random.Generator) -> Array:
    if norm == "linf":
        return asarray_like(rng.uniform(-eps, eps, size=X.shape), X)
    change = asarray_like(rng.standard_normal(X.shape), X)
    radius = asarray_like(eps * rng.random((X.shape[0], 1)) ** (1.0 / X.shape[1]), X)
    return change * (radius / _length(xp, change))
