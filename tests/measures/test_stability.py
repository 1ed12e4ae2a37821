"""Divergence over whole runs, its prediction, Euler's jumps, the energy over a data set, who takes part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding

from bionet import plasticity
from bionet.measures import stability
from bionet.units import CompetingUnits

TALK = {"w_inh": 0.7, "h_star": 3.0}
outside = st.floats(1.01, 50.0)


def pictures(samples: int = 40, features: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((samples, features))


@given(outside, st.floats(0.01, 0.95))
def test_a_presentation_takes_its_dose_from_arcoth_y(y, part):
    """The exact flow of y: arcoth(y(T)) = arcoth(y(0)) - delta |v| T, up to the blow-up."""
    v, dose = np.array([2.0, 0.0]), part * math.atanh(1 / y)
    after = plasticity.present(np.array([[y, 0.7]]), v, np.array([-0.4]), dose / (0.4 * 2.0))
    # y(T) is divided by D = sinh(left) / sinh(arcoth y), and arcoth multiplies an error of y by 1 / (y^2 - 1)
    left, at = math.atanh(1 / y) - dose, 1 / math.tanh(math.atanh(1 / y) - dose)
    bound = rounding(60) * (1 + math.sinh(math.atanh(1 / y)) / math.sinh(left)) * y * at / (at**2 - 1)
    bound += rounding(20) * math.atanh(1 / y) * (1 + y / (y**2 - 1) / math.atanh(1 / y))
    assert_within(stability.arcoth(after[:, 0])[0], left, bound)


def test_arcoth_is_infinite_inside_and_even():
    np.testing.assert_array_equal(stability.arcoth(np.array([-1.0, -0.3, 0.0, 1.0])), np.inf)
    assert_within(stability.arcoth(np.array([-2.0, 2.0])), np.full(2, math.atanh(0.5)), rounding(8))
    with pytest.raises(ValueError, match="y must be finite"):
        stability.arcoth(np.array([np.nan]))


def test_a_loser_diverges_at_the_image_that_uses_up_its_dose():
    """One image again and again, nobody wins: a unit lasts arcoth(y) / (delta a T) presentations."""
    v = np.array([2.0, 0.0])
    W = np.array([[3.0, 0.0], [1.5, 0.5]])
    delta, T = 0.1, 0.2
    lasts = math.atanh(1 / 1.5) / (delta * 2.0 * T)  # 20.1 presentations
    run = stability.diverging_units(np.tile(v, (30, 1)), W, w_inh=0.0, h_star=1e9, delta=delta, duration=T)
    first = math.atanh(1 / 3.0) / (delta * 2.0 * T)  # 8.7: the longer row goes first
    assert run.image.tolist() == [math.floor(first), math.floor(lasts)]
    assert run.diverged.all()
    assert run.silent == 21  # the run ends when nobody is left
    assert not run.wins.any()


def test_a_win_saves():
    """Without inhibition growth itself brings a loser across the threshold, before it is infinite."""
    v = np.array([2.0, 0.0])
    W = np.array([[3.0, 0.0], [1.5, 0.5]])  # currents 6 and 3
    run = stability.diverging_units(np.tile(v, (30, 1)), W, w_inh=0.0, h_star=3.5, delta=0.1, duration=1.0)
    assert not run.diverged.any()
    assert (run.wins > 0).all()
    np.testing.assert_array_equal(W, [[3.0, 0.0], [1.5, 0.5]])


def test_a_removed_unit_inhibits_nobody():
    """With the strong unit gone the weak one faces its current alone."""
    X = np.tile([1.0, 0.0], (2, 1))
    W = np.array([[9.0, 0.0], [0.9, 0.0]])
    settings = {"w_inh": 0.5, "h_star": 1e9, "delta": 0.5}
    run = stability.diverging_units(X, W, duration=1.0, **settings)
    assert run.image.tolist() == [0, -1]
    alone = plasticity.present(W[1:], X[0], np.array([-0.5]), 1.0)  # silent at first, then the only one
    assert_within(run.W[1:], alone, rounding(40))


@given(st.integers(0, 20), st.sampled_from([0.01, 0.4, 3.0]), st.booleans())
def test_inside_the_ball_nobody_ever_diverges(seed, delta, relative):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((12, 30))
    W *= rng.uniform(0, 1, (12, 1)) / np.linalg.norm(W, axis=1, keepdims=True)
    run = stability.diverging_units(
        3 * pictures(), W, w_inh=0.7, h_star=0.5, delta=delta, duration=1.0, relative=relative
    )
    assert not run.diverged.any()
    # A presentation errs by about eps (1 + 1 / D^2 + e^|s| / D); over forty of them no bound is proved here.
    assert np.linalg.norm(run.W, axis=1).max() <= 1 + 1e-9


@pytest.mark.parametrize(("scale", "delta", "duration"), [(3, 0.4, 0.1), (6, 0.1, 0.3), (6, 0.4, 0.1)])
def test_the_first_to_diverge_is_where_the_estimator_stops(scale, delta, duration):
    X, W = pictures(), scale * np.random.default_rng(1).random((20, 30))
    run = stability.diverging_units(X, W, delta=delta, duration=duration, **TALK)
    units = CompetingUnits(
        20, init=W, delta=delta, duration=duration, threshold="absolute", normalize=False, **TALK
    )
    first = run.image[run.diverged].min()
    for v in X[:first]:
        units.partial_fit(v[None])
    with pytest.raises(plasticity.Divergence) as found:
        units.partial_fit(X[first : first + 1])
    assert run.image[found.value.unit] == first


@pytest.mark.parametrize("relative", [False, True])
def test_without_divergence_it_is_the_estimator(relative):
    X, W = pictures(), np.random.default_rng(1).standard_normal((20, 30))
    falling = 0.1 * (1 - np.arange(len(X)) / len(X))
    settings = {"w_inh": 0.8, "h_star": 0.7, "delta": 0.4}
    run = stability.diverging_units(X, W, duration=falling, relative=relative, **settings)
    units = CompetingUnits(
        20,
        init=W,
        duration=0.1,
        threshold="relative" if relative else "absolute",
        normalize=False,
        shuffle=False,
        **settings,
    ).fit(X)
    assert not run.diverged.any()

    def learn(X, W):
        return stability.diverging_units(X, W, duration=falling, relative=relative, **settings).W

    assert_within(run.W, units.components_, 2 * backward_bound(learn, X, W, terms=30 + 20))
    np.testing.assert_array_equal(run.wins, units.wins_)
    assert run.silent == units.n_silent_


def test_the_prediction_is_exact_for_parallel_images_of_long_rows():
    """One image for ever: y = coth(x) is 1/x up to x/3, so the number of presentations is the same."""
    X = np.tile([1.5, 0.0, 0.0], (400, 1))
    W = np.array([[8.0, 3.0, 0.0], [11.0, 0.0, 5.0], [0.5, 9.0, 0.0]])
    settings = {"w_inh": 0.2, "h_star": 1e9, "delta": 0.02, "duration": 0.02}
    told = stability.predicted_divergence(X, W, **settings)
    run = stability.diverging_units(X, W, **settings)
    assert told[2] == run.image[2] == -1
    np.testing.assert_allclose(told[:2], run.image[:2], atol=2)
    assert run.diverged[:2].all()


def test_the_prediction_lets_winners_go_and_skips_blank_images():
    X = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
    W = np.array([[9.0, 0.0], [0.0, 1.0]])
    told = stability.predicted_divergence(X, W, w_inh=0.5, h_star=1.0, delta=5.0, duration=1.0)
    assert told.tolist() == [-1, -1]


@given(outside, st.floats(0.001, 3.0), st.sampled_from([-1.0, 1.0]), st.sampled_from([-1.0, 1.0]))
def test_euler_jumps_where_the_exact_solution_ends_or_stays(y, dose, side, sign):
    """Against the two definitions: T* < dt; and a step that ends on the far side of the ball."""
    W, v = np.array([[side * y, 0.3]]), np.array([1.0, 0.0])
    g = np.array([sign])
    stepped = W + dose * plasticity.velocity(W, v, g)
    if sign * side < 0:
        expected = plasticity.blow_up_time(W, v, g)[0] < dose
        assert abs(stepped[0, 0]) > y  # no sign of it in the step itself:
        if dose <= math.atanh(1 / y):
            assert abs(stepped[0, 0]) < 2 * y  # the very step that reaches infinity does not even double y
    else:
        expected = side * stepped[0, 0] < -1
    assert bool(stability.euler_jumps(np.array([side * y]), np.array([sign * dose]))[0]) == expected


def test_a_step_inside_the_ball_jumps_over_nothing():
    assert not stability.euler_jumps(np.linspace(-1, 1, 11), np.array(0.9)).any()
    assert not stability.euler_jumps(np.array([5.0]), np.array([0.0])).any()


@pytest.mark.parametrize("p", [2, 3, 4])
def test_the_energy_over_images_never_rises_under_their_mean(p):
    """With g fixed a data set acts like one image, its g-weighted mean; one image alone may raise E."""
    rng = np.random.default_rng(p)
    X, W = pictures(25), 0.5 * rng.standard_normal((6, 30)) / 30 ** (1 / p)
    g = rng.choice([1.0, -0.4], (25, 6))
    for _ in range(200):
        before = stability.energy(W, X, g, p)
        drive = np.stack([plasticity.velocity(W, v, row, p) for v, row in zip(X, g, strict=True)])
        W = W + 1e-3 * drive.mean(axis=0)
        slack = rounding(30 + 25 + 20) * np.abs(g).sum(axis=0) * np.abs(X).sum(axis=1).max()
        assert (stability.energy(W, X, g, p) <= before + slack / len(X)).all()


def test_overlap_is_length_times_cosine_and_ignores_the_rows_length():
    W, X = np.array([[3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])
    assert_within(stability.overlaps(W, X), [[1.2], [0.8]], rounding(10))
    for p in (2, 3, 4):
        assert_within(stability.overlaps(5 * W, X, p), stability.overlaps(W, X, p), 2 * rounding(20))
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2,\)"):
        stability.overlaps(W, X[0])


@given(st.integers(1, 50), st.integers(1, 9))
def test_equal_wins_count_and_one_winner_is_one(count, wins):
    # the exponential of an entropy of up to log 50, a sum of `count` terms
    few = rounding((count + 10) * 5)
    assert_within(stability.effective_number(np.full(count, wins)), count, few * count)
    assert_within(stability.effective_number(np.r_[wins, np.zeros(count)]), 1, few)


def test_the_effective_number_lies_between_and_refuses_nonsense():
    assert stability.effective_number(np.zeros(4)) == 0
    assert 1 < stability.effective_number(np.array([9, 1])) < 2
    with pytest.raises(ValueError, match="not negative"):
        stability.effective_number(np.array([1, -1]))
    with pytest.raises(ValueError, match="wins must be finite"):
        stability.effective_number(np.array([1.0, np.nan]))
