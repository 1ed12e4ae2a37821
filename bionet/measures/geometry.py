r"""Presentations as Lorentz boosts: eq. 3 made linear, and how presentations compose.

A row W is lifted to the vector ``X = (W, 1)``, given up to scale. While one image is shown, eq. 3 with
p = 2, R = 1 becomes linear in X. With the image's direction u and the dose s = g \|v\| T,

.. math::

    \frac{dX}{ds} = K_u X, \qquad K_u = \begin{pmatrix} 0 & u \\ u^T & 0 \end{pmatrix}, \qquad
    e^{s K_u} = \begin{pmatrix} 1 + (\cosh s - 1)\, u u^T & u \sinh s \\ u^T \sinh s & \cosh s \end{pmatrix}.

This is a Lorentz boost of rapidity s. Divided by its last coordinate D it is
:func:`bionet.plasticity.present`, row by row; the unit ball is the Klein model of hyperbolic space.
Rows, directions, doses and matrices are dimensionless; angles are in radians.

Source: derived in chapter 3 of the book. Klein model: Cannon, Floyd, Kenyon & Parry, "Hyperbolic
geometry" (1997). Rotation in the product of two boosts: Thomas (1926), Wigner (1939), Ungar (1988).
"""

from __future__ import annotations

import math
from typing import Any

from bionet.backend import Array, asarray_like, device, floating, to_host
from bionet.checks import require_finite, require_number


def lift(W: Array) -> Array:
    """Append the coordinate 1 to each row.

    Parameters
    ----------
    W : array, shape (..., features)
        Rows of weights (dimensionless).

    Returns
    -------
    array, shape (..., features + 1)

    Raises
    ------
    ValueError
        If `W` is a single number, or not finite.
    """
    xp, W = floating(W)
    if W.ndim == 0:
        raise ValueError("W must have at least one axis, (..., features), got a single number")
    require_finite("W", W)
    return xp.concat([W, xp.ones_like(W[..., :1])], axis=-1)


def boost_matrix(u: Array, s: float) -> Array:
    """Return the boost ``exp(s K_u)``: what a presentation of dose `s` does to a lifted row.

    Parameters
    ----------
    u : array, shape (features,)
        Direction of the image, of length 1 (dimensionless).
    s : float
        Dose ``g |v| T``, of either sign (dimensionless).

    Returns
    -------
    array, shape (features + 1, features + 1)
        Symmetric; its inverse is ``boost_matrix(u, -s)``.

    Raises
    ------
    ValueError
        If `u` is not one finite vector of length 1, or `s` is not finite.
    ArithmeticError
        If cosh(s) leaves the floating-point range; `plasticity.present` has no such limit.
    """
    xp, u = floating(u)
    s = require_number("s", s)
    _check_direction("u", u)
    try:
        sinh, rise = math.sinh(s), 2.0 * math.sinh(s / 2.0) ** 2  # rise = cosh s - 1
    except OverflowError:
        sinh = rise = math.inf
    if rise > float(xp.finfo(u.dtype).max):
        raise ArithmeticError(
            f"the boost of dose s = {s:g} has entries of size exp(|s|), beyond the range of {u.dtype}; "
            "use plasticity.present, which divides them out"
        )
    corner = asarray_like([[1.0 + rise]], u)
    space = xp.eye(u.shape[0], dtype=u.dtype, device=device(u)) + rise * u[:, None] * u[None, :]
    top = xp.concat([space, sinh * u[:, None]], axis=1)
    return xp.concat([top, xp.concat([sinh * u[None, :], corner], axis=1)], axis=0)


def act(L: Array, W: Array) -> Array:
    """Apply `L` to the lifted rows and divide by the last coordinate.

    Only the end is looked at. A product of boosts can carry a row through infinity and back; multiply
    step by step where rows start outside the ball.

    Parameters
    ----------
    L : array, shape (features + 1, features + 1)
        A boost, or a product of boosts and rotations.
    W : array, shape (..., features)

    Returns
    -------
    array, shape (..., features)

    Raises
    ------
    ValueError
        For wrong shapes or non-finite input.
    ArithmeticError
        If the last coordinate of a row is not positive: the row diverged on the way.
    """
    xp, L, W = floating(L, W)
    if W.ndim == 0 or L.shape != (W.shape[-1] + 1,) * 2:
        raise ValueError(
            "expected L of shape (features + 1, features + 1) and W of shape (..., features), "
            f"got {L.shape} and {W.shape}"
        )
    require_finite("L", L)
    X = xp.matmul(lift(W), L.T)
    D = X[..., -1:]
    if not bool(xp.all(D > 0)):
        raise ArithmeticError(
            f"a row has crossed infinity: its last coordinate has come down to D = {float(xp.min(D)):.4g}, "
            "and dividing by it would give finite, wrong weights. Only rows outside the unit ball can; "
            "lower the dose, or start inside"
        )
    return X[..., :-1] / D


