"""The readout and the baseline: gradients, losses, training loops, on host and device."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from oracles import assert_within, backward_bound, rounding
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split

from bionet import activations, losses
from bionet.backend import generators
from bionet.mlp import BackpropClassifier
from bionet.optim import SGD, Adam, rates_of
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((7, 12))
CLASSIFIERS = {
    "power": PowerReadout(ROWS, n_epochs=3, random_state=0),
    "cross-entropy": PowerReadout(ROWS, loss="cross_entropy", fit_intercept=True, n_epochs=3, random_state=0),
    "talk": PowerReadout(
        ROWS, n=1.0, rectify=False, unit_norm=False, fit_intercept=True, loss="sigmoid_cross_entropy",
        optimizer="sgd", n_epochs=3, random_state=0,
    ),
    "pixels": PowerReadout(None, n=2.0, n_epochs=3, random_state=0),
    "relu": BackpropClassifier((8, 6), n_epochs=3, weight_decay=1e-3, random_state=0),
    "sigmoid": BackpropClassifier(
        8, activation="sigmoid", loss="sigmoid_cross_entropy", squash_pixels=True, n_epochs=3, random_state=0
    ),
    "power-net": BackpropClassifier(
        8, activation="power", n=3.5, loss="power", unit_norm=True, n_epochs=3, random_state=0
    ),
}  # fmt: skip
TERMS = 12 + 8 + 4 + 60  # in the longest sums: pixels, hidden units, classes, images
every = pytest.mark.parametrize("classifier", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())


@pytest.fixture
def problem():
    rng = np.random.default_rng(1)
    X = rng.random((60, 12))
    return X, np.argmax(X[:, :4], axis=1)


def assert_slope(gradient, function, X, step=1e-6):
    """Hold a gradient to central differences of a per-sample function, pixel by pixel.

    Their error: twice the step makes four times it, which shows its size; and the rounding of a hundred
    operations on the function's values, over the step.
    """

    def differences(step):
        found = np.empty_like(X)
        for i in range(X.shape[1]):
            up, down = X.copy(), X.copy()
            up[:, i] += step
            down[:, i] -= step
            found[:, i] = (function(up) - function(down)) / (2 * step)
        return found

    near, far = differences(step), differences(2 * step)
    noise = rounding(100) * (1 + np.abs(function(X)).max()) / step
    assert_within(gradient, near, np.abs(far - near) + noise)
    assert np.abs(gradient).max() > 100 * noise


@every
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr", "trained"])
def test_loss_gradients_reach_the_pixels(problem, classifier, loss):
    X, y = problem
    model = clone(classifier).fit(X, y)
    value, gradient = model.loss_gradient(X, y, loss)
    assert value.shape == y.shape
    assert_slope(gradient, lambda Z: model.loss_gradient(Z, y, loss)[0], X)


@every
def test_logit_gradients_reach_the_pixels(problem, classifier):
    X, y = problem
    model = clone(classifier).fit(X, y)
    weights = np.random.default_rng(2).standard_normal((len(X), 4))
    gradient = model.input_gradient(X, weights)
    assert_slope(gradient, lambda Z: np.sum(weights * model.logits(Z), axis=1), X)


@every
def test_parameter_gradients_are_those_of_the_loss(problem, classifier):
    """Every trained array, entry by entry, against central differences of the mean loss."""
    X, y = problem
    model = clone(classifier).fit(X, y)
    model.weight_decay = 0.0

    def mean_loss():
        return model.loss_gradient(X, y, "trained")[0].mean()

    S, cache = model._forward(model._prepare(X))
    gradients = model._backward(cache, model._loss(S, y)[1] / len(X))
    for parameter, gradient in zip(model._parameters(), gradients, strict=True):
        flat, kept = parameter.reshape(-1), parameter.reshape(-1).copy()
        assert np.shares_memory(flat, parameter)
        some = np.arange(0, flat.size, max(1, flat.size // 20))

        def moved(changes, flat=flat, kept=kept, some=some):
            flat[some] += changes[0]
            loss = mean_loss()
            flat[:] = kept
            return np.array([loss])

        assert_slope(gradient.reshape(1, -1)[:, some], moved, np.zeros((1, some.size)))


def test_weights_that_decayed_to_nothing_become_zero():
    """Those of a blank pixel would be subnormal after some epochs, and slow every product."""
    rng = np.random.default_rng(0)
    X = 4 * rng.random((20, 6), dtype=np.float32)
    y = (X[:, 0] > X[:, 1]).astype(int)
    X[:, 2] = 0
    settings = {"optimizer": "sgd", "learning_rate": 0.5, "weight_decay": 0.1, "batch_size": 20}
    nets = [BackpropClassifier(3, n_epochs=1400, random_state=0, **settings) for _ in range(2)]
    nets[0].fit(X, y)
    for _ in range(1400):
        nets[1].partial_fit(X, y)
    cleared, kept = (net.coefs_[0] for net in nets)
    assert 0 < np.abs(kept[:, 2]).max() < 1e-29
    assert (cleared[:, 2] == 0).all()

    def learn(X):
        return BackpropClassifier(3, n_epochs=1400, random_state=0, **settings).fit(X, y).coefs_[0]

    bound = backward_bound(learn, X, terms=20 + 6, dtype=np.float32)
    for found in (cleared, kept):
        assert_within(found, learn(X.astype(np.float64)), bound)


@pytest.mark.parametrize(
    "function",
    [
        losses.cross_entropy,
        losses.sigmoid_cross_entropy,
        losses.margin,
        losses.dlr,
        lambda S, y: losses.power(S, y, m=6.0, beta=0.5),
        lambda S, y: losses.power(S, y, m=1.5, beta=0.5),
    ],
)
def test_losses_and_their_gradients(function):
    rng = np.random.default_rng(3)
    S, y = rng.standard_normal((20, 5)), rng.integers(0, 5, 20)
    assert_slope(function(S, y)[1], lambda Z: function(Z, y)[0], S)


def test_cross_entropy_of_a_sigmoid_has_a_floor():
    """Ten classes: it cannot fall below log(1 + 9/e) = 1.461, the talk's loss curve ends above it."""
    S = np.full((1, 10), -1e4)
    S[0, 3] = 1e4
    floor = losses.sigmoid_cross_entropy(S, np.array([3]))[0][0]
    assert_within(floor, np.log(1 + 9 / np.e), rounding(20) * floor)  # ten exponentials and their sum
    assert round(floor, 3) == 1.461


