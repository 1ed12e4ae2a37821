"""The compiled training of the linear layer, held to its definition in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_no_worse_than, assert_within, backward_bound, rounding
from sklearn.base import clone

from bionet import losses
from bionet.fast import numba_engine
from bionet.fast import readout as fast_readout
from bionet.optim import Adam
from bionet.persistence import load, save
from bionet.readout import PowerReadout

pytestmark = pytest.mark.skipif(not numba_engine.available(), reason="Numba is not installed")
LOSSES = losses.TRAINING
WHOLE = {"n": 1.0, "unit_norm": False, "rectify": False, "random_state": 0, "learning_rate": 1e-2}


def problem(classes=4, features=12, samples=53, dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.standard_normal((samples, features)).astype(dtype), np.arange(samples) % classes


def pair(X, y, **changes):
    """The same readout by both engines."""
    model = PowerReadout(None, **{**WHOLE, **changes})
    return [clone(model).set_params(engine=engine).fit(X, y) for engine in ("numpy", "numba")]


LEARNT = ("coef_", "intercept_", "loss_history_")


def assert_alike(one, other, X, train):
    """As near as two orders of summation can be: over the features, over the images of a step.

    `train` is what `one` did with the images.
    """
    for name in LEARNT:
        bound = backward_bound(lambda Z, n=name: getattr(train(Z), n), X, terms=X.shape[1] + 10, draws=2)
        assert_within(getattr(other, name), getattr(one, name), 2 * bound)
    assert one.n_iter_ == other.n_iter_
    assert one.coef_.dtype == other.coef_.dtype


def assert_alike_fits(X, y, **changes):
    """Both engines after `fit`; returns the readouts."""
    one, other = pair(X, y, **changes)
    assert_alike(one, other, X, lambda Z: clone(one).fit(Z, y))
    return one, other


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("classes", "features"), [(2, 1), (3, 7), (10, 33), (5, 1100)])
def test_hundreds_of_steps_are_the_definition(loss, intercept, optimizer, classes, features):
    """53 images, ten a step: the last step of an epoch has three."""
    X, y = problem(classes, features)
    settings = {"batch_size": 10, "n_epochs": 50, "optimizer": optimizer}
    if optimizer == "sgd":
        settings["learning_rate"] = 1e-4
    one, _ = assert_alike_fits(X, y, loss=loss, fit_intercept=intercept, **settings)
    assert one.n_iter_ == 300


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 53, 100])
def test_any_size_of_minibatch(batch_size):
    assert_alike_fits(*problem(), batch_size=batch_size, n_epochs=4, fit_intercept=True)


@pytest.mark.parametrize("m", [1.0, 1.5, 2.0, 3.3, 6.0, 40.0])
def test_any_exponent_of_the_loss(m):
    assert_alike_fits(*problem(), m=m, beta=0.3, batch_size=10, n_epochs=5)


@pytest.mark.parametrize("loss", LOSSES)
def test_single_precision(loss):
    """The compiled sums err no more than a few times what NumPy's err."""
    X, y = problem(dtype=np.float32)
    one, other = pair(X, y, loss=loss, batch_size=10, n_epochs=30, fit_intercept=True)
    exact = clone(one).fit(X.astype(np.float64), y)
    assert other.coef_.dtype == np.float32
    for name in LEARNT:
        fast, plain = (np.array(getattr(model, name), np.float32) for model in (other, one))
        assert_no_worse_than(fast, plain, np.array(getattr(exact, name)), 4)


def test_a_hidden_layer_a_schedule_and_the_choice_of_the_engine():
    rng = np.random.default_rng(3)
    X, y = np.abs(problem(10)[0]), problem(10)[1]
    settings = {
        "n": 4.5, "unit_norm": True, "rectify": True, "learning_rate": ((3, 1e-2), (2, 1e-3)), "n_epochs": 5,
        "units": rng.standard_normal((33, 12)), "batch_size": 10,
        "beta": 0.1,  # saturated outputs would lose digits in 1 - c^2, and Adam brings the rest to full size
    }  # fmt: skip
    model = PowerReadout(**{**WHOLE, **settings})
    one, other = (clone(model).set_params(engine=engine).fit(X, y) for engine in ("numpy", "numba"))
    assert_alike(one, other, X, lambda Z: clone(one).fit(Z, y))
    chosen = clone(model).fit(X, y)
    np.testing.assert_array_equal(chosen.coef_, other.coef_)


def test_images_in_any_order_of_memory():
    X, y = problem()
    model = PowerReadout(None, **WHOLE, engine="numba", batch_size=10, n_epochs=3)
    expected = clone(model).fit(X, y)
    wide = np.zeros((len(X), 2 * X.shape[1]))
    wide[:, ::2] = X
    fixed = X.copy()
    fixed.flags.writeable = False
    for given in (np.asfortranarray(X), wide[:, ::2], fixed):
        np.testing.assert_array_equal(clone(model).fit(given, y).coef_, expected.coef_)


