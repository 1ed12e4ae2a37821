"""Compiled kernels of the fast rule for the host (Numba). See :mod:`bionet.fast.ranked`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
import numpy as np

# GNU OpenMP reads it when Numba starts its threads. By default they wait in a loop, and beside other work on
# the same cores they take the time of those that they wait for: 68 ms a step instead of 12, once measured.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Sums may be taken in another order; NaN and infinity keep their meaning.
_OPTIONS: dict[str, Any] = {
    "parallel": True,
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",
    "cache": True,
}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the kernels on the calling thread."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


def tiling(hidden: int) -> tuple[int, int]:
    """Tiles and their width: a tile of covectors fits a core's second cache."""
    tiles = max(1, -(-hidden // 336))
    if tiles > 1:
        tiles += tiles % 2  # an even number shares well between cores
    width = -(-hidden // tiles)
    return tiles, -(-width // 16) * 16


@numba.njit(inline="always")
def _power(w, p):
    """sgn(w) |w|^(p-1)."""
    a = abs(w)
    if p == 3.0:
        return w * a
    if p == 2.0:
        return w
    if p == 4.0:
        return w * a * a
    if p == 5.0:
        return w * a * a * a
    if p == 6.0:
        return w * a * a * a * a
    if p == 2.5:
        return w * np.sqrt(a)
    if w == 0.0:
        return w * a
    return np.copysign(a ** (p - 1.0), w)


def _currents(chosen, pointers, columns, values, tiles, currents):
    width = tiles.shape[2]
    for t in numba.prange(tiles.shape[0]):
        P = tiles[t]
        for b in range(chosen.shape[0]):
            out = currents[b, t * width : (t + 1) * width]
            for u in range(width):
                out[u] = 0
            j = pointers[chosen[b]]
            end = pointers[chosen[b] + 1]
            while j + 8 <= end:
                a0, a1, a2, a3 = values[j], values[j + 1], values[j + 2], values[j + 3]
                a4, a5, a6, a7 = values[j + 4], values[j + 5], values[j + 6], values[j + 7]
                p0, p1, p2, p3 = P[columns[j]], P[columns[j + 1]], P[columns[j + 2]], P[columns[j + 3]]
                p4, p5, p6, p7 = P[columns[j + 4]], P[columns[j + 5]], P[columns[j + 6]], P[columns[j + 7]]
                for u in range(width):
                    out[u] += (a0 * p0[u] + a1 * p1[u] + a2 * p2[u] + a3 * p3[u]) + (
                        a4 * p4[u] + a5 * p5[u] + a6 * p6[u] + a7 * p7[u]
                    )
                j += 8
            while j < end:
                a0 = values[j]
                p0 = P[columns[j]]
                for u in range(width):
                    out[u] += a0 * p0[u]
                j += 1


def _compete(currents, B, hidden, values, units, pair, count):
    k = values.shape[1]
    for b in numba.prange(B):
        best = values[b]
        who = units[b]
        for r in range(k):
            best[r] = -np.inf
            who[r] = 0
        row = currents[b]
        low = best[k - 1]
        for h in range(hidden):
            x = row[h]
            if x > low:  # of equal currents the lower index ranks first
                r = k - 1
                while r > 0 and x > best[r - 1]:
                    best[r] = best[r - 1]
                    who[r] = who[r - 1]
                    r -= 1
                best[r] = x
                who[r] = h
                low = best[k - 1]
        pair[b, 0] = who[0]
        pair[b, 1] = who[k - 1]
    for b in range(B):
        count[pair[b, 0]] += 1


def _change_rows(chosen, X, W, currents, pair, delta, slot, touched, coefficient, rows, bits, mask, largest):
    B = chosen.shape[0]
    features = W.shape[1]
    n = 0
    for b in range(B):
        for s in range(2):
            h = pair[b, s]
            if slot[h] < 0:
                slot[h] = n
                touched[n] = h
                coefficient[n] = 0
                n += 1
            if s == 0:
                coefficient[slot[h]] += currents[b, h]
            else:
                coefficient[slot[h]] -= delta * currents[b, h]
    for c in numba.prange(n):
        h = touched[c]
        slot[h] = -1
        row = rows[c]
        w = W[h]
        minus = W.dtype.type(-coefficient[c])
        for f in range(features):
            row[f] = minus * w[f]
        for b in range(B):
            if pair[b, 0] == h:
                x = X[chosen[b]]
                for f in range(features):
                    row[f] += x[f]
            elif pair[b, 1] == h:
                x = X[chosen[b]]
                for f in range(features):
                    row[f] -= delta * x[f]
        # Without its sign bit a float sorts as an integer, and integers are compared many at a time.
        m = mask - mask
        for f in range(features):
            m = max(m, bits[c, f] & mask)
        largest[c] = m
    top = largest[0]
    for c in range(n):
        top = max(top, largest[c])
    return n, top


def _apply_tiled(W, tiles, rows, touched, n, scale, p, nothing):
    width, zero = tiles.shape[2], W.dtype.type(0)
    for c in numba.prange(n):
        h = touched[c]
        w = W[h]
        row = rows[c]
        P = tiles[h // width]
        u = h % width
        for f in range(w.shape[0]):
            x = w[f] + scale * row[f]
            w[f] = zero if abs(x) < nothing else x
        for f in range(w.shape[0]):
            P[f, u] = _power(w[f], p)


def _apply_rows(W, P, rows, touched, n, scale, p, nothing):
    zero = W.dtype.type(0)
    for c in numba.prange(n):
        h = touched[c]
        w = W[h]
        row = rows[c]
        for f in range(w.shape[0]):
            x = w[f] + scale * row[f]
            w[f] = zero if abs(x) < nothing else x
        if p != 2.0:  # with p = 2 the covector is W itself
            for f in range(w.shape[0]):
                P[h, f] = _power(w[f], p)


def _covectors(W, P, p):
    for h in numba.prange(W.shape[0]):
        for f in range(W.shape[1]):
            P[h, f] = _power(W[h, f], p)


@cache
def kernels() -> tuple[Any, ...]:
    """Compile (or read from Numba's cache) and return the six kernels."""
    jit = numba.njit(**_OPTIONS)
    return tuple(jit(f) for f in (_currents, _compete, _change_rows, _apply_tiled, _apply_rows, _covectors))