def decompose(L: Array) -> tuple[Array, float, Array]:
    """Split `L` into a boost, applied first, and a rotation, applied second.

    It is the polar decomposition of `L`, in closed form: the last row of `L` is the boost's.

    Parameters
    ----------
    L : array, shape (features + 1, features + 1)
        A product of boosts and rotations.

    Returns
    -------
    u : array, shape (features,)
        Direction of the boost; the first axis where there is no boost.
    s : float
        Its dose, not negative.
    R : array, shape (features, features)
        The rotation: `L` is ``R`` (with a 1 in the corner) times ``boost_matrix(u, s)``.

    Raises
    ------
    ValueError
        If `L` is not square, not finite, or does not keep ``|X_1..N|^2 - X_0^2`` and the sign of the
        last coordinate.
    """
    xp, L = floating(L)
    if L.ndim != 2 or L.shape[0] != L.shape[1] or L.shape[0] < 2:
        raise ValueError(f"expected a square matrix of two rows or more, got shape {L.shape}")
    require_finite("L", L)
    _check_lorentz(xp, L)
    a, b, corner = L[:-1, -1], L[-1, :-1], float(L[-1, -1])
    length = float(xp.sqrt(xp.sum(b * b)))
    u = b / length if length > 0 else xp.eye(b.shape[0], dtype=b.dtype, device=device(b))[0, :]
    R = L[:-1, :-1] - a[:, None] * b[None, :] / (1.0 + corner)
    return u, math.asinh(length), R


def wigner_angle(phi: Any, s1: Any, s2: Any) -> Array:
    r"""Angle of the rotation in the product of two boosts (Thomas, Wigner).

    .. math::

        \epsilon = 2 \arg\left(1 + t_1 t_2 e^{i\phi}\right), \qquad
        \tan\frac{\epsilon}{2} = \frac{t_1 t_2 \sin\phi}{1 + t_1 t_2 \cos\phi}, \qquad
        t_i = \tanh\frac{s_i}{2}.

    The rotation in ``boost_matrix(u2, s2) @ boost_matrix(u1, s1)`` turns u1 towards u2 by this angle and
    leaves everything across the two alone.

    Parameters
    ----------
    phi : float or array
        Angle between the two images, in radians.
    s1, s2 : float or array broadcastable against `phi`
        Doses of the first and the second presentation (dimensionless).

    Returns
    -------
    array
        Radians, between -pi and pi; about ``s1 s2 sin(phi) / 2`` for small doses.

    Raises
    ------
    ValueError
        For non-finite input.
    """
    xp, phi, s1, s2 = floating(phi, s1, s2)
    for name, array in (("phi", phi), ("s1", s1), ("s2", s2)):
        require_finite(name, array)
    t = xp.tanh(0.5 * s1) * xp.tanh(0.5 * s2)
    return 2.0 * xp.atan2(t * xp.sin(phi), 1.0 + t * xp.cos(phi))


def distance(W: Array, other: Array) -> Array:
    r"""Hyperbolic distance between rows inside the unit ball, which no common presentation changes.

    .. math:: \cosh d = \frac{1 - W \cdot W'}{\sqrt{(1 - |W|^2)(1 - |W'|^2)}}

    Computed through sinh, so that near rows lose no digits.

    Parameters
    ----------
    W, other : array, shape (..., features)
        Broadcast against each other.

    Returns
    -------
    array, shape (...)
        Dimensionless.

    Raises
    ------
    ValueError
        If the shapes do not fit, a row is not finite, or does not lie inside the unit ball.
    """
    xp, W, other = floating(W, other)
    if W.ndim == 0 or other.ndim == 0 or W.shape[-1] != other.shape[-1]:
        raise ValueError(f"expected rows of one length, got shapes {W.shape} and {other.shape}")
    room = []
    for name, rows in (("W", W), ("other", other)):
        require_finite(name, rows)
        left = 1.0 - xp.sum(rows * rows, axis=-1)
        if not bool(xp.all(left > 0)):
            raise ValueError(
                f"the rows of {name} must lie inside the unit ball, got one of norm "
                f"{math.sqrt(1.0 - float(xp.min(left))):.4g}; on the sphere every distance is infinite"
            )
        room.append(left)
    step = other - W
    along = xp.sum(W * step, axis=-1)
    rise = (xp.sum(step * step, axis=-1) * room[0] + along * along) / (room[0] * room[1])
    return xp.asinh(xp.sqrt(rise))


def _check_direction(name: str, u: Array) -> None:
    if u.ndim != 1:
        raise ValueError(f"{name} must be one direction, shape (features,), got shape {u.shape}")
    require_finite(name, u)
    length = math.sqrt(float((to_host(u).astype(float) ** 2).sum()))
    if abs(length - 1.0) > 1e-4:
        raise ValueError(f"{name} must have length 1, got {length:.6g}; divide the image by its length")


def _check_lorentz(xp: Any, L: Array) -> None:
    """Raise unless ``L^T eta L = eta`` within rounding and the last coordinate keeps its sign."""
    sign = xp.ones_like(L[:, 0])
    sign = xp.where(xp.arange(L.shape[0], device=device(L)) == L.shape[0] - 1, -sign, sign)
    off = xp.matmul(L.T, sign[:, None] * L) - xp.eye(L.shape[0], dtype=L.dtype, device=device(L)) * sign
    size = float(xp.max(xp.abs(L)))
    worst = float(xp.max(xp.abs(off)))
    allowed = 100.0 * L.shape[0] * float(xp.finfo(L.dtype).eps) * max(1.0, size) ** 2
    if worst > allowed or float(L[-1, -1]) <= 0:
        raise ValueError(
            "L must be a product of boosts and rotations: it must keep |X_1..N|^2 - X_0^2 "
            f"(off by {worst:.2g}) and the sign of the last coordinate (corner {float(L[-1, -1]):.4g})"
        )
