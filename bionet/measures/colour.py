r"""Colour of feature maps, in numbers: shares, continuity, hues, opponent pairs.

A row of weights of a colour image holds three planes, red, green and blue. Every measure turns
colour space first, to one axis along grey and two across it (:func:`opponent`); on the latter
two a pixel has a *chroma*, its distance from grey, and a *hue*, its angle, in radians.

All are pure functions of the weights, unchanged when a row is scaled by a positive number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bionet.backend import Array, asarray_like, floating, indices_like, to_host
from bionet.checks import require_number
from bionet.measures.maps import ratio
from bionet.measures.opponent_axes import (
    OPPONENT,
    colour_maps,
    doubled,
    half_angle,
    on_axis,
    turn,
    unit_range,
)


class Hues(NamedTuple):
    """What :func:`hue_coherence` measures; each field has shape (hidden,)."""

    coherence: Array
    shuffled: Array
    concentration: Array
    axis: Array


class Pairs(NamedTuple):
    """What :func:`opponent_pairs` finds: ``opposite`` and ``cosine`` of each row, ``matched`` rows."""

    opposite: Array
    cosine: Array
    matched: Array


def opponent(W: Array, shape: Sequence[int] = (3, 32, 32)) -> Array:
    r"""Turn the planes R, G, B to the opponent axes grey, red-green and yellow-blue.

    .. math::

        \tfrac{1}{\sqrt 3}(R + G + B), \qquad \tfrac{1}{\sqrt 2}(R - G), \qquad
        \tfrac{1}{\sqrt 6}(R + G - 2 B)

    A rotation: lengths and angles between rows stay. Exactly zero on the two colour axes where
    a pixel is grey.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows of weights, or images (dimensionless).
    shape : (3, rows, columns)
        Shape of one image.

    Returns
    -------
    array, shape (hidden, 3, rows, columns)
        Dimensionless.

    Raises
    ------
    ValueError
        If the rows do not hold colour images of this shape, or hold NaN or infinity.

    Notes
    -----
    An orthonormal version of the axes grey, red-green and yellow-blue of Hering (1878), in the
    R, G, B of the image file: not the physiological axes of Derrington, Krauskopf & Lennie,
    Journal of Physiology 357, 241 (1984), which need calibrated colours.
    """
    xp, W = floating(W)
    return turn(xp, colour_maps(xp, W, shape))


def shares(W: Array, shape: Sequence[int] = (3, 32, 32)) -> Array:
    r"""Share of a row's energy :math:`\sum_i w_i^2` on each opponent axis; they add up to 1.

    No mean is removed: one colour all over a map is colour.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows of weights, or images (dimensionless).
    shape : (3, rows, columns)
        Shape of one image.

    Returns
    -------
    array, shape (hidden, 3)
        Shares of grey, red-green and yellow-blue, dimensionless. White noise has 1/3 each, with
        a standard deviation of ``2 / (3 sqrt(3 N))`` for N pixels (0.012 for 32 by 32). NaN for a
        row of zeros.

    Raises
    ------
    ValueError
        As :func:`opponent`.
    """
    xp, W = floating(W)
    turned = turn(xp, unit_range(xp, colour_maps(xp, W, shape)))
    energy = xp.sum(turned * turned, axis=(2, 3))  # (hidden, 3)
    return ratio(xp, energy, xp.sum(energy, axis=1, keepdims=True))


def spatial_correlation(
    W: Array,
    distances: int | Sequence[int],
    shape: Sequence[int] = (3, 32, 32),
    *,
    pooled: bool = False,
) -> Array:
    r"""Correlation of two pixels of a map at a distance, on each opponent axis.

    .. math::

        1 - \frac{\langle (w_i - w_j)^2 \rangle_{\text{pairs at distance } d}}
                 {2\, \langle (w_i - \bar w)^2 \rangle}

    One minus Geary's C, as in :func:`bionet.measures.maps.roughness`, with pairs in one row or one column
    that are d pixels apart: 1 for a smooth map, exactly 0 on average over all orders of the same
    pixels, near -1 where the two pixels of each pair are opposite.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows of weights, or images (dimensionless).
    distances : int or sequence of int
        In pixels, from 1 to the smaller side of the image less 1.
    shape : (3, rows, columns)
        Shape of one image.
    pooled : bool
        Take the two colour axes together, each with its own mean: 2 axes, brightness and colour.

    Returns
    -------
    array, shape (hidden, 3, distances)
        Dimensionless, for grey, red-green and yellow-blue; shape (hidden, 2, distances) if
        `pooled`; without the last axis for one int. NaN where an axis has one single value.

    Raises
    ------
    ValueError
        As :func:`opponent`, or for a distance that the image does not hold.
    TypeError
        If a distance is no integer.

    Notes
    -----
    Geary, "The contiguity ratio and statistical mapping", The Incorporated Statistician 5, 115
    (1954). Against d, the fraction is the variogram over the variance.
    """
    xp, W = floating(W)
    turned = turn(xp, unit_range(xp, colour_maps(xp, W, shape)))  # (hidden, 3, rows, columns)
    single = isinstance(distances, (int, np.integer))
    steps = _distances([distances] if single else distances, min(turned.shape[2:]))
    rows, columns = turned.shape[2:]
    centred = _centred(xp, turned)
    variance = xp.sum(centred * centred, axis=(2, 3)) / (rows * columns - 1)  # (hidden, 3)
    squares = []
    for d in steps:
        across, down = turned[..., d:] - turned[..., :-d], turned[..., d:, :] - turned[..., :-d, :]
        total = xp.sum(across * across, axis=(2, 3)) + xp.sum(down * down, axis=(2, 3))
        squares.append(total / (rows * (columns - d) + (rows - d) * columns))
    apart = xp.stack(squares, axis=-1)  # (hidden, 3, distances)
    below = 2.0 * variance[:, :, None]
    if pooled:
        apart = xp.stack([apart[:, 0, :], apart[:, 1, :] + apart[:, 2, :]], axis=1)
        below = xp.stack([below[:, 0, :], below[:, 1, :] + below[:, 2, :]], axis=1)
    correlation = 1.0 - ratio(xp, apart, below)
    return correlation[:, :, 0] if single else correlation


def hue_coherence(W: Array, shape: Sequence[int] = (3, 32, 32)) -> Hues:
    r"""How alike the hues of neighbouring pixels are, and how near all hues lie to one axis.

    With a pixel's colour as a complex number :math:`c = \rho e^{i\theta}`, of chroma
    :math:`\rho` and hue :math:`\theta`, zero where the pixel is grey:

    .. math::

        \text{coherence} = \frac{\sum \rho_i \rho_j \cos(\theta_i - \theta_j)}{\sum \rho_i \rho_j}
        \text{ over neighbours,} \qquad
        \text{concentration} = \frac{\bigl|\sum_i \rho_i^2 e^{2 i \theta_i}\bigr|}{\sum_i \rho_i^2}\,.

    The first is the mean resultant of the differences of hue, weighted with both chromas. A pair
    has no order, so that sines cancel and a sign remains: 1 where all neighbours share a hue, 0
    where their hues are independent, -1 where they are opposite. The second doubles the angles,
    so that a hue and its opponent count as one: 1 for a map of one colour and its opponent, 0
    where no axis is preferred. It equals :math:`(\lambda_1-\lambda_2)/(\lambda_1+\lambda_2)` of
    the two eigenvalues of the colours' second moments, and the axis is their first principal axis.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows of weights, or images (dimensionless). Nothing is removed: a cast of one colour over
        the whole map is coherent.
    shape : (3, rows, columns)
        Shape of one image. Neighbours share an edge.

    Returns
    -------
    coherence : array, shape (hidden,)
        From -1 to 1, dimensionless.
    shuffled : array, shape (hidden,)
        The same for *any* two pixels of the map, neighbours or not: what the coherence would be
        if the pixels were put in an order drawn at random. A map of one hue has 1.
    concentration : array, shape (hidden,)
        From 0 to 1, dimensionless.
    axis : array, shape (hidden,)
        Angle of the axis of hues, from 0 up to pi (radians): 0 red-green, pi/6 red-cyan, pi/3
        orange-azure, pi/2 yellow-blue, 5 pi/6 green-magenta.

        All are NaN for a map without colour; the axis also where the concentration is zero.

    Raises
    ------
    ValueError
        As :func:`opponent`.

    Notes
    -----
    For white noise of N pixels with P pairs of neighbours, the coherence is normal with mean 0 and
    standard deviation :math:`2\sqrt{2} / (\pi \sqrt{P})` (0.020 for 32 by 32), and N/2 times the
    squared concentration is exponential with mean 1 (a concentration of 0.039 on average). Doubled
    angles for axes: Mardia & Jupp, "Directional Statistics" (2000), section 1.1.
    """
    xp, W = floating(W)
    maps = unit_range(xp, colour_maps(xp, W, shape))
    a, b = on_axis(maps, OPPONENT[1]), on_axis(maps, OPPONENT[2])  # (hidden, rows, columns)
    largest = xp.max(xp.sqrt(a * a + b * b), axis=(1, 2), keepdims=True)
    largest = xp.where(largest > 0, largest, xp.ones_like(largest))
    a, b = a / largest, b / largest
    chroma = xp.sqrt(a * a + b * b)

    def over_neighbours(x: Array) -> Array:
        across, down = x[..., 1:] * x[..., :-1], x[..., 1:, :] * x[..., :-1, :]
        return xp.sum(across, axis=(1, 2)) + xp.sum(down, axis=(1, 2))

    def over_any_two(x: Array) -> Array:
        return xp.sum(x, axis=(1, 2)) ** 2 - xp.sum(x * x, axis=(1, 2))

    coherence = ratio(xp, over_neighbours(a) + over_neighbours(b), over_neighbours(chroma))
    shuffled = ratio(xp, over_any_two(a) + over_any_two(b), over_any_two(chroma))
    cosine, sine = doubled(xp, a, b)
    length = xp.sqrt(cosine * cosine + sine * sine)
    concentration = ratio(xp, length, xp.sum(chroma * chroma, axis=(1, 2)))
    angle = half_angle(xp, cosine, sine)
    axis = xp.where(length > 0, angle, xp.full_like(angle, float("nan")))
    return Hues(coherence, shuffled, concentration, axis)


def opponent_pairs(
    W: Array,
    shape: Sequence[int] = (3, 32, 32),
    *,
    below: float = 0.0,
) -> Pairs:
    r"""For each row the one most opposite to it, and disjoint pairs of opposite rows.

    Opposite is what has the most negative cosine :math:`w \cdot w' / |w| |w'|`. Pairs are matched
    greedily: the two most opposite rows first, then the two most opposite of those left.

    Parameters
    ----------
    W : array, shape (hidden, features)
        At least two rows (dimensionless).
    shape : (3, rows, columns)
        Shape of one image.
    below : float
        Only rows whose cosine is below this are matched, from -1 to 1. A row of zeros has cosine
        0 with all others.

    Returns
    -------
    opposite : array of int, shape (hidden,)
        The row most opposite to each row (the first of several).
    cosine : array, shape (hidden,)
        Its cosine, dimensionless.
    matched : array of int, shape (pairs, 2)
        Disjoint pairs, the most opposite first, the smaller index of each first. Rows that found
        no partner below `below` are in none.

    Raises
    ------
    ValueError
        As :func:`opponent`, for fewer than two rows, or a `below` outside [-1, 1].
    """
    below = require_number("below", below, -1.0, 1.0)
    xp, W = floating(W)
    maps = unit_range(xp, colour_maps(xp, W, shape))
    if W.shape[0] < 2:
        raise ValueError(f"a pair needs at least two rows, got W of shape {tuple(W.shape)}")
    rows = xp.reshape(turn(xp, maps), (W.shape[0], -1))
    norm = xp.sqrt(xp.sum(rows * rows, axis=1, keepdims=True))
    rows = rows / xp.where(norm > 0, norm, xp.ones_like(norm))
    cosines = rows @ rows.T  # (hidden, hidden)
    others = cosines + 4.0 * asarray_like(np.eye(W.shape[0]), cosines)
    matched = indices_like(_match(to_host(others), below), W)
    return Pairs(xp.argmin(others, axis=1), xp.min(others, axis=1), matched)


def _match(cosines: np.ndarray, below: float) -> np.ndarray:
    """Greedy disjoint pairs of a symmetric matrix, smallest entry first, as int (pairs, 2)."""
    first, second = np.triu_indices(len(cosines), 1)
    values = cosines[first, second]
    free = np.ones(len(cosines), dtype=bool)
    pairs = []
    for k in np.argsort(values, kind="stable"):
        if values[k] >= below:
            break
        i, j = first[k], second[k]
        if free[i] and free[j]:
            free[i] = free[j] = False
            pairs.append((i, j))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _centred(xp: Any, maps: Array) -> Array:
    """Each plane without its mean; exactly zero where it has one single value."""
    maps = maps - maps[..., :1, :1]
    return maps - xp.mean(maps, axis=(2, 3), keepdims=True)


def _distances(values: Any, side: int) -> list[int]:
    steps = []
    for d in values:
        if isinstance(d, bool) or not isinstance(d, (int, np.integer)):
            raise TypeError(f"distances must be integers, got {d!r}")
        if not 1 <= d < side:
            raise ValueError(f"distances must lie from 1 to {side - 1} pixels in these images, got {d}")
        steps.append(int(d))
    if not steps:
        raise ValueError("distances must hold at least one number of pixels")
    return steps