def test_two_runs_are_equal_bit_by_bit():
    X, y = problem(dtype=np.float32)
    model = PowerReadout(None, **WHOLE, engine="numba", batch_size=10, n_epochs=20, fit_intercept=True)
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    np.testing.assert_array_equal(first.coef_, second.coef_)
    np.testing.assert_array_equal(first.intercept_, second.intercept_)
    assert first.loss_history_ == second.loss_history_


@pytest.mark.parametrize("engines", [("numba", "numpy"), ("numpy", "numba")])
def test_partial_fit_goes_on_with_the_state_of_the_optimiser_whatever_the_engine(engines):
    X, y = problem()
    model = PowerReadout(None, **WHOLE, batch_size=10, n_epochs=3, fit_intercept=True)

    def train(X, first="numpy", second="numpy"):
        net = clone(model).set_params(engine=first).fit(X, y)
        net.engine = second
        for _ in range(5):
            net.partial_fit(X, y)
        return net

    expected, mixed = train(X), train(X, *engines)
    assert_alike(expected, mixed, X, train)
    assert mixed._optimizer.steps == 23
    mean = expected._optimizer.means[1]
    bound = backward_bound(lambda Z: train(Z)._optimizer.means[1], X, terms=X.shape[1] + 10, draws=2)
    assert_within(mixed._optimizer.means[1], mean, 2 * bound)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0])
def test_numbers_out_of_range_mean_what_they_mean_in_numpy(loss, value):
    """One logit of the first image is out of range; the layer that learns is an intercept."""
    X = np.zeros((3, 1))
    index = np.array([0, 1, 2])
    start = np.array([[0.1, value, -0.2]])
    S = np.repeat(start, 3, axis=0)
    with np.errstate(all="ignore"):
        value, dS = (
            losses.power(S, index, m=6.0, beta=1.0) if loss == "power" else getattr(losses, loss)(S, index)
        )
        expected = start[0].copy()
        Adam().step([expected], [dS.sum(axis=0) / 3], 0.1)
    intercept = start[0].copy()
    total = fast_readout.learn(
        X, index, np.arange(3), 3, np.zeros((3, 1)), intercept, True, Adam(), 0.1, loss, 6.0, 1.0
    )
    few = rounding(40)  # operations on three images and three classes; Adam's first step is the rate, 0.1
    assert_within(total, value.sum(), few * (1 + abs(value.sum())))
    assert_within(intercept, expected, few * (0.1 + np.abs(expected)))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_that_leaves_the_range_stops(loss):
    X, y = problem()
    settings = {"loss": loss, "engine": "numba", "optimizer": "sgd", "learning_rate": 1e308, "batch_size": 1}
    model = PowerReadout(None, **{**WHOLE, **settings})
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="left the floating-point range"):
        model.fit(10 * X, y)


def test_features_of_infinity_stop_it():
    X, y = problem()
    model = PowerReadout(None, n=12.0, unit_norm=False, engine="numba", n_epochs=1)
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="unit_norm=True"):
        model.fit(1e30 * X, y)


def test_without_numba(monkeypatch):
    X, y = problem()
    expected = PowerReadout(None, **WHOLE, engine="numpy", n_epochs=2).fit(X, y)
    monkeypatch.setattr(numba_engine, "available", lambda: False)
    with pytest.raises(RuntimeError, match="engine='numba' needs Numba: pip install"):
        PowerReadout(None, engine="numba").fit(X, y)
    np.testing.assert_array_equal(PowerReadout(None, **WHOLE, n_epochs=2).fit(X, y).coef_, expected.coef_)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine must be one of"):
        PowerReadout(None, engine="fortran").fit(*problem())


def test_large_minibatches_stay_with_the_matrix_products():
    X, _ = problem()
    assert fast_readout.serves("auto", 10, X)
    assert not fast_readout.serves("auto", fast_readout.LARGEST + 1, X)
    assert fast_readout.serves("numba", fast_readout.LARGEST + 1, X)
    assert not fast_readout.serves("numba", 10, X, X.astype(np.float32))
    assert not fast_readout.serves("numpy", 10, X)


def test_a_saved_readout_keeps_its_engine_and_learns_on(tmp_path):
    X, y = problem()
    model = PowerReadout(X[:7], engine="numba", n_epochs=2, random_state=0).fit(X, y)
    loaded = load(save(model, tmp_path / "net"))
    assert loaded.engine == "numba"
    loaded.partial_fit(X, y)
    assert np.isfinite(loaded.coef_).all()
