"""From an image to the input of a classifier: unit length, rectified power, and their pullbacks.

A pullback carries a gradient back through its function, from output to input. Shapes:
``(samples, features)`` or ``(samples, hidden)``. No host synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bionet.backend import Array, blocks, is_numpy, namespace

_CHUNK = 1 << 15  # elements


def unit_norm(X: Array) -> Array:
    """Return the images scaled to unit L2 norm; blank images stay blank."""
    return X / _norm(X)


def unit_norm_pullback(X: Array, gradient: Array) -> Array:
    """Carry a gradient with respect to ``unit_norm(X)`` back to `X`."""
    xp = namespace(X)
    norm = _norm(X)
    v = X / norm
    return (gradient - xp.sum(gradient * v, axis=-1, keepdims=True) * v) / norm


def rectified_power(x: Array, n: float) -> Array:
    """Activation ``max(x, 0)^n`` of the paper's forward pass (Krotov & Hopfield, 2019)."""
    return _by_chunks(lambda part: power(_positive(part), n), x)


def rectified_power_slope(x: Array, n: float) -> Array:
    """Derivative of :func:`rectified_power`, zero at and below zero."""
    if n == 1.0:
        return namespace(x).astype(x > 0, x.dtype)
    return _by_chunks(lambda part: n * power(_positive(part), n - 1.0), x)


def power(x: Array, n: float) -> Array:
    """Return ``x^n`` for x >= 0; whole and half powers by products and one root, which is quicker."""
    whole, rest = divmod(n, 1.0)
    if not 0.0 < n <= 32.0 or rest not in (0.0, 0.5):
        return x**n
    result = namespace(x).sqrt(x) if rest else None
    square, left = x, int(whole)
    while left:
        if left % 2:
            result = square if result is None else result * square
        left //= 2
        if left:
            square = square * square
    return result


def _by_chunks(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply an elementwise function; on the host piece by piece, so that what it holds stays in the cache."""
    if not (is_numpy(x) and x.flags.c_contiguous) or x.size <= _CHUNK:
        return function(x)
    flat, result = x.reshape(-1), np.empty_like(x)
    out = result.reshape(-1)
    for chunk in blocks(flat.size, _CHUNK):
        out[chunk] = function(flat[chunk])
    return result


def _positive(x: Array) -> Array:
    if is_numpy(x):
        return np.maximum(x, 0)  # several times quicker than a choice
    xp = namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x))


def _norm(X: Array) -> Array:
    """L2 norm of each row, 1 where it is blank; rows whose squares leave the range are scaled first."""
    xp = namespace(X)
    one = xp.ones_like(X[..., :1])
    largest = xp.max(xp.abs(X), axis=-1, keepdims=True)
    tiny, huge = (float(getattr(xp.finfo(X.dtype), name)) for name in ("smallest_normal", "max"))
    extreme = (largest > 0) & ((largest < tiny**0.25) | (largest > huge**0.25))
    scale = xp.where(extreme, largest, one)
    X = X / scale
    norm = scale * xp.sqrt(xp.sum(X * X, axis=-1, keepdims=True))
    return xp.where(norm > 0, norm, one)
