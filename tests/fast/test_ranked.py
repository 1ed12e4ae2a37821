"""The fast paths of the paper's rule on the host, held to its definition in ``bionet.ranking``."""

import functools
import subprocess
import sys
import tracemalloc

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_no_worse_than, assert_within, backward_bound, clear_run, rounding

from bionet import data, ranking
from bionet.fast import numba_engine
from bionet.fast.ranked import HostRule, covector
from bionet.units import RankedUnits

needs_numba = pytest.mark.skipif(not numba_engine.available(), reason="Numba is not installed")
ENGINES = ["numpy", pytest.param("numba", marks=needs_numba)]
RULES = [(2.0, 2), (2.5, 3), (3.0, 7), (4.0, 5), (6.0, 8), (3.3, 4), (1.0, 2), (3.5, 6)]  # p and k
FACTOR = 4  # sums in another order than the definition's may err so many times what it errs


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


@functools.cache
def problem(kind, p, k, count):
    """Weights and images, minibatches whose ranks are clear, and where float64 arrives."""
    rng = np.random.default_rng(0)
    X = digits(640, np.float32) if kind == "sparse" else rng.standard_normal((640, 90), dtype=np.float32)
    W = rng.standard_normal((50, X.shape[1]), dtype=np.float32)
    minibatches, end, wins = clear_run(W, X, count * [32], p, k, 0.4, 0.02)

    def learn(W, X):
        return define(W, [X[chosen] for chosen in minibatches], p, k, 0.4, 0.02)[0]

    return W, X, minibatches, end, wins, backward_bound(learn, W, X, terms=X.shape[1] + 32, draws=2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize(("p", "k"), RULES)
@pytest.mark.parametrize("count", [1, 100])
def test_a_step_and_a_hundred_agree_with_the_definition(p, k, kind, dtype, engine, count):
    """In float32 both are held to float64, in float64 to the bound."""
    if p == 1.0 and dtype is np.float32:
        count = 1  # sgn(W) jumps where rounding takes a weight across 0
    W, X, minibatches, end, wins, bound = problem(kind, p, k, count)
    W, X = W.astype(dtype), X.astype(dtype)
    mine = W.copy()
    rule = HostRule(mine, X, 32, p, k, 0.4, engine)
    assert (rule._sparse is not None) == (engine == "numba" and kind == "sparse")
    rule.learn(np.concatenate(minibatches), 0.02)
    assert mine.dtype == dtype
    if dtype is np.float32:
        plain, _ = define(W, X[np.array(minibatches)], p, k, 0.4, 0.02)
        assert_no_worse_than(mine, plain, end, FACTOR)
    else:
        assert_within(mine, end, 2 * bound)  # the definition errs, too
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

    def learn(W, X):
        return define(W, [X[order[:25]], X[order[25:50]], X[order[50:]]], 3.0, 8, 0.3, 0.1)

    bound = 2 * backward_bound(lambda W, X: learn(W, X)[0], W, X, terms=X.shape[1] + 25)
    theirs, wins = learn(W, X)
    assert_within(mine, theirs, bound)
    np.testing.assert_array_equal(rule.take_wins(), wins)
    assert not rule.take_wins().any()


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_currents_rank_by_index(engine):
    """All rows in three copies, and blank images that put every unit on a level.

    Whole numbers: sums are exact in any order, so that equal currents are equal on any machine.
    """
    rng = np.random.default_rng(2)
    X = (digits(40, np.float64) > 0).astype(np.float64)
    X[::5] = 0.0
    W = np.tile(rng.integers(-3, 4, (6, X.shape[1])).astype(np.float64), (3, 1))
    for k in range(2, 9):
        mine = W.copy()
        HostRule(mine, X, 20, 3.0, k, 0.4, engine).step(np.arange(20), 0.1)
        theirs, _ = define(W, [X[:20]], 3.0, k, 0.4, 0.1)
        # 0.4 is no whole number: 20 images' multiples of it are summed, and a change is at most 0.1
        assert_within(mine, theirs, 0.1 * rounding(4 * 20) + rounding(2) * np.abs(theirs))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_unit_wins_several_images_and_is_second_of_others(engine):
    X = np.zeros((6, 4))
    X[:3, 0], X[3:, 1] = [1.0, 2.0, 3.0], [1.0, 1.0, 2.0]
    W = np.array([[1.0, 0.5, 0, 0], [0.5, 1.0, 0, 0], [0.1, 0.1, 0, 0]])
    mine = W.copy()
    rule = HostRule(mine, X, 6, 2.0, 2, 0.4, engine)
    rule.step(np.arange(6), 0.1)
    theirs, _ = define(W, [X], 2.0, 2, 0.4, 0.1)
    assert_within(mine, theirs, rounding(20))  # as many operations on numbers up to one
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

    def step(W, X):
        return define(W, [X], p, k, 0.4, 0.05)[0]

    assert_within(mine, step(W, X), 2 * backward_bound(step, W, X, terms=features + batch + 10, draws=3))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 2.5, 3.0, 3.3, 4.0, 5.0, 6.0, 6.5])
def test_the_covector_by_products(p):
    W = np.concatenate([[0.0, -1.0, 1.0], np.random.default_rng(4).standard_normal(60)]).reshape(3, 21)
    expected = np.sign(W) * np.abs(W) ** (p - 1.0)
    bound = rounding(p + 6) * np.abs(expected)  # p products and a root; the library's power errs by 4
    assert_within(covector(W, p, np.empty_like(W), np.empty_like(W)), expected, bound)
    again = W.copy()
    assert_within(covector(again, p, np.empty_like(W), again), expected, bound)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_covectors_stay_those_of_the_weights(engine):
    rng = np.random.default_rng(5)
    for X in (digits(200, np.float32), rng.random((200, 30), dtype=np.float32)):
        W = rng.standard_normal((20, X.shape[1])).astype(np.float32)
        rule = HostRule(W, X, 20, 3.0, 4, 0.4, engine)
        rule.learn(np.tile(np.arange(200), 10), 0.05)
        kept = rule._tiles.transpose(0, 2, 1).reshape(-1, X.shape[1])[:20] if rule._sparse else rule._P
        np.testing.assert_array_equal(kept, W * np.abs(W))  # one product


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
    assert left.min() ** 2 >= (1 - rounding(4, dtype)) * np.finfo(dtype).smallest_normal
    if dtype is np.float64:  # in float32 ranks change over so many steps

        def learn(W, X):
            return define(W, X[order].reshape(-1, 20, X.shape[1]), 3.0, 4, 0.4, 0.05)[0]

        bound = backward_bound(learn, started, X, terms=X.shape[1] + 20, draws=2)
        assert_within(W, learn(started, X), 2 * bound)


def test_the_numpy_path_makes_no_dense_update():
    """Steps of 20 images allocate little beside the change of the 40 rows, of 600, that they can touch."""
    X = digits(200, np.float32)
    W = np.random.default_rng(6).standard_normal((600, X.shape[1])).astype(np.float32)
    rule = HostRule(W, X, 20, 3.0, 7, 0.4, "numpy")
    rule.learn(np.arange(100), 0.05)
    tracemalloc.start()
    rule.learn(np.tile(np.arange(200), 2), 0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * W[:40].nbytes


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

    def train(X):
        return RankedUnits(**settings_, engine="numpy").fit(X).components_

    bound = backward_bound(train, X, terms=X.shape[1] + 30, draws=3)
    assert_within(mine.components_, plain.components_, 2 * bound)
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
    assert "pip install numba" in done.stdout
