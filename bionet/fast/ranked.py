"""The paper's fast rule on the host, touching only the rows that learn.

The definition is :func:`bionet.ranking.ranked_step_unchecked`; tests hold this module to it. A step here

* ranks by k times taking the largest current, instead of sorting;
* changes only the rows of winners and k-th units, at most two an image;
* keeps ``sgn(W) |W|^(p-1)`` up to date row by row;
* works in buffers made once.

With Numba (the extra ``fast``) the ranking and the update run compiled, on all threads, and images with many
zeros skip them: their currents cost less than a dense matrix product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from bionet.backend import blas_threads_for, blocks
from bionet.fast import numba_engine
from bionet.ranking import SMALLEST

compiled: Any = None
if numba_engine.available():
    from bionet.fast import ranked_compiled as compiled

SPARSE_BELOW = 0.35  # share of non-zero pixels below which skipping zeros beats the dense product


def covector(W: np.ndarray, p: float, out: np.ndarray, work: np.ndarray) -> np.ndarray:
    """Write :func:`bionet.plasticity.covector` to `out`, through products and roots where p allows.

    A test holds it to the definition.
    """
    if p == 2.0:
        np.copyto(out, W)
    elif p == 1.0:
        np.sign(W, out=out)
    else:
        np.copyto(out, W)
        np.abs(out, out=work)  # from here on W may be overwritten: work may be W itself
        whole, rest = divmod(p - 2.0, 1.0)
        if 0.0 <= whole <= 8.0 and rest in (0.0, 0.5):  # W |W|^(p-2)
            for _ in range(int(whole)):
                np.multiply(out, work, out=out)
            if rest:
                np.multiply(out, np.sqrt(work, out=work), out=out)
        else:
            np.copysign(np.power(work, p - 1.0, out=work), out, out=out)
    return out


class HostRule:
    """The fast rule for one set of images, with its buffers.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights, C-contiguous; changed in place by :meth:`learn`.
    X : array, shape (samples, features)
        Images in the dtype of `W`.
    batch_size, p, k, delta
        As in :class:`bionet.units.RankedUnits`.
    engine : {"auto", "numpy", "numba"}
        Which path; ``auto`` takes Numba where it is installed.
    """

    def __init__(
        self,
        W: np.ndarray,
        X: np.ndarray,
        batch_size: int,
        p: float,
        k: int,
        delta: float,
        engine: str = "auto",
    ) -> None:
        self._compiled = numba_engine.engine_for(engine) == "numba"
        self.W, self.X = W, np.ascontiguousarray(X)
        self.p, self.k, self.delta = p, k, delta
        # Smaller weights become 0. Those of blank pixels shrink with every image that their unit wins; where
        # their covectors are subnormal numbers, a step takes several times longer.
        self._nothing = W.dtype.type(float(np.finfo(W.dtype).smallest_normal) ** (1.0 / max(2.0, p - 1.0)))
        hidden, features = W.shape
        size = min(batch_size, X.shape[0])
        self.size = size
        most = min(2 * size, hidden)  # rows that one minibatch can touch
        dtype = W.dtype
        self._sparse = None
        self._touched = np.empty(most, dtype=np.intp)
        self._rows = np.empty((most, features), dtype=dtype)  # their change
        self._count = np.zeros(hidden, dtype=np.int64)
        if self._compiled:
            density = np.count_nonzero(self.X) / self.X.size
            self._kernels = compiled.kernels()
            self._slot = np.full(hidden, -1, dtype=np.intp)
            self._coefficient = np.empty(most, dtype=np.float64)
            self._bits = self._rows.view(np.uint32 if dtype == np.float32 else np.uint64)
            self._no_sign = self._bits.dtype.type(2 ** (8 * self._bits.itemsize - 1) - 1)
            self._largest = np.empty(most, dtype=self._bits.dtype)
            self._pair = np.empty((size, 2), dtype=np.intp)
            self._values = np.empty((size, k), dtype=dtype)
            self._units = np.empty((size, k), dtype=np.intp)
            if density < SPARSE_BELOW:
                sparse = csr_array(self.X)
                self._sparse = tuple(
                    np.ascontiguousarray(a, dtype=t)
                    for a, t in ((sparse.indptr, np.intp), (sparse.indices, np.int32), (sparse.data, dtype))
                )
                tiles, width = compiled.tiling(hidden)
                self.currents = np.zeros((size, tiles * width), dtype=dtype)
                self._tiles = np.zeros((tiles, features, width), dtype=dtype)
                P = self._covectors()
                for unit in range(hidden):
                    self._tiles[unit // width, :, unit % width] = P[unit]
                return
        self.currents = np.empty((size, hidden), dtype=dtype)
        self._batch = np.empty((size, features), dtype=dtype)
        self._P = W if p == 2.0 else self._covectors()
        if not self._compiled:
            self._stack = np.empty(
                (size + most, features), dtype=dtype
            )  # a minibatch, and the rows that learn
            self._batch = self._stack[:size]
            self._index = np.arange(size)
            self._winner = np.empty(size, dtype=np.intp)
            self._loser = np.empty(size, dtype=np.intp)
            self._kept = np.empty((k, size), dtype=dtype)

    def learn(self, order: np.ndarray, rate: float) -> None:
        """Pass over ``X[order]`` once, a minibatch at a time, and change ``W`` in place."""
        with blas_threads_for(self.size * self.W.size):
            for block in blocks(len(order), self.size):
                self.step(order[block], rate)

    def _covectors(self) -> np.ndarray:
        """All of them, by the function that keeps them up to date: a resumed run has the same bits."""
        P = np.empty_like(self.W)
        if self._compiled:
            self._kernels[-1](self.W, P, self.p)
            return P
        return covector(self.W, self.p, P, np.empty_like(self.W))

    def take_wins(self) -> np.ndarray:
        """Return the images each unit has won since the last call, shape (hidden,)."""
        wins, self._count = self._count, np.zeros_like(self._count)
        return wins

    def step(self, chosen: np.ndarray, rate: float) -> None:
        """One minibatch: the images of index `chosen`."""
        if self._compiled:
            self._step_compiled(chosen, rate)
        else:
            self._step_numpy(chosen, rate)

    def _product(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (batch, features) and currents (batch, hidden) by one dense product."""
        B = len(chosen)
        batch, currents = self._batch[:B], self.currents[:B]
        np.take(self.X, chosen, axis=0, out=batch, mode="clip")
        np.matmul(batch, self._P.T, out=currents)
        return batch, currents

    def _step_compiled(self, chosen: np.ndarray, rate: float) -> None:
        if self._sparse:
            self._step_kernels(chosen, rate)
        else:  # the product has the threads: those of Numba would wait for work beside it, and slow it down
            with compiled.one_thread():
                self._step_kernels(chosen, rate)

    def _step_kernels(self, chosen: np.ndarray, rate: float) -> None:
        currents_of, compete, change_rows, apply_tiled, apply_rows, _ = self._kernels
        B, real = len(chosen), self.W.dtype.type
        if self._sparse:
            currents = self.currents
            currents_of(chosen, *self._sparse, self._tiles, currents)
        else:
            currents = self._product(chosen)[1]
        hidden = self.W.shape[0]
        compete(currents, B, hidden, self._values, self._units, self._pair, self._count)
        touched, largest = change_rows(
            chosen, self.X, self.W, currents, self._pair, real(self.delta), self._slot, self._touched,
            self._coefficient, self._rows, self._bits, self._no_sign, self._largest,
        )  # fmt: skip
        # the largest change by its bits; NaN has larger ones than any number, and goes on to W
        change = float(np.asarray(largest, dtype=self._bits.dtype).view(self.W.dtype))
        scale = (
            real(rate / change)
            if change > SMALLEST
            else real(rate / SMALLEST if change == change else change)
        )
        if self._sparse:
            apply_tiled(self.W, self._tiles, self._rows, self._touched, touched, scale, self.p, self._nothing)
        else:
            apply_rows(self.W, self._P, self._rows, self._touched, touched, scale, self.p, self._nothing)

    def _step_numpy(self, chosen: np.ndarray, rate: float) -> None:
        currents = self._product(chosen)[1]
        B = len(chosen)
        index, winner, loser, kept = self._index[:B], self._winner[:B], self._loser[:B], self._kept[:, :B]
        for rank in range(self.k):
            strongest = winner if rank == 0 else loser
            np.argmax(currents, axis=1, out=strongest)
            kept[rank] = currents[index, strongest]
            currents[index, strongest] = -np.inf
        np.add.at(self._count, winner, 1)
        entries = np.concatenate((winner, loser))
        by_unit = np.argsort(entries, kind="stable")
        units = entries[by_unit]
        new = np.concatenate(([True], units[1:] != units[:-1]))
        first = np.flatnonzero(new)
        R = len(first)
        touched = units[first]
        g = np.ones(2 * B, dtype=self.W.dtype)
        g[B:] = -self.delta
        data = g[by_unit]
        currents_of = np.concatenate((kept[0], kept[-1]))[by_unit]
        stack = self._stack[: B + R]
        rows, W_rows = self._rows[:R], stack[B:]
        np.take(self.W, touched, axis=0, out=W_rows, mode="clip")
        coefficient = np.add.reduceat(data * currents_of, first)
        # In each row of this matrix, which acts on rows and images: minus the coefficient, then the unit's g.
        starts, others = first + np.arange(R), np.arange(2 * B) + np.cumsum(new)
        values, columns = np.empty(2 * B + R, dtype=data.dtype), np.empty(2 * B + R, dtype=np.int32)
        values[starts], columns[starts] = -coefficient, np.arange(B, B + R)
        values[others], columns[others] = data, by_unit % B
        indptr = np.append(starts, 2 * B + R).astype(np.int32)
        change = csr_array((values, columns, indptr), shape=(R, B + R)) @ stack
        largest = max(float(change.max()), -float(change.min()), SMALLEST)
        np.multiply(change, self.W.dtype.type(rate / largest), out=rows)
        np.add(W_rows, rows, out=W_rows)
        np.copyto(W_rows, 0, where=np.abs(W_rows, out=rows) < self._nothing)
        self.W[touched] = W_rows
        if self.p != 2.0:
            self._P[touched] = covector(W_rows, self.p, rows, W_rows)
