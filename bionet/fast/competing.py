"""Equations 1 to 3 on the host, exactly, a block of images at a time.

Within a block no row of weights is written. The currents of its B images come from one matrix product with
the weights at its start. An image changes the rows of few units, and a presentation along the unit vector u
turns such a row into ``W' = f W + c u``. The unit's currents for the images still to come follow from the
inner products of the block's images, in O(B), and so does the row itself as a combination of its start and of
the block's images. At the end of the block one more product brings the changed rows up to date.

Nothing is approximated: the definition is one image after another through
:func:`bionet.dynamics.steady_state`, :func:`bionet.plasticity.learning_activation` and
:func:`bionet.plasticity.present`, and tests hold this module to it. With Numba (the extra ``fast``) the walk
through a block runs compiled.

The ball is kept as :func:`bionet.boosts.margin` says: ``1 - |W|^2`` of a row follows through the block,
divided by D^2, and is measured at its end. Rounding in a row grows with the row's factors f. A block ends
before an image that would make it grow too much; the definition presents that one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet import boosts, plasticity
from bionet.fast import numba_engine

compiled: Any = None
if numba_engine.available():
    from bionet.fast import competing_compiled as compiled

BLOCK = 128  # images; more of them save work on W and cost more of the bookkeeping
GROWTH = 16.0  # of rounding in a row within a block


class HostDynamics:
    """The exact dynamics for one set of weights, with its buffers and counts.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights, C-contiguous; changed in place by :meth:`learn`.
    wins, last_win : numpy.ndarray of int64 and of intp, shape (hidden,)
        Counts of the presentations with g = 1, and the index of the last such image; changed in place too.
    w_inh, h_star, delta : float
        As in :class:`bionet.units.CompetingUnits`.
    relative : bool
        Whether `h_star` is a fraction of the largest activity that the image evokes.
    engine : {"auto", "numpy", "numba"}
        Which path; ``auto`` takes Numba where it is installed.

    Attributes
    ----------
    n_silent : int
        Presentations that brought no unit to the threshold.
    """

    def __init__(
        self,
        W: np.ndarray,
        wins: np.ndarray,
        last_win: np.ndarray,
        *,
        w_inh: float,
        h_star: float,
        delta: float,
        relative: bool,
        engine: str = "auto",
    ) -> None:
        self._kernels: Any = compiled.kernels() if numba_engine.engine_for(engine) == "numba" else None
        self.W, self.wins, self.last_win = W, wins, last_win
        self.w_inh, self.h_star, self.delta, self.relative = w_inh, h_star, delta, relative
        self._nothing = float(np.finfo(W.dtype).tiny) * 1e10
        hidden = W.shape[0]
        self.n_silent = 0
        # A row in the block is ``_scale W + _mixture U``; both are 1 and 0 again at the block's end.
        self._scale = np.ones(hidden, dtype=W.dtype)
        self._mixture = np.zeros((hidden, BLOCK), dtype=W.dtype)
        self._changed = np.zeros(hidden, dtype=np.bool_)
        self._margin = np.full(hidden, np.nan, dtype=W.dtype)  # 1 - |W|^2; NaN until it is asked for
        self._near = boosts.norm_rounding(W.shape[1], float(np.finfo(W.dtype).eps))
        self._growth = np.ones(hidden, dtype=W.dtype)
        self._work = np.empty((3, hidden), dtype=W.dtype)
        self._units = np.empty(hidden, dtype=np.intp)

    def learn(self, X: np.ndarray, order: np.ndarray, durations: np.ndarray) -> None:
        """Present ``X[order]`` one after another, for `durations` (in tau_L), and change ``W`` in place.

        Raises
        ------
        bionet.plasticity.Divergence, ArithmeticError
            As :func:`bionet.plasticity.present`. ``W`` is then what it was before that image.
        """
        start, size = 0, BLOCK
        while start < len(order):
            part = slice(start, start + size)
            done = self._learn_block(X, order[part], durations[part])
            start, size = start + done, min(2 * done, BLOCK)

    def _learn_block(self, X: np.ndarray, chosen: np.ndarray, durations: np.ndarray) -> int:
        """Present images up to the first that rounding forbids, and that one; return how many they are."""
        U = X[chosen]
        lengths = np.sqrt(np.einsum("bf,bf->b", U, U))
        U /= np.where(lengths > 0, lengths, 1)[:, None]
        Y = U @ self.W.T  # (B, hidden), currents on images of length 1
        overlaps = U @ U.T  # (B, B)
        rapidity = lengths * durations.astype(U.dtype)
        walk = self._walk_numpy if self._kernels is None else self._walk_compiled
        done = walk(chosen, Y, overlaps, lengths, rapidity)
        rows = np.flatnonzero(self._changed)
        self._bring_up_to_date(rows, self._mixture[rows, : len(chosen)] @ U)
        self._scale[rows] = 1
        self._mixture[rows] = 0
        self._growth[rows] = 1
        self._changed[rows] = False
        if done == len(chosen):
            return done
        self._present(int(chosen[done]), X[chosen[done]], float(durations[done]))
        return done + 1

    def _bring_up_to_date(self, rows: np.ndarray, new: np.ndarray) -> None:
        """Write ``scale W + new``, and 0 for what is next to nothing; rows of the ball stay in it.

        Weights of pixels that are always blank shrink at every presentation. Once they are subnormal numbers
        they slow down every product by orders of magnitude.
        """
        if self._kernels is not None:
            self._kernels[1](self.W, rows, self._scale, new, self._nothing, self._margin, self._near)
            return
        new += self._scale[rows, None] * self.W[rows]
        new[np.abs(new) < self._nothing] = 0
        square = boosts.squared_norms(np, new)
        out = (self._margin[rows] >= 0) & (square > 1)
        if out.any():
            new[out] = boosts.hold(np, new[out], True)
            square[out] = 1
        self.W[rows] = new
        self._margin[rows] = boosts.margin_of(np, square, new.shape[1])

    def _present(self, index: int, v: np.ndarray, duration: float) -> None:
        """Present one image by the definition."""
        rows, g = self._learners(self.W @ v)
        try:
            new = plasticity.present(self.W[rows], v, g, duration)
        except plasticity.Divergence as error:
            unit = int(rows[error.unit])
            raise plasticity.Divergence(unit, error.y, error.time, duration) from None
        new[np.abs(new) < self._nothing] = 0
        self.W[rows] = new
        self._margin[rows] = np.nan
        self._count(index, rows[g > 0])

    def _count(self, index: int, winners: np.ndarray) -> None:
        self.wins[winners] += 1
        self.last_win[winners] = index
        self.n_silent += not winners.size

    def _learners(self, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Equations 1 and 2: the units with g != 0, and their g. Only strong currents are sorted."""
        w, top = self.w_inh, currents.max()
        rows = np.flatnonzero(currents >= (w * top if top > 0 else 0))
        inhibition = currents.dtype.type(0)
        if top > 0:
            ranked = -np.sort(-currents[rows])
            n = np.arange(1, len(rows) + 1, dtype=currents.dtype)
            inhibition = w * np.max(np.cumsum(ranked) / ((1.0 - w) + w * n))  # w S
        drive = currents[rows] - inhibition
        rows, drive = rows[drive >= 0], drive[drive >= 0]
        if not rows.size:
            return rows, drive
        h = np.where(drive > 0, drive / (1.0 - w), drive)
        g = plasticity.learning_activation_unchecked(np, h, self.h_star, self.delta, self.relative)
        return rows[g != 0], g[g != 0]

    def _walk_numpy(
        self,
        chosen: np.ndarray,
        Y: np.ndarray,
        overlaps: np.ndarray,
        lengths: np.ndarray,
        rapidity: np.ndarray,
    ) -> int:
        """Present the block's images in turn; return how many rounding allowed, none of them diverging."""
        scale, mixture = self._scale, self._mixture
        unknown = np.flatnonzero(np.isnan(self._margin))
        self._margin[unknown] = boosts.margin(np, self.W[unknown])
        for b, index in enumerate(chosen.tolist()):
            rows, g = self._learners(Y[b] * lengths[b])
            gap = self._margin[rows] * scale[rows] ** 2  # 1 - |row|^2 now, and 1 - y^2 is not less
            kept, along, D = boosts.boost_coefficients(np, Y[b, rows], g * rapidity[b], gap)
            growth = kept * self._growth[rows]
            if not ((D > 0) & (growth <= GROWTH)).all():
                return b
            self._count(index, rows[g > 0])
            if rapidity[b] == 0 or not rows.size:
                continue
            self._changed[rows] = True
            self._growth[rows] = np.maximum(growth, 1)
            scale[rows] *= kept
            mixture[rows, :b] *= kept[:, None]
            mixture[rows, b] = along
            Y[b + 1 :, rows] = Y[b + 1 :, rows] * kept + overlaps[b + 1 :, b, None] * along
        return len(chosen)

    def _walk_compiled(
        self,
        chosen: np.ndarray,
        Y: np.ndarray,
        overlaps: np.ndarray,
        lengths: np.ndarray,
        rapidity: np.ndarray,
    ) -> int:
        """As :meth:`_walk_numpy`."""
        done, silent = self._kernels[0](
            chosen, Y, overlaps, lengths, rapidity, self.w_inh, self.h_star, self.relative, self.delta,
            self._scale, self._mixture, self._changed, self.wins, self.last_win, self._work, self._units,
            self.W, self._margin, self._near, self._growth, GROWTH,
        )  # fmt: skip
        self.n_silent += silent
        return done