def test_the_margin_is_positive_exactly_where_a_sample_is_misclassified():
    rng = np.random.default_rng(4)
    S, y = rng.standard_normal((50, 4)), rng.integers(0, 4, 50)
    np.testing.assert_array_equal(losses.margin(S, y)[0] > 0, S.argmax(1) != y)
    np.testing.assert_array_equal(losses.dlr(S, y)[0] > 0, S.argmax(1) != y)
    moved = 3 * S + 7  # errs by a rounding of its largest, seen against the gap of the first and third
    value, ranked = losses.dlr(S, y)[0], np.sort(S, axis=1)
    bound = rounding(10) * np.abs(moved).max() * (1 + np.abs(value)) / (ranked[:, -1] - ranked[:, -3])
    assert_within(losses.dlr(moved, y)[0], value, bound)


def test_dlr_needs_three_classes():
    with pytest.raises(ValueError, match="three classes, got 2"):
        losses.dlr(np.ones((1, 2)), np.array([0]))


@every
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classifiers_are_the_same_on_every_backend(problem, classifier, make, dtype):
    X, y = problem
    given = make(X, dtype)
    expected = clone(classifier).fit(X, y)
    model = clone(classifier).fit(given, y)
    S = model.logits(given)
    assert type(S) is type(given)
    assert S.dtype == given.dtype
    _value, gradient = model.loss_gradient(given, y)
    assert gradient.dtype == given.dtype
    for found, of in (
        (S, lambda net, X: net.logits(X)),
        (gradient, lambda net, X: net.loss_gradient(X, y)[1]),
        (model.loss_history_, lambda net, X: net.loss_history_),
    ):
        bound = backward_bound(
            lambda X, of=of: of(clone(classifier).fit(X, y), X), X, terms=TERMS, dtype=dtype, draws=3
        )
        assert_within(host(found), of(expected, X), bound)
    np.testing.assert_array_equal(host(given), X.astype(dtype))


