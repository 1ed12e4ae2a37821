r"""Stability: which rows of weights run away over a whole run, which units take part in it.

One presentation is :func:`bionet.plasticity.blow_up_time`. A run is many presentations, and growth
accumulates. For a row outside the ball with projection y > 1 write :math:`x = \operatorname{arcoth} y`.
Equation 3 with p = 2 gives :math:`dy/ds = 1 - y^2`, so that

.. math:: x(s) = x(0) + s, \qquad s = g\,|v|\,T .

Each anti-Hebbian presentation of one image, or of parallel ones, takes exactly :math:`\Delta\,|v|\,T` from
x; at x = 0 the row is infinite; a win (g = 1) adds to x.

Shapes: images `X` are ``(samples, features)``, weights `W` ``(hidden, features)``. Weights, pixels, doses and
activities are dimensionless; durations are in units of ``tau_L``.

Source: eqs. 1-3 of the talk; energy and norm law are eqs. 7, 11 and 5 of Krotov & Hopfield, PNAS 116, 7723
(2019). The limits of stability are derived in chapter 4 of the book.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bionet import dynamics, plasticity
from bionet.backend import Array, floating
from bionet.checks import require_finite, require_number
from bionet.plasticity import covector, lebesgue_norms


def arcoth(y: Array) -> Array:
    """Anti-Hebbian dose after which a row with projection `y` is infinite: ``artanh(1/|y|)``.

    Parameters
    ----------
    y : array, any shape
        Projections ``W.v / |v|`` (dimensionless).

    Returns
    -------
    array
        Doses ``delta |v| T`` (dimensionless); infinite where ``|y| <= 1``, since no dose suffices there.

    Raises
    ------
    ValueError
        If `y` is not finite.
    """
    xp, y = floating(y)
    require_finite("y", y)
    outside = xp.abs(y) > 1
    inverse = 1.0 / xp.where(outside, xp.abs(y), xp.ones_like(y) * 2.0)
    return xp.where(outside, xp.atanh(inverse), xp.full_like(y, float("inf")))


@dataclass(frozen=True)
class Survey:
    """What :func:`diverging_units` leaves behind."""

    W: np.ndarray  # (hidden, features); a removed row as it was before its last image
    image: np.ndarray  # (hidden,), index of the image at which the unit diverged, or -1
    wins: np.ndarray  # (hidden,), presentations with g = 1
    silent: int  # images that brought no unit to h_*

    @property
    def diverged(self) -> np.ndarray:
        """Mask of the units that diverged, shape (hidden,)."""
        return self.image >= 0


def diverging_units(
    X: np.ndarray,
    W: np.ndarray,
    *,
    w_inh: float,
    h_star: float,
    delta: float,
    duration: Any,
    relative: bool = False,
) -> Survey:
    """Run eqs. 1-3 over all images, exactly, and take a unit out where it becomes infinite.

    :class:`bionet.units.CompetingUnits` stops at the first divergence, since the equations end there. To
    count *how many* units diverge the run has to go on without them. A unit that would be infinite before the
    end of a presentation still competes for that image, because activities settle before weights move. Then
    it is removed: it neither learns nor inhibits any more. Left in, its infinite current would silence all
    others.

    Parameters
    ----------
    X : array, shape (samples, features)
        Images in the order shown.
    W : array, shape (hidden, features)
        Weights at the start (left alone).
    w_inh, h_star, delta : float
        Inhibition, threshold and anti-Hebbian strength of eqs. 1 and 2 (dimensionless).
    duration : float or array, shape (samples,)
        Length of each presentation, in units of ``tau_L``.
    relative : bool
        Take `h_star` as a fraction of the largest activity that the image evokes.

    Returns
    -------
    Survey

    Raises
    ------
    ValueError
        For wrong shapes, non-finite input, or a constant out of range.
    """
    durations = np.broadcast_to(duration, X.shape[:1])
    W = np.array(W)
    image, wins, silent = np.full(len(W), -1), np.zeros(len(W), dtype=int), 0
    for index, (v, T) in enumerate(zip(X, durations.tolist(), strict=True)):
        there = np.flatnonzero(image < 0)
        if not there.size:
            break
        h = dynamics.steady_state((W @ v)[there], w_inh)
        g = plasticity.learning_activation(h, h_star, delta, relative)
        rows, g = there[g != 0], g[g != 0]
        silent += not (g > 0).any()
        if not rows.size:
            continue
        lost = plasticity.blow_up_time(W[rows], v, g) <= T
        image[rows[lost]] = index
        kept, g = rows[~lost], g[~lost]
        W[kept] = plasticity.present(W[kept], v, g, T)
        wins[kept[g > 0]] += 1
    return Survey(W, image, wins, silent)


def predicted_divergence(
    X: np.ndarray, W: np.ndarray, *, w_inh: float, h_star: float, delta: float, duration: float
) -> np.ndarray:
    r"""Say which units will diverge, from the currents of the start alone.

    One number r stands for each row: by how much it has grown, ``W = r W_start``, with the small part that an
    image adds along itself left out. Its projections are r times those of the start. An anti-Hebbian
    presentation divides r by :math:`D = \cosh s + y \sinh s`; to first order 1/r falls by ``delta T I``, I
    being the current of the start. The unit is lost where D reaches 0. A unit that wins is taken for saved
    and leaves the model.

    Parameters
    ----------
    X, W, w_inh, h_star, delta : as for :func:`diverging_units`
    duration : float
        Length of a presentation, in units of ``tau_L``.

    Returns
    -------
    numpy.ndarray of int, shape (hidden,)
        Index of the image at which the unit is to diverge, or -1.

    Raises
    ------
    ValueError
        As :func:`diverging_units`.
    """
    T = require_number("duration", duration, 0.0)
    currents = X @ W.T  # (samples, hidden)
    lengths = np.linalg.norm(X, axis=1)  # (samples,)
    grown, image, waiting = np.ones(len(W)), np.full(len(W), -1), np.ones(len(W), dtype=bool)
    for index, (start, a) in enumerate(zip(currents, lengths.tolist(), strict=True)):
        rows = np.flatnonzero(waiting)
        if not rows.size:
            break
        if a == 0.0:
            continue
        I = grown[rows] * start[rows]  # noqa: E741 (the paper's symbol)
        g = plasticity.learning_activation(dynamics.steady_state(I, w_inh), h_star, delta)
        s = g * (a * T)
        D = np.cosh(s) + I / a * np.sinh(s)
        lost, unlearns = (g < 0) & (D <= 0), (g < 0) & (D > 0)
        image[rows[lost]] = index
        grown[rows[unlearns]] /= D[unlearns]
        waiting[rows[lost | (g > 0)]] = False
    return image


def euler_jumps(y: Array, s: Array) -> Array:
    """Whether one Euler step of eq. 3 lands where the exact solution never goes.

    A step of dose s takes the projection from y to ``y + s (1 - y^2)``. Outside the ball two things can
    happen. Where the row runs outwards (``s y < 0``) the step jumps over the infinity if
    ``|s| > artanh(1/|y|)``. Where it runs inwards (``s y > 0``) it jumps over the whole ball, to the far
    side, if ``|s| (|y| - 1) > 1``.

    Parameters
    ----------
    y : array, any shape
        Projections ``W.v / |v|`` before the step (dimensionless).
    s : array broadcastable against `y`
        Doses ``g |v| dt`` of the step, `dt` in units of ``tau_L`` (dimensionless).

    Returns
    -------
    array of bool

    Raises
    ------
    ValueError
        If an input is not finite.
    """
    xp, y, s = floating(y, s)
    require_finite("s", s)
    size, dose = xp.abs(y), xp.abs(s)
    return xp.where(s * y < 0, dose > arcoth(y), (s * y > 0) & (dose * (size - 1.0) > 1.0))


def overlaps(W: Array, X: Array, p: float = 2) -> Array:
    r"""Overlap Q of every row with every image: :math:`\langle W, v\rangle / \langle W, W\rangle^{(p-1)/p}`.

    For p = 2 it is the image's length times the cosine of the angle between the two.

    Parameters
    ----------
    W : array, shape (hidden, features)
    X : array, shape (samples, features)
    p : float
        Exponent of the Lebesgue norm, at least 1 (dimensionless).

    Returns
    -------
    array, shape (samples, hidden)

    Raises
    ------
    ValueError
        For wrong shapes, or `p` out of range.
    """
    _, W, X = floating(W, X)
    p = require_number("p", p, 1.0)
    if W.ndim != 2 or X.ndim != 2 or W.shape[1] != X.shape[1]:
        raise ValueError(
            "expected W of shape (hidden, features) and X of shape (samples, features), "
            f"got {W.shape} and {X.shape}"
        )
    return X @ covector(W, p).T / lebesgue_norms(W, p) ** (p - 1.0)


def energy(W: Array, X: Array, g: Array, p: float = 2) -> Array:
    r"""Energy of every row over a set of images, :math:`E = -\langle g\,Q \rangle`, g held fixed.

    With g a constant the paper's :math:`-\int g\,dQ` is this, up to a constant.

    Parameters
    ----------
    W : array, shape (hidden, features)
    X : array, shape (samples, features)
    g : array broadcastable to (samples, hidden)
        Learning activation of each unit for each image.
    p : float
        Exponent of the Lebesgue norm, at least 1 (dimensionless).

    Returns
    -------
    array, shape (hidden,)
        Mean over the images (dimensionless).

    Raises
    ------
    ValueError
        For wrong shapes, or `p` out of range.
    """
    Q = overlaps(W, X, p)
    xp, Q, g = floating(Q, g)
    return -xp.mean(g * Q, axis=0)


def effective_number(wins: Array) -> float:
    r"""Effective number of units that share the wins: the exponential of their entropy.

    .. math:: N = \exp\Big(-\sum_\mu f_\mu \ln f_\mu\Big), \qquad f_\mu = \frac{n_\mu}{\sum_\nu n_\nu}

    It is the count if all win equally often, and 1 if one unit takes all.

    Parameters
    ----------
    wins : array, shape (hidden,)
        Wins of each unit, not negative.

    Returns
    -------
    float
        0 if nobody ever won.

    Raises
    ------
    ValueError
        If a number of wins is negative or not finite, or `wins` is not one-dimensional.
    """
    counts = np.asarray(wins, dtype=np.float64)
    require_finite("wins", counts)
    if counts.ndim != 1 or (counts < 0).any():
        raise ValueError(f"wins must be one-dimensional and not negative, got {wins!r}")
    q = counts[counts > 0]
    if not q.size:
        return 0.0
    q = q / q.sum()
    return float(np.exp(-np.sum(q * np.log(q))))
