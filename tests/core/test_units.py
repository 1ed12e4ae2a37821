"""The estimators that learn W: their loops against the rules, on host and device."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from oracles import assert_order_one, assert_within, rounding
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from bionet import dynamics, plasticity, ranking
from bionet.activations import unit_norm
from bionet.backend import generators
from bionet.units import CompetingUnits, RankedUnits, initial_weights


@pytest.fixture
def X():  # noqa: N802 - the images
    return np.random.default_rng(0).random((40, 12))


def presentations(units, samples):
    """The images that ``fit`` presents at a time, and what ``partial_fit`` has to be told with them."""
    orders, epochs = generators(units.random_state, 2)[1], units.n_epochs
    for epoch in range(epochs):
        order = orders.permutation(samples) if getattr(units, "shuffle", True) else np.arange(samples)
        if isinstance(units, RankedUnits):
            for start in range(0, samples, units.batch_size):
                rate = units.learning_rate * (1 - epoch / epochs)
                yield order[start : start + units.batch_size], {"learning_rate": rate}
            continue
        for done, index in enumerate(order, start=epoch * samples):
            yield [index], {"durations": units.duration * (1 - done / (epochs * samples))}


def error_of_fit(units, X, dtype=np.float64, draws=8):
    """Bound on the error of any weight after ``fit``: what one rounding a presentation comes to, times 16.

    The start, the images and, after each presentation, all weights are changed by 2^-40, up or down at
    random; the largest change in the end is scaled to `dtype`. A presentation sums over the 12 features and
    over up to 15 images, and makes some 5 operations more: 32 roundings of half an epsilon.
    """
    rng, unit = np.random.default_rng(0), 2.0**-40

    def learned(unit):
        def near(array):
            return array * (1 + unit * rng.choice([-1.0, 1.0], array.shape))

        start = initial_weights(units.init, units.n_hidden, X.shape[1], generators(units.random_state, 2)[0])
        run, images = clone(units).set_params(init=near(start)), near(X)
        for some, told in presentations(units, len(X)):
            run.partial_fit(images[some], **told)
            run.components_ = near(run.components_)
        return run.components_

    W = learned(0.0)
    moved, largest = max(np.abs(learned(unit) - W).max() for _ in range(draws)), np.abs(W).max()
    bound = 16 * float(np.finfo(dtype).eps) * (moved / unit + largest)
    assert bound <= 0.01 * largest, f"an error of {bound:.3g} may hide in weights up to {largest:.3g}"
    return bound


def by_the_book(units, X, order, durations):
    """Eqs. 1 to 3 through the public functions, one image after another."""
    W = initial_weights(units.init, units.n_hidden, X.shape[1], generators(units.random_state, 2)[0])
    W = W.astype(X.dtype)
    wins = np.zeros(units.n_hidden, dtype=int)
    for index, duration in zip(order, durations, strict=True):
        v = X[index] / np.linalg.norm(X[index]) if units.normalize else X[index]
        h = dynamics.steady_state(W @ v, units.w_inh)
        h_star = units.h_star * h.max() if units.threshold == "relative" else units.h_star
        g = plasticity.learning_activation(h, h_star, units.delta)
        W = plasticity.present(W, v, g, duration)
        wins += g > 0
    return W, wins


@pytest.mark.parametrize("threshold", ["relative", "absolute"])
@pytest.mark.parametrize("normalize", [True, False])
def test_competing_units_are_the_three_equations(X, threshold, normalize):
    units = CompetingUnits(
        9, h_star=0.6, threshold=threshold, normalize=normalize, init="sphere", random_state=1, n_epochs=2
    )
    orders = generators(1, 2)[1]
    order = np.concatenate([orders.permutation(len(X)) for _ in range(2)])
    durations = units.duration * (1 - np.arange(len(order)) / len(order))
    W, wins = by_the_book(units, X, order, durations)
    units.fit(X)
    assert_within(units.components_, W, 2 * error_of_fit(units, X))
    np.testing.assert_array_equal(units.wins_, wins)


def test_ranked_units_are_the_ranked_step(X):
    units = RankedUnits(9, p=3, k=4, n_epochs=3, batch_size=15, random_state=2).fit(X)
    weights, orders = generators(2, 2)
    W = initial_weights("normal", 9, 12, weights)
    for epoch in range(3):
        order = orders.permutation(len(X))
        for start in range(0, len(X), 15):
            W = ranking.ranked_step(W, X[order[start : start + 15]], 3, 4, 0.4, 0.04 * (1 - epoch / 3))
    assert_within(units.components_, W, 2 * error_of_fit(units, X))
    assert units.wins_.sum() == 3 * len(X)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "units",
    [
        CompetingUnits(9, init="sphere", h_star=0.6, random_state=3),
        CompetingUnits(9, init="sphere", solver="euler", t_max=2.0, dt=0.1, dt_w=0.05, random_state=3),
        RankedUnits(9, k=3, n_epochs=2, batch_size=15, random_state=3),
    ],
    ids=["exact", "euler", "ranked"],
)
def test_units_learn_the_same_on_every_backend(X, make, dtype, units):
    given = make(X, dtype)
    fitted = clone(units).fit(given)
    expected = clone(units).fit(X)
    assert type(fitted.components_) is type(given)
    assert fitted.components_.dtype == given.dtype == fitted.transform(given).dtype
    W = expected.components_
    error = 2 * error_of_fit(units, X, dtype)
    assert_within(host(fitted.components_), W, error)
    bound = error * np.abs(X).sum(axis=1, keepdims=True) + rounding(2 * 12, dtype) * (X @ np.abs(W).T)
    assert_within(host(fitted.transform(given)), X @ W.T, bound)
    np.testing.assert_array_equal(fitted.wins_, expected.wins_)
    np.testing.assert_array_equal(host(given), X.astype(dtype))


def test_a_loop_of_partial_fit_is_fit(X):
    whole = CompetingUnits(9, init="sphere", shuffle=False, random_state=4).fit(X)
    parts = clone(whole)
    durations = parts.duration * (1 - np.arange(len(X)) / len(X))
    for part in (slice(0, 7), slice(7, 40)):  # blocks of images are cut elsewhere: other rounding
        parts.partial_fit(X[part], durations=durations[part])
    assert_within(parts.components_, whole.components_, 2 * error_of_fit(whole, X))
    whole = RankedUnits(9, k=3, n_epochs=2, random_state=4).fit(X)
    parts, orders = RankedUnits(9, k=3, n_epochs=2, random_state=4), generators(4, 2)[1]
    for rate in (0.04, 0.02):
        parts.partial_fit(X[orders.permutation(len(X))], learning_rate=rate)
    np.testing.assert_array_equal(parts.components_, whole.components_)


def test_euler_and_exact_solver_agree_where_both_are_accurate(X):
    exact = CompetingUnits(9, w_inh=0.3, init="sphere", schedule="constant", random_state=5).fit(X)
    errors = []
    for steps in (64, 128, 256, 512):  # a presentation; eq. 1 has 20 time constants to come to rest
        euler = clone(exact).set_params(solver="euler", t_max=20, dt=0.1, dt_w=exact.duration / steps)
        np.testing.assert_array_equal(euler.fit(X).wins_, exact.wins_)
        errors.append(np.abs(euler.components_ - exact.components_).max())
    assert_order_one(errors)


@pytest.mark.parametrize("make", MAKERS)
def test_a_diverging_run_names_the_unit_and_the_remedy(make):
    """The same unit on host and device, where the flag is read once a block."""
    X = make(np.full((5, 12), 0.5), np.float64)
    units = CompetingUnits(9, init="uniform", normalize=False, duration=5.0, h_star=1.0, random_state=6)
    with pytest.raises(plasticity.Divergence, match="init='sphere'") as caught:
        units.fit(X)
    W = initial_weights("uniform", 9, 12, generators(6, 2)[0])
    y = W @ np.full(12, 1 / np.sqrt(12))
    assert caught.value.unit == np.argmax(np.where(y < y.max(), y, 0))
    assert_within(caught.value.y, y[caught.value.unit], rounding(3 * 12) * y[caught.value.unit])


def test_silent_images_and_last_wins_are_counted(X):
    units = CompetingUnits(9, init="sphere", threshold="absolute", h_star=1e3, random_state=7).fit(X)
    assert units.n_silent_ == len(X)
    assert (units.last_win_ == -1).all()
    units = CompetingUnits(9, init="sphere", shuffle=False, random_state=7).fit(X)
    assert units.n_silent_ == 0
    last = units.last_win_.max()
    assert last == len(X) - 1


def test_blank_images_teach_nothing():
    units = CompetingUnits(4, init="sphere", random_state=8).fit(np.zeros((3, 5)))
    np.testing.assert_array_equal(units.components_, initial_weights("sphere", 4, 5, generators(8, 2)[0]))
    assert units.n_silent_ == 3


@pytest.mark.parametrize(("init", "norm"), [("sphere", 1.0), ("ball", 0.5)])
def test_starts_have_the_norms_they_promise(init, norm):
    W = initial_weights(init, 6, 50, np.random.default_rng(0))
    # two norms, each half as wrong as its sum of squares
    assert_within(np.linalg.norm(W, axis=1), np.full(6, norm), rounding(50 + 4) * norm)


def test_an_array_as_start_is_copied(X):
    start = np.eye(12)[:9]
    kept = start.copy()
    CompetingUnits(9, init=start, random_state=0).fit(X)
    np.testing.assert_array_equal(start, kept)


def test_unit_norm_keeps_blank_images_blank():
    made = unit_norm(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert_within(made, [[0.6, 0.8], [0.0, 0.0]], rounding(5))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-6, 255.0, 1e30])
def test_unit_norm_of_faint_and_of_glaring_images(make, scale):
    """Squares of float32 leave its range from 1e19 on and vanish below 1e-23; the norm does not."""
    made = unit_norm(make(scale * np.array([[3.0, 4.0], [0.0, 5.0]]), np.float32))
    # a pixel is rounded by half the distance of subnormal numbers, or by its own last digit; the norm follows
    pixel = float(np.finfo(np.float32).smallest_subnormal) / (2 * 3 * scale)
    assert_within(host(made), [[0.6, 0.8], [0.0, 1.0]], 2 * pixel + rounding(10, np.float32))


def test_units_work_in_a_pipeline(X):
    pipeline = make_pipeline(RankedUnits(5, k=2, n_epochs=1, random_state=0))
    assert pipeline.fit_transform(X).shape == (40, 5)
    assert pipeline.get_feature_names_out().tolist() == [f"rankedunits{i}" for i in range(5)]


@pytest.mark.parametrize(
    ("units", "match"),
    [
        (RankedUnits(4, k=7), r"k must be .* \(4\), got 7"),
        (RankedUnits(0), "n_hidden must be an integer of at least 1, got 0"),
        (RankedUnits(9, k=3, learning_rate=-1.0), "learning_rate"),
        (CompetingUnits(4, w_inh=1.0), "w_inh must lie in"),
        (CompetingUnits(4, h_star=1.5), "fraction of the largest activity"),
        (CompetingUnits(4, delta=-0.4), "delta"),
        (CompetingUnits(4, init="glorot"), "init must be one of"),
        (CompetingUnits(4, init=np.ones((2, 2))), r"init must have shape \(hidden, features\) = \(4, 12\)"),
        (CompetingUnits(4, solver="magic"), "solver must be one of"),
        (CompetingUnits(4, duration=-1), "duration"),
    ],
)
def test_parameters_out_of_range_are_refused(X, units, match):
    with pytest.raises(ValueError, match=match):
        units.fit(X)


def test_nan_and_wrong_widths_are_refused(X):
    units = RankedUnits(5, k=2, n_epochs=1).fit(X)
    with pytest.raises(ValueError, match="features"):
        units.transform(X[:, :5])
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        units.fit(X)


def test_pixels_of_any_scale_are_taken():
    """Estimators take any finite real X; only image helpers insist on [0, 1]."""
    X = 255 * np.random.default_rng(0).standard_normal((30, 6))
    assert np.isfinite(RankedUnits(5, k=2, n_epochs=2, random_state=0).fit(X).components_).all()


@pytest.mark.parametrize(
    "units", [CompetingUnits(9, init="sphere", random_state=0), RankedUnits(9, k=3, random_state=0)]
)
@pytest.mark.parametrize("make", MAKERS)
def test_learning_goes_on_in_the_dtype_it_began_in(X, units, make):
    units = clone(units).partial_fit(make(X, np.float32))
    units.partial_fit(make(X, np.float64))
    assert host(units.components_).dtype == np.float32


def test_images_of_another_library_are_refused_by_name(X):
    import array_api_strict

    for units in (CompetingUnits(9, init="sphere"), RankedUnits(9, k=3, n_epochs=1)):
        units.fit(X)
        for method in (units.transform, units.partial_fit):
            with pytest.raises(TypeError, match=r"one array library.*asarray_like"):
                method(array_api_strict.asarray(X))


def test_a_divergence_leaves_the_weights_of_the_image_before():
    """What the formula gives past the blow-up is finite and wrong: it must not stay behind."""
    X = np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    W = np.array([[0.5, 4.0, 0.0], [0.1, 5.0, 0.0]])
    units = CompetingUnits(2, init=W, normalize=False, threshold="absolute", h_star=100.0, delta=0.1)
    units.set_params(w_inh=0.0, duration=1.0, schedule="constant", shuffle=False)
    first = clone(units).fit(X[:1]).components_
    with pytest.raises(plasticity.Divergence):
        units.fit(X)
    np.testing.assert_array_equal(units.components_, first)


@pytest.mark.parametrize("make", MAKERS)
def test_images_too_large_for_their_dtype_stop_the_run(make):
    X = make(np.full((4, 6), 1e30), np.float32)
    with np.errstate(all="ignore"):
        with pytest.raises(ValueError, match=r"as large as 1e\+30 have no length in .*float32"):
            CompetingUnits(4, normalize=False, init="sphere", random_state=0).fit(X)
        with pytest.raises(ArithmeticError, match=r"largest entry 1e\+30"):
            RankedUnits(4, k=2, n_epochs=1, batch_size=1, learning_rate=1e30, random_state=0).fit(X)


@pytest.mark.parametrize(("name", "value"), [("dt", 0.0), ("dt_w", 0.0), ("t_max", -1.0), ("dt_w", np.nan)])
def test_steps_of_the_euler_solver_out_of_range_are_refused(X, name, value):
    with pytest.raises(ValueError, match=f"{name} must lie in"):
        CompetingUnits(4, solver="euler", **{name: value}).fit(X)


def test_durations_are_checked(X):
    for durations in (-1.0, np.nan, [0.1, np.inf]):
        with pytest.raises(ValueError, match="durations must be finite and not negative"):
            CompetingUnits(4, init="sphere").partial_fit(X[:2], durations=durations)
    with pytest.raises(ValueError, match="shape"):
        CompetingUnits(4, init="sphere").partial_fit(X[:2], durations=np.ones(3))


def test_a_number_as_start_is_its_spread():
    spread = initial_weights(0.1, 50, 40, np.random.default_rng(0)).std()
    assert_within(spread, 0.1, 5 * 0.1 / np.sqrt(2 * 50 * 40))  # five standard errors
    with pytest.raises(ValueError, match="init must"):
        initial_weights(-0.1, 2, 3, np.random.default_rng(0))
