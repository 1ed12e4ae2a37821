"""The opponent axes of a colour image: one along grey and two across it.

On the latter two a pixel has a chroma, its distance from grey, and a hue, its angle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bionet.backend import Array
from bionet.measures.maps import as_planes, require_maps

OPPONENT = (  # orthonormal; columns are red, green and blue
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
    (1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)),
)


def colour_maps(xp: Any, W: Array, shape: Sequence[int]) -> Array:
    """Checked rows as maps, (hidden, 3, rows, columns)."""
    require_maps("W", W, "(hidden, features)")
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(f"colour images have shape (3, rows, columns), got {tuple(shape)}")
    return as_planes(xp, W, shape)


def unit_range(xp: Any, maps: Array) -> Array:
    """Each map over its largest absolute weight, so that no square over- or underflows."""
    largest = xp.max(xp.abs(maps), axis=(1, 2, 3), keepdims=True)
    return maps / xp.where(largest > 0, largest, xp.ones_like(largest))


def on_axis(maps: Array, axis: tuple[float, float, float]) -> Array:
    """Maps on one axis, (hidden, rows, columns): exactly zero on a colour axis where a pixel is grey."""
    # In this order, plane by plane.
    red, green, blue = axis
    return maps[:, 0, :, :] * red + maps[:, 1, :, :] * green + maps[:, 2, :, :] * blue


def turn(xp: Any, maps: Array) -> Array:
    """Maps on all three axes, (hidden, 3, rows, columns)."""
    return xp.stack([on_axis(maps, axis) for axis in OPPONENT], axis=1)


def doubled(xp: Any, a: Array, b: Array) -> tuple[Array, Array]:
    """Sums over a map of chroma squared times cosine and sine of twice the hue."""
    return xp.sum(a * a - b * b, axis=(1, 2)), xp.sum(2.0 * a * b, axis=(1, 2))


def half_angle(xp: Any, cosine: Array, sine: Array) -> Array:
    """Half the angle of a doubled one, from 0 to pi."""
    angle = 0.5 * xp.atan2(sine, cosine)
    return xp.where(angle < 0, angle + math.pi, angle)
