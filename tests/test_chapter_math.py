"""What the chapters derive beyond the package's own tests: gradients a synapse at a time, energy, winners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bionet import dynamics
from bionet.mlp import BackpropClassifier


def small_net(**changes):
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 6)), np.arange(30) % 3
    settings = {"hidden": (5, 4), "optimizer": "sgd", "loss": "power", "m": 2.0, "random_state": 0}
    return BackpropClassifier(**settings | changes).fit(X, y), X, y


@pytest.mark.parametrize("loss", ["power", "cross_entropy", "sigmoid_cross_entropy"])
def test_a_step_of_gradient_descent_follows_the_weight_gradients(loss):
    net, X, y = small_net(loss=loss)
    before = [W.copy() for W in net.coefs_]
    gradients = net.weight_gradients(X, y)
    net.partial_fit(X, y, learning_rate=0.1)
    for W, G, start in zip(net.coefs_, gradients, before, strict=True):
        np.testing.assert_allclose(W, start - 0.1 * G, atol=1e-14)


def test_feedback_through_the_forward_weights_is_back_propagation():
    net, X, y = small_net()
    for one, two in zip(
        net.weight_gradients(X, y), net.weight_gradients(X, y, feedback=net.coefs_[1:]), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_feedback_leaves_the_last_layer_alone():
    """Random weights on the way back change every layer but the one that meets the target."""
    net, X, y = small_net()
    rng = np.random.default_rng(1)
    feedback = [rng.normal(size=W.shape) for W in net.coefs_[1:]]
    exact, sent = net.weight_gradients(X, y), net.weight_gradients(X, y, feedback=feedback)
    np.testing.assert_array_equal(sent[-1], exact[-1])
    assert all(np.abs(a - b).max() > 1e-6 for a, b in zip(sent[:-1], exact[:-1], strict=True))


def test_feedback_of_another_shape_is_refused():
    net, X, y = small_net()
    with pytest.raises(ValueError, match=r"shapes of coefs_\[1:\]"):
        net.weight_gradients(X, y, feedback=[W.T for W in net.coefs_[1:]])


def energy(r, currents, w_inh):
    """E(r) = (1 - w)/2 |r|^2 + w/2 (sum r)^2 - I.r, whose descent eq. 1 is."""
    return 0.5 * (1 - w_inh) * (r**2).sum(-1) + 0.5 * w_inh * r.sum(-1) ** 2 - r @ currents


vectors = arrays(np.float64, 8, elements=st.floats(-10, 10, allow_subnormal=False))


@given(vectors, arrays(np.float64, 8, elements=st.floats(0, 10, allow_subnormal=False)), st.floats(0, 0.99))
def test_the_steady_rates_have_the_least_energy(currents, other, w_inh):
    r = dynamics.firing_rate(dynamics.steady_state(currents, w_inh))
    assert energy(r, currents, w_inh) <= energy(other, currents, w_inh) + 1e-8


@given(vectors, arrays(np.float64, 8, elements=st.floats(-10, 10)), st.sampled_from([0.0, 0.5, 0.9, 1.4]))
def test_the_energy_never_rises(currents, start, w_inh):
    """Small steps: Euler itself may overshoot."""
    path = dynamics.simulate(currents, w_inh, 1.0, 1e-3, 0.5, h0=start)[1]
    E = energy(dynamics.firing_rate(path), currents, w_inh)
    assert np.diff(E).max() <= 1e-9 * (1 + np.abs(E).max())


@given(vectors, st.floats(0, 0.95))
def test_the_steady_rates_are_a_sparsemax(currents, w_inh):
    """Scaled to sum 1 they are the projection of I/((1 - w) S) on the simplex (Martins & Astudillo 2016)."""
    r = dynamics.firing_rate(dynamics.steady_state(currents, w_inh))
    S = r.sum()
    if S < 1e-3:
        return
    z = currents / ((1 - w_inh) * S)
    ranked = np.sort(z)[::-1]
    n = np.arange(1, len(z) + 1)
    threshold = ((np.cumsum(ranked) - 1) / n)[1 + n * ranked > np.cumsum(ranked)][-1]
    np.testing.assert_allclose(r / S, np.maximum(z - threshold, 0), atol=1e-9)


@pytest.mark.parametrize("w_inh", [1.05, 1.3, 2.0])
def test_above_one_the_possible_winners_are_those_within_a_factor_w(w_inh):
    """A unit that starts alone keeps the field exactly if I >= max(I)/w."""
    currents = np.random.default_rng(4).normal(3.0, 1.0, size=30)
    starts = np.diag(currents.clip(min=0))
    end = dynamics.simulate(np.tile(currents, (30, 1)), w_inh, 1.0, 0.02, 400.0, h0=starts)[1][-1]
    assert ((end > 1e-9).sum(axis=1) == 1).all()
    keeps = end.argmax(axis=1) == np.arange(30)
    np.testing.assert_array_equal(keeps, (currents > 0) & (currents >= currents.max() / w_inh))
