"""The CUDA kernels of the fast rule: on threads of the host, through NVRTC, and on a GPU where there is one.

Without a GPU, ``DeviceRule`` itself runs on the stand-in :mod:`fake_cupy`, which compiles the kernels' file
as it is for the host. Not covered there: the capture of a graph, cuBLAS, and the order of streams.
"""

import ctypes
import fnmatch
import functools
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import array_api_compat.numpy as xp
import cuda_host
import fake_cupy
import numpy as np
import pytest
from backends import needs_gpu
from cuda_host import race

from bionet import backend, data, ranking
from bionet.fast import ranked_cuda
from bionet.units import RankedUnits

ROOT = Path(__file__).parents[2]
DTYPES = [np.float32, np.float64]
DELTA, RATE = 0.4, 0.02
FACTOR = 4.0  # errors of sums taken in another order are alike, not the same


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The function that compiles the kernels for the host, each text once."""
    if (missing := cuda_host.compiler()) is not None:
        pytest.skip(missing)
    numbers = itertools.count()

    @functools.cache
    def compiled(code, copies=1, flags=()):
        return cuda_host.build(code, tmp_path_factory.mktemp("kernels") / str(next(numbers)), copies, flags)

    return compiled


@pytest.fixture
def cupy(library, monkeypatch):
    """The stand-in, four threads a block, in CuPy's place."""
    module = fake_cupy.stand_in(library, threads=4)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def device_rule(cupy, W, X, size, p, k):
    """The rule on the stand-in, which has no graphs, and its weights."""
    W = cupy.asarray(W)
    with pytest.warns(RuntimeWarning, match="could not be captured as a CUDA graph"):
        return ranked_cuda.DeviceRule(W, cupy.asarray(X), size, p, k, DELTA), W


def definition(W, X, orders, size, p, k):
    """Weights, wins and currents of the plain loop over the definition."""
    wins, currents = np.zeros(W.shape[0], dtype=np.int64), []
    for order in orders:
        for block in backend.blocks(len(order), size):
            batch = X[order[block]]
            currents.append(ranking.p_currents(W, batch, p))
            W, g = ranking.ranked_step_unchecked(xp, W, batch, p, k, DELTA, RATE)
            wins += (g > 0).sum(axis=0)
    return W, wins, np.concatenate(currents)


@functools.cache
def problem(images, hidden, size, p, k, epochs):
    """Weights, images and orders, the definition's float64 answer, and the error of its float32 loop.

    Drawn so that rounding decides no rank: ranks 1 and k stand apart by twice FACTOR times the largest error
    that the float32 loop makes in a current.
    """
    X = np.array(data.load("digits").images[:images], dtype=np.float32)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        W = rng.standard_normal((hidden, X.shape[1]), dtype=np.float32)
        orders = [rng.permutation(images) for _ in range(epochs)]
        exact, wins, currents = definition(W.astype(float), X.astype(float), orders, size, p, k)
        single, _, rounded = definition(W, X, orders, size, p, k)
        ranked = -np.sort(-currents, axis=1)
        gaps = -np.diff(ranked, axis=1)[:, sorted({0, k - 2, min(k, hidden - 1) - 1})]
        if gaps.min() > 2.0 * FACTOR * abs(rounded - currents).max():
            return W, X, orders, exact, wins, abs(single - exact).max()
    raise AssertionError("no draw of 100 keeps its ranks apart")


def assert_is_the_definition(W, wins, expected, expected_wins, error):
    """Rounding errors grow with the unit of rounding: float64 is held to the float32 loop's error, scaled."""
    scale = np.finfo(W.dtype).eps / np.finfo(np.float32).eps
    np.testing.assert_allclose(W.astype(float), expected, rtol=0, atol=FACTOR * error * scale)
    np.testing.assert_array_equal(wins, expected_wins)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("p", "k"), [*((3.0, k) for k in range(2, 9)), *((p, k) for p in (2.0, 2.5, 4.0) for k in (2, 7))]
)
def test_the_rule_is_the_definition(cupy, p, k, dtype):
    """A hundred steps, each third on a smaller minibatch; minibatches name units more than once."""
    W, X, orders, *expected = problem(images=15, hidden=12, size=7, p=p, k=k, epochs=34)
    rule, mine = device_rule(cupy, W.astype(dtype), X.astype(dtype), 7, p, k)
    for order in orders:
        rule.learn(order, RATE)
    assert_is_the_definition(mine.get(), rule.take_wins(), *expected)
    assert rule.take_wins().sum() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [2, 5, 8])
