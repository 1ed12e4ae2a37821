"""Attacks: the ball, the box, an exact linear case, and a model that must break."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st

from bionet import attacks, data
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout


@pytest.fixture(scope="module")
def digits():
    train, test = data.load("digits"), data.load("digits", split="test")
    model = BackpropClassifier(32, n_epochs=20, random_state=0).fit(train.images, train.labels)
    return model, test.images[:60], test.labels[:60]


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(0, 2), st.sampled_from(attacks.NORMS))
def test_projection_lands_in_the_ball_and_the_box(seed, eps, norm):
    rng = np.random.default_rng(seed)
    X = rng.random((5, 8))
    projected = attacks.project(X + 3 * rng.standard_normal(X.shape), X, eps, norm)
    change = projected - X
    size = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert (size <= eps * (1 + 1e-12) + 1e-15).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    again = attacks.project(projected, X, eps, norm)
    np.testing.assert_allclose(again, projected, atol=1e-12)


@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_pgd_stays_in_the_ball_and_only_hurts(digits, norm, loss):
    model, X, y = digits
    eps = 0.1 if norm == "linf" else 1.5
    X_adv = attacks.pgd(model, X, y, eps, norm=norm, loss=loss, steps=10, restarts=2, random_state=0)
    change = (X_adv - X).astype(np.float64)
    size = np.abs(change).max(1) if norm == "linf" else np.linalg.norm(change, axis=1)
    assert size.max() <= eps * (1 + 1e-5)
    assert X_adv.min() >= 0
    assert X_adv.max() <= 1
    assert attacks.accuracy(model, X_adv, y) < attacks.accuracy(model, X, y)
    assert X_adv.dtype == X.dtype


def test_the_exact_worst_case_of_a_linear_model_is_found():
    """For a linear net the L_inf worst case of the margin is eps times an L1 norm, in closed form."""
    rng = np.random.default_rng(1)
    X, y = 0.3 + 0.4 * rng.random((40, 10)), rng.integers(0, 3, 40)
    model = PowerReadout(
        None, n=1.0, rectify=False, unit_norm=False, loss="cross_entropy", n_epochs=5, random_state=0
    ).fit(X, y)
    eps = 0.1
    S, V = model.logits(X), model.coef_
    worst = np.array(
        [
            max(S[i, j] - S[i, y[i]] + eps * np.abs(V[j] - V[y[i]]).sum() for j in range(3) if j != y[i])
            for i in range(40)
        ]
    )
    X_adv = attacks.pgd(model, X, y, eps, loss="margin", steps=30, restarts=3, random_state=0)
    reached = model.loss_gradient(X_adv, y, "margin")[0]
    assert (reached <= worst + 1e-12).all()
    np.testing.assert_array_equal(reached > 0, worst > 0)


def test_fgsm_is_one_signed_step(digits):
    model, X, y = digits
    X_adv = attacks.fgsm(model, X, y, 0.05)
    gradient = model.loss_gradient(X, y)[1]
    np.testing.assert_allclose(X_adv, np.clip(X + 0.05 * np.sign(gradient), 0, 1), atol=1e-7)


def test_more_eps_never_helps_and_a_large_one_breaks_everything(digits):
    model, X, y = digits
    curve = [
        attacks.robust_accuracy(model, X, y, eps, steps=20, random_state=0) for eps in (0, 0.05, 0.1, 0.5)
    ]
    assert all(b <= a for a, b in itertools.pairwise(curve))
    assert curve[0] > 0.9
    assert curve[-1] == 0.0


def test_iterating_beats_a_single_step_and_a_restart_never_hurts(digits):
    model, X, y = digits
    single = attacks.accuracy(model, attacks.fgsm(model, X, y, 0.1), y)
    once = attacks.robust_accuracy(model, X, y, 0.1, steps=20, random_state=0)
    thrice = attacks.robust_accuracy(model, X, y, 0.1, steps=20, restarts=3, random_state=0)
    assert thrice <= once <= single


@pytest.mark.parametrize("make", MAKERS)
def test_attacks_run_where_the_images_are(make):
    rng = np.random.default_rng(2)
    X, y = rng.random((20, 6)), rng.integers(0, 3, 20)
    given_ = make(X, np.float64)
    model = BackpropClassifier(5, n_epochs=2, random_state=0).fit(given_, y)
    reference = BackpropClassifier(5, n_epochs=2, random_state=0).fit(X, y)
    for norm in attacks.NORMS:
        settings_ = {"norm": norm, "steps": 5, "restarts": 2, "random_state": 0}
        X_adv = attacks.pgd(model, given_, y, 0.2, **settings_)
        assert type(X_adv) is type(given_)
        np.testing.assert_allclose(host(X_adv), attacks.pgd(reference, X, y, 0.2, **settings_), atol=1e-8)


@pytest.mark.parametrize("X", [np.full((2, 6), 255.0), np.full((2, 6), -0.1), np.full((2, 6), np.nan)])
def test_pixels_outside_the_unit_interval_are_refused(X):
    model = BackpropClassifier(5, n_epochs=1).fit(np.random.default_rng(0).random((9, 6)), np.arange(9) % 3)
    with pytest.raises(ValueError, match=r"pixels must lie in \[0, 1\]"):
        attacks.pgd(model, X, [0, 1], 0.1)


def test_unknown_norms_and_losses_are_refused(digits):
    model, X, y = digits
    with pytest.raises(ValueError, match="norm must be one of 'linf', 'l2'; got 'l1'"):
        attacks.pgd(model, X, y, 0.1, norm="l1")
    with pytest.raises(ValueError, match="loss must be one of"):
        attacks.pgd(model, X, y, 0.1, loss="hinge")
    with pytest.raises(ValueError, match="eps"):
        attacks.fgsm(model, X, y, -0.1)


def test_a_radius_that_is_no_number_is_refused_before_anything_is_measured(digits):
    model, X, y = digits
    for eps in (float("nan"), -0.1):
        with pytest.raises(ValueError, match="eps must lie in"):
            attacks.robust_accuracy(model, X, y, eps)
        with pytest.raises(ValueError, match="eps must lie in"):
            attacks.project(X, X, eps)
    with pytest.raises(ValueError, match="expected two arrays of shape"):
        attacks.project(X[:1], X, 0.1)
    with pytest.raises(ValueError, match=r"expected images of shape \(samples, features\), got \(0, 784\)"):
        attacks.fgsm(model, X[:0], y[:0], 0.1)
