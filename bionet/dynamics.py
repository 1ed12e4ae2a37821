r"""Equation 1: how hidden units compete for an image.

.. math::

    \tau \frac{dh_\mu}{dt} = I_\mu - w_\mathrm{inh} \sum_{\nu \ne \mu} r(h_\nu) - h_\mu,
    \qquad r(h) = \max(h, 0)

Shapes: `currents` and `h` are ``(..., hidden)``; every leading index is an image of its own.
Currents, activities and `w_inh` are dimensionless; times are in the unit of `tau`.

Source: the lateral inhibition of Krotov & Hopfield, PNAS 116, 7723 (2019); eq. 1 of the talk. The closed form
of the steady state is derived in chapter 2 of the book.
"""

from __future__ import annotations

import math
from typing import Any

from bionet.backend import Array, device, floating, out_of_range_unwarned
from bionet.checks import require_finite, require_number


def firing_rate(h: Array) -> Array:
    """Firing rate ``r(h) = max(h, 0)`` of units with activity `h`, any shape."""
    xp, h = floating(h)
    return _rate(xp, h)


def velocity(h: Array, currents: Array, w_inh: float) -> Array:
    """Right-hand side of eq. 1, that is ``tau dh/dt``.

    Parameters
    ----------
    h, currents : array, shape (..., hidden)
        Activities and input currents (dimensionless).
    w_inh : float
        Strength of the global inhibition (dimensionless).

    Returns
    -------
    array, shape (..., hidden)

    Raises
    ------
    ValueError
        If `h` and `currents` differ in their number of units.
    """
    xp, h, currents = floating(h, currents)
    _check_units("h", h, currents)
    return _velocity(xp, h, currents, float(w_inh))


def residual(h: Array, currents: Array, w_inh: float) -> Array:
    """Distance of `h` from a steady state, ``max |tau dh/dt|`` over the units, shape (...).

    Arguments and errors are those of :func:`velocity`.
    """
    xp, h, currents = floating(h, currents)
    _check_units("h", h, currents)
    return xp.max(xp.abs(_velocity(xp, h, currents, float(w_inh))), axis=-1)


def simulate(
    currents: Array, w_inh: float, tau: float, dt: float, t_max: float, h0: Array | None = None
) -> tuple[Array, Array]:
    """Integrate eq. 1 with Euler steps, as the talk did.

    Parameters
    ----------
    currents : array, shape (..., hidden)
        Input currents ``I = W v`` (dimensionless), constant in time.
    w_inh : float
        Strength of the global inhibition, not negative (dimensionless). Above 1 the equation
        can have several steady states; the start decides.
    tau, dt : float
        Time constant and step, positive and in one unit of time.
    t_max : float
        End, not negative, in the same unit. The last step ends at the multiple of `dt` nearest to
        it.
    h0 : array, shape (..., hidden), optional
        Activities at time 0, taken in the dtype of `currents`; zeros by default.

    Returns
    -------
    times : array, shape (steps + 1,)
    trajectory : array, shape (steps + 1, ..., hidden)

    Raises
    ------
    ValueError
        For non-finite input, a wrong shape, negative inhibition, or a time out of range.
    ArithmeticError
        If the trajectory leaves the floating-point range: `dt` is too long.
    """
    xp, currents = floating(currents)
    w_inh = require_number("w_inh", w_inh, 0.0)
    tau = require_number("tau", tau, 0.0, open_low=True)
    dt = require_number("dt", dt, 0.0, open_low=True)
    t_max = require_number("t_max", t_max, 0.0)
    _check_hidden(currents)
    require_finite("currents", currents)
    h = xp.zeros_like(currents)
    if h0 is not None:
        _, _, h0 = floating(currents, h0)
        _check_units("h0", h0, currents)
        require_finite("h0", h0)
        h = h + xp.astype(h0, currents.dtype, copy=False)
    steps = round(t_max / dt)
    trajectory = [h]
    with out_of_range_unwarned():
        for _ in range(steps):
            h = h + (dt / tau) * _velocity(xp, h, currents, w_inh)
            trajectory.append(h)
    path = xp.stack(trajectory)
    if not bool(xp.all(xp.isfinite(path[-1, ...]))):
        raise ArithmeticError(
            f"Euler steps of dt = {dt:g} with tau = {tau:g} leave the floating-point range; "
            "take a shorter dt or use steady_state"
        )
    times = xp.arange(steps + 1, dtype=currents.dtype, device=device(currents)) * dt
    return times, path


