r"""The paper's fast rule on an NVIDIA GPU (CuPy), touching only the rows that learn.

A step is five launches: gather the minibatch, one matrix product, rank, change, apply. Images, orders,
weights and the number of the minibatch live on the device, so the five can be captured once as a CUDA graph
and replayed for every minibatch of an epoch; nothing returns to the host before its end. Sums are taken in a
fixed order, without floating-point atomics: a run gives the same bits every time on the same device.

The definition is :func:`bionet.ranking.ranked_step_unchecked`; tests hold this module to it. The kernels, in
``ranked_cuda.cu``, are plain enough to be compiled for the host too, a thread of its own for each of theirs,
which is how they are tested without a GPU.
"""

from __future__ import annotations

import ctypes
import warnings
import weakref
from importlib import resources
from typing import Any

import numpy as np

from bionet.backend import Array
from bionet.ranking import SMALLEST

THREADS = 256  # a block; a power of two, as the reductions need it
MOST_ENTRIES = 4096  # winners and k-th units of one minibatch that a block's shared memory holds
OPTIONS = ("--std=c++14",)  # of the compiler


def source(dtype: Any) -> str:
    """The kernels for one floating dtype, as they are given to the compiler.

    Raises
    ------
    TypeError
        If `dtype` is neither float32 nor float64.
    """
    single = np.dtype(dtype) == np.float32
    if not single and np.dtype(dtype) != np.float64:
        raise TypeError(f"they are for float32 and float64, got {np.dtype(dtype)}")
    definitions = {
        "REAL": "float" if single else "double",
        "POW": "powf" if single else "pow",
        "THREADS": THREADS,
        "MOST_ENTRIES": MOST_ENTRIES,
    }
    kernels = resources.files(__package__).joinpath("ranked_cuda.cu").read_text(encoding="utf-8")
    return "".join(f"#define {name} {value}\n" for name, value in definitions.items()) + kernels


class Cublas:
    """The matrix product of cuBLAS, by a handle and a workspace of its own, so that a graph can hold it.

    CuPy refuses its own cuBLAS calls while a stream is captured.

    Raises
    ------
    OSError, AttributeError, RuntimeError
        If the library cannot be loaded or gives no handle.
    """

    def __init__(self, dtype: Any, stream: Any) -> None:
        import cupy as cp

        # the library that CuPy has loaded, by its name on Linux
        library = ctypes.CDLL(f"libcublas.so.{cp.cuda.runtime.runtimeGetVersion() // 1000}")
        single = np.dtype(dtype) == np.float32
        number = ctypes.c_float if single else ctypes.c_double
        self._gemm = library.cublasSgemm_v2 if single else library.cublasDgemm_v2
        self._one, self._zero = number(1), number(0)
        self._handle = ctypes.c_void_p()
        self._check(library.cublasCreate_v2(ctypes.byref(self._handle)))
        weakref.finalize(self, library.cublasDestroy_v2, self._handle).atexit = False
        self._check(library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream.ptr)))
        self._workspace = cp.empty(32 * 2**20, dtype=cp.uint8)
        at, size = ctypes.c_void_p(self._workspace.data.ptr), ctypes.c_size_t(self._workspace.nbytes)
        self._check(library.cublasSetWorkspace_v2(self._handle, at, size))

    def product(self, batch: Array, P: Array, currents: Array) -> None:
        """Write ``batch @ P.T`` to `currents`. To cuBLAS, which counts by columns, each is its transpose."""
        (images, features), hidden = batch.shape, P.shape[0]
        p, b, c = (ctypes.c_void_p(array.data.ptr) for array in (P, batch, currents))
        one, zero = ctypes.byref(self._one), ctypes.byref(self._zero)
        transposed, as_it_is = 1, 0
        shape = hidden, images, features
        tail = one, p, features, b, features, zero, c, hidden
        self._check(self._gemm(self._handle, transposed, as_it_is, *shape, *tail))

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS returned status {status}")


