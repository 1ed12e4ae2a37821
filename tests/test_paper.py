"""The full-scale runs, whole but tiny: every cell of every run on the embedded digits."""

import json

import numpy as np
import pytest
from oracles import assert_within, rounding

from bionet import _records, cells, cifar, cifar_colour, data, dynamical, experiments, paper
from bionet.features import unit_norm
from bionet.readout import PowerReadout
from bionet.units import lebesgue_norms

RUNS = (
    "mnist",
    "controls",
    "powers",
    "delta",
    "scale",
    "grid",
    "beyond",
    "end_to_end",
    "dynamical",
    "repaired",
    "cifar10",
    "cifar10_controls",
    "cifar10_end_to_end",
    "cifar10_colour",
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """MNIST is the digits, the paper's net has 20 units, and every schedule is a few epochs."""
    load = data.load

    def small_photographs(split):
        found = data._stand_in("cifar10", split)
        pixels = found.images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(-1, 192)
        return data.make(pixels, found.labels, (3, 8, 8), "cifar10", split, "small", found.class_names)

    monkeypatch.setattr(
        data,
        "load",
        lambda name, split="train", **kw: (
            load("digits", split=split) if name == "mnist" else small_photographs(split)
        ),
    )
    monkeypatch.setattr(paper, "PAPER", {**paper.PAPER, "n_hidden": 20, "n_epochs": 3})
    for name, value in {"SPLIT": 200, "READOUT_EPOCHS": 6, "SHORT_EPOCHS": 5, "CIFAR_SPLIT": 100}.items():
        monkeypatch.setattr(cells, name, value)
    for name, value in {
        "SELECTION_EPOCHS": 2,
        "M_GRID": (4.0, 6.0),
        "BETA_GRID": (0.1, 1.0),
        "GRID_P": (2.0, 3.0),
        "GRID_K": (2, 7),
        "POWERS": (1.0, 4.5),
        "UNITS": (10, 20),
        "EPOCHS": (1, 3),
        "BEYOND_UNITS": (10, 20),
        "SHORT_ROWS": 2,
        "CONTROL_UNITS": 20,
        "RATES": ((1e-3, 2),),
    }.items():
        monkeypatch.setattr(paper, name, value)
    monkeypatch.setattr(cells, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(cifar_colour, "SHAPE", (3, 8, 8))
    for name, value in {
        "SIZES": (10, 20),
        "TRIALS": 4,
        "TRIAL_PASSES": 1,
        "TRIAL_READOUT": 5,
        "FINALISTS": 2,
        "FINALIST_PASSES": 1,
        "TURNS": 1,
        "SEEDS_STABLE": 2,
        "PATIENT_PASSES": 2,
        "PASSES": (1, 2),
        "TALK_PASSES": (1, 2),
        "TALK_FINALISTS": 1,
    }.items():
        monkeypatch.setattr(dynamical, name, value)
    readout = {"batch_size": 10, "n_epochs": 9, "schedule": "cifar"}
    for name, value in {
        "PAPER": {**cifar.PAPER, "n_hidden": 20},
        "SEARCH_P": (2.0, 3.0, 4.0),
        "SEARCH_DELTA": (0.0, 0.1),
        "FIRST_DELTA": (0.0,),
        "TRIAL": {"n_hidden": 10, "batch_size": 100, "n_epochs": 1},
        "CONTROL": {"n_hidden": 10, "batch_size": 100, "n_epochs": 1},
        "TRIAL_READOUT": 5,
        "READOUT": readout,
        "BETA_READOUT": readout,
        "CONTROL_READOUT": readout,
        "EPOCHS": 1,
        "LONG_EPOCHS": 2,
        "NETS": ((None, 1e-3, 2), ("standardised", 1e-3, 2)),
    }.items():
        monkeypatch.setattr(cifar, name, value)
    monkeypatch.setattr(experiments, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(_records, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    caches = (cells.images, cells.seen, cells._statistics)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_every_run_records_itself(tiny):
    for name in RUNS:
        record = experiments.RUNS[name].make()(seeds=2, progress=False)
        experiments.write(name, record)
        _records.validate(record)
        assert experiments.record(name) == json.loads(json.dumps(record))
        table = experiments.compare(record)
        assert len(table) > 1
        assert all(len(row) == 3 for row in table)


def test_the_stored_net_scores_as_recorded(tiny):
    record = paper.reproduce_mnist(seeds=2, progress=False)
    net = experiments.load_trained("mnist")
    test = data.load("mnist", split="test")
    error = 100 * (1 - net.score(test.images, test.labels))
    assert error == pytest.approx(record["readouts"]["power"]["test"]["values"][0], abs=0.5)
    values = record["readouts"]["power"]["test"]["values"]
    assert_within(record["readouts"]["power"]["test"]["mean"], np.mean(values), rounding(4) * np.mean(values))


def test_a_run_goes_on_where_it_was(tiny, monkeypatch):
    """A second call computes nothing: neither rows nor readouts."""
    first = paper.reproduce_mnist(seeds=2, progress=False)

    def forbidden(*_args, **_kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(PowerReadout, "fit", forbidden)
    monkeypatch.setattr(cells, "rows_of", forbidden)
    again = paper.reproduce_mnist(seeds=2, progress=False)
    assert {k: v for k, v in first.items() if k != "provenance"} == {
        k: v for k, v in again.items() if k != "provenance"
    }


@pytest.mark.parametrize(
    "rows", [{"kind": "random", "seed": 0}, {"kind": "kmeans", "seed": 0}, {"kind": "pca", "seed": 0}]
)
def test_control_rows_have_the_norm_of_converged_units(tiny, rows):
    W, _ = cells.rows_of({"n_hidden": 20, **rows}, "60k")
    # each weight rounds on its own; cubes are summed in float64 or float32, then the root takes a third
    assert_within(lebesgue_norms(W, 3.0), np.ones(len(W)), rounding(W.shape[1] / 3 + 8, np.float32))
    assert W.dtype == np.float32
    if rows["kind"] == "pca":  # every direction with both signs
        np.testing.assert_array_equal(W[: len(W) // 2], -W[len(W) // 2 :])


def test_kmeans_rows_fit_images_better_than_random_rows(tiny):
    X = unit_norm(cells.images("60k")[0])

    def fit(kind):
        W = cells.rows_of({"kind": kind, "n_hidden": 20, "seed": 0}, "60k")[0]
        W = W / np.linalg.norm(W, axis=1, keepdims=True)
        return (X @ W.T).max(axis=1).mean()

    assert fit("kmeans") > fit("random") + 0.2


def test_the_split_holds_out_for_choosing(tiny):
    kept, held, everything = (cells.images(part)[0] for part in ("50k", "10k", "60k"))
    assert len(kept) + len(held) == len(everything)
    both = np.concatenate([kept, held])
    np.testing.assert_array_equal(both[np.lexsort(both.T)], everything[np.lexsort(everything.T)])


def test_the_schedule_is_the_papers():
    assert cells.schedule(300) == ((100, 1e-3), (50, 5e-4), (50, 1e-4), (50, 5e-5), (50, 1e-5))
    for n_epochs in (5, 60, 61, 300):
        assert sum(count for count, _ in cells.schedule(n_epochs)) == n_epochs


def test_the_papers_grid_has_33_cells_and_146_is_its_least():
    cells = [e for row in paper.PAPER_GRID.values() for e in row if e is not None]
    assert len(cells) == 33
    assert min(cells) == paper.PAPER_GRID[3][7 - 2] == paper.PAPER_ERRORS["bio"]


@pytest.mark.parametrize("name", RUNS)
def test_recorded_runs_keep_the_schema(name):
    try:
        record = experiments.record(name)
    except FileNotFoundError:
        pytest.skip(f"{name} has not been recorded")
    _records.validate(record)


def test_a_broken_record_is_refused():
    good = {
        "run": "x",
        "schema": 1,
        "settings": {"seeds": 2},
        "provenance": {"data": {}, "versions": {}, "machine": {}, "commit": "0" * 40, "command": "bionet"},
        "test": cells.summary([1.0, 2.0]),
    }
    _records.validate(good)
    for change, message in (
        ({"schema": "1"}, "schema"),
        ({"provenance": {}}, "provenance"),
        ({"test": {"values": [1.0, 2.0], "mean": 1.9, "low": 0.0, "high": 3.0}}, "mean"),
        ({"test": {"values": []}}, "values"),
    ):
        with pytest.raises(ValueError, match=message):
            _records.validate({**good, **change})


def test_the_dynamical_model_is_compared_with_the_ranking_rule_by_hand():
    """Four units, three images, worked out on paper: one learner, two unlearners, then ranks."""
    W = np.diag([1.0, 0.9, 0.8, -1.0])
    X = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    seen = dynamical.compare_rules(W, X, w_inh=0.5, h_star=0.9, delta=0.4, k=2)
    # Image 1: I = (1, .9, .8, -1)/2, S = 1.35/2, h = (.325, .225, .125, -): one learns, two unlearn.
    # Image 2: I = (1, .9, 0, 0)/sqrt 2, two are active. Image 3: nobody is active, nobody changes.
    assert seen["active"] == 2
    assert_within(seen["learners"], 2 / 3, rounding(4))
    assert_within(seen["unlearners"], (2 + 1) / 3, rounding(4))
    assert_within(seen["unlearner_ranks"][:3], [0, 2 / 3, 1 / 3], 0.5e-4)  # recorded with four digits
    assert_within(seen["kth_unlearns"], 2 / 3, rounding(4))


def test_a_row_is_its_own_best_match():
    W = np.random.default_rng(0).standard_normal((6, 9))
    assert_within(dynamical.best_matches(3 * W, W[::-1]), np.ones(6), rounding(4 * 9))
    assert (dynamical.best_matches(W, W[:1])[1:] < 1).all()


def test_the_trials_are_the_same_everywhere_and_all_different():
    drawn = dynamical.trials()
    assert drawn == dynamical.trials()
    assert len({tuple(t.values()) for t in drawn}) == dynamical.TRIALS
    assert all(t[name] in values for t in drawn for name, values in dynamical.SEARCH.items())


def test_neighbours_differ_in_one_step_of_one_entry():
    settings = {"w_inh": 0.8, "h_star": 1.0, "delta": 0.0, "duration": 0.1, "init": 1.0}
    near = dynamical.neighbours(settings)
    assert all(sum(n[name] != settings[name] for name in settings) == 1 for n in near)
    assert len(near) == 2 + 1 + 1 + 2 + 2
    assert {n["w_inh"] for n in near} == {0.7, 0.8, 0.9}


@pytest.mark.parametrize("kind", ["images", "talk"])
def test_rows_of_the_talk(tiny, kind):
    W, _ = cells.rows_of({"kind": kind, "n_hidden": 20, "seed": 0}, "talk")
    X = cells.images("talk")[0]
    assert len(X) == 600
    assert W.dtype == np.float32
    if kind == "images":
        assert (dynamical.best_matches(W, X) > 1 - rounding(4 * 784, np.float32)).all()


def test_a_negative_spread_of_the_start_is_refused():
    from bionet.units import initial_weights

    assert initial_weights(0.1, 50, 40, np.random.default_rng(0)).std() == pytest.approx(0.1, rel=0.1)
    with pytest.raises(ValueError, match="init must"):
        initial_weights(-0.1, 2, 3, np.random.default_rng(0))


def test_the_cifar_schedule_is_the_papers():
    rates = [rate for _, rate in cells.cifar_schedule(500)]
    assert [count for count, _ in cells.cifar_schedule(500)] == [100] + 8 * [50]
    assert rates[0] == 4e-3
    assert rates[-1] == 1e-5
    assert rates == sorted(rates, reverse=True)
    for n_epochs in (9, 20, 50, 61):
        assert sum(count for count, _ in cells.cifar_schedule(n_epochs)) == n_epochs


def test_the_search_covers_the_papers_range_once():
    first, second = cifar.first_trials(), cifar.second_trials([2.0, 3.0])
    assert {t["p"] for t in first} == {2.0, 3.0, 4.0, 5.0}
    assert len(second) == 2 * (1 + 2 * 3)  # without anti-Hebbian learning k has no meaning
    for drawn in (first, second):
        assert len({tuple(t.values()) for t in drawn}) == len(drawn)
    assert all(t in second for t in first if t["p"] < 4)


def test_views_of_the_images(tiny):
    """Each does what it says on the images it was fitted on, and uses their statistics for others."""
    part, other = "cifar-45k", "cifar-5k"
    sums = rounding(192 + 8, np.float32)  # of the 192 pixels
    for view in cells.VIEWS:
        V = cells.seen(part, view, part)
        assert_within(np.linalg.norm(V.astype(float), axis=1), np.ones(len(V)), sums / 2)
        assert V.dtype == np.float32
    centred = cells._without_mean(cells.images(part)[0])
    assert np.abs(centred.mean(axis=1)).max() <= 2 * sums  # of pixels up to one
    mean, turn = cells._statistics(part, "whitened")
    spectrum = np.linalg.eigvalsh(np.cov(((centred - mean) @ turn).T))
    assert spectrum[0] > -1e-4
    assert spectrum[-1] <= 1 + 1e-3
    assert spectrum[-30:].mean() > 0.8  # the strong directions are levelled
    mean, scale = cells._statistics(part, "standardised")
    np.testing.assert_allclose(((centred - mean) * scale).std(axis=0), 1.0, atol=1e-3)
    held = cells._unit((cells._without_mean(cells.images(other)[0]) - mean) * scale)
    assert_within(cells.seen(other, "standardised", part), held, 2 * sums)
    with pytest.raises(ValueError, match="unknown view 'red'"):
        cells.seen(part, "red", part)


@pytest.mark.parametrize("view", [None, "as they are", "centred", "standardised", "whitened"])
def test_rows_seen_by_pixels_order_the_units_as_they_do_on_the_view(tiny, view):
    """Differences of currents between two images agree, but for each image's length."""
    part = "cifar-45k"
    W = np.random.default_rng(0).standard_normal((7, cells.images(part)[0].shape[1]))
    V = cells.as_seen_by_pixels(W, view, part)
    X = cells.images(part)[0][:50].astype(np.float64)
    if view in ("standardised", "whitened"):
        mean, turn = cells._statistics(part, view)
        X = cells._without_mean(X) - mean
        currents = (X @ turn if turn.ndim == 2 else X * turn) @ W.T
        size = np.abs(X) @ np.abs(V).T + np.abs(mean) @ np.abs(V).T  # V and what made it are float32
        assert_within(X @ V.T, currents, rounding(2 * 192, np.float32) * size)
    else:
        np.testing.assert_array_equal(V, W)


def test_rows_that_reach_one_give_the_median_image_a_current_of_one(tiny):
    seen_cells = []
    for factor in (1.0, 7.0):
        W = factor * cells.images("cifar-45k")[0][:20]
        X = cells.seen("cifar-45k", "as they are", "cifar-45k")
        reached = (X[:5000] @ (W / cells.reach(W, X)).T).max(axis=1)
        few = rounding(2 * X.shape[1], np.float32) * (X @ np.abs(W / cells.reach(W, X)).T).max()
        assert_within(np.median(reached), 1.0, few)
        seen_cells.append(reached)
    assert_within(*seen_cells, 2 * few)