@every
def test_a_loop_of_partial_fit_is_fit(problem, classifier):
    X, y = problem
    schedule = ((1, 1e-2), (2, 1e-3))
    whole = clone(classifier).set_params(learning_rate=schedule, batch_size=25).fit(X, y)
    parts = clone(classifier).set_params(learning_rate=schedule, batch_size=25)
    orders = generators(0, 2)[1]
    for rate in rates_of(schedule, 3):
        order = orders.permutation(len(X))
        for start in range(0, len(X), 25):
            chosen = order[start : start + 25]
            parts.partial_fit(X[chosen], y[chosen], classes=np.arange(4), learning_rate=rate)
    bound = backward_bound(lambda X: clone(whole).fit(X, y).logits(X), X, terms=TERMS, draws=3)
    assert_within(parts.logits(X), whole.logits(X), 2 * bound)


def test_a_linear_readout_reaches_what_logistic_regression_reaches():
    """No hidden layer, no power: the readout is logistic regression, and has to find its optimum."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
    model = PowerReadout(
        None, n=1.0, unit_norm=False, fit_intercept=True, loss="cross_entropy", learning_rate=1e-2,
        n_epochs=200, random_state=0,
    ).fit(X, y)  # fmt: skip
    reference = LogisticRegression(C=1e4, max_iter=5000).fit(X, y)
    assert model.loss_history_[-1] < 0.05
    assert model.score(X_test, y_test) >= reference.score(X_test, y_test) - 0.02


def test_the_units_may_be_an_estimator_a_frozen_one_rows_or_nothing(problem):
    X, y = problem
    units = RankedUnits(5, k=2, n_epochs=2, random_state=0)
    fitted = clone(units).fit(X)
    cloned = PowerReadout(units, n_epochs=2, random_state=0).fit(X, y)
    frozen = PowerReadout(FrozenEstimator(fitted), n_epochs=2, random_state=0).fit(X, y)
    rows = PowerReadout(fitted.components_, n_epochs=2, random_state=0).fit(X, y)
    assert not hasattr(units, "components_")
    np.testing.assert_array_equal(cloned.logits(X), frozen.logits(X))
    np.testing.assert_array_equal(rows.logits(X), frozen.logits(X))
    np.testing.assert_array_equal(fitted.components_, frozen.components_)


def test_readouts_work_in_a_grid_search_and_cross_validation(problem):
    X, y = problem
    model = PowerReadout(RankedUnits(5, k=2, n_epochs=1, random_state=0), n_epochs=5, random_state=0)
    assert cross_val_score(model, X, y, cv=3).shape == (3,)
    search = GridSearchCV(model, {"n": [1.0, 3.0], "units__n_hidden": [4, 6]}, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert (best.n, len(best.components_)) == tuple(search.best_params_[k] for k in ("n", "units__n_hidden"))


def test_probabilities_rank_as_the_logits_do(problem):
    X, y = problem
    for classifier in CLASSIFIERS.values():
        model = clone(classifier).fit(X, y)
        P = model.predict_proba(X)
        assert_within(P.sum(axis=1), np.ones(len(X)), rounding(4 + 4))  # four quotients by a rounded sum
        np.testing.assert_array_equal(P.argmax(1), model.logits(X).argmax(1))


@pytest.mark.parametrize("n", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 3.3, 4.5, 7.0, 10.0, 31.5, 33.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power_by_products_is_the_power(n, dtype):
    x = np.concatenate([[0.0, 1.0], np.geomspace(0.1, 3.0, 50)]).astype(dtype)
    given = activations.power(x, n)
    assert given.dtype == dtype
    # n products, or the library's power of a rounded exponent
    wide = x.astype(np.float64)
    bound = rounding(n + 8, dtype) * (1 + n * np.abs(np.log(np.maximum(wide, 0.1)))) * wide**n
    assert_within(given, wide**n, bound)


def test_adam_in_pieces_is_adam(monkeypatch):
    """On the host Adam goes piece by piece through an array: not one bit may differ."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(37, 11)), rng.normal(size=(3, 37, 11))
    ends = []
    for chunk in (10**9, 50):
        monkeypatch.setattr("bionet.optim._CHUNK", chunk)
        x, adam = start.copy(), Adam()
        for gradient in gradients:
            adam.step([x], [gradient], 0.01)
        ends.append(x)
    np.testing.assert_array_equal(*ends)
    assert (ends[0] != start).all()


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=["sgd", "adam"])
def test_optimisers_walk_downhill_to_the_minimum_of_a_parabola(optimizer):
    x = np.array([3.0, -2.0])
    for _ in range(4000):
        optimizer.step([x], [2 * x], 0.01)
    np.testing.assert_allclose(x, 0.0, atol=1e-4)  # products, quotients and roots alone: the same everywhere


