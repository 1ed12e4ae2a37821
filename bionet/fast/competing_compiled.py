"""The compiled walk through a block of images, and the update after it; see :mod:`bionet.fast.competing`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np


def _walk(
    chosen, Y, overlaps, lengths, rapidity, w_inh, h_star, relative, delta,
    scale, mixture, changed, wins, last_win, work, units,
):  # fmt: skip
    """Return how many images of the block were presented, and how many of them reached no threshold."""
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
            s = work[0, i] * rapidity[b]
            sign = np.sign(s)
            size = abs(s)
            e = np.exp(-size)
            gone = np.expm1(-size)
            yu = y[units[i]]
            D = (one + sign * yu) + (one - sign * yu) * (e * e)
            if not D > 0:
                return b, silent
            work[1, i] = two * e / D
            work[2, i] = (yu * (gone * gone) - sign * np.expm1(-two * size)) / D
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


def _bring_up_to_date(W, rows, scale, new, nothing):
    """``W = scale W + new`` in these rows, and 0 for what is next to nothing."""
    zero = W.dtype.type(0)
    limit = W.dtype.type(nothing)
    for i in range(rows.shape[0]):
        r = rows[i]
        f = scale[r]
        for j in range(W.shape[1]):
            x = f * W[r, j] + new[i, j]
            W[r, j] = zero if abs(x) < limit else x


@cache
def kernels() -> tuple[Any, Any]:
    """Compile (or read from Numba's cache) and return the walk and the update."""
    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}
    return numba.njit(**options)(_walk), numba.njit(**options)(_bring_up_to_date)
