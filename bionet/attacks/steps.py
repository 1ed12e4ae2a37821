"""Attacks of one step or of none: the projection, random changes, the fast gradient method."""

from __future__ import annotations

from typing import Any

from bionet.attacks.ball import NORMS, Ball, direction, draw
from bionet.backend import Array, floating, generators
from bionet.checks import choice, require_number


def images_of(X: Any) -> tuple[Any, Array]:
    """Return the namespace and checked images, with pixels in [0, 1].

    Raises
    ------
    ValueError
        For another shape or other pixels.
    """
    xp, X = floating(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"expected images of shape (samples, features), got {X.shape}")
    low, high = float(xp.min(X)), float(xp.max(X))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(
            f"pixels must lie in [0, 1], got values from {low:g} to {high:g}; rescale the images first"
        )
    return xp, X


def project(X_adv: Array, X: Array, eps: float, norm: str = "linf") -> Array:
    """Move `X_adv` into the ball of radius `eps` around `X`, then clip it to [0, 1].

    Clipping to a box that holds `X` never lengthens the perturbation, so the result is in both, also
    after rounding: float64 measures no change above `eps`.

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
    _, X_adv, X = floating(X_adv, X)
    eps = require_number("eps", eps, 0.0)
    choice("norm", norm, NORMS)
    if X_adv.shape != X.shape or X.ndim != 2:
        raise ValueError(f"expected two arrays of shape (samples, features), got {X_adv.shape} and {X.shape}")
    return Ball(X, eps, norm).project(X_adv)


def noise(X: Any, eps: float, norm: str = "linf", where: str = "edge", random_state: Any = None) -> Array:
    """Images after a random change of the size that an attack may use: the scale to judge it by.

    Parameters
    ----------
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    eps : float
        Radius.
    norm : {"linf", "l2"}
    where : {"edge", "ball"}
        On the edge of the ball (L_inf: every pixel moves by `eps`; L2: changes of length `eps`), or
        uniform inside. What leaves [0, 1] is clipped, so that the change may end smaller.
    random_state : None, int or NumPy random generator

    Returns
    -------
    array, shape (samples, features)

    Raises
    ------
    ValueError
        For pixels outside [0, 1] or parameters out of range.
    """
    _, X = images_of(X)
    eps = require_number("eps", eps, 0.0)
    choice("norm", norm, NORMS)
    choice("where", where, ("edge", "ball"))
    (rng,) = generators(random_state, 1)
    return Ball(X, eps, norm).project(X + draw(X, eps, norm, where, rng))


def fgsm(model: Any, X: Any, y: Any, eps: float, loss: str = "cross_entropy", *, norm: str = "linf") -> Array:
    """Fast gradient method: one step of length `eps` up the loss, in L_inf along its signs.

    Parameters
    ----------
    model : classifier with ``loss_gradient``
    X : array, shape (samples, features)
        Images with pixels in [0, 1].
    y : array, shape (samples,)
        True labels.
    eps : float
        Radius.
    loss : {"cross_entropy", "margin", "dlr", "trained"}
    norm : {"linf", "l2"}

    Returns
    -------
    array, shape (samples, features)

    Raises
    ------
    ValueError
        For pixels outside [0, 1], labels that do not fit, parameters out of range, or ``"dlr"`` with
        fewer than three classes.
    """
    _, X = images_of(X)
    eps = require_number("eps", eps, 0.0)
    choice("norm", norm, NORMS)
    gradient = model.loss_gradient(X, y, loss)[1]
    return Ball(X, eps, norm).project(X + eps * direction(gradient, norm))
