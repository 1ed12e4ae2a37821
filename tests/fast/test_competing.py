"""The exact dynamics a block at a time, held to one image after another; both engines."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_no_worse_than, assert_within, rounding

from bionet import data, dynamics, plasticity
from bionet.activations import unit_norm
from bionet.fast.numba_engine import available
from bionet.units import CompetingUnits

ENGINES = ["numpy", "numba"]
if not available():
    ENGINES = ["numpy"]


def activation(units, W, v):
    """Equations 1 and 2 through the public functions, and how near h comes to where g jumps."""
    h = dynamics.steady_state(W @ v, units.w_inh)
    return (h, *learning(units, h))


def learning(units, h):
    """Equation 2, and how near h comes to where it jumps."""
    relative = units.threshold == "relative"
    h_star = units.h_star * h.max() if relative else units.h_star
    g = plasticity.learning_activation(h, h_star, units.delta)
    if relative and h.max() <= 0:
        g = 0 * g  # no activity, no largest one
    beside = np.delete(h, h.argmax()) if relative else h  # the largest reaches its own share
    return g, min(np.abs(h).min(), np.abs(beside - h_star).min(initial=np.inf))


def presented(W, v, g, duration):
    """Equation 3 in the rows that learn; a copy."""
    W, rows = W.copy(), np.flatnonzero(g)
    W[rows] = plasticity.present(W[rows], v, g[rows], duration)
    return W


def one_by_one(units, W, X):
    """Eqs. 1 to 3 through the public functions; the winners of every image too."""
    winners = []
    for v in X:
        _, g, _ = activation(units, W, v)
        W = presented(W, v, g, units.duration)
        winners.append(np.flatnonzero(g > 0))
    return W, winners


ROUNDINGS = 16  # of the size of one rounding of W that an engine may make in one presentation


def one_by_one_and_its_rounding(units, W, X):
    """The loop, and what one more rounding of every weight that an image changes makes of it.

    Returns the winners, the last W, and how far it moved in any of three loops with such roundings. It stops
    before an image at which g hangs on rounding.
    """
    rng = np.random.default_rng(0)
    eps = float(np.finfo(W.dtype).eps)
    loops = np.repeat(W[None], 4, axis=0)  # the first one without
    winners = []
    for v in X:
        h = dynamics.steady_state(loops @ v, units.w_inh)
        g, nearest = learning(units, h[0])
        moved = np.abs(h[1:] - h[0]).max()
        if v.any() and nearest <= ROUNDINGS * (moved + eps * np.abs(W).max() * np.abs(v).sum()):
            break
        winners.append(np.flatnonzero(g > 0))
        learned = np.flatnonzero(g)
        rows = loops[:, learned]
        flat = plasticity.present(rows.reshape(-1, W.shape[1]), v, np.tile(g[learned], 4), units.duration)
        rows = flat.reshape(rows.shape)
        rows[1:] *= 1 + eps * rng.choice([-1, 1], rows[1:].shape)
        loops[:, learned] = rows
    moved = np.abs(loops[1:] - loops[0]).max()
    return winners, loops[0], moved + eps * np.abs(loops[0]).max()


@pytest.fixture(scope="module")
def images():
    """2000 images of MNIST, or of the stand-in, of length 1."""
    some = data.load("mnist", stand_in=True).images
    return unit_norm(some[np.arange(2000) % len(some)])


def make(engine, W, **changes):
    settings = {"h_star": 0.8, "delta": 0.4, "duration": 0.1, "schedule": "constant", "shuffle": False}
    settings["normalize"] = False  # the images are of length 1 already
    return CompetingUnits(len(W), init=W, engine=engine, **{**settings, **changes})


@pytest.fixture(scope="module")
def long_run(images):
    X = images.astype(np.float64)
    start = np.random.default_rng(0).standard_normal((120, X.shape[1]))
    winners, W, moved = one_by_one_and_its_rounding(make("auto", start), start, X)
    assert len(winners) == 2000  # no g hangs on rounding
    assert moved < 1e-10
    return X, start, winners, W, moved


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_run_in_float64_is_the_loop_up_to_rounding(long_run, engine):
    X, start, winners, W, moved = long_run
    units = make(engine, start).fit(X)
    assert_within(units.components_, W, ROUNDINGS * moved)
    np.testing.assert_array_equal(units.wins_, np.bincount(np.concatenate(winners), minlength=120))


@pytest.fixture(scope="module")
def run_in_float32(images):
    """Images that leave no doubt about g in float32, and where float64 arrives with them."""
    start = np.random.default_rng(1).standard_normal((120, images.shape[1])).astype(np.float32)
    units = make("auto", start)
    W, chosen, winners = start.astype(np.float64), [], []
    for v in images.astype(np.float32):
        exact = v.astype(np.float64)
        h, g, nearest = activation(units, W, exact)
        if nearest > 1e-4 * h.max():
            W = plasticity.present(W, exact, g, units.duration)
            chosen.append(v)
            winners.append(np.flatnonzero(g > 0))
        if len(chosen) == 1000:
            return np.stack(chosen), start, winners, W
    raise AssertionError("too few images with clear winners")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_in_float32_errs_no_more_than_the_loop_and_has_the_winners_of_float64(run_in_float32, engine):
    X, start, winners, exact = run_in_float32
    units = make(engine, start)
    plain, of_plain = one_by_one(units, start, X)
    for v, of_loop, expected in zip(X, of_plain, winners, strict=True):
        before = units.wins_.copy() if hasattr(units, "wins_") else np.zeros(120)
        units.partial_fit(v[None])
        np.testing.assert_array_equal(of_loop, expected)
        np.testing.assert_array_equal(np.flatnonzero(units.wins_ - before), expected)
    whole = make(engine, start).fit(X)
    assert whole.components_.dtype == np.float32
    assert_no_worse_than(units.components_, plain, exact, factor=2)
    assert_no_worse_than(whole.components_, plain, exact, factor=2)
    np.testing.assert_array_equal(whole.wins_, units.wins_)


def draw(seed, hidden, features, samples, dtype=np.float64):
    """Images of any sign, blank ones among them, and rows of norm 0.8."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((samples, features)) * (rng.random((samples, 1)) < 0.9)
    start = rng.standard_normal((hidden, features))
    start *= 0.8 / np.linalg.norm(start, axis=1, keepdims=True)
    return X.astype(dtype), start.astype(dtype)