def steady_state(currents: Array, w_inh: float) -> Array:
    r"""Exact steady state of eq. 1, for any number of images at once, in O(K log K).

    With the currents in descending order and
    :math:`S_n = \sum_{i \le n} I_{(i)} / (1 - w + w n)`, the summed firing rate is
    :math:`S = \max(0, \max_n S_n)`: the largest that any number of units can sustain. Then
    :math:`h = (I - wS)/(1 - w)` for the active units, those with :math:`I > wS`, and
    :math:`h = I - wS` for the silent ones. Unique and globally stable for ``w_inh < 1``.

    Parameters
    ----------
    currents : array, shape (..., hidden)
        Input currents ``I = W v`` (dimensionless).
    w_inh : float
        Strength of the global inhibition, ``0 <= w_inh < 1`` (dimensionless).

    Returns
    -------
    array, shape (..., hidden)
        The activities ``h`` at infinite time.

    Raises
    ------
    ValueError
        If a current is not finite, or `w_inh` is outside ``[0, 1)``: from 1 on the steady state
        need not be unique, and which one is reached depends on the start.
    ArithmeticError
        If the summed currents leave the floating-point range.
    """
    xp, currents = floating(currents)
    w_inh = require_inhibition(w_inh)
    _check_hidden(currents)
    require_finite("currents", currents)
    with out_of_range_unwarned():
        h = steady_state_unchecked(xp, currents, w_inh)
    if not bool(xp.all(xp.isfinite(h))):
        raise ArithmeticError(
            f"currents as large as {float(xp.max(xp.abs(currents))):.3g} leave the range of "
            f"{currents.dtype} when summed; rescale them or use float64"
        )
    return h


def require_inhibition(w_inh: Any) -> float:
    """Return `w_inh` as a float if eq. 1 has a unique steady state for it.

    Raises
    ------
    TypeError
        If `w_inh` is not a number.
    ValueError
        If it is outside ``[0, 1)``.
    """
    return require_number(
        "w_inh",
        w_inh,
        0.0,
        1.0,
        open_high=True,
        hint="negative inhibition is excitation and can run away; from 1 on eq. 1 can have several "
        "stable steady states and the start decides between them, so follow the trajectory with "
        "bionet.dynamics.simulate instead",
    )


def steady_state_unchecked(xp: Any, currents: Array, w_inh: float) -> Array:
    """The closed form of :func:`steady_state`: no checks, no host synchronisation."""
    ranked = xp.sort(currents, axis=-1, descending=True)  # (..., hidden)
    n = xp.arange(1, currents.shape[-1] + 1, dtype=currents.dtype, device=device(currents))
    sustained = xp.cumulative_sum(ranked, axis=-1) / ((1.0 - w_inh) + w_inh * n)  # S_n
    S = _rate(xp, xp.max(sustained, axis=-1, keepdims=True))  # (..., 1)
    drive = currents - w_inh * S
    return xp.where(drive > 0, drive / (1.0 - w_inh), drive)


def relaxation_rates(active: int, w_inh: float) -> dict[str, float]:
    """Rates, in units of ``1/tau``, at which eq. 1 relaxes near a steady state.

    Parameters
    ----------
    active : int
        Number of active units (positive activity).
    w_inh : float
        Strength of the global inhibition (dimensionless).

    Returns
    -------
    dict
        ``differences`` (the slow modes, ``1 - w_inh``; absent with fewer than two active units),
        ``common`` (``1 + w_inh (active - 1)``; absent with none) and ``silent`` (1).
    """
    rates = {"silent": 1.0}
    if active >= 1:
        rates["common"] = 1.0 + w_inh * (active - 1)
    if active >= 2:
        rates["differences"] = 1.0 - w_inh
    return rates


def slowest_remainder(time: float, w_inh: float) -> float:
    """Fraction ``exp(-(1 - w_inh) time)`` of the slow mode left after `time` (in tau)."""
    return math.exp(-(1.0 - w_inh) * time)


def _rate(xp: Any, h: Array) -> Array:
    return xp.where(h > 0, h, xp.zeros_like(h))


def _velocity(xp: Any, h: Array, currents: Array, w_inh: float) -> Array:
    r = _rate(xp, h)
    others = xp.sum(r, axis=-1, keepdims=True) - r  # sum over nu != mu
    return currents - w_inh * others - h


def _check_hidden(currents: Array) -> None:
    if currents.ndim == 0 or currents.shape[-1] == 0:
        raise ValueError(f"currents must have shape (..., hidden), got {currents.shape}")


def _check_units(name: str, h: Array, currents: Array) -> None:
    if h.shape[-1:] != currents.shape[-1:] or not h.ndim:
        raise ValueError(
            f"{name} and currents must have the same number of units in their last axis, "
            f"got shapes {h.shape} and {currents.shape}"
        )


__all__ = [
    "firing_rate",
    "relaxation_rates",
    "require_inhibition",
    "residual",
    "simulate",
    "slowest_remainder",
    "steady_state",
    "steady_state_unchecked",
    "velocity",
]