def test_equal_currents_rank_by_index(cupy, k, dtype):
    """One step: units in pairs of equals, and blank images, for which all are equal."""
    rng = np.random.default_rng(k)
    X = np.array(data.load("digits").images[:25], dtype=np.float32)
    W = rng.standard_normal((12, X.shape[1]), dtype=np.float32)
    W[6:], X[::7] = W[:6], 0.0
    orders = [rng.permutation(25)]
    exact, wins, _ = definition(W.astype(float), X.astype(float), orders, 25, 3.0, k)
    error = abs(definition(W, X, orders, 25, 3.0, k)[0] - exact).max()
    rule, mine = device_rule(cupy, W.astype(dtype), X.astype(dtype), 25, 3.0, k)
    rule.learn(orders[0], RATE)
    assert_is_the_definition(mine.get(), rule.take_wins(), exact, wins, error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [2.0, 2.5, 3.0, 4.0])
def test_a_resumed_run_has_the_same_bits(cupy, p, dtype):
    """Covectors made anew are those that the steps had kept up to date."""
    W, X, orders, *_ = problem(images=15, hidden=12, size=7, p=p, k=3, epochs=34)
    W, X = W.astype(dtype), X.astype(dtype)
    whole, once = device_rule(cupy, W, X, 7, p, 3)
    for order in orders[:6]:
        whole.learn(order, RATE)
    part = W
    for order in orders[:6]:
        rule, part = device_rule(cupy, part, X, 7, p, 3)
        rule.learn(order, RATE)
    np.testing.assert_array_equal(part.get(), once.get())
    assert (part.get() != W).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_number_ranks_first(cupy, dtype):
    """A unit whose current is none wins, as in the definition, and W says so."""
    huge = np.finfo(dtype).max ** 0.75
    W = np.array([[1, 2, 0], [huge, -huge, 0], [0, 1, 1], [2, 2, 1], [1, 0, 1]], dtype=dtype)
    X = np.ones((4, 3), dtype=dtype)
    rule, mine = device_rule(cupy, W, X, 4, 3.0, 2)
    with backend.out_of_range_unwarned():
        rule.learn(np.arange(4), RATE)
        _, expected, currents = definition(W, X, [np.arange(4)], 4, 3.0, 2)
    assert np.isnan(currents[:, 1]).all()
    np.testing.assert_array_equal(rule.take_wins(), expected)
    assert np.isnan(mine.get()).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", range(9))
def test_the_largest_change_keeps_no_number(cupy, place, dtype):
    """Wherever in a row it stands: no smaller number after it takes its place."""
    kernel = cupy.RawModule(ranked_cuda.source(dtype)).get_function("change_rows")
    W = cupy.zeros((2, 9), dtype)
    W[1, place] = np.nan
    currents, pair = np.array([[0, 1]], dtype=dtype), np.array([1, 0], dtype=np.int32)
    largest = cupy.zeros(2, dtype)
    inputs = cupy.zeros((1, 9), dtype), cupy.asarray(currents), W, cupy.asarray(pair), dtype(DELTA)
    outputs = cupy.empty((2, 9), dtype), largest, cupy.zeros(2, np.int32)
    kernel((2,), (4,), (*inputs, *outputs, np.int32(1), np.int32(2), np.int32(9)))
    np.testing.assert_array_equal(largest.get(), [np.nan, 0.0])


def test_minibatches_beyond_the_shared_memory_are_refused(cupy):
    W, X = cupy.zeros((3, 2), np.float32), cupy.zeros((2049, 2), np.float32)
    with pytest.raises(RuntimeError, match="more than 2048 images, got 2049"):
        ranked_cuda.DeviceRule(W, X, 2049, 3.0, 2, DELTA)


