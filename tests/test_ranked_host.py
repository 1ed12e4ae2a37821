"""The fast paths of the paper's rule on the host, held to its definition in ``bionet.ranking``."""

import subprocess
import sys
import tracemalloc

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bionet import data, ranking
from bionet.fast import ranked as _ranked_host
from bionet.fast.ranked import HostRule, covector
from bionet.units import RankedUnits

needs_numba = pytest.mark.skipif(_ranked_host.compiled is None, reason="Numba is not installed")
ENGINES = ["numpy", pytest.param("numba", marks=needs_numba)]
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


def define(W, batches, p, k, delta, rate):
    """Weights and wins after `batches`, by the definition."""
    wins = np.zeros(len(W), dtype=np.int64)
    for batch in batches:
        W, g = ranking.ranked_step_unchecked(xp, W, batch, p, k, delta, rate)
        wins += (g > 0).sum(axis=0)
    return W, wins


def digits(count, dtype):
    """Digits with their soft edges cut off: mostly zeros, as MNIST's are."""
    images = data.load("digits").images[:count]
    return np.ascontiguousarray(np.where(images > 0.7, images, 0.0), dtype=dtype)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize(
    ("p", "k"), [(2.0, 2), (2.5, 3), (3.0, 7), (4.0, 5), (6.0, 8), (3.3, 4), (1.0, 2), (3.5, 6)]
)
def test_a_step_and_a_hundred_agree_with_the_definition(p, k, kind, dtype, engine):
    rng = np.random.default_rng(0)
    X = digits(640, dtype) if kind == "sparse" else rng.standard_normal((640, 90)).astype(dtype)
    W = rng.standard_normal((50, X.shape[1])).astype(dtype)
    orders = rng.permuted(np.tile(np.arange(640), (6, 1)), axis=1).reshape(-1, 32)[:100]
    for count in (1, 100):
        mine = W.copy()
        rule = HostRule(mine, X, 32, p, k, 0.4, engine)
        assert (rule._sparse is not None) == (engine == "numba" and kind == "sparse")
        rule.learn(orders[:count].reshape(-1), 0.02)
        theirs, wins = define(W, X[orders[:count]], p, k, 0.4, 0.02)
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE[dtype])
        np.testing.assert_array_equal(rule.take_wins(), wins)
        assert np.abs(mine - W).max() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("hidden", [8, 17, 337, 700])
def test_any_number_of_units(hidden, engine):
    """Less than a tile, no multiple of a vector, several tiles; more rows touched than there are."""
    rng = np.random.default_rng(1)
    X = digits(60, np.float64)
    W = rng.standard_normal((hidden, X.shape[1]))
    mine = W.copy()
    rule = HostRule(mine, X, 25, 3.0, 8, 0.3, engine)
    order = rng.permutation(60)
    rule.learn(order, 0.1)  # two minibatches of 25 and one of 10
    theirs, wins = define(W, [X[order[:25]], X[order[25:50]], X[order[50:]]], 3.0, 8, 0.3, 0.1)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rule.take_wins(), wins)
    assert not rule.take_wins().any()


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_currents_rank_by_index(engine):
    """All rows in three copies, and blank images that put every unit on a level."""
    rng = np.random.default_rng(2)
    X = digits(40, np.float64)
    X[::5] = 0.0
    W = np.tile(rng.standard_normal((6, X.shape[1])), (3, 1))
    for k in range(2, 9):
        mine = W.copy()
        HostRule(mine, X, 20, 3.0, k, 0.4, engine).step(np.arange(20), 0.1)
        theirs, _ = define(W, [X[:20]], 3.0, k, 0.4, 0.1)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_unit_wins_several_images_and_is_second_of_others(engine):
    X = np.zeros((6, 4))
    X[:3, 0], X[3:, 1] = [1.0, 2.0, 3.0], [1.0, 1.0, 2.0]
    W = np.array([[1.0, 0.5, 0, 0], [0.5, 1.0, 0, 0], [0.1, 0.1, 0, 0]])
    mine = W.copy()
    rule = HostRule(mine, X, 6, 2.0, 2, 0.4, engine)
    rule.step(np.arange(6), 0.1)
    theirs, _ = define(W, [X], 2.0, 2, 0.4, 0.1)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(mine[2], W[2])
    assert rule.take_wins().tolist() == [3, 3, 0]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_change_is_no_change(engine):
    """Blank images and no anti-Hebbian part: nothing to divide by, and nothing moves."""
    W = np.random.default_rng(3).standard_normal((9, 12))
    mine = W.copy()
    HostRule(mine, np.zeros((5, 12)), 5, 3.0, 2, 0.0, engine).step(np.arange(5), 0.1)
    np.testing.assert_array_equal(mine, W)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=30, deadline=None)