def assert_in_the_ball(W):
    """Up to the rounding of the sum that finds a row outside, and of the quotients that bring it back."""
    W = host(W)
    square = (W.astype(np.float64) ** 2).sum(axis=1)
    assert square.max() <= 1 + rounding(W.shape[1] + 8, W.dtype)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    hidden=st.integers(1, 12),
    features=st.integers(1, 9),
    samples=st.integers(1, 300),
    w_inh=st.floats(0, 0.95),
    h_star=st.floats(0, 1),
    delta=st.floats(0, 1),
    duration=st.floats(0, 3),
    threshold=st.sampled_from(["relative", "absolute"]),
)
def test_any_shape_and_setting_inside_the_ball(engine, seed, hidden, features, samples, **drawn):
    """Blank images among them, signs of any kind, blocks that do not fill up."""
    X, start = draw(seed, hidden, features, samples)
    units = make(engine, start, **drawn)
    assert_in_the_ball(units.fit(X).components_)
    winners, W, moved = one_by_one_and_its_rounding(units, start, X)
    if not winners:
        return
    units.fit(X[: len(winners)])
    assert_within(units.components_, W, ROUNDINGS * features * moved)
    assert units.n_silent_ == sum(w.size == 0 for w in winners)
    np.testing.assert_array_equal(units.wins_, np.bincount(np.concatenate(winners), minlength=hidden))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 60)),
    length=st.floats(-2, 3).map(lambda exponent: 10**exponent),
    norm=st.sampled_from([0.0, 0.5, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    drawn=st.fixed_dictionaries(
        {
            "w_inh": st.floats(0, 0.95),
            "h_star": st.floats(0, 1),
            "delta": st.floats(0, 5),
            "duration": st.floats(0, 100),
            "threshold": st.sampled_from(["relative", "absolute"]),
        }
    ),
)
def test_no_dose_and_no_precision_takes_a_row_out_of_the_ball(seed, shape, length, norm, dtype, drawn):
    """Doses from nothing to far beyond the range of exp, rows at the centre, inside and on the sphere."""
    X, start = draw(seed, *shape, dtype)
    X = X * dtype(length)
    start = (start * (norm / 0.8)).astype(dtype)
    for engine in ENGINES:
        assert_in_the_ball(make(engine, start, **drawn).fit(X).components_)


UNLEARNING = {"w_inh": 0.5, "h_star": 1.0, "duration": 3.0, "threshold": "absolute"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("delta", [0.375, 0.5])
@pytest.mark.parametrize("samples", [149, 300])
@pytest.mark.parametrize("seed", [3, 6])
class TestRowsThatRoundingOnceCarriedOutOfTheBall:
    """One pixel: long unlearning beside the image, where an error of y is divided by D^2."""

    @pytest.mark.parametrize("engine", ENGINES)
    def test_fit(self, seed, samples, delta, dtype, engine):
        X, start = draw(seed, 3, 1, samples, dtype)
        assert_in_the_ball(make(engine, start, delta=delta, **UNLEARNING).fit(X).components_)

    def test_present(self, seed, samples, delta, dtype):
        X, W = draw(seed, 3, 1, samples, dtype)
        units = make("auto", W, delta=delta, **UNLEARNING)
        for v in X:
            W, _ = one_by_one(units, W, v[None])
            assert_in_the_ball(W)


@pytest.mark.parametrize("make_array", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [3, 6])
def test_such_rows_stay_in_the_ball_on_a_device(seed, dtype, make_array):
    X, start = draw(seed, 3, 1, 149, dtype)
    units = make("auto", start, delta=0.5, **UNLEARNING).fit(make_array(X, dtype))
    assert_in_the_ball(units.components_)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_divergence_names_what_the_loop_names_and_keeps_the_images_before(engine):
    rng = np.random.default_rng(3)
    X = rng.random((300, 30))
    start = 1.2 * rng.random((20, 30))  # long rows that never win: their growth adds up
    run = {"threshold": "absolute", "h_star": 1e3, "delta": 0.05, "duration": 0.03}
    units = make(engine, start, **run)
    count, expected = 0, None
    W = start
    while expected is None:
        try:
            W = plasticity.present(W, X[count], activation(units, W, X[count])[1], units.duration)
        except plasticity.Divergence as error:
            expected = error
        else:
            count += 1
    assert count > 1
    _, W, moved = one_by_one_and_its_rounding(units, start, X[:count])
    with pytest.raises(plasticity.Divergence) as caught:
        units.fit(X)
    assert caught.value.unit == expected.unit
    assert_within(units.components_, W, ROUNDINGS * moved)
    # dt/dy of artanh(1/y) / (delta a)
    slope = 1 / (expected.y**2 - 1) / (units.delta * np.linalg.norm(X[count]))
    assert_within(caught.value.time, expected.time, ROUNDINGS * np.sqrt(30) * moved * slope)


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_of_blank_pixels_end_at_zero_and_not_among_subnormal_numbers(engine):
    """They shrink at every presentation; subnormal numbers would slow down every product."""
    X = np.zeros((2000, 4), dtype=np.float32)
    X[:, 0] = 1
    units = make(engine, np.full((1, 4), 0.5, np.float32), duration=0.2).fit(X)
    tiny = np.finfo(np.float32).tiny
    assert not ((units.components_ != 0) & (np.abs(units.components_) < tiny)).any()
    np.testing.assert_array_equal(units.components_[0, 1:], 0)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine must be one of"):
        CompetingUnits(2, engine="fortran").fit(np.eye(2))