def test_kernels_that_cannot_be_compiled_say_why(cupy, monkeypatch):
    def refuse(**_):
        raise OSError("no NVRTC here")

    monkeypatch.setattr(cupy, "RawModule", refuse)
    with pytest.raises(RuntimeError, match="cannot be compiled \\(no NVRTC here\\)"):
        ranked_cuda.DeviceRule(cupy.zeros((3, 2), np.float32), cupy.zeros((4, 2), np.float32), 4, 3.0, 2, 0)


def test_half_precision_is_refused(cupy):
    """Its bits would be read as those of a float64."""
    with pytest.raises(RuntimeError, match="float32 and float64, got float16"):
        ranked_cuda.DeviceRule(cupy.zeros((3, 2), np.float16), cupy.zeros((4, 2), np.float16), 4, 3.0, 2, 0)


def test_the_package_brings_its_kernels():
    """Files that are not Python reach a wheel only if pyproject.toml names them."""
    package = ranked_cuda.__package__
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    (kernels,) = (f.name for f in resources.files(package).iterdir() if f.name.endswith(".cu"))
    assert any(fnmatch.fnmatch(kernels, pattern) for pattern in patterns[package])


# The thread sanitizer: a process that loads it first drives the rule, all blocks of a launch at once.

RACE = 66  # exit status