def test_the_first_adam_step_is_the_rate_whatever_the_gradient():
    x, gradient = np.zeros(3), np.array([1e-3, 5.0, -100.0])
    Adam().step([x], [gradient], 0.01)
    # but for the 1e-8 that Adam adds to the gradient's size
    assert_within(x, [-0.01, -0.01, 0.01], 0.01 * (1e-8 / np.abs(gradient) + rounding(20)))


def test_schedules():
    assert rates_of(0.1, 3) == [0.1] * 3
    assert rates_of(((2, 0.1), (1, 0.01)), 3) == [0.1, 0.1, 0.01]
    with pytest.raises(ValueError, match="has 3 epochs, but n_epochs is 5"):
        rates_of(((2, 0.1), (1, 0.01)), 5)
    with pytest.raises(ValueError, match="learning_rate"):
        rates_of(float("nan"), 2)


@pytest.mark.parametrize(
    ("classifier", "match"),
    [
        (PowerReadout(n=0.5), "n must lie in"),
        (PowerReadout(n=2.0, rectify=False), "rectify=False needs n = 1"),
        (PowerReadout(np.ones((3, 5))), "rows have 5 features, but the images have 12"),
        (PowerReadout(loss="hinge"), "loss must be one of"),
        (PowerReadout(beta=0.0), "beta"),
        (PowerReadout(optimizer="lbfgs"), "optimizer must be"),
        (PowerReadout(batch_size=0), "batch_size must be an integer of at least 1"),
        (BackpropClassifier(0), "hidden must be an integer"),
        (BackpropClassifier(activation="gelu"), "activation must be one of"),
        (BackpropClassifier(n_epochs=0), "n_epochs"),
    ],
)
def test_parameters_out_of_range_are_refused(problem, classifier, match):
    with pytest.raises(ValueError, match=match):
        classifier.fit(*problem)


def test_labels_out_of_range_and_wrong_lengths_are_refused(problem):
    X, y = problem
    model = PowerReadout(n_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"label .*9.* at index 0 is not one of the classes \[0, 1, 2, 3\]"):
        model.loss_gradient(X, np.full(len(X), 9))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:-1])
    with pytest.raises(ValueError, match="logit_weights must have shape"):
        model.input_gradient(X, np.ones((len(X), 3)))
    with pytest.raises(ValueError, match="one class"):
        model.fit(X, np.zeros(len(X)))


