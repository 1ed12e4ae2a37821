r"""Equations 2 and 3: how an image changes the weights of the units that saw it.

.. math::

    g(h) = \begin{cases} 0 & h < 0 \\ -\Delta & 0 \le h < h_* \\ 1 & h_* \le h \end{cases}
    \qquad
    \tau_L \frac{dW_{\mu i}}{dt}
    = g_\mu \left[ R^p v_i - \langle W_\mu, v \rangle W_{\mu i} \right]

with :math:`\langle X, Y \rangle = \sum_i |W_i|^{p-2} X_i Y_i`; the talk has p = 2, R = 1.

Shapes: `W` is ``(hidden, features)``, one image `v` is ``(features,)``, `g` is ``(hidden,)``.
Weights, pixels and `g` are dimensionless; durations are in units of ``tau_L``.

Source: the plasticity rule of Krotov & Hopfield, PNAS 116, 7723 (2019); eqs. 2 and 3 of the talk. The
closed form of one presentation is derived in chapter 3 of the book.
"""

from __future__ import annotations

import math
from typing import Any

from bionet.backend import (
    Array,
    asarray_like,
    device,
    floating,
    namespace,
    out_of_range_unwarned,
    to_host,
)
from bionet.boosts import boost as boost
from bionet.boosts import boost_coefficients as boost_coefficients
from bionet.boosts import margin, unit_vector
from bionet.checks import require_finite, require_number


class Divergence(ArithmeticError):
    """A unit's weights grow without bound within the presentation.

    Attributes
    ----------
    unit : int
        Index of the first unit to diverge.
    y : float
        Its projection ``W.v / |v|`` on the image at the start of the presentation.
    time : float
        Its blow-up time, in units of ``tau_L``.
    duration : float
        The duration asked for, in units of ``tau_L``.
    """

    def __init__(self, unit: int, y: float, time: float, duration: float) -> None:
        self.unit, self.y, self.time, self.duration = unit, y, time, duration
        super().__init__(
            f"the weights of unit {unit} diverge after {time:.4g} tau_L, before the presentation "
            f"ends at {duration:.4g} tau_L: its projection on the image is y = {y:.4g}, outside "
            "[-1, 1], and g has the sign that drives it outwards. Start inside the unit ball "
            "(init='sphere' or 'ball'), shorten the duration, lower delta, or normalise the images"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.unit, self.y, self.time, self.duration)


def learning_activation(h: Array, h_star: Any, delta: float, relative: bool = False) -> Array:
    """Learning activation g(h), eq. 2: 1 from `h_star` on, ``-delta`` from 0 to it, 0 below 0.

    Parameters
    ----------
    h : array, shape (..., hidden)
        Steady activities (dimensionless).
    h_star : float or array broadcastable against `h`
        Threshold between anti-Hebbian and Hebbian learning (dimensionless).
    delta : float
        Strength of anti-Hebbian learning, ``delta >= 0`` (dimensionless).
    relative : bool
        Take `h_star` as a fraction of the image's largest activity, an extension of eq. 2 made here. Where
        no unit is active, a fraction of nothing is no threshold: nobody learns.

    Returns
    -------
    array, shape (..., hidden)

    Raises
    ------
    ValueError
        If `delta` is negative (the sign is part of eq. 2), or `h` or `h_star` is not finite.
    """
    xp, h = floating(h)
    delta = require_number("delta", delta, 0.0, hint="eq. 2 puts the minus sign itself: g = -delta")
    require_finite("h", h)
    require_finite("h_star", floating(h_star)[1])
    return learning_activation_unchecked(xp, h, h_star, delta, relative)


def learning_activation_unchecked(
    xp: Any, h: Array, h_star: Any, delta: float, relative: bool = False
) -> Array:
    """Equation 2 with no checks and no host synchronisation."""
    one, zero = xp.ones_like(h), xp.zeros_like(h)
    if not relative:
        return xp.where(h < 0, zero, xp.where(h < h_star, -delta * one, one))
    top = xp.max(h, axis=-1, keepdims=True)
    return xp.where((h < 0) | (top <= 0), zero, xp.where(h < h_star * top, -delta * one, one))


