"""Attacks of the adversarial-robustness-toolbox on the classifiers here: a second opinion."""

from __future__ import annotations

import builtins
import importlib.util
import random
import sys

import numpy as np
import pytest
from oracles import assert_within, rounding

from bionet import attacks, data
from bionet.attacks import independent
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout

installed = pytest.mark.skipif(
    importlib.util.find_spec("art") is None,
    reason="THE LIBRARY'S ATTACKS ARE NOT TESTED: pip install adversarial-robustness-toolbox",
)


@pytest.fixture(scope="module")
def digits():
    train, test = data.load("digits"), data.load("digits", split="test")
    model = BackpropClassifier(32, n_epochs=20, random_state=0).fit(train.images, train.labels)
    return model, test.images[:100], test.labels[:100], train.shape


def inside(X_adv, X, eps, norm):
    change = X_adv.astype(np.float64) - X
    size = np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)
    return (size <= eps).all() and X_adv.min() >= 0 and X_adv.max() <= 1


@installed
def test_the_library_needs_neither_torch_nor_tensorflow(digits):
    independent.estimator(digits[0])
    assert not {"torch", "tensorflow"} & sys.modules.keys()


@installed
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_our_pgd_and_the_librarys_agree(digits, norm):
    """Same start, steps and loss on the same model: accuracies within one point."""
    from art.attacks.evasion import ProjectedGradientDescentNumpy

    model, X, y, _ = digits
    for eps in (0.03, 0.06) if norm == "linf" else (0.5, 1.0):
        ours = attacks.robust_accuracy(model, X, y, eps, norm=norm, steps=20)
        attack = ProjectedGradientDescentNumpy(
            independent.estimator(model),
            norm=np.inf if norm == "linf" else 2,
            eps=eps,
            eps_step=2.5 * eps / 20,
            max_iter=20,
            verbose=False,
        )
        theirs = attacks.accuracy(model, attack.generate(X.copy(), np.eye(10, dtype=np.float32)[y]), y)
        assert abs(ours - theirs) <= 0.01
        assert 0.05 < ours < 0.95


@installed
@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_apgd_is_at_least_as_strong_as_one_step(digits, norm, loss):
    model, X, y, _ = digits
    eps = 0.06 if norm == "linf" else 1.0
    X_adv = independent.apgd(model, X, y, eps, norm=norm, loss=loss, steps=20)
    single = attacks.accuracy(model, attacks.fgsm(model, X, y, eps, loss, norm=norm), y)
    assert attacks.accuracy(model, X_adv, y) <= single
    assert inside(X_adv, X, eps, norm)


@installed
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_square_turns_images_without_a_gradient(digits, norm):
    model, X, y, shape = digits
    X, y = X[:40], y[:40]
    eps = 0.2 if norm == "linf" else 2.5
    state, python = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    X_adv = independent.square(model, X, y, eps, shape=shape, norm=norm, iterations=60)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert random.getstate() == python
    lost = attacks.accuracy(model, X, y) - attacks.accuracy(model, X_adv, y)
    assert lost > (0.2 if norm == "linf" else 0.02)
    noise = attacks.accuracy(model, attacks.noise(X, eps, norm, random_state=0), y)
    assert attacks.accuracy(model, X_adv, y) < noise
    assert inside(X_adv, X, eps, norm)
    again = independent.square(model, X, y, eps, shape=shape, norm=norm, iterations=60)
    np.testing.assert_array_equal(again, X_adv)


@installed
@pytest.mark.parametrize("norm", attacks.NORMS)
def test_hop_skip_jump_walks_near_the_image_by_answers_alone(digits, norm):
    model, X, y, _ = digits
    X, y = X[:6], y[:6]
    X_adv = independent.hop_skip_jump(model, X, y, norm=norm, iterations=4, evaluations=50)
    right = model.predict(X) == y
    assert (model.predict(X_adv[right]) != y[right]).all()
    near = attacks.survivors_within(model, X_adv, X, y, 0.01 if norm == "linf" else 0.05, norm)
    np.testing.assert_array_equal(near, right)
    assert not attacks.survivors_within(model, X_adv, X, y, 1.0 if norm == "linf" else 28.0, norm).any()
    exact = attacks.minimal_l2(model, X, y)[1]
    assert (np.linalg.norm(X_adv - X, axis=1)[right] > exact[right]).all()


@installed
def test_the_librarys_gradients_are_those_of_the_classifier():
    rng = np.random.default_rng(0)
    X, y = rng.random((12, 9)), np.arange(12) % 3
    model = PowerReadout(rng.random((5, 9)), n=3.0, n_epochs=3, random_state=0).fit(X, y)
    wrapped = independent.estimator(model, (1, 3, 3), "margin")
    pictures, one_hot = X.reshape(12, 1, 3, 3), np.eye(3)[y]
    np.testing.assert_array_equal(wrapped.predict(pictures), model.logits(X))
    value, gradient = model.loss_gradient(X, y, "margin")
    np.testing.assert_array_equal(wrapped.compute_loss(pictures, one_hot), value)
    scaled = gradient / np.abs(gradient).max(axis=1, keepdims=True)
    few = rounding(4)  # the same gradients, at most divided by their largest entry
    assert_within(wrapped.loss_gradient(pictures, one_hot).reshape(12, 9), scaled, few)
    each = wrapped.class_gradient(pictures)
    assert each.shape == (12, 3, 1, 3, 3)
    size = few * np.abs(each).max()
    assert_within(each[:, 1].reshape(12, 9), model.input_gradient(X, np.eye(3)[np.ones(12, int)]), size)
    assert_within(wrapped.class_gradient(pictures, label=1)[:, 0], each[:, 1], size)
    assert_within(wrapped.class_gradient(pictures, label=y)[:, 0], each[np.arange(12), y], size)


@installed
def test_shapes_and_losses_that_do_not_fit_are_refused(digits):
    model, X, y, _ = digits
    with pytest.raises(
        ValueError, match=r"images of shape \(3, 3\) do not have the classifier's 784 features"
    ):
        independent.estimator(model, (3, 3))
    with pytest.raises(ValueError, match="loss must be one of"):
        independent.estimator(model, loss="hinge")
    with pytest.raises(ValueError, match="eps must lie in"):
        independent.apgd(model, X, y, 0.0)


def test_without_the_library_the_error_names_the_extra(digits, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "art" or name.startswith("art."):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    model, X, y, shape = digits
    for call in (
        lambda: independent.apgd(model, X, y, 0.1),
        lambda: independent.square(model, X, y, 0.1, shape=shape),
        lambda: independent.hop_skip_jump(model, X, y),
    ):
        with pytest.raises(ModuleNotFoundError, match="pip install adversarial-robustness-toolbox"):
            call()