def test_a_run_that_leaves_the_range_stops_with_advice(problem):
    X, y = problem
    model = PowerReadout(
        1e30 * ROWS, n=12.0, unit_norm=False, loss="cross_entropy", optimizer="sgd", learning_rate=1e30
    )
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="unit_norm=True"):
        model.fit(X, y)


@pytest.mark.parametrize("name", ["power", "cross-entropy", "relu", "power-net"])
def test_pixel_gradients_agree_with_autograd(problem, name):
    """The same net written in PyTorch, differentiated by it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    X, y = problem
    model = clone(CLASSIFIERS[name]).fit(X, y)
    x = torch.tensor(X, requires_grad=True)
    v = x / x.norm(dim=1, keepdim=True) if model.unit_norm else x
    if isinstance(model, PowerReadout):
        h = torch.relu(v @ torch.tensor(model.components_).T) ** model.n
        S = h @ torch.tensor(model.coef_).T + torch.tensor(model.intercept_)
    else:
        for W, b in zip(model.coefs_, model.intercepts_, strict=True):
            S = v @ torch.tensor(W).T + torch.tensor(b)
            v = torch.relu(S) ** (model.n if model.activation == "power" else 1.0)
    torch.nn.functional.cross_entropy(S, torch.tensor(y), reduction="sum").backward()
    bound = backward_bound(lambda X: model.loss_gradient(X, y)[1], X, terms=TERMS)
    assert_within(model.loss_gradient(X, y)[1], x.grad.numpy(), 2 * bound)


def test_a_first_call_that_fails_leaves_a_beginner(problem):
    """partial_fit after a refused parameter starts afresh instead of missing its weights."""
    X, y = problem
    model = PowerReadout(ROWS, n=0.5, random_state=0)
    with pytest.raises(ValueError, match="n must lie in"):
        model.partial_fit(X, y)
    model.set_params(n=2.0).partial_fit(X, y)
    expected = PowerReadout(ROWS, n=2.0, random_state=0).partial_fit(X, y)
    np.testing.assert_array_equal(model.logits(X), expected.logits(X))


def test_one_class_is_refused_by_partial_fit_too(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="at least 2 classes, got one class"):
        PowerReadout(ROWS).partial_fit(X, np.zeros(len(X)))


@every
@pytest.mark.parametrize("make", MAKERS)
def test_training_goes_on_in_the_dtype_it_began_in(problem, classifier, make):
    X, y = problem
    model = clone(classifier).partial_fit(make(X, np.float32), y)
    model.partial_fit(make(X, np.float64), y)
    assert all(host(a).dtype == np.float32 for a in model._parameters())


@every
def test_images_of_another_library_are_refused_by_name(problem, classifier):
    import array_api_strict

    X, y = problem
    model = clone(classifier).fit(X, y)
    given = array_api_strict.asarray(X)
    for call in (
        lambda: model.predict(given),
        lambda: model.loss_gradient(given, y),
        lambda: model.partial_fit(given, y),
    ):
        with pytest.raises(TypeError, match=r"one array library.*asarray_like"):
            call()


def test_a_last_step_that_leaves_the_range_is_not_returned(problem):
    """The loss is computed before the step: after the last one only the weights can tell."""
    X, y = problem
    model = BackpropClassifier(4, n_epochs=1, optimizer="sgd", batch_size=60, learning_rate=1e38)
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="weights left the floating-point"):
        model.fit(1e3 * X.astype(np.float32), y)


def test_logits_out_of_range_are_not_returned(problem):
    X, y = problem
    model = PowerReadout(ROWS, n=12.0, unit_norm=False, n_epochs=1, random_state=0).fit(X, y)
    with np.errstate(all="ignore"), pytest.raises(ArithmeticError, match="logits leave the range of float64"):
        model.predict(1e30 * X)


def test_labels_of_another_kind_are_not_classes(problem):
    X, y = problem
    model = PowerReadout(n_epochs=1).fit(X, y)
    for names in (np.full(len(X), "a"), np.full(len(X), "a", dtype=object)):
        with pytest.raises(ValueError, match="label 'a' at index 0 is not one of the classes"):
            model.loss_gradient(X, names)


def test_a_readout_keeps_the_rows_it_was_trained_on(problem):
    """Units that go on learning do not change a readout trained before."""
    X, y = problem
    units = CompetingUnits(5, init="sphere", random_state=0).fit(X)
    model = PowerReadout(FrozenEstimator(units), n_epochs=2, random_state=0).fit(X, y)
    before = model.logits(X)
    units.partial_fit(X)
    np.testing.assert_array_equal(model.logits(X), before)


@pytest.mark.parametrize(
    ("units", "error", "match"),
    [
        (np.full((3, 12), np.nan), ValueError, "rows must be finite, but holds nan"),
        ([[1.0] * 12], TypeError, "an array of rows .* got list"),
        ("ranked", TypeError, "an array of rows .* got str"),
        (KMeans(3, n_init=1), ValueError, "must have components_ after fit"),
        (FrozenEstimator(RankedUnits()), NotFittedError, "not fitted"),
    ],
)
def test_units_of_another_kind_are_refused(problem, units, error, match):
    with pytest.raises(error, match=match):
        PowerReadout(units).fit(*problem)


@pytest.mark.parametrize("rate", ["adaptive", (1, 2), ((1, 2, 3),), ((0.5, 0.1),)])
def test_schedules_of_another_kind_are_refused(problem, rate):
    with pytest.raises(ValueError, match=r"learning_rate must be|epochs must be an integer"):
        PowerReadout(learning_rate=rate).fit(*problem)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_hold_no_subnormal_weights(dtype):
    """They would slow every product; what they add is below rounding."""
    rng = np.random.default_rng(0)
    X, y = rng.random((30, 6)).astype(dtype), np.arange(30) % 3
    W = rng.standard_normal((5, 6)).astype(dtype)
    W[1, 2] = np.finfo(dtype).smallest_subnormal
    W[2, 3] = -np.finfo(dtype).smallest_normal
    given = W.copy()
    net = PowerReadout(W, n_epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(W, given)
    assert net.components_[1, 2] == 0
    kept = np.ones(W.shape, bool)
    kept[1, 2] = False
    np.testing.assert_array_equal(net.components_[kept], W[kept])


@pytest.mark.parametrize("gap", [0.0, 5.0, 30.0, 80.0])
def test_the_attackers_cross_entropy_keeps_its_small_gradient(gap):
    """In float32 the plain one loses the entry of the right class from a gap of 17 on."""
    logits = np.array([[gap, 0.0, -1.0, 0.5], [0.0, gap, 0.3, 0.0]], np.float32)
    labels = np.array([0, 2])  # one answered rightly, one wrongly
    loss, gradient = losses.steep_cross_entropy(logits, labels)
    wide = logits.astype(np.float64)
    others = np.array([[j for j in range(4) if j != y] for y in labels])
    odds = np.exp(np.take_along_axis(wide, others, 1) - wide[[0, 1], labels][:, None])
    total = 1 + odds.sum(axis=1)
    exact = np.log1p(odds.sum(axis=1))
    few = rounding(20 + gap, np.float32)  # a logit's rounding is the relative error of its exponential
    assert_within(loss, exact, few * exact)
    expected = np.zeros((2, 4))
    np.put_along_axis(expected, others, odds / total[:, None], 1)
    expected[[0, 1], labels] = -odds.sum(axis=1) / total
    assert_within(gradient, expected, few * np.abs(expected))
    plain_loss, plain = losses.cross_entropy(logits, labels)
    assert_within(plain, expected, rounding(20, np.float32))  # of one
    assert_within(plain_loss, exact, few * (1 + exact))
    if gap >= 30:
        assert plain[0, 0] == 0 > gradient[0, 0]