@given(
    hidden=st.integers(2, 40),
    features=st.integers(1, 30),
    batch=st.integers(1, 20),
    p=st.sampled_from([1.0, 2.0, 2.2, 3.0, 4.5]),
    zeros=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_shapes_of_all_kinds(engine, hidden, features, batch, p, zeros, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((batch, features)) * (rng.random((batch, features)) >= zeros)
    W = rng.standard_normal((hidden, features))
    k = int(rng.integers(2, min(hidden, 8) + 1))
    mine = W.copy()
    HostRule(mine, X, batch, p, k, 0.4, engine).step(np.arange(batch), 0.05)
    theirs, _ = define(W, [X], p, k, 0.4, 0.05)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 2.5, 3.0, 3.3, 4.0, 5.0, 6.0, 6.5])
def test_the_covector_by_products(p):
    W = np.concatenate([[0.0, -1.0, 1.0], np.random.default_rng(4).standard_normal(60)]).reshape(3, 21)
    expected = np.sign(W) * np.abs(W) ** (p - 1.0)
    np.testing.assert_allclose(covector(W, p, np.empty_like(W), np.empty_like(W)), expected, atol=1e-14)
    again = W.copy()
    np.testing.assert_allclose(covector(again, p, np.empty_like(W), again), expected, atol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_covectors_stay_those_of_the_weights(engine):
    rng = np.random.default_rng(5)
    for X in (digits(200, np.float32), rng.random((200, 30), dtype=np.float32)):
        W = rng.standard_normal((20, X.shape[1])).astype(np.float32)
        rule = HostRule(W, X, 20, 3.0, 4, 0.4, engine)
        rule.learn(np.tile(np.arange(200), 10), 0.05)
        kept = rule._tiles.transpose(0, 2, 1).reshape(-1, X.shape[1])[:20] if rule._sparse else rule._P
        np.testing.assert_allclose(kept, W * np.abs(W), rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_neither_weights_nor_covectors_become_subnormal(engine, dtype, kind):
    """The weights of a pixel that is always blank shrink away, then they are 0; the rest is as defined."""
    rng = np.random.default_rng(7)
    X = digits(200, dtype) if kind == "sparse" else rng.random((200, 30)).astype(dtype)
    X[:, 3] = 0
    W = rng.standard_normal((20, X.shape[1])).astype(dtype)
    W[:, 3] *= dtype(1e-15 if dtype is np.float32 else 1e-150)
    started = W.copy()
    rule = HostRule(W, X, 20, 3.0, 4, 0.4, engine)
    order = np.tile(np.arange(200), 40)
    rule.learn(order, 0.05)
    settled = np.abs(np.linalg.norm(W, axis=1, ord=3) - 1) < 0.1
    assert settled.sum() > 5
    assert (W[settled, 3] == 0).any()
    left = np.abs(W[W != 0])
    assert left.min() ** 2 >= 0.99 * np.finfo(dtype).smallest_normal
    batches = X[order].reshape(-1, 20, X.shape[1])
    expected, _ = define(started, batches, 3.0, 4, 0.4, 0.05)
    if dtype is np.float64:  # float32's rounding grows over so many steps
        np.testing.assert_allclose(W, expected, atol=1e-9)


def test_the_numpy_path_makes_no_dense_update():
    """Twenty steps allocate a small part of what one dense update would take."""
    X = digits(200, np.float32)
    W = np.random.default_rng(6).standard_normal((600, X.shape[1])).astype(np.float32)
    rule = HostRule(W, X, 20, 3.0, 7, 0.4, "numpy")
    rule.learn(np.arange(100), 0.05)
    tracemalloc.start()
    rule.learn(np.tile(np.arange(200), 2), 0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < W.nbytes / 20


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1e30, 1.0])
def test_a_runaway_is_stopped_and_named(engine, scale):
    X = digits(50, np.float32) * np.float32(scale)
    units = RankedUnits(10, k=2, batch_size=10, n_epochs=5, learning_rate=1e4, engine=engine, random_state=0)
    with pytest.raises(ArithmeticError, match=r"epoch [1-5]: unit \d+ has p-norm .*lower learning_rate"):
        units.fit(X)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_estimator_trains_the_same_on_both_engines(engine):
    X = digits(300, np.float64)
    settings_ = {"n_hidden": 20, "k": 3, "n_epochs": 3, "batch_size": 30, "random_state": 0}
    mine = RankedUnits(**settings_, engine=engine).fit(X)
    plain = RankedUnits(**settings_, engine="numpy").fit(X)
    np.testing.assert_allclose(mine.components_, plain.components_, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(mine.wins_, plain.wins_)
    assert mine.wins_.sum() == 900
    assert mine.converged_.shape == (3,)


def test_without_numba_the_rule_runs_in_numpy():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np\n"
        "from bionet.units import RankedUnits\n"
        "X = np.random.default_rng(0).random((40, 9))\n"
        "print(RankedUnits(5, k=2, n_epochs=1, random_state=0).fit(X).components_.shape)\n"
        "try:\n    RankedUnits(5, k=2, engine='numba').fit(X)\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "(5, 9)"
    assert "pip install 'bionet[fast]'" in done.stdout