def watched(*command):
    """Run Python under the sanitizer; it ends at the first race."""
    environment = {
        **os.environ,
        "LD_PRELOAD": libtsan(),
        "TSAN_OPTIONS": f"halt_on_error=1 exitcode={RACE}",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.run(
        [*fixed_addresses(), sys.executable, *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@functools.cache
def libtsan():
    found = subprocess.run(["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True)
    return found.stdout.strip()


@functools.cache
def fixed_addresses():
    """A prefix that switches off random addresses, where the sanitizer cannot live with them."""
    environment = {**os.environ, "LD_PRELOAD": libtsan()}
    for prefix in ((), ("setarch", "-R")):
        if prefix and shutil.which(prefix[0]) is None:
            continue
        done = subprocess.run([*prefix, sys.executable, "-c", ""], env=environment, capture_output=True)
        if done.returncode == 0:
            return prefix
    return None


@pytest.fixture(scope="session")
def sanitizer(library):
    """The function that compiles kernels for the sanitizer; skips where none works."""
    if sys.platform != "linux" or not os.path.isabs(libtsan()):
        pytest.skip("no thread sanitizer here: install GCC's libtsan (on Debian it comes with g++)")
    if fixed_addresses() is None:
        pytest.skip("the thread sanitizer does not start here, nor under setarch -R: try a newer g++")

    def compiled(code):
        return library(code, race.BLOCKS, (cuda_host.SANITIZER,))

    return compiled


def barriers():
    """The line of each barrier, in the text that is compiled, with the kernel that it stands in."""
    kernel, found = "", []
    for number, line in enumerate(ranked_cuda.source(np.float32).splitlines(), start=1):
        if match := re.match(r'extern "C" __global__ void (\w+)\(', line):
            kernel = match[1]
        assert line.count("__syncthreads()") <= 1, "a line holds at most one barrier, so that it can be named"
        if "__syncthreads()" in line:
            found.append(pytest.param(number, id=f"{kernel}-{number}"))
    return found


def test_every_barrier_is_removed_below():
    assert len(barriers()) == ranked_cuda.source(np.float32).count("__syncthreads") == 7


@pytest.mark.parametrize(("dtype", "threads"), [("float32", 4), ("float64", 4), ("float32", 32)])
def test_no_two_threads_race(sanitizer, dtype, threads):
    """Neither in a block nor between blocks; fewer threads than units and features, and more."""
    kernels = sanitizer(ranked_cuda.source(dtype))
    done = watched(race.__file__, kernels, dtype, threads, 0)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", barriers())
def test_no_barrier_can_be_spared(sanitizer, line):
    kernels = sanitizer(ranked_cuda.source(np.float32))
    done = watched(race.__file__, kernels, "float32", 4, line)
    assert done.returncode == RACE, done.stderr
    assert "data race" in done.stderr


@pytest.mark.parametrize(
    ("kernel", "guard", "without"),
    [
        ("change_rows", "if (e < entry)", "if (false)"),
        ("apply_rows", "if (largest[blockIdx.x] == 0) return;", ""),
        ("apply_rows", "if (blockIdx.x == 0) minibatch", "minibatch"),
    ],
)
def test_races_between_blocks_are_seen(sanitizer, kernel, guard, without):
    """Without what makes one block the owner of a row or of the count, two blocks write it."""
    code = ranked_cuda.source(np.float32)
    assert code.count(guard) == 1
    done = watched(race.__file__, sanitizer(code.replace(guard, without)), "float32", 4, 0)
    assert done.returncode == RACE, done.stderr
    assert re.search(rf"data race.*\b{kernel}_\d+\b", done.stderr, flags=re.DOTALL)


# NVRTC, which CuPy compiles with, comes as a package and needs neither a driver nor a toolkit.


@functools.cache
def nvrtc():
    """The library of nvidia-cuda-nvrtc-cu12, or None where the package has no wheel or is not installed."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    files = [file for folder in folders for file in folder.glob("lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(files[0])) if files else None


def cubin(code, architecture):
    """Machine code for one architecture, and what the compiler said."""
    library, program = nvrtc(), ctypes.c_void_p()
    options = [option.encode() for option in (f"--gpu-architecture={architecture}", *ranked_cuda.OPTIONS)]
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), code.encode(), b"_ranked_cuda.cu", 0, None, None
    )
    assert created == 0
    try:
        status = library.nvrtcCompileProgram(
            program, len(options), (ctypes.c_char_p * len(options))(*options)
        )
        size = ctypes.c_size_t()
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        if status != 0:
            return b"", log.value.decode()
        library.nvrtcGetCUBINSize(program, ctypes.byref(size))
        machine_code = ctypes.create_string_buffer(size.value)
        library.nvrtcGetCUBIN(program, machine_code)
        return machine_code.raw, log.value.decode()
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


needs_nvrtc = pytest.mark.skipif(
    nvrtc() is None,
    reason="no NVRTC here: pip install nvidia-cuda-nvrtc-cu12 (wheels for Linux; none for macOS)",
)


@needs_nvrtc
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100"])
def test_the_kernels_compile_for_gpus(architecture, dtype):
    """Without a word of warning; a block that asked for more than 48 kB of shared memory would be refused."""
    machine_code, log = cubin(ranked_cuda.source(dtype), architecture)
    assert machine_code[:4] == b"\x7fELF", log
    assert log.strip("\0\n") == ""
    for name in cuda_host.parameters(ranked_cuda.source(dtype)):
        assert b".text." + name.encode() in machine_code


@needs_nvrtc
def test_too_much_shared_memory_is_refused(monkeypatch):
    """What the test above rests on."""
    monkeypatch.setattr(ranked_cuda, "MOST_ENTRIES", 12 * 1024)
    machine_code, log = cubin(ranked_cuda.source(np.float32), "sm_80")
    assert machine_code == b""
    assert "too much shared data" in log


@pytest.mark.gpu
@needs_gpu[1]
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [2.0, 2.5, 3.0, 4.0, 6.0])
@pytest.mark.parametrize("k", [2, 5, 7, 8])
def test_a_hundred_steps_on_the_gpu(p, k, dtype):
    cupy = backend.get("cupy")
    W, X, orders, *expected = problem(images=45, hidden=50, size=10, p=p, k=k, epochs=20)
    mine = cupy.asarray(W.astype(dtype))
    rule = ranked_cuda.DeviceRule(mine, cupy.asarray(X.astype(dtype)), 10, p, k, DELTA)
    for order in orders:
        rule.learn(order, RATE)
    assert rule._graph is not None, "the step was not captured"
    assert_is_the_definition(backend.to_host(mine), rule.take_wins(), *expected)


@pytest.mark.gpu
@needs_gpu[1]
def test_two_runs_on_the_gpu_are_the_same_to_the_last_bit():
    cupy = backend.get("cupy")
    X = cupy.asarray(data.load("digits").images[:615])
    runs = [RankedUnits(40, k=3, n_epochs=5, batch_size=50, random_state=0).fit(X) for _ in range(2)]
    np.testing.assert_array_equal(*(backend.to_host(run.components_) for run in runs))
    assert runs[0].wins_.sum() == 5 * 615
