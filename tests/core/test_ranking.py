"""The fast rule against a scalar loop, its law, its edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding

from bionet import ranking


def loop_step(W, batch, p, k, delta, learning_rate):
    """The rule image by image and weight by weight, in plain Python."""
    hidden, features = W.shape
    change = np.zeros_like(W)
    for v in batch:
        currents = [
            sum(np.sign(W[mu, i]) * abs(W[mu, i]) ** (p - 1) * v[i] for i in range(features))
            for mu in range(hidden)
        ]
        order = sorted(range(hidden), key=lambda mu: (-currents[mu], mu))
        for unit, g in ((order[0], 1.0), (order[k - 1], -delta)):
            for i in range(features):
                change[unit, i] += g * (v[i] - currents[unit] * W[unit, i])
    return W + learning_rate * change / np.abs(change).max()


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([2, 2.5, 3, 4, 6]),
    st.integers(2, 8),
    st.floats(0, 0.5),
)
def test_a_step_is_the_loop(seed, p, k, delta):
    rng = np.random.default_rng(seed)
    W, batch = rng.standard_normal((9, 5)), rng.random((6, 5))

    def step(W, batch):
        return ranking.ranked_step(W, batch, p, k, delta, 0.04)

    bound = 2 * backward_bound(step, W, batch, terms=5 + 6)  # the loop errs, too
    assert_within(step(W, batch), loop_step(W, batch, p, k, delta, 0.04), bound)


def test_ties_rank_by_index_and_winners_may_repeat():
    W = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    batch = np.array([[1.0, 0.2], [1.0, 0.2]])
    g = ranking.rank_activation(ranking.p_currents(W, batch, 2), 3, 0.4)
    np.testing.assert_array_equal(g, [[1, 0, 0, -0.4]] * 2)
    expected = loop_step(W, batch, 2, 3, 0.4, 0.1)  # a few operations on numbers of order one
    assert_within(ranking.ranked_step(W, batch, 2, 3, 0.4, 0.1), expected, rounding(20))


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 4]))
def test_the_norm_law_of_a_step(seed, p):
    """Before scaling: sum_i sgn(W)|W|^(p-1) dW = sum_b g I (1 - sum |W|^p), unit by unit."""
    rng = np.random.default_rng(seed)
    W, batch = rng.standard_normal((8, 6)), rng.random((5, 6))
    change = ranking.ranked_step(W, batch, p, 3, 0.4, 1.0) - W
    currents = ranking.p_currents(W, batch, p)
    g = ranking.rank_activation(currents, 3, 0.4)
    scale = np.abs(g.T @ batch - (g * currents).sum(0)[:, None] * W).max()
    left = np.sum(np.sign(W) * np.abs(W) ** (p - 1) * change, axis=1) * scale
    right = (g * currents).sum(0) * (1 - np.sum(np.abs(W) ** p, axis=1))
    # W + dW rounds W once, which the factor brings back; six features, five images
    covector = np.sum(np.abs(W) ** (p - 1) * (np.abs(W) + 1), axis=1)
    terms = np.sum(np.abs(g * currents), axis=0) * (1 + np.sum(np.abs(W) ** p, axis=1))
    terms += np.abs(batch).sum() * np.sum(np.abs(W) ** (p - 1), axis=1) + np.abs(right)
    assert_within(left, right, rounding(20) * (covector * scale + terms))


@given(st.integers(0, 2**32), st.floats(0.001, 1))
def test_the_largest_change_is_the_learning_rate(seed, rate):
    rng = np.random.default_rng(seed)
    W, batch = rng.standard_normal((8, 6)), rng.random((5, 6))
    change = ranking.ranked_step(W, batch, 2, 2, 0.4, rate) - W
    # the rate times a quotient of equals, added to W and taken away again
    assert_within(np.abs(change).max(), rate, rounding(3) * (rate + np.abs(W).max()))


def test_blank_images_and_a_converged_net_change_nothing():
    W = np.eye(3)
    np.testing.assert_array_equal(ranking.ranked_step(W, np.zeros((4, 3)), 2, 2, 0.4, 0.1), W)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [2, 3])
def test_backends_agree_for_one_and_a_hundred_steps(make, dtype, p):
    rng = np.random.default_rng(9)
    W0, X = rng.standard_normal((12, 7)), rng.random((100, 10, 7))

    def learn(W, X):
        for batch in X:
            W = ranking.ranked_step(W, batch, p, 3, 0.4, 0.02)
        return W

    for count in (1, 100):
        W = make(W0, dtype)
        for batch in X[:count]:
            W = ranking.ranked_step(W, make(batch, dtype), p, 3, 0.4, 0.02)
        assert W.dtype == make(W0, dtype).dtype
        bound = backward_bound(learn, W0, X[:count], terms=7 + 10, dtype=dtype)  # no rank changes
        assert_within(host(W), learn(W0, X[:count]), bound)


@pytest.mark.parametrize("k", [0, 1, 5, 2.5, True, None, "2", float("nan")])
def test_a_rank_that_does_not_exist_is_refused(k):
    with pytest.raises(ValueError, match=r"k must be an integer from 2 to the number of hidden units \(4\)"):
        ranking.ranked_step(np.ones((4, 3)), np.ones((2, 3)), 2, k, 0.4, 0.1)


def test_wrong_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match="got \\(4, 3\\) and \\(2, 5\\)"):
        ranking.ranked_step(np.ones((4, 3)), np.ones((2, 5)), 2, 2, 0.4, 0.1)
    with pytest.raises(ValueError, match="batch must be finite"):
        ranking.ranked_step(np.ones((4, 3)), np.full((2, 3), np.nan), 2, 2, 0.4, 0.1)


def test_currents_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="currents must be finite"):
        ranking.rank_activation(np.array([[np.nan, 1.0, 2.0]]), 2, 0.4)
    with pytest.raises(ValueError, match=r"\(batch, hidden\), got \(3,\)"):
        ranking.rank_activation(np.ones(3), 2, 0.4)
    with pytest.raises(ValueError, match="got \\(3, 4\\) and \\(2, 5\\)"):
        ranking.p_currents(np.ones((3, 4)), np.ones((2, 5)), 2)


def test_the_last_rank_is_the_number_of_units():
    g = ranking.rank_activation(np.array([[3.0, 1.0, 2.0]]), 3, 0.4)
    np.testing.assert_array_equal(g, [[1, -0.4, 0]])


def test_a_vanishing_change_is_not_blown_up():
    """Below 1e-30 the change is left as small as it is, in float32 too, where rate / change overflows."""
    W = np.zeros((3, 4), np.float32)
    moved = ranking.ranked_step(W, np.full((2, 4), 1e-40, np.float32), 2, 2, 0.4, 0.1)
    assert 0 < np.abs(moved).max() < 1e-9  # about 0.1 * 2e-40 / 1e-30


def test_a_step_that_leaves_the_range_raises_instead_of_returning_nan():
    W, batch = np.full((3, 4), 1e20, np.float32), np.ones((2, 4), np.float32)
    with pytest.raises(ArithmeticError, match=r"largest \|W\| 1e\+20, p = 4"):
        ranking.ranked_step(W, batch, 4, 2, 0.4, 0.1)


@pytest.mark.parametrize("p", [1.0, 1.5])
def test_below_two_a_zero_weight_has_no_say_and_stays_finite(p):
    """|W|^(p - 2) has a pole at 0, sgn(W)|W|^(p - 1) has none."""
    W, batch = np.array([[0.0, 2.0], [1e-40, -1.0]]), np.ones((1, 2))
    expected = [[2 ** (p - 1), 1e-40 ** (p - 1) - 1]]
    assert_within(ranking.p_currents(W, batch, p), expected, rounding(8) * np.abs(expected))
    assert np.isfinite(ranking.ranked_step(W, batch, p, 2, 0.4, 0.1)).all()
