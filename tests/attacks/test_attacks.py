"""Attacks: the ball, the box, an exact linear case, and a model that must break."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding

from bionet import attacks, data, losses
from bionet.attacks import search
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout


@pytest.fixture(scope="module")
def digits():
    train, test = data.load("digits"), data.load("digits", split="test")
    model = BackpropClassifier(32, n_epochs=20, random_state=0).fit(train.images, train.labels)
    return model, test.images[:60], test.labels[:60]


def length_of(X_adv, X, norm):
    """Sizes of the changes, measured in float64."""
    change = np.asarray(X_adv, np.float64) - np.asarray(X, np.float64)
    return np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1)


def inside(X_adv, X, eps, norm):
    return (length_of(X_adv, X, norm) <= eps).all() and X_adv.min() >= 0 and X_adv.max() <= 1


@settings(max_examples=100)
@given(
    st.integers(0, 2**32),
    st.floats(0, 2),
    st.sampled_from(attacks.NORMS),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([5, 784]),
)
def test_nothing_leaves_the_ball_or_the_box(seed, eps, norm, dtype, features):
    """No tolerance: rounding never puts an image outside, and what is inside stays where it is."""
    rng = np.random.default_rng(seed)
    X = np.clip(rng.uniform(-0.3, 1.3, (4, features)), 0, 1).astype(dtype)  # many pixels at 0 and 1
    projected = attacks.project(X + (3 * rng.standard_normal(X.shape)).astype(dtype), X, eps, norm)
    assert projected.dtype == X.dtype
    assert inside(projected, X, eps, norm)
    # a change as long as the radius may be shortened by the 16 eps and half an eps a pixel kept in reserve
    reserve = np.finfo(dtype).eps * (16 * eps + 0.5 * features**0.5 + 2)
    assert_within(attacks.project(projected, X, eps, norm), projected, reserve)
    for where in ("edge", "ball"):
        assert inside(attacks.noise(X, eps, norm, where, random_state=seed), X, eps, norm)


def test_noise_has_the_size_it_is_asked_for():
    X = np.full((50, 30), 0.5)
    for norm, eps in (("linf", 0.1), ("l2", 0.4)):
        edge = length_of(attacks.noise(X, eps, norm, random_state=0), X, norm)
        reserve = np.finfo(float).eps * (16 * eps + 0.5 * 30**0.5 + 2)  # of the ball, as in its code
        assert_within(edge, np.full(50, eps), reserve)
        within = length_of(attacks.noise(X, eps, norm, "ball", random_state=0), X, norm)
        assert within.min() < 0.999 * eps < within.max() <= eps
    signs = attacks.noise(X, 0.1, random_state=0) - X
    assert_within(np.abs(signs), np.full(X.shape, 0.1), rounding(3))  # added to pixels below 1


@pytest.mark.parametrize("norm", attacks.NORMS)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_pgd_stays_in_the_ball_and_only_hurts(digits, norm, loss):
    model, X, y = digits
    eps = 0.1 if norm == "linf" else 1.5
    X_adv = attacks.pgd(model, X, y, eps, norm=norm, loss=loss, steps=10, restarts=2, random_state=0)
    assert inside(X_adv, X, eps, norm)
    assert attacks.accuracy(model, X_adv, y) < attacks.accuracy(model, X, y)
    assert X_adv.dtype == X.dtype


def linear(n_classes, seed=1):
    """A linear net on ten pixels, and images so far from 0 and 1 that the box does not matter."""
    rng = np.random.default_rng(seed)
    X, y = 0.3 + 0.4 * rng.random((60, 10)), rng.integers(0, n_classes, 60)
    model = PowerReadout(
        None, n=1.0, rectify=False, unit_norm=False, loss="cross_entropy", n_epochs=5, random_state=0
    )
    return model.fit(X, y), X, y


def exact_margins(model, X, y, eps, norm):
    """For a linear net the worst change of a margin is eps times the dual norm of the difference of rows."""
    S, V = model.logits(X), model.coef_
    order = 1 if norm == "linf" else 2
    others = range(len(V))
    return np.array(
        [
            max(S[i, j] - S[i, k] + eps * np.linalg.norm(V[j] - V[k], order) for j in others if j != k)
            for i, k in enumerate(y)
        ]
    )


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.08)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_exact_worst_case_of_a_linear_model_is_found(norm, eps, n_classes):
    model, X, y = linear(n_classes)
    worst = exact_margins(model, X, y, eps, norm)
    for settings_ in ({"shrink": True}, {"restarts": 3}):
        X_adv = attacks.pgd(model, X, y, eps, norm=norm, loss="margin", steps=30, random_state=0, **settings_)
        reached = model.loss_gradient(X_adv, y, "margin")[0]
        bound = 2 * backward_bound(lambda X: model.loss_gradient(X, y, "margin")[0], X, terms=10)
        assert (reached <= worst + bound).all()
        np.testing.assert_array_equal(reached > 0, worst > 0)
        if n_classes == 2:
            # by signs the corner itself; in L2 to the reserve that the ball keeps for rounding, 16 eps
            slope = np.linalg.norm(model.coef_[0] - model.coef_[1], 1)
            assert_within(reached, worst, bound + 30 * rounding(20) * slope)
    alive = attacks.worst_case(model, X, y, eps, [attacks.PGD(norm, "margin"), attacks.PGD(norm)])
    np.testing.assert_array_equal(alive, worst <= 0)
    assert 0 < alive.mean() < 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_nearest_boundary_of_a_linear_model_is_found(n_classes):
    """With three classes a search may end at the boundary to another class than the nearest."""
    model, X, y = linear(n_classes)
    S, V = model.logits(X), model.coef_
    exact = [
        min((S[i, k] - S[i, j]) / np.linalg.norm(V[k] - V[j]) for j in range(n_classes) if j != k)
        for i, k in enumerate(y)
    ]
    exact = np.maximum(exact, 0.0)
    near = exact < 0.25  # the box does not matter
    X_adv, found = attacks.minimal_l2(model, X, y, steps=60, start=0.2)
    bound = 2 * backward_bound(model.logits, X, terms=10)
    gaps = np.array([np.linalg.norm(V[k] - V[j]) for k in range(n_classes) for j in range(k)])
    assert (found[near] >= exact[near] - 2 * bound / gaps.min()).all()
    # what a search of 60 steps that shrink reaches, not rounding
    np.testing.assert_allclose(found[near], exact[near], rtol=0.02 if n_classes == 2 else 0.3, atol=1e-4)
    turned = np.isfinite(found) & (exact > 0)
    assert (model.predict(X_adv[turned]) != y[turned]).all()
    assert_within(length_of(X_adv, X, "l2")[turned], found[turned], rounding(20) * found[turned])


def test_the_interval_of_a_median_is_made_of_order_statistics():
    """Of ten values the second and ninth enclose the median with 97.9 %, the third and eighth with 89."""
    assert attacks.median_interval([9, 1, 2, 3, 4, 5, 6, 7, 8, float("inf")]) == (5.5, 2.0, 9.0)
    with pytest.raises(ValueError, match="5 values are too few"):
        attacks.median_interval([1, 2, 3, 4, 5])


@given(
    st.lists(st.integers(-50, 50), min_size=4, max_size=4, unique=True),
    st.integers(0, 3),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_dlr_knows_neither_shift_nor_scale(S, label, scale, shift):
    S, label = np.array([S], dtype=float), np.array([label])
    value, gradient = losses.dlr(S, label)
    moved, moved_gradient = losses.dlr(scale * S + shift, label)
    # a shift of up to 100 rounds the logits; their gaps are whole numbers, times the scale
    noise = rounding(8) * (np.abs(scale * S).max() + abs(shift)) / scale
    assert_within(moved, value, noise * (1 + np.abs(value)))
    assert_within(scale * moved_gradient, gradient, 2 * (noise + rounding(8)) * (1 + np.abs(value)))


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr", "trained"])
@pytest.mark.parametrize(
    "net",
    [
        PowerReadout(np.random.default_rng(3).random((7, 12)), n=3.5, n_epochs=3, random_state=0),
        BackpropClassifier(7, activation="power", n=2.5, unit_norm=True, n_epochs=3, random_state=0),
    ],
    ids=["readout", "backprop"],
)
def test_one_pass_gives_logits_loss_and_gradient(net, loss):
    """The gradient is that of finite differences along random lines, in float64."""
    rng = np.random.default_rng(4)
    X, y = rng.random((9, 12)), np.arange(9) % 4
    net.fit(X, y)
    S, value, gradient = net.logits_and_gradient(X, y, loss)
    np.testing.assert_array_equal(S, net.logits(X))
    np.testing.assert_array_equal(value, net.loss_gradient(X, y, loss)[0])
    for _ in range(3):
        u = 1e-6 * rng.standard_normal(X.shape)
        ahead, behind = (net.loss_gradient(X + sign * u, y, loss)[0] for sign in (1, -1))
        # what twice the step makes four times; and a hundred operations on the loss
        far = [net.loss_gradient(X + sign * u, y, loss)[0] for sign in (2, -2)]
        slope, wide = (ahead - behind) / 2, (far[0] - far[1]) / 4
        noise = rounding(100) * (1 + np.abs(value).max())
        assert_within(np.sum(u * gradient, axis=1), slope, np.abs(wide - slope) + noise)


def test_fgsm_is_one_step(digits):
    model, X, y = digits
    change = attacks.fgsm(model, 0.3 + 0.4 * X, y, 0.2, norm="l2") - (0.3 + 0.4 * X)
    along = model.loss_gradient(0.3 + 0.4 * X, y)[1]
    cosine = np.sum(change * along, axis=1) / np.linalg.norm(change, axis=1) / np.linalg.norm(along, axis=1)
    # float32: a pixel of the changed image rounds by 2^-25, of a change of length 0.2; squared, by the cosine
    assert_within(cosine, np.ones(len(X)), (28 * 2.0**-24 / 0.2) ** 2 + rounding(784, np.float32))
    X_adv = attacks.fgsm(model, X, y, 0.05)
    gradient = model.loss_gradient(X, y)[1]
    expected = np.clip(X.astype(np.float64) + 0.05 * np.sign(gradient), 0, 1)
    assert_within(X_adv, expected, rounding(4, np.float32))


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


def test_an_early_stop_changes_the_cost_and_not_the_count(digits):
    model, X, y = digits
    for norm, eps in (("linf", 0.08), ("l2", 1.0)):
        whole = attacks.PGD(norm, steps=10, restarts=2).search(model, X, y, eps, random_state=0)
        short = attacks.PGD(norm, steps=10, restarts=2, early_stop=True).search(model, X, y, eps, 0)
        np.testing.assert_array_equal(short.missed, whole.missed)
        assert short.gradients < whole.gradients == len(X) * 2 * 11
        assert inside(short.images, X, eps, norm)
        np.testing.assert_array_equal(model.predict(short.images) != y, short.missed)
        np.testing.assert_array_equal(model.predict(whole.images) != y, whole.missed)
        # of the same images, in blocks of another length: each logit sums 784 and 32 products
        noise = 2 * backward_bound(model.logits, short.images, terms=784 + 32, dtype=np.float32)
        assert (whole.loss >= short.loss - noise).all()


def test_blocks_of_images_do_not_change_an_attack(digits, monkeypatch):
    model, X, y = digits
    # In float32 the sign of a gradient may hang on the order in which a block's product is summed.
    attack = attacks.PGD(steps=3, restarts=2, dtype="float64")
    whole = attack.search(model, X, y, 0.1, random_state=0)
    monkeypatch.setattr(search, "_BLOCK", 13)
    parts = attack.search(model, X, y, 0.1, random_state=0)
    assert_within(parts.images, whole.images, rounding(4 * 3))  # sums of three steps, returned in float64
    assert parts.gradients == whole.gradients


def test_the_worst_case_is_no_better_than_any_attack(digits):
    model, X, y = digits
    each = [attacks.PGD(loss=loss, steps=10) for loss in ("cross_entropy", "dlr")]
    alive = attacks.worst_case(model, X, y, 0.06, each, random_state=0)
    for attack in each:
        found = attack.search(model, X, y, 0.06, random_state=0)
        assert not (alive & found.missed).any()
    assert 0 < alive.mean() < attacks.accuracy(model, X, y)


def steeper(model, factor):
    """The same classifier with larger logits: every answer stays what it was."""
    steep = copy.deepcopy(model)
    steep.coefs_[-1] = steep.coefs_[-1] * np.float32(factor)
    steep.intercepts_[-1] = steep.intercepts_[-1] * np.float32(factor)
    return steep


def test_float64_has_gradients_where_float32_has_none(digits):
    """exp(-104) is zero in float32; exp(-700) is not in float64."""
    model, X, y = digits
    right = model.predict(X) == y
    X, y = X[right], y[right]
    S = model.logits(X)
    gap = np.partition(S, -2, axis=1)
    gap = gap[:, -1] - gap[:, -2]
    steep = steeper(model, 700 / gap.max())
    shares = [
        attacks.PGD(steps=1, step_size=0.0, dtype=dtype).search(steep, X, y, 0.1).zero_gradients
        for dtype in ("float32", "float64")
    ]
    assert shares[0] > 0.3
    assert shares[1] == 0.0


def test_float64_has_gradients_where_a_power_underflows():
    rng = np.random.default_rng(5)
    X, y = rng.random((20, 6)).astype(np.float32), np.arange(20) % 3
    net = PowerReadout(rng.random((8, 6)).astype(np.float32), n=4.5, n_epochs=2, random_state=0).fit(X, y)
    net.components_ = net.components_ * np.float32(1e-12)  # x^3.5 is 1e-42, and its product with V less
    zero = {
        dtype: attacks.PGD(steps=1, loss="margin", dtype=dtype).search(net, X, y, 0.1).zero_gradients
        for dtype in ("float32", "float64")
    }
    assert zero == {"float32": 1.0, "float64": 0.0}


def test_the_saturated_loss_shows_a_plateau_and_the_logits_break_it(digits):
    """The trap: a tanh at its end has no slope, so the attacker, not the net, comes to rest."""
    train = data.load("digits")
    _, X, y = digits
    net = PowerReadout(
        train.images[:300] / 9, n=2.0, n_epochs=30, random_state=0, learning_rate=2e-3, m=4.0, beta=0.3
    ).fit(train.images, train.labels)
    net.coef_ = net.coef_ * np.float32(2000)
    clean = attacks.accuracy(net, X, y)
    ladder = (0.3, 0.5)
    plateau, honest = (
        [attacks.robust_accuracy(net, X, y, eps, loss=loss, steps=10) for eps in ladder]
        for loss in ("trained", "dlr")
    )
    assert min(plateau) > clean - 0.05
    assert max(honest) < 0.1
    right = net.predict(X) == y
    share = {
        loss: attacks.PGD(loss=loss, steps=1, step_size=0.0)
        .search(net, X[right], y[right], 0.1)
        .zero_gradients
        for loss in ("trained", "dlr")
    }
    assert share["trained"] > 0.9
    assert share["dlr"] == 0


TERMS = 6 + 5 + 3 + 20  # pixels, hidden units, classes and images: the longest sums


@pytest.mark.parametrize("make", MAKERS)
def test_attacks_run_where_the_images_are(make):
    rng = np.random.default_rng(2)
    X, y = rng.random((20, 6)), rng.integers(0, 3, 20)
    given_ = make(X, np.float64)
    model = BackpropClassifier(5, n_epochs=2, random_state=0).fit(given_, y)
    reference = BackpropClassifier(5, n_epochs=2, random_state=0).fit(X, y)
    for norm in attacks.NORMS:
        settings_ = {"norm": norm, "steps": 5, "restarts": 2, "random_state": 0}

        def attack(X, settings_=settings_):
            return attacks.pgd(reference, np.clip(X, 0, 1), y, 0.2, **settings_)

        noise = 2 * backward_bound(attack, X, terms=TERMS)
        X_adv = attacks.pgd(model, given_, y, 0.2, **settings_)
        assert type(X_adv) is type(given_)
        assert_within(host(X_adv), attacks.pgd(reference, X, y, 0.2, **settings_), noise)
        settings_ |= {"early_stop": True, "shrink": True}
        short = attacks.pgd(model, given_, y, 0.05, **settings_)
        assert_within(host(short), attacks.pgd(reference, X, y, 0.05, **settings_), noise)
    images, distances = attacks.minimal_l2(model, given_, y, steps=10)
    assert type(images) is type(given_)

    def least(X):
        return attacks.minimal_l2(reference, X, y, steps=10)[1]

    assert_within(distances, least(X), 2 * backward_bound(least, X, terms=TERMS))


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


def test_dlr_with_two_classes_is_refused():
    model, X, y = linear(2)
    with pytest.raises(ValueError, match="the DLR loss needs three classes, got 2: use 'margin'"):
        attacks.pgd(model, X, y, 0.1, loss="dlr")
