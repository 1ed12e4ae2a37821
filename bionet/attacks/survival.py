"""Which images keep their label under attack, and the accuracies that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bionet.attacks.ball import NORMS
from bionet.attacks.search import PGD, pgd
from bionet.attacks.steps import images_of
from bionet.backend import generators, indices_like, to_host
from bionet.checks import choice, require_number


def accuracy(model: Any, X: Any, y: Any) -> float:
    """Share of the images `X`, shape (samples, features), that `model` gives the labels `y`."""
    return float(np.mean(survivors(model, X, y)))


def survivors(model: Any, X_adv: Any, y: Any) -> np.ndarray:
    """Which of the images keep their label: bool, shape (samples,), on the host."""
    return np.asarray(model.predict(X_adv)) == to_host(y)


def survivors_within(model: Any, X_adv: Any, X: Any, y: Any, eps: float, norm: str = "linf") -> np.ndarray:
    """Which images survive changes of any size: those that keep their label, or changed by more than `eps`.

    For attacks that look for a small change. Images that `model` answers wrongly as they are do not survive.

    Parameters
    ----------
    model : classifier
    X_adv, X : array, shape (samples, features)
    y : array, shape (samples,)
        True labels.
    eps : float
        Radius.
    norm : {"linf", "l2"}

    Returns
    -------
    numpy.ndarray of bool, shape (samples,)
    """
    choice("norm", norm, NORMS)
    change = to_host(X_adv).astype(np.float64) - to_host(X).astype(np.float64)
    size = np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)
    return survivors(model, X, y) & (survivors(model, X_adv, y) | (size > eps))


def robust_accuracy(model: Any, X: Any, y: Any, eps: float, **settings: Any) -> float:
    """Accuracy under :func:`pgd` with the given settings (``eps = 0`` gives the clean one).

    Raises
    ------
    ValueError
        As :func:`pgd`.
    """
    eps = require_number("eps", eps, 0.0)
    return accuracy(model, pgd(model, X, y, eps, **settings) if eps > 0 else X, y)


def worst_case(
    model: Any, X: Any, y: Any, eps: float, attacks: Sequence[PGD], random_state: Any = None
) -> np.ndarray:
    """Which images survive all `attacks`: the worst case of each image over all of them.

    Every attack is tried on the survivors of those before it, so the order matters for the time only.

    Parameters
    ----------
    model : classifier with ``logits_and_gradient`` and ``classes_``
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    y : array, shape (samples,)
        True labels.
    eps : float
        Radius.
    attacks : sequence of PGD
    random_state : None, int or NumPy random generator

    Returns
    -------
    numpy.ndarray of bool, shape (samples,)
        Their mean is the robust accuracy.

    Raises
    ------
    ValueError
        As :func:`pgd`.
    """
    xp, X = images_of(X)
    y = to_host(y) if not isinstance(y, (list, tuple)) else np.asarray(y)
    alive = survivors(model, X, y)
    for attack, rng in zip(attacks, generators(random_state, len(attacks)), strict=True):
        left = np.flatnonzero(alive)
        if len(left):
            part = xp.take(X, indices_like(left, X), axis=0)
            found = replace(attack, early_stop=True).search(model, part, y[left], eps, rng)
            alive[left] = ~to_host(found.missed)
    return alive
