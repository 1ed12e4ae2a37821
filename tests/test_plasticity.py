"""Eqs. 2 and 3: closed form against integration, invariances, blow-up, the norm law."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from bionet import plasticity


def integrate(W, v, g, duration):
    """One presentation by an eighth-order method, a rule of its own: no shared code."""

    def rhs(t, flat):
        rows = flat.reshape(W.shape)
        return (g[:, None] * (v[None, :] - (rows @ v)[:, None] * rows)).ravel()

    return (
        solve_ivp(rhs, (0, duration), W.ravel(), method="DOP853", rtol=1e-11, atol=1e-13)
        .y[:, -1]
        .reshape(W.shape)
    )


def rows_of_norm(rng, norm, hidden=5, features=8):
    W = rng.standard_normal((hidden, features))
    return norm * W / np.linalg.norm(W, axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.floats(0.0, 3.0), st.integers(2, 12))
def test_one_presentation_agrees_with_integration_inside_the_ball(seed, norm, duration, features):
    rng = np.random.default_rng(seed)
    W = rows_of_norm(rng, norm, features=features)
    v, g = rng.standard_normal(features), rng.uniform(-1, 1, 5)
    np.testing.assert_allclose(plasticity.present(W, v, g, duration), integrate(W, v, g, duration), atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.9))
def test_one_presentation_agrees_with_integration_outside_up_to_the_blow_up(seed, fraction):
    rng = np.random.default_rng(seed)
    W = rows_of_norm(rng, 6.0)
    v, g = rng.random(8), rng.uniform(-1, 1, 5)
    first = plasticity.blow_up_time(W, v, g).min()
    assume(np.isfinite(first) and first < 1e3)
    duration = fraction * first
    exact = plasticity.present(W, v, g, duration)
    np.testing.assert_allclose(exact, integrate(W, v, g, duration), rtol=1e-6, atol=1e-6)


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.floats(0.0, 50.0))
def test_the_ball_and_the_sphere_are_invariant(seed, duration):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(8)
    inside = plasticity.present(rows_of_norm(rng, 0.9), v, np.array([1, -1, 0.3, -0.4, 0]), duration)
    assert (np.linalg.norm(inside, axis=1) <= 1 + 1e-9).all()
    g = np.abs(rng.uniform(0.1, 1, 5))
    sphere = rows_of_norm(rng, 1.0)
    sphere *= np.sign(sphere @ v)[:, None]  # g <W, v> >= 0: rounding shrinks
    moved = plasticity.present(sphere, v, g, duration)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1.0, atol=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.floats(0, 2), st.floats(0, 2))
def test_two_presentations_of_one_image_are_one_long_one(seed, first, second):
    rng = np.random.default_rng(seed)
    W, v, g = rows_of_norm(rng, 0.7), rng.standard_normal(8), rng.uniform(-1, 1, 5)
    twice = plasticity.present(plasticity.present(W, v, g, first), v, g, second)
    np.testing.assert_allclose(twice, plasticity.present(W, v, g, first + second), atol=1e-9)


def test_presentations_of_different_images_do_not_commute():
    rng = np.random.default_rng(0)
    W, g = rows_of_norm(rng, 0.7), np.ones(5)
    u, v = rng.standard_normal((2, 8))
    one = plasticity.present(plasticity.present(W, u, g, 0.5), v, g, 0.5)
    other = plasticity.present(plasticity.present(W, v, g, 0.5), u, g, 0.5)
    assert np.abs(one - other).max() > 0.01


def test_on_the_sphere_half_the_angle_shrinks_exponentially():
    rng = np.random.default_rng(4)
    W, v = rows_of_norm(rng, 1.0), rng.standard_normal(8)
    a = np.linalg.norm(v)
    g, duration = np.array([1, -0.4, 0.2, 1, -1.0]), 0.3

    def half(rows):
        return np.tan(np.arccos(np.clip(rows @ v / a, -1, 1)) / 2)

    moved = plasticity.present(W, v, g, duration)
    np.testing.assert_allclose(half(moved), half(W) * np.exp(-g * a * duration), rtol=1e-7)


@pytest.mark.parametrize("duration", [0.0, 1e-12, 1e-300, 40.0, 1e3, 1e6])
def test_tiny_and_huge_durations_neither_overflow_nor_cancel(duration):
    rng = np.random.default_rng(5)
    W, v = rows_of_norm(rng, 0.5), rng.random(8)
    g = np.array([1, 1, -1, 0, 0.5])
    moved = plasticity.present(W, v, g, duration)
    assert np.isfinite(moved).all()
    np.testing.assert_array_equal(moved[3], W[3])
    if duration <= 1e-12:
        first_order = duration * plasticity.velocity(W, v, g)
        np.testing.assert_allclose(moved - W, first_order, rtol=1e-3, atol=2e-16)
    if duration >= 1e3:
        u = v / np.linalg.norm(v)
        np.testing.assert_allclose(moved[[0, 1, 4]], np.tile(u, (3, 1)), atol=1e-12)
        np.testing.assert_allclose(moved[2], -u, atol=1e-12)


def test_a_blank_image_and_a_zero_g_change_nothing():
    W = rows_of_norm(np.random.default_rng(6), 3.0)
    np.testing.assert_array_equal(plasticity.present(W, np.zeros(8), np.ones(5), 1.0), W)
    np.testing.assert_array_equal(plasticity.present(W, np.ones(8), np.zeros(5), 1.0), W)


def test_euler_converges_with_order_one():
    rng = np.random.default_rng(7)
    W, v, g = rows_of_norm(rng, 0.8), rng.random(8), np.array([1, -0.4, 0, 1, -0.4])
    exact = plasticity.present(W, v, g, 1.0)
    steps = np.array([0.02, 0.01, 0.005, 0.0025])
    errors = [np.abs(plasticity.simulate(W, v, g, 1.0, dt, 1.0)[1][-1] - exact).max() for dt in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)


def test_the_blow_up_is_where_it_is_predicted():
    """Just before the time the weights are huge and finite; just after, Divergence names the unit."""
    W = np.array([[0.5, 0.0], [3.0, 1.0], [1.5, 2.0]])
    v, g = np.array([2.0, 0.0]), np.array([-0.4, -0.4, -0.4])
    times = plasticity.blow_up_time(W, v, g)
    np.testing.assert_allclose(times, [np.inf, math.atanh(1 / 3) / 0.8, math.atanh(1 / 1.5) / 0.8])
    before = plasticity.present(W, v, g, times[1] * (1 - 1e-6))
    assert 1e5 < np.abs(before[1]).max() < np.inf
    with pytest.raises(plasticity.Divergence, match="unit 1") as caught:
        plasticity.present(W, v, g, times[1] * (1 + 1e-6))
    assert caught.value.unit == 1
    assert caught.value.y == pytest.approx(3.0)
    assert caught.value.time == pytest.approx(times[1])
    unchecked = plasticity.present(W, v, g, 2 * times[1], check=False)
    assert np.isfinite(unchecked).all()


def test_a_hebbian_row_pointing_away_blows_up_too():
    W, v = np.array([[-2.0, 0.3]]), np.array([1.0, 0.0])
    assert plasticity.blow_up_time(W, v, np.array([1.0]))[0] == pytest.approx(math.atanh(0.5))
    assert np.isinf(plasticity.blow_up_time(W, v, np.array([-1.0]))[0])


@given(st.integers(0, 2**32), st.sampled_from([2, 2.5, 3, 4, 6]), st.floats(0.5, 2))
def test_the_norm_law(seed, p, R):
    """tau_L d<W,W>/dt = p g <W,v> (R^p - <W,W>), the paper's eq. 5, for any p."""
    rng = np.random.default_rng(seed)
    W, v, g = rng.standard_normal((4, 6)), rng.standard_normal(6), rng.standard_normal(4)
    dW = plasticity.velocity(W, v, g, p=p, R=R)
    covector = np.sign(W) * np.abs(W) ** (p - 1)
    rate = p * np.sum(covector * dW, axis=1)
    product, norm = covector @ v, np.sum(np.abs(W) ** p, axis=1)
    expected = p * g * product * (R**p - norm)
    np.testing.assert_allclose(rate, expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize(
    ("h", "g"), [(-0.1, 0.0), (0.0, -0.4), (0.9, -0.4), (1.0, 1.0), (2.0, 1.0), (-0.0, -0.4)]
)
def test_equation_2_on_and_beside_its_edges(h, g):
    assert plasticity.learning_activation(np.array([h]), 1.0, 0.4)[0] == g


def test_a_negative_delta_is_refused():
    with pytest.raises(ValueError, match="delta"):
        plasticity.learning_activation(np.ones(2), 1.0, -0.4)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree_and_keep_their_dtype(make, dtype):
    rng = np.random.default_rng(8)
    raw = rows_of_norm(rng, 0.8), rng.random(8), np.array([1, -0.4, 0, 1, -0.4])
    W, v, g = (make(x, dtype) for x in raw)
    atol = 1e-5 if dtype == np.float32 else 1e-12
    for made, expected in [
        (plasticity.present(W, v, g, 0.7), plasticity.present(*raw, 0.7)),
        (plasticity.velocity(W, v, g, p=3), plasticity.velocity(*raw, p=3)),
        (plasticity.simulate(W, v, g, 1.0, 0.1, 0.7)[1], plasticity.simulate(*raw, 1.0, 0.1, 0.7)[1]),
        (plasticity.blow_up_time(W, v, g), plasticity.blow_up_time(*raw)),
        (plasticity.learning_activation(v, 0.5, 0.4), plasticity.learning_activation(raw[1], 0.5, 0.4)),
    ]:
        assert type(made) is type(W)
        assert made.dtype == W.dtype
        np.testing.assert_allclose(host(made), expected, atol=atol)
    np.testing.assert_array_equal(host(W), raw[0].astype(dtype))


def test_wrong_shapes_and_nan_are_refused():
    W, v, g = np.ones((3, 4)), np.ones(4), np.ones(3)
    with pytest.raises(ValueError, match="expected W of shape"):
        plasticity.present(W, np.ones(5), g, 1.0)
    with pytest.raises(ValueError, match="g must be finite"):
        plasticity.present(W, v, np.array([1, np.nan, 0]), 1.0)
    with pytest.raises(ValueError, match="duration"):
        plasticity.present(W, v, g, -1.0)


def test_an_exploding_euler_run_raises_instead_of_returning_nan():
    with pytest.raises(ArithmeticError, match="blow_up_time"):
        plasticity.simulate(np.full((1, 2), 9.0), np.ones(2), -np.ones(1), 1.0, 0.1, 20.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, [1.0, np.nan]])
