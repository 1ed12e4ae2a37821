r"""Measures of feature maps: what "looks like something" means, in numbers.

Three properties of a row of weights, seen as an image: how much it changes from pixel to pixel,
over how many pixels it spreads, and how near it comes to an image that was shown.

All are pure functions of the weights, unchanged when a row is scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet.backend import Array, blocks, floating
from bionet.checks import require_finite


def roughness(W: Array, shape: Sequence[int] = (28, 28)) -> Array:
    r"""Squared difference of neighbouring pixels over that of any two pixels (Geary's C).

    .. math::

        C = \frac{\langle (w_i - w_j)^2 \rangle_{\text{neighbours}}}
                 {2\, \langle (w_i - \bar w)^2 \rangle}\,,

    with the variance taken with N - 1, so that noise without any spatial order has C = 1 on
    average. A smooth map has C near 0, a chequerboard has C near 2.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows of weights.
    shape : (rows, columns) or (planes, rows, columns)
        Shape of one image. Neighbours share an edge and lie in the same plane; each plane has its
        own mean.

    Returns
    -------
    array, shape (hidden,)
        Dimensionless; NaN for a map of one single value.

    Raises
    ------
    ValueError
        If the rows do not hold images of this shape, or hold NaN or infinity.

    Notes
    -----
    Geary, "The contiguity ratio and statistical mapping", The Incorporated Statistician 5, 115
    (1954), with weight 1 for pixels that share an edge.
    """
    xp, W = floating(W)
    require_maps("W", W, "(hidden, features)")
    maps = as_planes(xp, W, shape)  # (hidden, planes, rows, columns)
    across = maps[..., 1:] - maps[..., :-1]
    down = maps[..., 1:, :] - maps[..., :-1, :]
    _, planes, rows, columns = maps.shape
    pairs = planes * (rows * (columns - 1) + (rows - 1) * columns)
    neighbours = (_sum(xp, across * across) + _sum(xp, down * down)) / pairs
    centred = maps - xp.mean(maps, axis=(2, 3), keepdims=True)
    variance = _sum(xp, centred * centred) / (planes * (rows * columns - 1))
    return ratio(xp, neighbours, 2.0 * variance)


def participation(W: Array) -> Array:
    r"""Share of the pixels that carry a map, :math:`(\sum_i w_i^2)^2 / (N \sum_i w_i^4)`.

    1 where all weights have the same size, 1/N where a single one differs from zero, 1/3 for
    normal noise, m/N for m equal weights among zeros.

    Parameters
    ----------
    W : array, shape (hidden, features)

    Returns
    -------
    array, shape (hidden,)
        Dimensionless; NaN for a row of zeros.

    Raises
    ------
    ValueError
        If the rows are no matrix, or hold NaN or infinity.
    """
    xp, W = floating(W)
    require_maps("W", W, "(hidden, features)")
    largest = xp.max(xp.abs(W), axis=1, keepdims=True)
    squares = (W / xp.where(largest > 0, largest, xp.ones_like(largest))) ** 2
    return ratio(xp, xp.sum(squares, axis=1) ** 2, W.shape[1] * xp.sum(squares * squares, axis=1))


def nearest_image(W: Array, X: Array, *, block: int = 10_000) -> tuple[Array, Array]:
    r"""The image most like each map, up to sign, by the cosine :math:`w \cdot v / |w| |v|`.

    Parameters
    ----------
    W : array, shape (hidden, features)
    X : array, shape (samples, features)
        Images to compare with, in the library of `W`.
    block : int
        Images compared at a time, which bounds the memory to ``hidden * block`` numbers.

    Returns
    -------
    cosine : array, shape (hidden,)
        The cosine of largest absolute value, with its sign; 0 for a row of zeros.
    index : array of int, shape (hidden,)
        Row of `X` where it is reached (the first of several).

    Raises
    ------
    ValueError
        If the widths differ, there is no image, or something is NaN or infinite.
    """
    xp, W, X = floating(W, X)
    require_maps("W", W, "(hidden, features)")
    require_maps("X", X, "(samples, features)")
    if W.shape[1] != X.shape[1] or X.shape[0] == 0:
        raise ValueError(
            f"expected at least one image of {W.shape[1]} features, as W has; got X of shape {X.shape}"
        )
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block!r}")
    rows = _unit(xp, W)
    best, index = [], []
    for part in blocks(X.shape[0], block):
        cosine = rows @ _unit(xp, X[part, :]).T  # (hidden, block)
        high, low = xp.max(cosine, axis=1), xp.min(cosine, axis=1)
        at = xp.where(high >= -low, xp.argmax(cosine, axis=1), xp.argmin(cosine, axis=1))
        best.append(xp.where(high >= -low, high, low))
        index.append(at + part.start)
    value, where = best[0], index[0]
    for other, at in zip(best[1:], index[1:], strict=True):
        better = xp.abs(other) > xp.abs(value)
        value, where = xp.where(better, other, value), xp.where(better, at, where)
    return value, where


def require_maps(name: str, array: Array, shape: str) -> None:
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    require_finite(name, array)


def as_planes(xp: Any, W: Array, shape: Sequence[int]) -> Array:
    shape = tuple(int(side) for side in shape)
    if len(shape) not in (2, 3) or int(np.prod(shape)) != W.shape[1]:
        raise ValueError(f"rows of shape {tuple(W.shape)} do not hold images of shape {shape}")
    if min(shape[-2:]) < 2:
        raise ValueError(f"an image needs at least two rows and two columns, got {shape}")
    return xp.reshape(W, (W.shape[0], *((1, *shape) if len(shape) == 2 else shape)))


def _sum(xp: Any, x: Array) -> Array:
    return xp.sum(x, axis=(1, 2, 3))


def ratio(xp: Any, above: Array, below: Array) -> Array:
    """Quotient with NaN, and no warning, where the divisor is zero."""
    some = below > 0
    quotient = above / xp.where(some, below, xp.ones_like(below))
    return xp.where(some, quotient, xp.full_like(quotient, float("nan")))


def _unit(xp: Any, X: Array) -> Array:
    norm = xp.sqrt(xp.sum(X * X, axis=1, keepdims=True))
    return X / xp.where(norm > 0, norm, xp.ones_like(norm))