def covector(W: Array, p: float) -> Array:
    r"""Return :math:`\mathrm{sgn}(W)\,|W|^{p-1}`, whose dot product with v is :math:`\langle W, v\rangle`.

    For p = 2 it is `W` itself, not a copy.
    """
    if p == 2:
        return W
    xp = namespace(W)
    return xp.sign(W) * xp.abs(W) ** (p - 1.0)


def lebesgue_norms(W: Array, p: float) -> Array:
    """Return the p-norms ``(sum_i |W_i|^p)^(1/p)`` of the rows of `W`, shape (hidden,)."""
    xp = namespace(W)
    with out_of_range_unwarned():
        size = xp.abs(W)
        powers = size * size if p == 2.0 else size * size * size if p == 3.0 else size**p
        return xp.sum(powers, axis=1) ** (1.0 / p)


def velocity(W: Array, v: Array, g: Array, p: float = 2, R: float = 1) -> Array:
    """Right-hand side of eq. 3, that is ``tau_L dW/dt``, for any p.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights.
    v : array, shape (features,)
        One image.
    g : array, shape (hidden,)
        Learning activation.
    p : float
        Exponent of the Lebesgue norm, at least 1 (dimensionless).
    R : float
        Radius of the sphere that the rows converge to, positive (dimensionless).

    Returns
    -------
    array, shape (hidden, features)

    Raises
    ------
    ValueError
        For wrong shapes, non-finite input, or `p` or `R` out of range.
    """
    _, W, v, g = floating(W, v, g)
    p = require_number("p", p, 1.0)
    R = require_number("R", R, 0.0, open_low=True)
    _check_presentation(W, v, g)
    return velocity_unchecked(W, v, g, p, R)


def velocity_unchecked(W: Array, v: Array, g: Array, p: float, R: float) -> Array:
    """Equation 3 with no checks and no host synchronisation."""
    dual = covector(W, p)
    product = dual @ v  # <W, v>, (hidden,)
    return g[:, None] * ((R**p) * v[None, :] - product[:, None] * W)


def simulate(W: Array, v: Array, g: Array, tau_l: float, dt: float, t_max: float) -> tuple[Array, Array]:
    """Integrate eq. 3 (p = 2) with Euler steps, as the talk did, image and g held fixed.

    Parameters
    ----------
    W, v, g : array
        Shapes (hidden, features), (features,), (hidden,).
    tau_l, dt : float
        Time constant and step, positive and in one unit of time.
    t_max : float
        End, not negative, in the same unit. The last step ends at the multiple of `dt` nearest to
        it.

    Returns
    -------
    times : array, shape (steps + 1,)
    trajectory : array, shape (steps + 1, hidden, features)

    Raises
    ------
    ValueError
        For wrong shapes, non-finite input, or a time out of range.
    ArithmeticError
        If the weights leave the floating-point range.
    """
    xp, W, v, g = floating(W, v, g)
    tau_l = require_number("tau_l", tau_l, 0.0, open_low=True)
    dt = require_number("dt", dt, 0.0, open_low=True)
    t_max = require_number("t_max", t_max, 0.0)
    _check_presentation(W, v, g)
    steps = round(t_max / dt)
    trajectory = [W]
    with out_of_range_unwarned():
        for _ in range(steps):
            W = W + (dt / tau_l) * velocity_unchecked(W, v, g, 2.0, 1.0)
            trajectory.append(W)
    if not bool(xp.all(xp.isfinite(W))):
        raise ArithmeticError(
            f"Euler steps of dt = {dt:g} with tau_l = {tau_l:g} leave the floating-point range within "
            f"t_max = {t_max:g}; see blow_up_time for the time at which the equation itself diverges"
        )
    times = xp.arange(steps + 1, dtype=W.dtype, device=device(W)) * dt
    return times, xp.stack(trajectory)


