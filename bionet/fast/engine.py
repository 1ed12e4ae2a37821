"""Which path computes a rule: NumPy, Numba, CUDA kernels, or the definition on any array library."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import array_api_compat
import numpy as np

from bionet import ranking
from bionet.backend import Array, blocks, indices_like, is_numpy, namespace, to_host
from bionet.fast import numba_engine
from bionet.fast.ranked import HostRule
from bionet.fast.ranked_cuda import DeviceRule


class Rule(Protocol):
    """The fast rule for one set of images, with its buffers."""

    W: Array

    def learn(self, order: np.ndarray, rate: float) -> None:
        """Pass over ``X[order]`` once, a minibatch at a time."""

    def take_wins(self) -> np.ndarray:
        """Return the images each unit has won since the last call, shape (hidden,)."""


class DefinedRule:
    """The definition itself, for arrays of any library; see :class:`bionet.fast.ranked.HostRule`."""

    def __init__(self, W: Array, X: Array, batch_size: int, p: float, k: int, delta: float) -> None:
        self.W, self.X, self.batch_size = W, X, batch_size
        self.p, self.k, self.delta = p, k, delta
        self._wins = namespace(W).zeros_like(W[:, 0])

    def learn(self, order: np.ndarray, rate: float) -> None:
        """Pass over ``X[order]`` once, a minibatch at a time."""
        xp, indices = namespace(self.X), indices_like(order, self.X)
        for block in blocks(len(order), self.batch_size):
            batch = xp.take(self.X, indices[block], axis=0)
            self.W, g = ranking.ranked_step_unchecked(xp, self.W, batch, self.p, self.k, self.delta, rate)
            self._wins = self._wins + xp.sum(xp.astype(g > 0, self.W.dtype), axis=0)

    def take_wins(self) -> np.ndarray:
        """Return the images each unit has won since the last call, shape (hidden,)."""
        wins, self._wins = to_host(self._wins).astype(np.int64), namespace(self.W).zeros_like(self._wins)
        return wins


def ranked(W: Array, X: Array, batch_size: int, p: float, k: int, delta: float, engine: str = "auto") -> Rule:
    """Return the fast rule on the quickest path for these images.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Weights at the start. The rule learns in them or in a copy: read its ``W``.
    X : array, shape (samples, features)
        Images in the library and dtype of `W`.
    batch_size, p, k, delta
        As in :class:`bionet.units.RankedUnits`.
    engine : {"auto", "numpy", "numba"}
        Path for NumPy arrays.

    Raises
    ------
    RuntimeError
        For ``"numba"`` where it is not installed.
    """
    if is_numpy(X):
        if not (W.flags.c_contiguous and W.flags.writeable):
            W = np.array(W)
        return HostRule(W, X, batch_size, p, k, delta, engine)
    if array_api_compat.is_cupy_array(X):
        W = namespace(X).asarray(W, order="C", copy=True)
        try:
            return DeviceRule(W, X, batch_size, p, k, delta)
        except RuntimeError as error:
            warnings.warn(
                f"the fast rule goes on without its CUDA kernels, many times slower: {error}",
                RuntimeWarning,
                stacklevel=4,
            )
    return DefinedRule(W, X, batch_size, p, k, delta)


def name(engine: Any, X: Array) -> str:
    """The path that `engine` means for these images, as a checkpoint names it."""
    return numba_engine.engine_for(engine) if is_numpy(X) else namespace(X).__name__
