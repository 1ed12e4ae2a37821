"""What the chapters derive beyond the package's own tests: gradients a synapse at a time, energy, winners,
the order of two images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import assert_within, backward_bound, rounding

from bionet import dynamics, plasticity
from bionet.measures import geometry
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
    bounds = [
        backward_bound(lambda X, layer=layer: net.weight_gradients(X, y)[layer], X, terms=30 + 6)
        for layer in range(len(before))
    ]
    net.partial_fit(X, y, learning_rate=0.1)
    for W, G, start, bound in zip(net.coefs_, gradients, before, bounds, strict=True):
        assert_within(W, start - 0.1 * G, 0.1 * bound + rounding(2) * np.abs(start))


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


def rounded(r, currents):
    """What forty operations on the energy's terms, none of them cancelled, can err."""
    return rounding(40) * ((r**2).sum(-1) + r.sum(-1) ** 2 + r @ np.abs(currents))


vectors = arrays(np.float64, 8, elements=st.floats(-10, 10, allow_subnormal=False))


@given(vectors, arrays(np.float64, 8, elements=st.floats(0, 10, allow_subnormal=False)), st.floats(0, 0.99))
def test_the_steady_rates_have_the_least_energy(currents, other, w_inh):
    r = dynamics.firing_rate(dynamics.steady_state(currents, w_inh))
    slack = rounded(r, currents) + rounded(other, currents)
    assert energy(r, currents, w_inh) <= energy(other, currents, w_inh) + slack


@given(vectors, arrays(np.float64, 8, elements=st.floats(-10, 10)), st.sampled_from([0.0, 0.5, 0.9, 1.4]))
def test_the_energy_never_rises(currents, start, w_inh):
    """Small steps: Euler itself may overshoot."""
    path = dynamics.simulate(currents, w_inh, 1.0, 1e-3, 0.5, h0=start)[1]
    r = dynamics.firing_rate(path)
    assert np.diff(energy(r, currents, w_inh)).max() <= 2 * rounded(r, currents).max()


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
    # the rates err as sums of currents over (1 - w)^2, z as a cumulated sum of itself
    bound = rounding(60) * (np.abs(currents).sum() / (1 - w_inh) ** 2 / S + np.abs(z).sum())
    assert_within(r / S, np.maximum(z - threshold, 0), bound)


@pytest.mark.parametrize("w_inh", [1.05, 1.3, 2.0])
def test_above_one_the_possible_winners_are_those_within_a_factor_w(w_inh):
    """A unit that starts alone keeps the field exactly if I >= max(I)/w."""
    currents = np.random.default_rng(4).normal(3.0, 1.0, size=30)
    starts = np.diag(currents.clip(min=0))
    end = dynamics.simulate(np.tile(currents, (30, 1)), w_inh, 1.0, 0.02, 400.0, h0=starts)[1][-1]
    assert ((end > 1e-9).sum(axis=1) == 1).all()
    keeps = end.argmax(axis=1) == np.arange(30)
    np.testing.assert_array_equal(keeps, (currents > 0) & (currents >= currents.max() / w_inh))


# Chapter 3: presentations as boosts

ANGLES, ANY_DOSE = st.floats(0.1, 3.0), st.floats(-3, 3)


def grown(*doses):
    """Rounding errors after these presentations: a boost stretches by exp(|s|) / D, with D >= exp(-|s|)."""
    return rounding(60) * np.exp(2 * np.abs(doses).sum())


def empty_row_after(images, doses):
    W = np.zeros((1, len(images[0])))
    for u, s in zip(images, doses, strict=True):
        W = plasticity.present(W, u, np.array([s]), 1.0)
    return W[0]


def unit_pair(seed, features=20):
    u = np.random.default_rng(seed).standard_normal((2, features))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return u[0], u[1], float(np.arccos(u[0] @ u[1]))


@given(st.floats(-3.1, 3.1), ANY_DOSE, ANY_DOSE, ANGLES)
def test_on_the_circle_two_presentations_are_the_composed_moebius_map(theta, s1, s2, phi):
    """z -> rotation times (z + c)/(1 + conj(c) z), the step of the derivation that the eye may doubt."""
    t1, tau = np.tanh(s1 / 2), np.tanh(s2 / 2) * np.exp(1j * phi)
    c = (t1 + tau) / (1 + t1 * tau)
    z = np.exp(1j * theta)
    composed = (1 + t1 * tau) / (1 + t1 * np.conj(tau)) * (z + c) / (1 + np.conj(c) * z)
    W = np.array([[z.real, z.imag]]) * (1 - 1e-15)
    for s, angle in ((s1, 0.0), (s2, phi)):
        W = plasticity.present(W, np.array([np.cos(angle), np.sin(angle)]), np.array([s]), 1.0)
    assert abs(W[0, 0] + 1j * W[0, 1] - composed) <= grown(s1, s2)
    turned = np.angle((1 + t1 * tau) / (1 + t1 * np.conj(tau)))
    assert_within(geometry.wigner_angle(phi, s1, s2), turned, rounding(40) / (1 - abs(t1 * tau)))


