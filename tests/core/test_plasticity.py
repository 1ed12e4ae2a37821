"""Eqs. 2 and 3: closed form against integration, invariances, blow-up, the norm law."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_order_one, assert_within, backward_bound, rounding
from scipy.integrate import solve_ivp

from bionet import plasticity


def integrate(W, v, g, duration):
    """One presentation by an eighth-order method, a rule of its own: no shared code.

    With it the sum of the errors that its steps may make in a row.
    """
    rtol, atol = 1e-13, 1e-15

    def rhs(t, flat):
        rows = flat.reshape(W.shape)
        return (g[:, None] * (v[None, :] - (rows @ v)[:, None] * rows)).ravel()

    path = solve_ivp(rhs, (0, duration), W.ravel(), method="DOP853", rtol=rtol, atol=atol)
    # a step is taken if the root mean square of error / (atol + rtol |W|) is at most one
    largest = atol + rtol * np.abs(path.y).max()
    return path.y[:, -1].reshape(W.shape), len(path.t) * math.sqrt(W.size) * largest


def magnified(W, v, g, duration):
    """Bound, a row, on how many times an error in it has grown when the presentation ends.

    With D = cosh s + y sinh s, the part across the image is divided by D; an error of y is divided by D^2,
    and moves that part by sinh(s) / D^2 of its length. D is convex in time: for an error made on the way it
    has to be divided by its value there, at most the larger of those at the ends.
    """
    a = np.linalg.norm(v)
    y, s = W @ v / a, g * a * duration
    D = np.cosh(s) + y * np.sinh(s)
    worst = np.maximum(1, D) / D
    across = np.linalg.norm(W - np.outer(y, v / a), axis=1)
    return worst**2 + worst + np.sinh(np.abs(s)) * across * worst / D


def own_error(W, v, g, duration):
    """Bound, a row, on the error of one presentation: that of rounded weights, images and doses."""
    dose = np.abs(g) * np.linalg.norm(v) * duration
    scale = np.maximum(1, np.linalg.norm(W, axis=1))
    return rounding(2 * len(v) + 16) * scale * (1 + dose * scale) * magnified(W, v, g, duration)


def rows_of_norm(rng, norm, hidden=5, features=8):
    W = rng.standard_normal((hidden, features))
    return norm * W / np.linalg.norm(W, axis=1, keepdims=True)


EPS = float(np.finfo(np.float64).eps)
SEEDS = st.integers(0, 2**32)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12))
SIGNED = st.sampled_from([-1.0, -0.4, 0.0, 0.3, 1.0])


def off_the_sphere(features, D, s):
    """How far from the sphere rounding may carry a row that starts on it or inside.

    1 - |W|^2 is divided by D^2, so an error of the size of the machine's epsilon is as well. The error of y
    counts, too, against ``1 + y tanh|s|``, about ``2 exp(-|s|) D``. Both are largest for rows near the
    image's opposite (near the image where g < 0).
    """
    # y, the length of the image and the start err as sums over the row; then some 16 operations
    return rounding(1.5 * features + 16) * (1 + 1 / D**2 + np.exp(np.minimum(np.abs(s), 700.0)) / D)


@settings(max_examples=80, deadline=None)
@given(SEEDS, SHAPES, st.floats(0.0, 1.0), st.floats(0.0, 2.0))
def test_one_presentation_agrees_with_integration_inside_the_ball(seed, shape, norm, duration):
    """Any shape, every sign of g, any duration, against an integrator of order eight."""
    rng = np.random.default_rng(seed)
    W = rows_of_norm(rng, norm, *shape)
    v, g = rng.standard_normal(shape[1]), rng.choice([-1, -0.4, 0, 0.3, 1], shape[0])
    moved = plasticity.present(W, v, g, duration)
    expected, sum_of_errors = integrate(W, v, g, duration)
    bound = sum_of_errors * magnified(W, v, g, duration) + own_error(W, v, g, duration)
    told = bound < 1e-3  # nearer the unstable pole the integrator, too, has lost its digits
    assert_within(moved[told], expected[told], bound[told, None])
    np.testing.assert_array_equal(moved[g == 0], W[g == 0])


@settings(max_examples=60, deadline=None)
@given(SEEDS, SHAPES, st.floats(1.0, 8.0), st.floats(0.05, 0.9), st.sampled_from([-1, 1]))
def test_one_presentation_agrees_with_integration_outside_up_to_the_blow_up(
    seed, shape, norm, fraction, side
):
    """Rows on both sides of the image, both signs of g: those that return and those that will diverge."""
    rng = np.random.default_rng(seed)
    W = side * np.abs(rows_of_norm(rng, norm, *shape))
    v, g = rng.random(shape[1]) + 0.01, rng.choice([-1, -0.4, 0, 0.3, 1], shape[0])
    first = plasticity.blow_up_time(W, v, g).min()
    duration = fraction * min(first, 2.0)
    expected, sum_of_errors = integrate(W, v, g, duration)
    bound = sum_of_errors * magnified(W, v, g, duration) + own_error(W, v, g, duration)
    assert_within(plasticity.present(W, v, g, duration), expected, bound[:, None])


@settings(max_examples=200)
@given(SEEDS, st.floats(-1e307, 1e307) | st.floats(-60, 60))
def test_inside_the_ball_the_denominator_is_positive_for_every_dose(seed, s):
    """And the row stays inside: no presentation, however long, can diverge."""
    rng = np.random.default_rng(seed)
    W = rows_of_norm(rng, 1.0) * (1 - 10 ** rng.uniform(-9, 0, (5, 1)))
    u = rows_of_norm(rng, 1.0, 1)[0]
    W[0] = -np.sign(s) * (1 - 1e-9) * u  # the worst case: opposite to where it is sent
    new, D = plasticity.boost(np, W, u, W @ u, np.full(5, s))
    assert (D > 0).all()
    assert np.isfinite(new).all()
    assert ((new**2).sum(axis=1) <= 1 + rounding(8 + 8)).all()  # of the sum that would find it outside
    assert np.isinf(plasticity.blow_up_time(W, u, np.full(5, np.sign(s)))).all()


@settings(max_examples=150)
@given(SEEDS, st.floats(-25, 25), st.integers(2, 12), st.floats(-7, 0.5))
def test_the_sphere_goes_to_the_sphere_for_either_sign_of_g(seed, s, features, exponent):
    """Within the bound that rounding has; rows are put near the unstable pole on purpose."""
    rng = np.random.default_rng(seed)
    u, side = rows_of_norm(rng, 1.0, 2, features)
    side -= (side @ u) * u
    theta = np.array([math.pi - 10**exponent, rng.uniform(0, math.pi)])
    W = np.copysign(1.0, s) * np.cos(theta)[:, None] * u + np.sin(theta)[:, None] * side / np.linalg.norm(
        side
    )
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    moved = plasticity.present(W, u, np.full(2, s), 1.0)
    D = np.exp(-abs(s)) + 2 * np.cos(theta / 2) ** 2 * np.sinh(abs(s))  # cosh s + y sinh s, no cancellation
    assert_within(np.linalg.norm(moved, axis=1), np.ones(2), off_the_sphere(features, D, s))


def test_rounding_off_the_sphere_does_grow_as_the_bound_says():
    """Anti-Hebbian presentations near the image: an error is divided by D^2. Renormalise."""
    u = np.array([1.0, 0.0, 0.0])
    W = np.array([[math.cos(1e-3), math.sin(1e-3), 0.0]]) * (1 - 1e-9)
    for s in (-1.0, -3.0, -5.0, 5.0):
        moved = plasticity.present(W, u, np.array([s]), 1.0)
        D = math.cosh(s) + W[0, 0] * math.sinh(s)
        # 2e-9 - 1e-18 is divided, known to the rounding of a sum of three
        bound = 2 * off_the_sphere(3, D, s) + 1e-18 / D**2
        assert_within(1 - (moved**2).sum(), 2e-9 / D**2, bound)
        if s == -5.0:
            assert max(1e-6, 1e4 * bound) < 2e-9 / D**2
    assert 2e-9 / D**2 < 1e-12  # the other sign heals


@given(SEEDS, st.floats(0.1, 5.0), st.floats(-2, 2))
def test_the_distance_from_the_sphere_is_divided_by_the_square_of_the_denominator(seed, norm, s):
    """The quadratic form is kept, outside as well, as long as D > 0."""
    rng = np.random.default_rng(seed)
    W, u = rows_of_norm(rng, norm), rows_of_norm(rng, 1.0, 1)[0]
    D = np.cosh(s) + (W @ u) * np.sinh(s)
    W, D = W[D > 0.05], D[D > 0.05]
    moved = plasticity.present(W, u, np.full(len(W), s), 1.0)
    # |W|^2 errs as a sum, y and D as one of 8 products
    size = (1 + norm**2) / D**2 + (moved**2).sum(axis=1)
    bound = rounding(3 * 8 + 16) * size * (1 + np.exp(abs(s)) * (1 + norm) / D)
    assert_within(1 - (moved**2).sum(axis=1), (1 - norm**2) / D**2, bound)


@settings(max_examples=100)
@given(SEEDS, st.floats(0, 1.5), st.floats(0, 1.5), SIGNED, SIGNED)
def test_two_presentations_of_one_image_are_one_whose_dose_is_the_sum(seed, first, second, g1, g2):
    """Also where the signs of g differ: what was learned is unlearned, exactly."""
    rng = np.random.default_rng(seed)
    W, v, one = rows_of_norm(rng, 0.7), rng.standard_normal(8), np.ones(5)
    half_way = plasticity.present(W, v, g1 * one, first)
    twice = plasticity.present(half_way, v, g2 * one, second)
    dose = g1 * first + g2 * second
    once = plasticity.present(W, v, np.sign(dose) * one, abs(dose))
    # the way there may come near the sphere, from where the way back is unstable
    bound = own_error(W, v, g1 * one, first) * magnified(half_way, v, g2 * one, second)
    bound += own_error(half_way, v, g2 * one, second)
    bound += own_error(W, v, one, abs(dose)) + own_error(W, v, -one, abs(dose))
    assert_within(twice, once, bound[:, None])


def test_a_dose_and_its_negative_cancel():
    rng = np.random.default_rng(10)
    W, v = rows_of_norm(rng, 0.9), rng.random(8)
    g = np.array([1, -1, 0.4, -0.4, 0.0])
    there = plasticity.present(W, v, g, 0.8)
    bound = own_error(W, v, g, 0.8) * magnified(there, v, -g, 0.8) + own_error(there, v, -g, 0.8)
    assert_within(plasticity.present(there, v, -g, 0.8), W, bound[:, None])


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
    expected = half(W) * np.exp(-g * a * duration)
    # an error of y is one of the angle over its sine, and one of the tangent over the sine once more
    before, after = (1 - (rows @ v / a) ** 2 for rows in (W, moved))
    bound = rounding(3 * 8) / before + (own_error(W, v, g, duration) + rounding(3 * 8)) / after
    assert_within(half(moved), expected, bound * expected)


@pytest.mark.parametrize("duration", [0.0, 1e-12, 1e-300, 40.0, 1e3, 1e6, 1e300])
def test_tiny_and_huge_durations_neither_overflow_nor_cancel(duration):
    rng = np.random.default_rng(5)
    W, v = rows_of_norm(rng, 0.5), rng.random(8)
    g = np.array([1, 1, -1, 0, 0.5])
    moved = plasticity.present(W, v, g, duration)
    assert np.isfinite(moved).all()
    np.testing.assert_array_equal(moved[3], W[3])
    u, a = v / np.linalg.norm(v), np.linalg.norm(v)
    if duration <= 1e-12:
        first_order = duration * plasticity.velocity(W, v, g)
        # a dozen roundings of the parts that make up a weight; y's own error cancels
        bound = rounding(12) * (np.abs(W) + 2 * np.abs(u)) + (a * duration) ** 2
        assert_within(moved - W, first_order, bound)
    if duration >= 1e3:
        bound = rounding(2 * 8 + 10) * np.abs(u)  # exp(-1000) is left of the start
        assert_within(moved[[0, 1, 4]], np.tile(u, (3, 1)), bound)
        assert_within(moved[2], -u, bound)


def test_a_blank_image_and_a_zero_g_change_nothing():
    W = rows_of_norm(np.random.default_rng(6), 3.0)
    np.testing.assert_array_equal(plasticity.present(W, np.zeros(8), np.ones(5), 1.0), W)
    np.testing.assert_array_equal(plasticity.present(W, np.ones(8), np.zeros(5), 1.0), W)


@pytest.mark.parametrize(("norm", "fraction"), [(0.8, None), (1.0, None), (4.0, 0.3), (4.0, 0.7)])
def test_euler_converges_with_order_one(norm, fraction):
    """Inside, on the sphere, and outside well before and shortly before the first row diverges."""
    rng = np.random.default_rng(7)
    W, v, g = np.abs(rows_of_norm(rng, norm)), rng.random(8), np.array([1, -0.4, 0, 1, -0.4])
    W[3] *= -1  # a Hebbian row that points away diverges as well
    first = plasticity.blow_up_time(W, v, g).min()
    assert np.isfinite(first) == (norm > 1)
    end = 1.0 if fraction is None else fraction * first
    exact = plasticity.present(W, v, g, end)
    steps = end / np.array([200, 400, 800, 1600])
    errors = [np.abs(plasticity.simulate(W, v, g, 1.0, dt, end)[1][-1] - exact).max(axis=1) for dt in steps]
    for row in (0, 1, 3, 4):
        assert_order_one([e[row] for e in errors])
    assert max(e[2] for e in errors) == 0.0


def test_the_blow_up_is_where_it_is_predicted():
    """Just before the time the weights are huge and finite; just after, Divergence names the unit."""
    W = np.array([[0.5, 0.0], [3.0, 1.0], [1.5, 2.0]])
    v, g = np.array([2.0, 0.0]), np.array([-0.4, -0.4, -0.4])
    times = plasticity.blow_up_time(W, v, g)
    expected = np.array([np.inf, math.atanh(1 / 3) / 0.8, math.atanh(1 / 1.5) / 0.8])
    assert_within(times, expected, rounding(10) * expected)  # atanh(x) errs 1.5 times as x = 2/3 does
    before = plasticity.present(W, v, g, times[1] * (1 - 1e-6))
    assert 1e5 < np.abs(before[1]).max() < np.inf
    with pytest.raises(plasticity.Divergence, match="unit 1") as caught:
        plasticity.present(W, v, g, times[1] * (1 + 1e-6))
    assert caught.value.unit == 1
    assert caught.value.y == 3.0
    assert caught.value.time == times[1]
    unchecked = plasticity.present(W, v, g, 2 * times[1], check=False)
    assert np.isfinite(unchecked).all()


def test_a_hebbian_row_pointing_away_blows_up_too():
    W, v = np.array([[-2.0, 0.3]]), np.array([1.0, 0.0])
    times = plasticity.blow_up_time(W, v, np.array([1.0]))
    assert_within(times, [math.atanh(0.5)], rounding(10) * math.atanh(0.5))
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
    # three sums of six, and powers of a few roundings each
    size = p * np.abs(g) * (np.abs(covector) @ np.abs(v)) * (R**p + norm)
    assert_within(rate, expected, rounding(3 * 6 + 20) * size)


@given(SEEDS, st.sampled_from([2, 3, 4]), SIGNED)
def test_the_energy_falls_a_sample_at_a_time(seed, p, g):
    """The paper's eqs. 7 and 11: dQ/dt has the sign of g, for images and weights of any sign.

    The derivative along the package's velocity, by a step in the imaginary direction, which takes no
    difference, against the closed form.
    """
    rng = np.random.default_rng(seed)
    W, v = rng.standard_normal((4, 6)), rng.standard_normal(6)

    def energy(rows):
        size = np.sign(W) * rows  # |W|, and analytic
        return (np.sign(W) * size ** (p - 1)) @ v / np.sum(size**p, axis=1) ** ((p - 1) / p)

    dW = plasticity.velocity(W, v, np.full(4, g), p=p)
    rate = energy(W + 1e-30j * dW).imag / 1e-30
    weight = np.abs(W) ** (p - 2)
    norm, product, square = (np.sum(weight * x, axis=1) for x in (W * W, W * v, v * v))
    gap = square - product**2 / norm  # not negative, by Cauchy and Schwarz
    expected = g * (p - 1) * gap / norm ** ((p - 1) / p)
    # the terms of the derivative by the quotient rule, without regard to what cancels
    along = abs(g) * (np.abs(v) + np.sum(weight * np.abs(W * v), axis=1)[:, None] * np.abs(W))
    overlap = np.sum(weight * np.abs(W * v), axis=1)
    size = (
        np.sum(weight * np.abs(v) * along, axis=1)
        + overlap * np.sum(weight * np.abs(W) * along, axis=1) / norm
    )
    bound = rounding(4 * 6 + 40) * (p - 1) * size / norm ** ((p - 1) / p)
    assert_within(rate, expected, bound)
    assert (g * rate >= -bound).all()


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_energy_falls_along_a_whole_presentation(p):
    """Small Euler steps from large, small and unit rows, for either sign of g."""
    rng = np.random.default_rng(p)
    W, v = np.abs(rng.standard_normal((6, 6))), rng.random(6)  # the same side as the image
    W *= np.array([0.2, 0.2, 1, 1, 2, 2])[:, None] / np.sum(W**p, axis=1, keepdims=True) ** (1 / p)
    g = np.array([1.0, -0.4] * 3)
    Q = []
    for _ in range(300):
        Q.append((np.sign(W) * np.abs(W) ** (p - 1)) @ v / np.sum(np.abs(W) ** p, axis=1) ** ((p - 1) / p))
        W = W + 5e-4 * plasticity.velocity(W, v, g, p=p)
    assert (np.sign(np.diff(Q, axis=0)) == np.sign(g)).all()


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

    def euler(W, v, g):
        return plasticity.simulate(W, v, g, 1.0, 0.1, 0.7)[1]

    far = 4 * raw[0], *raw[1:]  # so far out that some rows diverge
    for function, made, arrays, terms in [
        (lambda *a: plasticity.present(*a, 0.7), (W, v, g), raw, 3 * 8),
        (lambda *a: plasticity.velocity(*a, p=3), (W, v, g), raw, 3 * 8),
        (euler, (W, v, g), raw, 7 * 2 * 8),
        (plasticity.blow_up_time, [make(x, dtype) for x in far], far, 3 * 8),
        (lambda v: plasticity.learning_activation(v, 0.5, 0.4), (v,), raw[1:2], 1),
    ]:
        found = function(*made)
        assert type(found) is type(W)
        assert found.dtype == W.dtype
        bound = backward_bound(function, *arrays, terms=terms, dtype=dtype)
        assert_within(host(found), function(*arrays), bound)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("s", [0.0, 1e-30, 1e-8, 0.5, 3.0, 12.0, 60.0, 1e3, 1e30])
@pytest.mark.parametrize("pole", [1.0, -1.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_image_and_its_opposite_stay_where_they_are(sign, pole, s, dtype):
    """y = 1 and y = -1 are fixed for every dose, whichever of them attracts."""
    W, v = np.array([[0.0, pole, 0.0]], dtype), np.array([0.0, 1.0, 0.0], dtype)
    g = np.array([sign], dtype)
    np.testing.assert_array_equal(plasticity.present(W, v, g, s), W)
    assert np.isinf(plasticity.blow_up_time(W, v, g)[0])


@pytest.mark.parametrize(("y", "g"), [(-1.0, 1.0), (1.0, -1.0)])
def test_outside_the_ball_on_the_far_side_nothing_is_called_a_divergence(y, g):
    """With |y| = 1 a row does not blow up: it grows as exp(|s|), and leaves the range with it."""
    W, v, g = np.array([[y, 1.0]]), np.array([1.0, 0.0]), np.array([g])
    assert np.isinf(plasticity.blow_up_time(W, v, g)[0])
    np.testing.assert_allclose(plasticity.present(W, v, g, 5.0), [[y, math.exp(5)]], rtol=rounding(8))
    with pytest.raises(ArithmeticError, match="out of the floating-point range") as caught:
        plasticity.present(W, v, g, 1e3)
    assert not isinstance(caught.value, plasticity.Divergence)


def test_an_image_too_long_to_be_squared_is_named():
    W, g = np.full((2, 2), 0.5, np.float32), np.array([1, 0], np.float32)
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(ArithmeticError, match="length inf"),
    ):
        plasticity.present(W, np.array([1e20, 0], np.float32), g, 1.0)
    with np.errstate(over="ignore"), pytest.raises(ArithmeticError, match="length inf"):
        plasticity.present(W, np.array([1e20, 0], np.float32), np.ones(2, np.float32), 1.0)
