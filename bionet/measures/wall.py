"""The order in which rows of colour weights are looked at: :func:`wall_order`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bionet.backend import Array, floating, to_host
from bionet.measures.colour import opponent, opponent_pairs
from bionet.measures.opponent_axes import doubled, half_angle, unit_range


class Wall(NamedTuple):
    """What :func:`wall_order` returns: ``groups`` of pairs, and the rows that stand ``alone``."""

    groups: tuple[np.ndarray, ...]
    alone: np.ndarray


def wall_order(
    W: Array,
    shape: Sequence[int] = (3, 32, 32),
    *,
    edges: Sequence[float] = (0.03, 0.1, 0.3),
    below: float = -0.5,
) -> Wall:
    r"""Rows in an order to be looked at: opponent pairs, grey ones first, then by their hues.

    Pairs (:func:`~bionet.measures.colour.opponent_pairs`) are put into groups by the share of colour in
    the energy of their two rows, from grey to colourful. The first group is ordered by how bright the upper
    row's centre is, the others by the axis of hues that the two rows have in common, from
    red-green by orange-azure and yellow-blue to green-magenta.

    Parameters
    ----------
    W : array, shape (hidden, features)
        At least two rows (dimensionless).
    shape : (3, rows, columns)
        Shape of one image.
    edges : sequence of float
        Shares of colour at which a new group begins, increasing, inside (0, 1).
    below : float
        As in :func:`~bionet.measures.colour.opponent_pairs`; rows that find no such partner stand alone:
        no row is as opposite, or each that is has a better partner.

    Returns
    -------
    groups : tuple of ``len(edges) + 1`` arrays of int, each of shape (pairs, 2)
        Host arrays. In the first group the row with the brighter centre comes first in a pair, in
        the others the warmer one: the one whose mean colour lies further to the side of red,
        orange or yellow on the pair's axis.
    alone : array of int, shape (rows,)
        The other rows, by their own share of colour; rows of zeros last.

    Raises
    ------
    ValueError
        As :func:`~bionet.measures.colour.opponent_pairs`, or for `edges` that do not increase inside (0, 1).
    """
    limits = [float(edge) for edge in edges]
    if any(not low < high for low, high in pairwise([0.0, *limits, 1.0])):
        raise ValueError(f"edges must increase inside (0, 1), got {limits}")
    matched = to_host(opponent_pairs(W, shape, below=below).matched)
    xp, turned = floating(np.asarray(to_host(opponent(W, shape)), dtype=np.float64))
    turned = unit_range(xp, turned)
    norm = np.sqrt((turned**2).sum(axis=(1, 2, 3), keepdims=True))
    turned = turned / np.where(norm > 0, norm, 1.0)
    a, b = turned[:, 1], turned[:, 2]
    colour = (a * a + b * b).sum(axis=(1, 2))  # share of each row's energy
    cosine, sine = doubled(xp, a, b)
    angle = half_angle(xp, cosine[matched].sum(axis=1), sine[matched].sum(axis=1))  # of both rows together
    mean = np.stack([a.mean(axis=(1, 2)), b.mean(axis=(1, 2))], axis=1)[matched]  # (pairs, 2, 2)
    warmth = np.cos(angle)[:, None] * mean[..., 0] + np.sin(angle)[:, None] * mean[..., 1]
    bright = (turned[:, 0] * _hill(*turned.shape[2:])).sum(axis=(1, 2))[matched]  # (pairs, 2)
    group = np.searchsorted(limits, colour[matched].mean(axis=1), side="right")
    first = np.where(group[:, None] == 0, bright, warmth)
    ordered = np.take_along_axis(matched, np.argsort(-first, axis=1, kind="stable"), axis=1)
    key = np.where(group == 0, -bright.max(axis=1, initial=-math.inf), angle)
    groups = []
    for number in range(len(limits) + 1):
        members = np.flatnonzero(group == number)
        groups.append(ordered[members[np.argsort(key[members], kind="stable")]])
    alone = np.setdiff1d(np.arange(len(turned)), matched)
    empty = ~turned.any(axis=(1, 2, 3))
    return Wall(tuple(groups), alone[np.lexsort((colour[alone], empty[alone]))])


def _hill(rows: int, columns: int) -> np.ndarray:
    """A paraboloid that is highest in the middle, of mean zero."""
    y, x = np.linspace(-1.0, 1.0, rows)[:, None], np.linspace(-1.0, 1.0, columns)
    height = -(x * x + y * y)
    return height - height.mean()