@given(st.integers(0, 2**32), ANY_DOSE, ANY_DOSE)
def test_two_empty_rows_end_apart_by_the_angle_of_the_rotation(seed, s1, s2):
    """One row after u, v and one after v, u, with present alone; the sense from the plane of u and v."""
    if min(abs(s1), abs(s2)) < 0.05:
        return
    u, v, phi = unit_pair(seed)
    one, other = empty_row_after((u, v), (s1, s2)), empty_row_after((v, u), (s2, s1))
    assert_within(np.linalg.norm(one), np.linalg.norm(other), grown(s1, s2))
    side = (v - (u @ v) * u) / np.linalg.norm(v - (u @ v) * u)
    angle = np.arctan2(one @ side, one @ u) - np.arctan2(other @ side, other @ u)
    epsilon = float(geometry.wigner_angle(phi, s1, s2))
    assert abs(np.exp(1j * angle) - np.exp(1j * epsilon)) <= 2 * grown(s1, s2) / np.linalg.norm(one)
    for row in (one, other):  # nothing leaves the plane of the two images
        assert np.abs(row - (row @ u) * u - (row @ side) * side).max() <= grown(s1, s2)


@given(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.2, 2.9))
def test_the_rotation_is_the_area_of_a_hyperbolic_triangle(s1, s2, phi):
    """Three rows at the corners; the angles from the package's distances by the law of cosines."""
    u = np.array([[1.0, 0.0], [-np.cos(phi), np.sin(phi)]])  # enclosing pi - phi
    far = np.concatenate([np.tanh([[s1], [s2]]) * u, np.zeros((1, 2))])
    side = geometry.distance(far[[0, 1, 2]], far[[2, 2, 2]])[:2]
    assert_within(side, [s1, s2], grown(s1, s2))
    third = float(geometry.distance(far[0], far[1]))

    def corner(a, b, opposite):
        return np.arccos((np.cosh(a) * np.cosh(b) - np.cosh(opposite)) / np.sinh(a) / np.sinh(b))

    corners = np.array([corner(s1, s2, third), corner(s1, third, s2), corner(s2, third, s1)])
    # a cosine errs by that of the distances, or by cosh a cosh b / sinh a sinh b; the arc by 1 / sin more
    least = min(s1, s2, third)
    bound = (grown(s1, s2) + rounding(20)) / np.tanh(least) ** 2 / np.sin(corners).min()
    assert_within(np.pi - corners.sum(), geometry.wigner_angle(phi, s1, s2), 3 * bound)


def test_many_small_presentations_are_one_of_the_sum():
    """Lie and Trotter: the error falls with the number of parts, here at first order."""
    rng = np.random.default_rng(0)
    images, doses = rng.random((4, 9)), np.array([0.5, 1.0, -0.4, 0.8])
    limit = empty_row_after([doses @ images], [1.0])
    parts = np.array([16, 32, 64, 128])
    errors = [
        np.linalg.norm(empty_row_after(np.tile(images, (n, 1)), np.tile(doses / n, n)) - limit) for n in parts
    ]
    assert np.polyfit(np.log(parts), np.log(errors), 1)[0] == pytest.approx(-1, abs=0.1)
    assert errors[-1] < 0.02


@given(st.integers(0, 2**32), st.floats(-2, 2))
def test_the_flow_lines_are_conics(seed, s):
    """(1 - y^2)/w^2 is constant, inside and outside the ball."""
    rng = np.random.default_rng(seed)
    u, W = np.array([1.0, 0.0, 0.0]), rng.standard_normal((4, 3)) + 0.1
    D = np.cosh(s) + W[:, 0] * np.sinh(s)
    W = W[(D > 0.1) & (np.linalg.norm(W[:, 1:], axis=1) > 0.05)]
    moved = plasticity.present(W, u, np.full(len(W), s), 1.0)
    before, after = ((1 - rows[:, 0] ** 2) / (rows[:, 1:] ** 2).sum(axis=1) for rows in (W, moved))
    y, w2 = moved[:, 0], (moved[:, 1:] ** 2).sum(axis=1)  # D > 0.1 divides the errors of moved
    bound = rounding(40) * np.exp(abs(s)) / 0.1 * ((1 + y**2) / w2 + (1 + W[:, 0] ** 2) * np.abs(before + 1))
    assert_within(after, before, bound)
