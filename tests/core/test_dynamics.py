"""Eq. 1: the closed form against the ODE, its laws, and the errors that it raises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import assert_order_one, assert_within, backward_bound, rounding
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from bionet import dynamics

currents_ = arrays(
    np.float64, st.integers(1, 12), elements=st.floats(-20, 20, allow_nan=False, allow_subnormal=False)
)
inhibitions = st.floats(0, 0.99)


def scalar_velocity(h, currents, w_inh):
    """Eq. 1 unit by unit, in plain Python."""
    return [
        currents[mu] - w_inh * sum(max(h[nu], 0.0) for nu in range(len(h)) if nu != mu) - h[mu]
        for mu in range(len(h))
    ]


@given(currents_, inhibitions, st.randoms(use_true_random=False))
def test_velocity_is_equation_1(currents, w_inh, random):
    h = np.array([random.uniform(-5, 5) for _ in currents])
    # each side sums the rates, one of them taking its own away again
    bound = 2 * rounding(len(h) + 4) * (np.abs(currents) + 2 * np.abs(h).sum())
    assert_within(dynamics.velocity(h, currents, w_inh), scalar_velocity(h, currents, w_inh), bound)


@settings(max_examples=300)
@given(currents_, inhibitions)
def test_the_steady_state_is_stationary(currents, w_inh):
    """No unit moves, to the rounding of the sum of all rates."""
    h = dynamics.steady_state(currents, w_inh)
    scale = np.abs(currents).sum() / (1 - w_inh)  # no sum of rates is larger
    assert dynamics.residual(h, currents, w_inh) <= rounding(4 * len(currents) + 10) * scale


@given(currents_, inhibitions)
def test_the_steady_state_agrees_with_a_root_finder(currents, w_inh):
    """The summed rate S solves S = sum r(I - wS)/(1 - w), a scalar equation with one root."""

    def excess(S):
        return S - np.maximum(currents - w_inh * S, 0).sum() / (1 - w_inh)

    high = np.maximum(currents, 0).sum() / (1 - w_inh) + 1.0
    S = brentq(excess, 0.0, high, xtol=1e-14, rtol=4 * np.finfo(float).eps)
    drive = currents - w_inh * S
    expected = np.where(drive > 0, drive / (1 - w_inh), drive)
    # Each function errs by its sums; a slope of 1 or more at the root makes no more of it, the division does.
    noise = rounding(4 * len(currents) + 10) * (np.abs(currents).sum() / (1 - w_inh) + high) + 1e-14
    assert_within(dynamics.steady_state(currents, w_inh), expected, 4 * noise / (1 - w_inh))


@pytest.mark.parametrize("w_inh", [0.0, 0.3, 0.8])
def test_the_ode_arrives_at_the_steady_state_from_anywhere(w_inh):
    """High-order integration to 60 slow time constants, from three starts."""
    rng = np.random.default_rng(3)
    currents = rng.normal(size=40) * 3
    h = dynamics.steady_state(currents, w_inh)
    for start in (np.zeros(40), rng.normal(size=40) * 10, np.full(40, 5.0)):
        path = solve_ivp(
            lambda t, h: dynamics.velocity(h, currents, w_inh),
            (0, 60 / (1 - w_inh)),
            start,
            method="LSODA",
            rtol=1e-10,
            atol=1e-12,
        )
        # exp(-60) of the start is left; the solver keeps local errors to 1e-10 of h, which decays at 1 - w
        left = np.exp(-60) * (np.abs(start).sum() + np.abs(h).sum())
        assert_within(path.y[:, -1], h, 100 * (1e-12 + 1e-10 * np.abs(h).max()) / (1 - w_inh) + left)


def test_euler_converges_with_order_one():
    rng = np.random.default_rng(0)
    currents = rng.normal(size=20) + 1
    exact = solve_ivp(
        lambda t, h: dynamics.velocity(h, currents, 0.6), (0, 1), np.zeros(20), rtol=1e-12, atol=1e-13
    ).y[:, -1]
    steps = 0.01 / np.array([1, 2, 4, 8])
    errors = [np.abs(dynamics.simulate(currents, 0.6, 1.0, dt, 1.0)[1][-1] - exact).max() for dt in steps]
    assert_order_one(errors)


@given(currents_)
def test_without_inhibition_every_unit_follows_its_own_current(currents):
    np.testing.assert_array_equal(dynamics.steady_state(currents, 0.0), currents)


@given(currents_, inhibitions, st.floats(0.01, 100))
def test_the_steady_state_scales_with_the_currents(currents, w_inh, factor):
    """Eq. 1 has no scale of its own: currents times c give activities times c."""
    once, scaled = (dynamics.steady_state(c * currents, w_inh) for c in (1.0, factor))
    scale = np.abs(currents).sum() / (1 - w_inh) ** 2
    assert_within(scaled, factor * once, factor * 4 * rounding(4 * len(currents) + 10) * scale)


@given(currents_)
def test_more_inhibition_never_leaves_more_units_active(currents):
    counts = [(dynamics.steady_state(currents, w) > 0).sum() for w in (0.0, 0.2, 0.5, 0.8, 0.95)]
    assert all(a >= b for a, b in itertools.pairwise(counts))


def test_a_silent_unit_relaxes_at_rate_one_and_the_slow_modes_at_one_minus_w():
    currents, w_inh = np.array([3.0, 2.9, -1.0]), 0.5
    h = dynamics.steady_state(currents, w_inh)
    assert (h > 0).tolist() == [True, True, False]
    jacobian = np.array(
        [
            (dynamics.velocity(h + 1e-6 * e, currents, w_inh) - dynamics.velocity(h, currents, w_inh)) / 1e-6
            for e in np.eye(3)
        ]
    ).T
    rates = np.sort(-np.linalg.eigvals(jacobian).real)
    known = dynamics.relaxation_rates(2, w_inh)
    # eq. 1 is linear here: a difference errs by its rounding over the step, an eigenvalue of 3 by no more
    assert_within(rates, sorted(known.values()), 3 * rounding(20) * 10 / 1e-6)


def test_above_one_the_start_decides():
    """At w = 1.5 either unit can win: the reason why steady_state refuses."""
    currents = np.array([1.0, 0.9])
    first = dynamics.simulate(currents, 1.5, 1.0, 0.01, 60.0, h0=np.array([1.0, 0.0]))[1][-1]
    second = dynamics.simulate(currents, 1.5, 1.0, 0.01, 60.0, h0=np.array([0.0, 1.0]))[1][-1]
    assert (first > 0).tolist() == [True, False]
    assert (second > 0).tolist() == [False, True]


def jacobian(h, currents, w_inh):
    """Of tau dh/dt, by differences too small for a unit to change sides: exact, eq. 1 being linear there."""
    small = 0.25 * np.abs(h).min()
    at = dynamics.velocity(h, currents, w_inh)
    return np.stack(
        [(dynamics.velocity(h + small * e, currents, w_inh) - at) / small for e in np.eye(len(h))], axis=1
    )


def currents_of(h, w_inh):
    """The currents whose steady state is h."""
    r = np.maximum(h, 0)
    return h + w_inh * (r.sum() - r)


@given(st.integers(0, 9), st.integers(0, 6), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_all_relaxation_rates_with_their_multiplicities(active, silent, w_inh, seed):
    """A - 1 modes at 1 - w, one at 1 + w (A - 1), one at 1 for each silent unit; that is all of them."""
    if active + silent == 0:
        return
    rng = np.random.default_rng(seed)
    h = rng.permutation(np.r_[rng.uniform(0.5, 3, active), -rng.uniform(0.5, 3, silent)])
    currents = currents_of(h, w_inh)
    scale = np.abs(currents).sum() / (1 - w_inh) ** 2
    assert_within(dynamics.steady_state(currents, w_inh), h, 4 * rounding(4 * len(h) + 10) * scale)
    rates = dynamics.relaxation_rates(active, w_inh)
    expected = silent * [rates["silent"]]
    expected += (active - 1) * [rates["differences"]] if active > 1 else []
    expected += [rates["common"]] if active else []
    found = -np.linalg.eigvals(jacobian(h, currents, w_inh))
    # The active block is symmetric, up to a column scaling by the silent units' 1: rounding of the
    # differences over their step, times the size of the matrix, moves an eigenvalue by no more.
    bound = len(h) ** 2 * rounding(4 * len(h)) * (np.abs(currents).sum() + np.abs(h).sum())
    bound = 10 * bound / (0.25 * np.abs(h).min())
    assert np.abs(found.imag).max() <= bound
    assert_within(np.sort(found.real), np.sort(expected), bound)


@pytest.mark.parametrize("w_inh", [0.5, 0.7, 0.8])
def test_eulers_limit_is_that_of_the_common_mode(w_inh):
    """Just below 2 / rate a common push fades, just above it grows, no unit changing sides."""
    h = np.r_[np.linspace(1, 3, 12), -np.linspace(0.5, 2, 20)]
    currents, push = currents_of(h, w_inh), 1e-4 * (h > 0)
    rate = dynamics.relaxation_rates(12, w_inh)["common"]
    for part, left in ((0.98, 0.96**50), (1.02, 1.04**50)):
        dt = part * 2 / rate
        path = dynamics.simulate(currents, w_inh, 1.0, dt, 50 * dt, h0=h + push)[1]
        assert ((path > 0) == (h > 0)).all()
        # each of 50 steps rounds h, whose error then grows or fades as the push does
        noise = 50 * rounding(60) * np.abs(currents).sum() * max(1.0, left)
        assert_within((path[-1] - h)[0], 1e-4 * left, noise)


@given(currents_, st.floats(0, 0.99), st.integers(0, 2**32 - 1))
def test_the_area_to_the_end_falls_as_fast_as_chapter_2_proves(currents, w_inh, seed):
    """V >= sum rho^2 / 2, and tau dV/dt <= -(1 - w) sum rho^2 - w (sum rho)^2: global stability."""
    h = np.random.default_rng(seed).normal(0, 20, len(currents))
    end = dynamics.steady_state(currents, w_inh)
    r, r_end = np.maximum(h, 0), np.maximum(end, 0)
    rho = r - r_end
    V = ((r**2 - r_end**2) / 2 - r_end * (h - end)).sum()
    slope = (rho * dynamics.velocity(h, currents, w_inh)).sum()
    bound = -(1 - w_inh) * (rho**2).sum() - w_inh * rho.sum() ** 2
    size = (np.abs(h) + np.abs(end) + np.abs(currents)).sum() / (1 - w_inh)  # bounds every term's factors
    scale = rounding(10 * len(h) + 40) * size**2
    assert (rho**2).sum() / 2 <= V + scale
    assert slope <= bound + scale


@given(st.floats(1.05, 3), st.floats(0, 1))
def test_above_one_two_steady_states_are_stable_and_the_one_between_is_not(w_inh, where):
    """The counter-example: currents 1 and x with 1/w < x < 1 end with either unit alone."""
    x = 1 / w_inh + (0.05 + 0.9 * where) * (1 - 1 / w_inh)
    pair = np.array([1.0, x])
    first, second = np.array([1.0, x - w_inh]), np.array([1.0 - w_inh * x, x])
    between = np.linalg.solve([[1, w_inh], [w_inh, 1]], pair)
    assert (between > 0).all()
    for h, stable in ((first, True), (second, True), (between, False)):
        assert dynamics.residual(h, pair, w_inh) <= rounding(50) * 10 / (w_inh - 1)  # solving cancels w - 1
        slowest = -np.linalg.eigvals(jacobian(h, pair, w_inh)).real.max()
        assert bool(slowest > 0) is stable
        known = min(dynamics.relaxation_rates(int((h > 0).sum()), w_inh).values())
        assert_within(slowest, known, 100 * rounding(8) * 10 / (0.25 * np.abs(h).min()))


def test_at_one_the_strongest_alone_is_left_and_equals_share_as_they_please():
    end = dynamics.simulate([1.0, 0.9, 0.5], 1.0, 1.0, 0.05, 60.0)[1][-1]
    # alone, each unit relaxes by 0.95 a step, for a thousand of them once the others are silent
    assert_within(end, [1.0, -0.1, -0.5], 0.95**1000 + 20 * rounding(10))
    for share in (0.0, 0.3, 1.0):
        assert dynamics.residual([share, 1.0 - share], [1.0, 1.0], 1.0) <= rounding(8)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree_and_keep_their_dtype(make, dtype):
    rng = np.random.default_rng(1)
    currents = rng.normal(size=(4, 3, 50)).astype(dtype)
    given_ = make(currents, dtype)
    h = dynamics.steady_state(given_, 0.7)
    assert type(h) is type(given_)
    assert h.dtype == given_.dtype
    expected = dynamics.steady_state(currents.astype(np.float64), 0.7)
    bound = backward_bound(lambda drive: dynamics.steady_state(drive, 0.7), currents, terms=50, dtype=dtype)
    assert_within(host(h), expected, bound)
    times, path = dynamics.simulate(given_, 0.7, 1.0, 0.1, 1.0)
    assert path.shape == (11, 4, 3, 50)
    assert path.dtype == times.dtype == given_.dtype
    np.testing.assert_array_equal(host(given_), currents)


def test_a_batch_is_its_images_one_by_one():
    currents = np.random.default_rng(2).normal(size=(5, 30))
    together = dynamics.steady_state(currents, 0.8)
    for row, h in zip(currents, together, strict=True):
        bound = 2 * backward_bound(lambda drive: dynamics.steady_state(drive, 0.8), row, terms=30)
        assert_within(dynamics.steady_state(row, 0.8), h, bound)


@pytest.mark.parametrize("w_inh", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_inhibition_out_of_range_is_refused_with_the_reason(w_inh):
    with pytest.raises(ValueError, match=r"w_inh must lie in \[0, 1\).*simulate"):
        dynamics.steady_state(np.ones(3), w_inh)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_currents_are_refused_with_their_place(bad):
    currents = np.ones((2, 3))
    currents[1, 2] = bad
    with pytest.raises(ValueError, match=r"currents must be finite.*\(1, 2\)"):
        dynamics.steady_state(currents, 0.5)
    with pytest.raises(ValueError, match="currents must be finite"):
        dynamics.simulate(currents, 0.5, 1.0, 0.1, 1.0)


@pytest.mark.parametrize(("name", "value"), [("tau", 0.0), ("dt", -1.0), ("t_max", float("nan"))])
def test_times_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        dynamics.simulate(np.ones(2), 0.5, **{"tau": 1.0, "dt": 0.1, "t_max": 1.0, name: value})


def test_an_exploding_euler_run_raises_instead_of_returning_nan():
    with pytest.raises(ArithmeticError, match="shorter dt"):
        dynamics.simulate(-np.ones(3), 0.0, 1.0, 5.0, 5000.0, h0=-np.arange(3.0))


def test_the_start_is_taken_in_the_dtype_of_the_currents():
    currents = np.ones((2, 3), np.float32)
    path = dynamics.simulate(currents, 0.5, 1.0, 0.1, 0.3, h0=[0.0, 1.0, 2.0])[1]
    assert path.dtype == np.float32
    np.testing.assert_array_equal(path[0], [[0, 1, 2]] * 2)


@pytest.mark.parametrize("shape", [(3, 1), (2,), ()])
def test_activities_of_another_number_of_units_are_refused(shape):
    """Broadcasting would otherwise let one unit stand for three, or three for one."""
    h, currents = np.ones(shape), np.ones((3, 3))
    for function in (dynamics.velocity, dynamics.residual):
        with pytest.raises(ValueError, match="same number of units"):
            function(h, currents, 0.5)
    with pytest.raises(ValueError, match="h0 and currents must have the same number of units"):
        dynamics.simulate(currents, 0.5, 1.0, 0.1, 1.0, h0=h)


@pytest.mark.parametrize("empty", [np.float64(1.0), np.ones((2, 0))])
def test_currents_without_units_are_refused(empty):
    for function in (
        lambda: dynamics.steady_state(empty, 0.5),
        lambda: dynamics.simulate(empty, 0.5, 1, 0.1, 1),
    ):
        with pytest.raises(ValueError, match=r"currents must have shape \(\.\.\., hidden\)"):
            function()


def test_currents_too_large_to_sum_raise_instead_of_returning_infinity():
    with pytest.raises(ArithmeticError, match=r"3e\+38 leave the range of float32"):
        dynamics.steady_state(np.full(2, 3e38, np.float32), 0.5)
    assert np.isfinite(dynamics.steady_state(np.full(2, 3e38), 0.5)).all()


def test_the_slow_mode_decays_as_its_rate_says():
    """Two equal units and a small difference: what is left of it after 3 tau."""
    currents, w_inh = np.array([1.001, 1.0]), 0.8
    h = dynamics.steady_state(currents, w_inh)
    start = h + np.array([1e-3, -1e-3])  # the slow mode: the units differ, their sum does not
    end = dynamics.simulate(currents, w_inh, 1.0, 1e-3, 3.0, h0=start)[1][-1]
    left = (end - h)[0] / 1e-3
    # Euler's (1 - r dt)^(3 / dt) is exp(-3 r) but for 3 r^2 dt / 2, and its square
    rate = dynamics.relaxation_rates(2, w_inh)["differences"]
    euler = 3.0 * rate**2 * 1e-3
    assert left == pytest.approx(dynamics.slowest_remainder(3.0, w_inh), rel=euler)
    assert left == pytest.approx(np.exp(-3.0 * rate), rel=euler)
