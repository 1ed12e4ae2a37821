"""The CUDA kernels of the fast rule: compiled for the host, for GPUs, and run on one where there is one."""

import ctypes
import shutil
import subprocess

import array_api_compat.numpy as xp
import numpy as np
import pytest
from backends import needs_gpu

from bionet import backend, data, ranking
from bionet.fast import ranked_cuda as _ranked_cuda
from bionet.units import RankedUnits

# A block of one thread, run by the host: what is shared is static, and nothing has to be waited for.
SHIM = """
#include <cmath>
struct Index { int x; };
static Index threadIdx{0}, blockIdx{0}, blockDim{1};
#define __global__
#define __device__
#define __shared__ static
#define __syncthreads()
"""
RUN = """
extern "C" void run_gather(int blocks, const REAL* a, const int* b, const int* c, REAL* d, int e, int f) {
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) gather(a, b, c, d, e, f);
}
extern "C" void run_rank(int blocks, const REAL* a, int* b, int c, int d) {
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) rank_units(a, b, c, d);
}
extern "C" void run_change(int blocks, const REAL* a, const REAL* b, const REAL* c, const int* d, REAL e,
    REAL* f, REAL* g, int* h, int i, int j, int k) {
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) change_rows(a, b, c, d, e, f, g, h, i, j, k);
}
extern "C" void run_apply(int blocks, REAL* a, REAL* b, const int* c, const REAL* d, const REAL* e,
    const REAL* f, REAL g, REAL h, int* i, int j, int k) {
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) apply_rows(a, b, c, d, e, f, g, h, i, j, k);
}
"""


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def kernels(request, tmp_path_factory):
    """The kernels' own source, compiled by the host's C++ compiler."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels.cpp").write_text(SHIM + _ranked_cuda.source(request.param) + RUN)
    subprocess.run(
        ["g++", "-O1", "-std=c++14", "-shared", "-fPIC", "kernels.cpp", "-o", "kernels.so"],
        cwd=folder,
        check=True,
    )
    return ctypes.CDLL(str(folder / "kernels.so")), request.param


def one_step(library, W, P, X, order, minibatch, size, p, k, delta, rate, wins):
    """A step as ``DeviceRule._step`` launches it."""
    real = ctypes.c_float if W.dtype == np.float32 else ctypes.c_double
    hidden, features = W.shape
    count = min(size, len(order) - int(minibatch[0]) * size)
    batch = np.empty((count, features), dtype=W.dtype)
    pair = np.zeros(2 * count, dtype=np.int32)
    change = np.empty((2 * count, features), dtype=W.dtype)
    largest = np.zeros(2 * count, dtype=W.dtype)
    rate = np.full(1, rate, dtype=W.dtype)

    def at(array):
        assert array.flags.c_contiguous
        return array.ctypes.data_as(ctypes.c_void_p)

    library.run_gather(count, at(X), at(order), at(minibatch), at(batch), size, features)
    currents = np.ascontiguousarray(batch @ P.T)
    library.run_rank(count, at(currents), at(pair), hidden, k)
    buffers = at(change), at(largest), at(wins)
    inputs = at(batch), at(currents), at(W), at(pair), real(delta)
    library.run_change(2 * count, *inputs, *buffers, count, hidden, features)
    inputs = at(W), at(P), at(pair), at(change), at(largest), at(rate)
    library.run_apply(2 * count, *inputs, real(1e-30), real(p), at(minibatch), 2 * count, features)
    return batch


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("p", [2.0, 2.5, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("k", [2, 3, 5, 7, 8])
def test_the_kernels_are_the_definition(kernels, p, k, ties):
    """A hundred steps, the last minibatch of each pass smaller; ties and units named many times."""
    library, dtype = kernels
    rng = np.random.default_rng(k)
    X = np.array(data.load("digits").images[:90], dtype=dtype)
    W = rng.standard_normal((12, X.shape[1])).astype(dtype)
    if ties:
        W[6:], X[::7] = W[:6], 0.0
    mine, theirs = W.copy(), W
    P = mine if p == 2.0 else np.ascontiguousarray(np.sign(mine) * np.abs(mine) ** dtype(p - 1.0))
    wins, expected = np.zeros(12, dtype=np.int32), np.zeros(12, dtype=np.int64)
    steps = 0
    while steps < (1 if ties else 100):  # later, rounding breaks the ties, here and there in its own way
        order = rng.permutation(90).astype(np.int32)
        minibatch = np.zeros(1, dtype=np.int32)
        for _ in range(1 if ties else 4):
            batch = one_step(library, mine, P, X, order, minibatch, 25, p, k, 0.4, 0.02, wins)
            theirs, g = ranking.ranked_step_unchecked(xp, theirs, batch, p, k, 0.4, 0.02)
            expected += (g > 0).sum(axis=0)
            steps += 1
        assert minibatch[0] == (1 if ties else 4)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(wins, expected)
    np.testing.assert_allclose(P, np.sign(mine) * np.abs(mine) ** (p - 1.0), rtol=1e-4, atol=tolerance)


def test_nan_is_not_lost(kernels):
    """A current or weight that is no number reaches W, where the look at the norms finds it."""
    library, dtype = kernels
    X = np.ones((4, 5), dtype=dtype)
    W = np.ones((3, 5), dtype=dtype)
    W[1, 2] = np.nan
    P = W * np.abs(W)
    order = np.arange(4, dtype=np.int32)
    one_step(library, W, P, X, order, np.zeros(1, np.int32), 4, 3.0, 2, 0.4, 0.1, np.zeros(3, np.int32))
    assert np.isnan(W).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("architecture", ["compute_75", "compute_80", "compute_90"])
def test_the_kernels_compile_for_gpus(dtype, architecture, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("no CUDA compiler here")
    (tmp_path / "kernels.cu").write_text(_ranked_cuda.source(dtype))
    done = subprocess.run(
        ["nvcc", f"-arch={architecture}", "-std=c++14", "--ptx", "kernels.cu", "-o", "kernels.ptx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    if "Unsupported gpu architecture" in done.stderr:
        pytest.skip(f"this CUDA compiler does not know {architecture}")
    assert done.returncode == 0, done.stderr
    ptx = (tmp_path / "kernels.ptx").read_text()
    for name in ("gather", "rank_units", "change_rows", "apply_rows"):
        assert f".entry {name}(" in ptx


gpu = [*needs_gpu]


@pytest.mark.gpu
@gpu[1]
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [2.0, 2.5, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("k", [2, 5, 7, 8])
def test_a_hundred_steps_on_the_gpu(p, k, dtype):
    cupy = backend.get("cupy")
    rng = np.random.default_rng(0)
    X = np.ascontiguousarray(data.load("digits").images[:640], dtype=dtype)
    W = rng.standard_normal((50, X.shape[1])).astype(dtype)
    mine = cupy.asarray(W)
    rule = _ranked_cuda.DeviceRule(mine, cupy.asarray(X), 32, p, k, 0.4)
    theirs, expected = W, np.zeros(50, dtype=np.int64)
    for _ in range(5):
        order = rng.permutation(640)
        rule.learn(order, 0.02)
        for block in backend.blocks(640, 32):
            theirs, g = ranking.ranked_step_unchecked(xp, theirs, X[order[block]], p, k, 0.4, 0.02)
            expected += (g > 0).sum(axis=0)
    assert rule._graph is not None, "the step was not captured"
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(backend.to_host(mine), theirs, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(rule.take_wins(), expected)


@pytest.mark.gpu
@gpu[1]
def test_two_runs_on_the_gpu_are_the_same_to_the_last_bit():
    cupy = backend.get("cupy")
    X = cupy.asarray(data.load("digits").images[:615])
    runs = [RankedUnits(40, k=3, n_epochs=5, batch_size=50, random_state=0).fit(X) for _ in range(2)]
    np.testing.assert_array_equal(*(backend.to_host(run.components_) for run in runs))
    assert runs[0].wins_.sum() == 5 * 615
