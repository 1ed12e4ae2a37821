r"""The paper's fast rule on an NVIDIA GPU (CuPy), touching only the rows that learn.

A step is five launches: gather the minibatch, one matrix product, rank, change, apply. Images, orders,
weights and the number of the minibatch live on the device, so the five can be captured once as a CUDA graph
and replayed for every minibatch of an epoch; nothing returns to the host before its end. Sums are taken in a
fixed order, without floating-point atomics: a run gives the same bits every time on the same device.

The definition is :func:`bionet.ranking.ranked_step_unchecked`; tests hold this module to it. The kernels are
plain enough to be compiled for the host too, one thread a block, which is how they are tested without a GPU.
"""

from __future__ import annotations

import ctypes
import warnings
import weakref
from typing import Any

import numpy as np

from bionet.backend import Array
from bionet.ranking import SMALLEST

THREADS = 256  # a block; a power of two, as the reductions need it
MOST_ENTRIES = 4096  # winners and k-th units of one minibatch that a block's shared memory holds

# REAL is float or double. Every loop strides by the block, so that a block of one thread is right too.
SOURCE = r"""
extern "C" __global__ void gather(
    const REAL* images, const int* order, const int* minibatch, REAL* batch, int size, int features) {
  const long long image = order[(long long)minibatch[0] * size + blockIdx.x];
  for (int f = threadIdx.x; f < features; f += blockDim.x)
    batch[(long long)blockIdx.x * features + f] = images[image * features + f];
}

// The strongest unit and the k-th strongest of one image. Equal currents rank by index.
extern "C" __global__ void rank_units(const REAL* currents, int* pair, int hidden, int k) {
  __shared__ REAL value[THREADS];
  __shared__ int unit[THREADS];
  const REAL* mine = currents + (long long)blockIdx.x * hidden;
  REAL last = 0;
  int last_unit = -1;
  for (int rank = 1; rank <= k; ++rank) {
    REAL best = 0;
    int best_unit = -1;
    for (int h = threadIdx.x; h < hidden; h += blockDim.x) {
      const REAL x = mine[h];
      const bool left = last_unit < 0 || x < last || (x == last && h > last_unit);
      if (left && (best_unit < 0 || x > best)) {
        best = x;
        best_unit = h;
      }
    }
    value[threadIdx.x] = best;
    unit[threadIdx.x] = best_unit;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) {
        const int other = threadIdx.x + half;
        const bool better =
            unit[other] >= 0 &&
            (unit[threadIdx.x] < 0 || value[other] > value[threadIdx.x] ||
             (value[other] == value[threadIdx.x] && unit[other] < unit[threadIdx.x]));
        if (better) {
          value[threadIdx.x] = value[other];
          unit[threadIdx.x] = unit[other];
        }
      }
      __syncthreads();
    }
    last = value[0];
    last_unit = unit[0];
    __syncthreads();
    if (threadIdx.x == 0) {
      if (rank == 1) pair[2 * blockIdx.x] = last_unit < 0 ? 0 : last_unit;
      if (rank == k) pair[2 * blockIdx.x + 1] = last_unit < 0 ? 0 : last_unit;
    }
  }
}

// A block an entry (image, role). The first entry that names a unit computes the whole change of its row.
extern "C" __global__ void change_rows(
    const REAL* batch, const REAL* currents, const REAL* W, const int* pair, REAL delta,
    REAL* change, REAL* largest, int* wins, int size, int hidden, int features) {
  __shared__ int entries[MOST_ENTRIES];
  __shared__ int count;
  __shared__ REAL coefficient;
  __shared__ REAL most[THREADS];
  const int entry = blockIdx.x;
  const int mine = pair[entry];
  if (threadIdx.x == 0) {
    count = 0;
    coefficient = 0;
    int won = 0;
    for (int e = 0; e < 2 * size; ++e) {
      if (pair[e] != mine) continue;
      if (e < entry) {  // another block has this unit
        count = 0;
        break;
      }
      entries[count++] = e;
      const REAL g = e % 2 ? -delta : (REAL)1;
      coefficient += g * currents[(long long)(e / 2) * hidden + mine];
      won += 1 - e % 2;
    }
    largest[entry] = 0;
    if (count) wins[mine] += won;
  }
  __syncthreads();
  if (count == 0) return;
  REAL top = 0;
  for (int f = threadIdx.x; f < features; f += blockDim.x) {
    REAL sum = 0;
    for (int i = 0; i < count; ++i) {
      const REAL x = batch[(long long)(entries[i] / 2) * features + f];
      sum += entries[i] % 2 ? -delta * x : x;
    }
    sum -= coefficient * W[(long long)mine * features + f];
    change[(long long)entry * features + f] = sum;
    const REAL size_of = sum < 0 ? -sum : sum;
    if (!(size_of <= top)) top = size_of;  // NaN too
  }
  most[threadIdx.x] = top;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half && !(most[threadIdx.x + half] <= most[threadIdx.x]))
      most[threadIdx.x] = most[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) largest[entry] = most[0];
}

__device__ REAL covector(REAL w, REAL p) {
  const REAL a = w < 0 ? -w : w;
  if (p == 3) return w * a;
  if (p == 2) return w;
  if (p == 4) return w * a * a;
  if (w == 0) return w;
  const REAL power = POW(a, p - 1);
  return w < 0 ? -power : power;
}

// A block a row.
extern "C" __global__ void covectors(const REAL* W, REAL* P, REAL p, int features) {
  const long long row = (long long)blockIdx.x * features;
  for (int f = threadIdx.x; f < features; f += blockDim.x) P[row + f] = covector(W[row + f], p);
}

// Entries whose change is not zero own their row. The last act of a step counts the minibatch.
extern "C" __global__ void apply_rows(
    REAL* W, REAL* P, const int* pair, const REAL* change, const REAL* largest,
    const REAL* rate, REAL smallest, REAL p, int* minibatch, int entries, int features) {
  __shared__ REAL scale;
  if (threadIdx.x == 0) {
    REAL top = smallest;
    for (int e = 0; e < entries; ++e)
      if (!(largest[e] <= top)) top = largest[e];
    scale = rate[0] / top;
    if (blockIdx.x == 0) minibatch[0] += 1;
  }
  __syncthreads();
  if (largest[blockIdx.x] == 0) return;
  const long long row = (long long)pair[blockIdx.x] * features;
  for (int f = threadIdx.x; f < features; f += blockDim.x) {
    const REAL w = W[row + f] + scale * change[(long long)blockIdx.x * features + f];
    W[row + f] = w;
    if (P != W) P[row + f] = covector(w, p);
  }
}
"""


def source(dtype: Any) -> str:
    """The kernels for one floating dtype, as they are given to the compiler."""
    single = np.dtype(dtype) == np.float32
    definitions = {
        "REAL": "float" if single else "double",
        "POW": "powf" if single else "pow",
        "THREADS": THREADS,
        "MOST_ENTRIES": MOST_ENTRIES,
    }
    return "".join(f"#define {name} {value}\n" for name, value in definitions.items()) + SOURCE


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
        If the minibatch is too large for the kernels, or they cannot be compiled; the message says why.
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
            module = cp.RawModule(code=source(W.dtype), options=("--std=c++14",))
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