def test_a_threshold_that_is_no_number_is_refused(bad):
    """No comparison with NaN holds: every unit above 0 would learn with g = 1."""
    with pytest.raises(ValueError, match="h_star must be finite"):
        plasticity.learning_activation(np.ones(2), bad, 0.4)


def test_a_threshold_an_image_is_broadcast():
    h, h_star = np.array([[0.5, 2.0], [0.5, 2.0]]), np.array([[1.0], [0.1]])
    np.testing.assert_array_equal(plasticity.learning_activation(h, h_star, 0.4), [[-0.4, 1], [1, 1]])


def test_a_divergence_survives_the_way_back_from_another_process():
    """Grid searches with n_jobs pickle what their workers raise."""
    with pytest.raises(plasticity.Divergence) as caught:
        plasticity.present(np.full((1, 2), 3.0), np.ones(2), -np.ones(1), 9.0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert vars(again) == vars(caught.value)


@pytest.mark.parametrize(("y", "g"), [(-1.0, 1.0), (1.0, -1.0)])
def test_on_the_far_side_of_the_image_nothing_is_called_a_divergence(y, g):
    """W = -u (or u with g < 0) stays where it is; where D underflows, the message is about the range."""
    W, v = np.array([[y, 0.0]]), np.array([1.0, 0.0])
    assert np.isinf(plasticity.blow_up_time(W, v, np.array([g]))[0])
    np.testing.assert_allclose(plasticity.present(W, v, np.array([g]), 5.0), W, rtol=1e-9)
    with pytest.raises(ArithmeticError, match="out of the floating-point range") as caught:
        plasticity.present(W, v, np.array([g]), 1e3)
    assert not isinstance(caught.value, plasticity.Divergence)


def test_an_image_too_long_to_be_squared_is_named():
    W, g = np.full((2, 2), 0.5, np.float32), np.array([1, 0], np.float32)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(ArithmeticError, match="length inf"),
    ):
        plasticity.present(W, np.array([1e20, 0], np.float32), g, 1.0)