def present(W: Array, v: Array, g: Array, duration: float, check: bool = True) -> Array:
    r"""Weights after one presentation of an image, exactly (eq. 3 with p = 2, R = 1).

    With :math:`a = |v|`, :math:`u = v/a`, :math:`y = W u`, :math:`s = g a T` and
    :math:`D = \cosh s + y \sinh s`,

    .. math:: W(T) = \frac{W + \left(y (\cosh s - 1) + \sinh s\right) u}{D}.

    Rows in the unit ball stay in it, however long the presentation and whatever the rounding: see
    :func:`margin`.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights at the start.
    v : array, shape (features,)
        The image.
    g : array, shape (hidden,)
        Learning activation, held fixed during the presentation.
    duration : float
        Length T of the presentation, in units of ``tau_L``.
    check : bool
        Raise where the solution does not reach `duration`. Without it the formula gives finite,
        wrong weights past the blow-up time.

    Returns
    -------
    array, shape (hidden, features)
        New weights; `W` is left alone.

    Raises
    ------
    Divergence
        If D(T) <= 0 for a unit outside the ball: its weights diverge before `duration`.
    ValueError
        For wrong shapes, non-finite input or a negative duration.
    ArithmeticError
        If the new weights leave the floating-point range without a blow-up: the image is too long
        to be squared, or D underflows to 0 for a unit outside the ball with y = -1 (y = 1 where g < 0).
    """
    xp, W, v, g = floating(W, v, g)
    duration = require_number("duration", duration, 0.0)
    _check_presentation(W, v, g)
    a, u = unit_vector(xp, v)
    y = W @ u  # (hidden,)
    new, D = boost(xp, W, u, y, g * (a * duration))
    if check:
        _raise_divergence(xp, D, y, g, a, duration)
        if not bool(xp.isfinite(a) & xp.all(xp.isfinite(new))):
            raise _out_of_range(a, duration)
    return new


def blow_up_time(W: Array, v: Array, g: Array) -> Array:
    r"""Time at which each unit's weights diverge, ``artanh(1/|y|) / (|g| a)``, in units of tau_L.

    Finite only outside the unit ball (:func:`margin`), where ``g y < 0`` and ``|y| > 1`` (y is the
    projection of the unit's weights on the direction of the image); infinite elsewhere.

    Parameters
    ----------
    W, v, g : array
        Shapes (hidden, features), (features,), (hidden,).

    Returns
    -------
    array, shape (hidden,)

    Raises
    ------
    ValueError
        For wrong shapes or non-finite input.
    """
    xp, W, v, g = floating(W, v, g)
    _check_presentation(W, v, g)
    a, u = unit_vector(xp, v)
    times = _blow_up_time(xp, W @ u, g, a)
    return xp.where(margin(xp, W) < 0, times, xp.full_like(times, math.inf))


def _raise_divergence(xp: Any, D: Array, y: Array, g: Array, a: Array, duration: float) -> None:
    """Raise :class:`Divergence` for the unit that diverges first, if any has ``D <= 0``.

    Raises
    ------
    Divergence
        As said.
    ArithmeticError
        If D underflows to 0, or is NaN, although no unit ever diverges.
    """
    if bool(xp.all(D > 0)):
        return
    times = to_host(xp.where(D > 0, xp.full_like(D, math.inf), _blow_up_time(xp, y, g, a)))
    unit = times.tolist().index(times.min())
    if not math.isfinite(times[unit]):
        raise _out_of_range(a, duration)
    raise Divergence(unit, float(to_host(y)[unit]), float(times[unit]), duration)


def _out_of_range(a: Array, duration: float) -> ArithmeticError:
    """Return the error of a presentation that leaves the floating-point range without a blow-up."""
    return ArithmeticError(
        f"a presentation of {duration:g} tau_L takes the weights out of the floating-point range (the "
        f"image has length {float(a):.3g}); shorten it, normalise the image, or use float64"
    )


def _blow_up_time(xp: Any, y: Array, g: Array, a: Array) -> Array:
    outward = (g * y < 0) & (xp.abs(y) > 1) & (a > 0)
    ratio = xp.where(outward, 1.0 / xp.where(outward, xp.abs(y), xp.ones_like(y)), xp.zeros_like(y))
    rate = xp.where(outward, xp.abs(g) * a, xp.ones_like(y))
    return xp.where(outward, xp.atanh(ratio) / rate, asarray_like(float("inf"), y))


def _check_presentation(W: Array, v: Array, g: Array) -> None:
    if W.ndim != 2 or v.shape != (W.shape[1],) or g.shape != (W.shape[0],):
        raise ValueError(
            "expected W of shape (hidden, features), v of shape (features,) and g of shape (hidden,), "
            f"got {W.shape}, {v.shape} and {g.shape}"
        )
    for name, array in (("W", W), ("v", v), ("g", g)):
        require_finite(name, array)
