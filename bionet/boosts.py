r"""The exact presentation as floating-point numbers carry it out: no row leaves the unit ball by rounding.

With p = 2 and R = 1 equation 3 moves a row by a boost: along the direction u of the image, with rapidity
s = g a T where a is the length of the image. It takes the unit ball into itself.
:func:`bionet.plasticity.present` checks, boosts, and looks at the sign of D; :mod:`bionet.measures.geometry`
has the same map as matrices.

Nothing here checks its arguments, synchronises with a device, overflows or cancels.

Source: the closed form is derived in chapter 3 of the book.
"""

from __future__ import annotations

import math
from typing import Any

from bionet.backend import Array, out_of_range_unwarned


def unit_vector(xp: Any, v: Array) -> tuple[Array, Array]:
    """Return ``|v|`` (0-d array) and ``v/|v|`` (zeros where the image is blank)."""
    a = xp.sqrt(xp.sum(v * v))
    return a, v / xp.where(a > 0, a, xp.ones_like(a))


def norm_rounding(features: int, eps: float) -> float:
    """How far ``|W|^2`` of a row on the unit sphere may lie from 1 by rounding.

    The probabilistic bound ``8 sqrt(n) u`` of a sum of n squares (Higham & Mary, SIAM J. Sci. Comput. 41,
    A2815, 2019), and as much as for one number again, since the row itself was rounded; ``eps = 2 u``.
    """
    return 4.0 * (1.0 + math.sqrt(features)) * eps


def margin(xp: Any, W: Array) -> Array:
    r"""``1 - |W|^2`` of each row; 0 for a row on the unit sphere up to the rounding of its norm.

    A presentation divides it by :math:`D^2`, so it keeps its sign: no row leaves the ball, and none in it
    can diverge. What keeps this true in floating point is Cauchy's inequality. With
    :math:`t = y\,\mathrm{sign}\,s`,

    .. math:: (1 + t)(1 - t) = |W - y u|^2 + (1 - |W|^2) \ge 1 - |W|^2 ,

    so where a row has not left the ball and rounding makes :math:`1 + t` smaller than the right-hand
    sides over :math:`1 + |t|`, they are taken in its place. Then D is a sum of terms that are not negative,
    and :math:`D^2 \ge 1 - |W|^2` by the inequality of the means. Rounding that yet carries such a row out
    of the ball is taken back by a factor.

    Parameters
    ----------
    xp : module
        Array namespace.
    W : array, shape (hidden, features)

    Returns
    -------
    array, shape (hidden,)
        In the dtype of `W`; negative for rows outside the ball.
    """
    return margin_of(xp, squared_norms(xp, W), W.shape[1])


def margin_of(xp: Any, square: Array, features: int) -> Array:
    """:func:`margin` of rows with these squared norms."""
    left = 1.0 - square
    near = norm_rounding(features, float(xp.finfo(square.dtype).eps))
    return xp.where((left < 0) & (left >= -near), xp.zeros_like(left), left)


def squared_norms(xp: Any, W: Array) -> Array:
    """Return ``|W|^2`` of each row, ``(hidden,)``; infinite, without a warning, beyond the range."""
    with out_of_range_unwarned():
        return xp.vecdot(W, W)


def boost(xp: Any, W: Array, u: Array, y: Array, s: Array) -> tuple[Array, Array]:
    """Apply to each row of `W` the boost with rapidity `s` along the unit vector `u`.

    No checks and no host synchronisation. Rows in the unit ball stay in it: see :func:`margin`.

    Parameters
    ----------
    xp : module
        Array namespace.
    W : array, shape (hidden, features)
    u : array, shape (features,)
    y : array, shape (hidden,)
        ``W @ u``.
    s : array, shape (hidden,)

    Returns
    -------
    W_new : array, shape (hidden, features)
    D : array, shape (hidden,)
        ``2 exp(-|s|) (cosh s + y sinh s)``; not positive where the weights diverge first.
    """
    across = W - y[:, None] * u[None, :]
    left = margin(xp, W)
    inside = left >= 0
    gap = squared_norms(xp, across) + left  # 1 - y^2
    e, sign, near, far, D = _denominator(xp, y, s, xp.where(inside, gap, xp.full_like(gap, -math.inf)))
    smallest = float(xp.finfo(W.dtype).smallest_normal)
    pole = inside & (smallest > D)  # where no presentation moves a row
    safe = xp.where((D == 0) | pole, xp.ones_like(D), D)
    kept = xp.where(pole, xp.zeros_like(D), 2.0 * e / safe)
    # near - far e^2 cancels where a small dose meets a small y: there it is a sum of small terms
    t, size = sign * y, xp.abs(s)
    small = 2.0 * t + (near - (1.0 + t)) - (far - (1.0 - t)) - far * xp.expm1(-2.0 * size)
    above = xp.where(size < 1.0, small, near - far * (e * e))
    along = sign * xp.where(pole, -xp.ones_like(D), above / safe)
    new = kept[:, None] * across + along[:, None] * u[None, :]
    new = xp.where((s == 0)[:, None], W, hold(xp, new, inside))
    return new, xp.where(pole, xp.full_like(D, smallest), D)


def hold(xp: Any, W: Array, inside: Array) -> Array:
    """Put the rows marked `inside` on the unit sphere where rounding has carried them out of the ball."""
    square = squared_norms(xp, W)
    square = xp.where(inside & (square > 1), square, xp.ones_like(square))
    return W / xp.sqrt(square)[:, None]


def boost_coefficients(xp: Any, y: Array, s: Array, gap: Any = -math.inf) -> tuple[Array, Array, Array]:
    """Coefficients of the boosted row ``kept W + along u``, and D as :func:`boost` has it.

    Written with ``exp(-|s|)`` so that nothing overflows and nothing cancels, however long or short
    the presentation. `gap` is a lower bound of ``1 - y^2`` that is known from elsewhere (:func:`margin`).
    """
    e, sign, near, far, D = _denominator(xp, y, s, gap)
    safe = xp.where(D == 0, xp.ones_like(D), D)
    return 2.0 * e / safe, -sign * xp.expm1(-xp.abs(s)) * (near + e * far) / safe, D


def _denominator(xp: Any, y: Array, s: Array, gap: Any) -> tuple[Array, Array, Array, Array, Array]:
    """``exp(-|s|)``, the sign of s, ``1 + t`` and ``1 - t`` with ``t = y sign(s)``, and D."""
    sign = xp.sign(s)
    e = xp.exp(-xp.abs(s))
    t = sign * y
    least = gap / (1.0 + xp.abs(t))
    near, far = xp.maximum(1.0 + t, least), xp.maximum(1.0 - t, least)
    return e, sign, near, far, near + far * (e * e)
