r"""The paper's fast rule: rank the units instead of letting them compete in time.

For each image of a minibatch the strongest unit learns with g = 1 and the k-th strongest
unlearns with g = -delta; the summed change is divided by its largest absolute entry (by 1e-30 if
that is smaller), so that no weight moves by more than the learning rate.

This is the one readable definition of the rule.

Source: the fast implementation in Krotov & Hopfield, PNAS 116, 7723 (2019), and the normalisation of the
authors' published code, which the paper's text describes as an average.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

from bionet.backend import Array, device, floating, out_of_range_unwarned
from bionet.checks import require_finite, require_number
from bionet.plasticity import covector

SMALLEST = 1e-30  # a change below this is not scaled up, as in the authors' published code


def p_currents(W: Array, batch: Array, p: float) -> Array:
    r"""Currents :math:`I_\mu = \sum_i \mathrm{sgn}(W_{\mu i}) |W_{\mu i}|^{p-1} v_i`.

    Parameters
    ----------
    W : array, shape (hidden, features)
    batch : array, shape (batch, features)
    p : float
        Exponent of the Lebesgue norm, at least 1; p = 2 is the ordinary dot product.

    Returns
    -------
    array, shape (batch, hidden)

    Raises
    ------
    ValueError
        For wrong shapes, non-finite input or p below 1.
    """
    _, W, batch = floating(W, batch)
    p = require_number("p", p, 1.0)
    _check_minibatch(W, batch)
    return batch @ covector(W, p).T


def rank_activation(currents: Array, k: int, delta: float) -> Array:
    """Learning activation by rank: 1 for the strongest unit, ``-delta`` for the k-th, else 0.

    Parameters
    ----------
    currents : array, shape (batch, hidden)
    k : int
        Rank of the unit that unlearns, ``2 <= k <= hidden``. Equal currents rank by index.
    delta : float
        Strength of anti-Hebbian learning, not negative.

    Returns
    -------
    array, shape (batch, hidden)

    Raises
    ------
    ValueError
        If `k` or `delta` is out of range, or a current is not finite.
    """
    xp, currents = floating(currents)
    if currents.ndim != 2:
        raise ValueError(f"currents must have shape (batch, hidden), got {currents.shape}")
    require_finite("currents", currents)
    k = require_rank(k, currents.shape[-1])
    delta = require_number("delta", delta, 0.0)
    return _rank_activation(xp, currents, k, delta)


def ranked_step(W: Array, batch: Array, p: float, k: int, delta: float, learning_rate: float) -> Array:
    """Weights after one minibatch of the paper's fast rule.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights (left alone).
    batch : array, shape (batch, features)
        Images.
    p, k, delta
        See :func:`p_currents` and :func:`rank_activation`.
    learning_rate : float
        Largest change of a weight in this step (dimensionless).

    Returns
    -------
    array, shape (hidden, features)

    Raises
    ------
    ValueError
        For wrong shapes, non-finite input or parameters out of range.
    ArithmeticError
        If the new weights leave the floating-point range.
    """
    xp, W, batch = floating(W, batch)
    _check_minibatch(W, batch)
    p = require_number("p", p, 1.0)
    k = require_rank(k, W.shape[0])
    delta = require_number("delta", delta, 0.0)
    learning_rate = require_number("learning_rate", learning_rate, 0.0)
    with out_of_range_unwarned():
        new = ranked_step_unchecked(xp, W, batch, p, k, delta, learning_rate)[0]
    if not bool(xp.all(xp.isfinite(new))):
        raise ArithmeticError(
            f"the step leaves the range of {W.dtype}: |W|^(p - 1) or its product with the batch is too "
            f"large (largest |W| {float(xp.max(xp.abs(W))):.3g}, p = {p:g}); rescale W or lower p"
        )
    return new


def ranked_step_unchecked(
    xp: Any, W: Array, batch: Array, p: float, k: int, delta: float, learning_rate: float
) -> tuple[Array, Array]:
    """The rule itself: no checks, no host synchronisation. Returns the new W, and g."""
    currents = batch @ covector(W, p).T  # (batch, hidden)
    g = _rank_activation(xp, currents, k, delta)  # (batch, hidden)
    change = g.T @ batch - xp.sum(g * currents, axis=0)[:, None] * W  # (hidden, features)
    largest = xp.max(xp.abs(change))
    largest = xp.where(largest > SMALLEST, largest, SMALLEST * xp.ones_like(largest))
    return W + change * (learning_rate / largest), g


def require_rank(k: Any, n_hidden: int) -> int:
    """Return `k` as an int if a k-th strongest unit, other than the winner, exists.

    Raises
    ------
    ValueError
        If `k` is not an integer from 2 to `n_hidden`.
    """
    whole = isinstance(k, Integral) or (isinstance(k, float) and k.is_integer())
    if isinstance(k, bool) or not whole or not 2 <= k <= n_hidden:
        raise ValueError(
            f"k must be an integer from 2 to the number of hidden units ({n_hidden}), got {k!r}: "
            "the winner is the first, so the unit that unlearns is the second at the earliest"
        )
    return int(k)


def _check_minibatch(W: Array, batch: Array) -> None:
    if W.ndim != 2 or batch.ndim != 2 or batch.shape[1] != W.shape[1]:
        raise ValueError(
            "expected W of shape (hidden, features) and a batch of shape (batch, features), "
            f"got {W.shape} and {batch.shape}"
        )
    require_finite("W", W)
    require_finite("batch", batch)


def _rank_activation(xp: Any, currents: Array, k: int, delta: float) -> Array:
    units = xp.arange(currents.shape[-1], device=device(currents))
    lowest = xp.full_like(currents, -float("inf"))
    left = currents
    for rank in range(1, k + 1):
        strongest = units == xp.argmax(left, axis=-1, keepdims=True)  # (batch, hidden)
        if rank == 1:
            winner = strongest
        left = xp.where(strongest, lowest, left)
    return xp.astype(winner, currents.dtype) - delta * xp.astype(strongest, currents.dtype)