class DeviceRule:
    """The fast rule for one set of images on a GPU, with its buffers and its captured graph.

    Parameters
    ----------
    W : cupy.ndarray, shape (hidden, features)
        Weights, C-contiguous; changed in place by :meth:`learn`.
    X : cupy.ndarray, shape (samples, features)
        Images in the dtype of `W`.
    batch_size, p, k, delta
        As in :class:`bionet.units.RankedUnits`.

    Raises
    ------
    RuntimeError
        If the minibatch is too large for the kernels, or they cannot be compiled (for float16, say); the
        message says why.
    """

    def __init__(self, W: Array, X: Array, batch_size: int, p: float, k: int, delta: float) -> None:
        import cupy as cp

        hidden, features = W.shape
        self.W, self.X = W, cp.ascontiguousarray(X)
        self.p, self.k, self.delta = p, k, delta
        self.size = min(batch_size, X.shape[0])
        if 2 * self.size > MOST_ENTRIES:
            raise RuntimeError(f"minibatches of more than {MOST_ENTRIES // 2} images, got {self.size}")
        try:
            module = cp.RawModule(code=source(W.dtype), options=OPTIONS)
            names = ("covectors", "gather", "rank_units", "change_rows", "apply_rows")
            self._kernels = {name: module.get_function(name) for name in names}
        except Exception as error:  # no NVRTC, no headers, a device it does not know
            raise RuntimeError(f"the CUDA kernels cannot be compiled ({error})") from error
        if p == 2.0:
            self.P = W
        else:  # by the function that keeps P up to date, so that a resumed run has the same bits
            self.P = cp.empty_like(W)
            arguments = W, self.P, W.dtype.type(p), np.int32(features)
            self._kernels["covectors"]((hidden,), (THREADS,), arguments)
        self._batch = cp.empty((self.size, features), dtype=W.dtype)
        self._currents = cp.empty((self.size, hidden), dtype=W.dtype)
        self._pair = cp.zeros(2 * self.size, dtype=cp.int32)
        self._change = cp.empty((2 * self.size, features), dtype=W.dtype)
        self._largest = cp.zeros(2 * self.size, dtype=W.dtype)
        self._rate = cp.zeros(1, dtype=W.dtype)
        self._minibatch = cp.zeros(1, dtype=cp.int32)
        self._order = cp.zeros(X.shape[0], dtype=cp.int32)
        self._wins = cp.zeros(hidden, dtype=cp.int32)
        self._graph: Any = None
        self._capture_failed = False
        self._stream = cp.cuda.Stream(non_blocking=True)
        self._blas: Cublas | None = None
        try:
            self._blas = Cublas(W.dtype, self._stream)
        except (OSError, AttributeError, RuntimeError) as error:
            self._no_graph(error)

    def learn(self, order: np.ndarray, rate: float) -> None:
        """Pass over ``X[order]`` once, a minibatch at a time, and change ``W`` in place."""
        import cupy as cp

        whole, rest = divmod(len(order), self.size)
        ready = cp.cuda.get_current_stream().record()
        with self._stream:
            self._stream.wait_event(ready)
            self._order[: len(order)] = cp.asarray(order, dtype=cp.int32)
            self._rate.fill(rate)
            self._minibatch.fill(0)
            if whole and self._graph is None and not self._capture_failed:
                self._step(self.size)  # once plainly: libraries make their workspaces at the first call
                whole -= 1
                self._capture()
            for _ in range(whole):
                if self._graph is None:
                    self._step(self.size)
                else:
                    self._graph.launch(stream=self._stream)
            if rest:
                self._step(rest)
            finished = self._stream.record()
        cp.cuda.get_current_stream().wait_event(finished)

    def take_wins(self) -> np.ndarray:
        """Return the images each unit has won since the last call, shape (hidden,); synchronises."""
        wins = self._wins.get().astype(np.int64)
        self._wins.fill(0)
        return wins

    def _capture(self) -> None:
        try:
            self._stream.begin_capture()
            try:
                self._step(self.size)
            finally:
                graph = self._stream.end_capture()
            self._graph = graph
        except Exception as error:
            self._no_graph(error)

    def _no_graph(self, error: Exception) -> None:
        self._capture_failed = True
        warnings.warn(
            f"the step could not be captured as a CUDA graph ({error}); launching kernels one by one, "
            "which is slower",
            RuntimeWarning,
            stacklevel=5,
        )

    def _step(self, count: int) -> None:
        """Launch one step on `count` images; the last, smaller minibatch starts where whole ones would."""
        import cupy as cp

        hidden, features = self.W.shape
        batch, currents = self._batch[:count], self._currents[:count]
        real, i = self.W.dtype.type, np.int32
        sizes = i(count), i(hidden), i(features)
        rows = self.W, self.P, self._pair, self._change, self._largest
        launches = {
            "gather": (count, [self.X, self._order, self._minibatch, batch, i(self.size), i(features)]),
            "rank_units": (count, [currents, self._pair, i(hidden), i(self.k)]),
            "change_rows": (
                2 * count,
                [batch, currents, self.W, self._pair, real(self.delta), *rows[3:], self._wins, *sizes],
            ),
            "apply_rows": (
                2 * count,
                [*rows, self._rate, real(SMALLEST), real(self.p), self._minibatch, i(2 * count), sizes[2]],
            ),
        }
        for name, (count_of_blocks, arguments) in launches.items():
            self._kernels[name]((count_of_blocks,), (THREADS,), tuple(arguments))
            if name == "gather":
                if self._blas is not None:
                    self._blas.product(batch, self.P, currents)
                else:
                    cp.matmul(batch, self.P.T, out=currents)
