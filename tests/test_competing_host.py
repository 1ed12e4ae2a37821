"""The exact dynamics a block at a time, held to one image after another; both engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bionet import data, dynamics, plasticity
from bionet.activations import unit_norm
from bionet.fast import competing as _competing_host
from bionet.units import CompetingUnits

ENGINES = ["numpy", "numba"]
if _competing_host.compiled is None:
    ENGINES = ["numpy"]


def one_by_one(units, W, X):
    """Eqs. 1 to 3 through the public functions; the winners of every image too."""
    winners = []
    for v in X:
        h = dynamics.steady_state(W @ v, units.w_inh)
        h_star = units.h_star * h.max() if units.threshold == "relative" else units.h_star
        g = plasticity.learning_activation(h, h_star, units.delta)
        if units.threshold == "relative" and h.max() <= 0:
            g = 0 * g  # no activity, no largest one
        W = plasticity.present(W, v, g, units.duration)
        winners.append(np.flatnonzero(g > 0))
    return W, winners


@pytest.fixture(scope="module")
def images():
    """4000 images of MNIST, or of the stand-in, of length 1."""
    some = data.load("mnist", stand_in=True).images
    return unit_norm(some[np.arange(4000) % len(some)])


def make(engine, W, **changes):
    settings = {"h_star": 0.8, "delta": 0.4, "duration": 0.1, "schedule": "constant", "shuffle": False}
    settings["normalize"] = False  # the images are of length 1 already
    return CompetingUnits(len(W), init=W, engine=engine, **{**settings, **changes})


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_run_in_float64_is_the_loop_to_1e_12(images, engine):
    X = images.astype(np.float64)
    start = np.random.default_rng(0).standard_normal((120, X.shape[1]))
    units = make(engine, start).fit(X)
    W, winners = one_by_one(units, start, X)
    np.testing.assert_allclose(units.components_, W, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(units.wins_, np.bincount(np.concatenate(winners), minlength=120))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_in_float32_is_the_loop_to_1e_5_with_the_same_winners(images, engine):
    X = images[:1000].astype(np.float32)
    start = np.random.default_rng(1).standard_normal((120, X.shape[1])).astype(np.float32)
    units = make(engine, start)
    W, winners = one_by_one(units, start, X)
    for v, expected in zip(X, winners, strict=True):
        before = units.wins_.copy() if hasattr(units, "wins_") else np.zeros(120)
        units.partial_fit(v[None])
        np.testing.assert_array_equal(np.flatnonzero(units.wins_ - before), expected)
    whole = make(engine, start).fit(X)
    assert whole.components_.dtype == np.float32
    np.testing.assert_allclose(whole.components_, W, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(whole.wins_, units.wins_)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40, deadline=None)
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
def test_any_shape_and_setting_inside_the_ball(engine, seed, samples, **drawn):
    """Blank images among them, signs of any kind, blocks that do not fill up."""
    rng = np.random.default_rng(seed)
    hidden, features = drawn.pop("hidden"), drawn.pop("features")
    X = rng.standard_normal((samples, features)) * (rng.random((samples, 1)) < 0.9)
    start = rng.standard_normal((hidden, features))
    start *= 0.8 / np.linalg.norm(start, axis=1, keepdims=True)
    units = make(engine, start, **drawn).fit(X)
    W, winners = one_by_one(units, start, X)
    assert units.n_silent_ == sum(w.size == 0 for w in winners)
    # A threshold met exactly, or almost, may fall either way: then other units learn from there on.
    if np.array_equal(units.wins_, np.bincount(np.concatenate(winners), minlength=hidden)):
        np.testing.assert_allclose(units.components_, W, rtol=0, atol=1e-7)
    else:
        assert drawn["h_star"] in (0.0, 1.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_divergence_names_what_the_loop_names_and_keeps_the_images_before(engine):
    rng = np.random.default_rng(3)
    X = rng.random((300, 30))
    start = 1.2 * rng.random((20, 30))  # long rows that never win: their growth adds up
    run = {"threshold": "absolute", "h_star": 1e3, "delta": 0.05, "duration": 0.03}
    units = make(engine, start, **run)
    W, index, expected = start, 0, None
    while expected is None:
        try:
            W, _ = one_by_one(units, W, X[index : index + 1])
        except plasticity.Divergence as error:
            expected = error
        index += 1
    assert index > 2
    with pytest.raises(plasticity.Divergence) as caught:
        units.fit(X)
    assert caught.value.unit == expected.unit
    assert caught.value.time == pytest.approx(expected.time, rel=1e-6)
    np.testing.assert_allclose(units.components_, W, rtol=1e-9)


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
