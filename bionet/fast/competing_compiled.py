"""The compiled walk through a block of images, and the update after it; see :mod:`bionet.fast.competing`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np


def _walk(
    chosen, Y, overlaps, lengths, rapidity, w_inh, h_star, relative, delta,
    scale, mixture, changed, wins, last_win, work, units,
    W, margin, near_sphere, growth, most_growth,
):  # fmt: skip
    """Return how many images of the block were presented, and how many of them reached no threshold.

    It stops before an image that makes a row diverge, or its rounding grow beyond `most_growth`.
    """
    B, hidden = Y.shape
    real = Y.dtype.type
    w = real(w_inh)
    one = real(1)
    two = real(2)
    silent = 0
    for b in range(B):
        y = Y[b]
        length = lengths[b]
        # Equation 1. The largest rate S that any set of units sustains, by Newton's steps from below.
        top = y[0]
        for u in range(1, hidden):
            top = max(top, y[u])
        top *= length
        n = 0
        floor = w * top if top > 0 else real(0)
        for u in range(hidden):
            current = y[u] * length
            if current >= floor:
                units[n] = u
                work[0, n] = current
                n += 1
        S = real(0)
        if top > 0:
            S = top
            while True:
                total = real(0)
                active = 0
                for i in range(n):
                    if work[0, i] > w * S:
                        total += work[0, i]
                        active += 1
                larger = total / ((one - w) + w * real(active))
                if not larger > S:
                    break
                S = larger
        # Equation 2: the units with h >= 0, and their g.
        highest = real(0)
        m = 0
        for i in range(n):
            drive = work[0, i] - w * S
            if drive >= 0:
                h = drive / (one - w) if drive > 0 else drive
                units[m] = units[i]
                work[1, m] = h
                highest = max(highest, h)
                m += 1
        threshold = real(h_star) * highest if relative else real(h_star)
        if relative and not highest > 0:
            m = 0
        learners = 0
        for i in range(m):
            g = one if work[1, i] >= threshold else -real(delta)
            if g != 0:
                units[learners] = units[i]
                work[0, learners] = g
                learners += 1
        # Equation 3: first all coefficients, so that an image changes all of its rows or none.
        for i in range(learners):
            u = units[i]
            s = work[0, i] * rapidity[b]
            sign = np.sign(s)
            size = abs(s)
            e = np.exp(-size)
            t = sign * y[u]
            if np.isnan(margin[u]):
                margin[u] = _margin(W[u], near_sphere)
            least = margin[u] * (scale[u] * scale[u]) / (one + abs(t))  # 1 - |row|^2 now; 1 - y^2 is not less
            near = max(one + t, least)
            far = max(one - t, least)
            D = near + far * (e * e)
            kept = two * e / D
            if not (D > 0 and kept * growth[u] <= most_growth):
                return b, silent
            work[1, i] = kept
            work[2, i] = -sign * np.expm1(-size) * (near + e * far) / D
        won = False
        for i in range(learners):
            if work[0, i] > 0:
                won = True
                wins[units[i]] += 1
                last_win[units[i]] = chosen[b]
        if not won:
            silent += 1
        if rapidity[b] == 0:
            continue
        for i in range(learners):
            u = units[i]
            kept = work[1, i]
            changed[u] = True
            scale[u] *= kept
            growth[u] = max(growth[u] * kept, one)
            for j in range(b):
                mixture[u, j] *= kept
            mixture[u, b] = work[2, i]
        for j in range(b + 1, B):
            overlap = overlaps[b, j]
            row = Y[j]
            for i in range(learners):
                u = units[i]
                row[u] = row[u] * work[1, i] + overlap * work[2, i]
    return B, silent


def _bring_up_to_date(W, rows, scale, new, nothing, margin, near_sphere):
    """``W = scale W + new`` in these rows, and 0 for what is next to nothing; rows of the ball stay in it."""
    zero = W.dtype.type(0)
    limit = W.dtype.type(nothing)
    for i in range(rows.shape[0]):
        r = rows[i]
        f = scale[r]
        for j in range(W.shape[1]):
            x = f * W[r, j] + new[i, j]
            W[r, j] = zero if abs(x) < limit else x
        left = _margin(W[r], 0.0)
        if left < 0 and margin[r] >= 0:
            norm = W.dtype.type(np.sqrt(1 - left))
            for j in range(W.shape[1]):
                W[r, j] /= norm
            left = 0.0
        margin[r] = 0.0 if -near_sphere <= left < 0 else left


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"reassoc"})
def _margin(row, near_sphere):
    """:func:`bionet.boosts.margin` of one row, summed in float64."""
    total = 0.0
    for x in row:
        total += np.float64(x) * np.float64(x)
    left = 1.0 - total
    return 0.0 if -near_sphere <= left < 0 else left


@cache
def kernels() -> tuple[Any, Any]:
    """Compile (or read from Numba's cache) and return the walk and the update."""
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}
    return numba.njit(**options)(_walk), numba.njit(**options)(_bring_up_to_date)
