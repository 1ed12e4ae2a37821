"""The full-scale runs, whole but tiny: every cell of every run on the embedded digits."""

import json

import numpy as np
import pytest

from bionet import data
from bionet.activations import unit_norm
from bionet.readout import PowerReadout
from bionet.units import lebesgue_norms
from bionet_reproduction import cells, paper, records
from bionet_reproduction import records
from bionet_reproduction.runs import dynamical
from bionet_reproduction.runs import mnist as paper

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
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """MNIST is the digits, the paper's net has 20 units, and every schedule is a few epochs."""
    load = data.load

    monkeypatch.setattr(data, "load", lambda name, split="train", **kw: load("digits", split=split))
    monkeypatch.setattr(paper, "PAPER", {**paper.PAPER, "n_hidden": 20, "n_epochs": 3})
    for name, value in {"SPLIT": 200, "READOUT_EPOCHS": 6, "SHORT_EPOCHS": 5}.items():
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
    monkeypatch.setattr(experiments, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    caches = (cells.images, cells.seen)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_every_run_records_itself(tiny):
    for name in RUNS:
        record = experiments.RUNS[name].make()(seeds=2, progress=False)
        records.write(name, record)
        records.validate(record)
        assert records.record(name) == json.loads(json.dumps(record))
        table = experiments.compare(record)
        assert len(table) > 1
        assert all(len(row) == 3 for row in table)


def test_the_stored_net_scores_as_recorded(tiny):
    record = paper.reproduce_mnist(seeds=2, progress=False)
    net = records.load_trained("mnist")
    test = data.load("mnist", split="test")
    error = 100 * (1 - net.score(test.images, test.labels))
    assert error == pytest.approx(record["readouts"]["power"]["test"]["values"][0], abs=0.5)
    assert record["readouts"]["power"]["test"]["mean"] == pytest.approx(
        np.mean(record["readouts"]["power"]["test"]["values"])
    )


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
    np.testing.assert_allclose(lebesgue_norms(W, 3.0), 1.0, rtol=1e-5)
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
        record = records.record(name)
    except FileNotFoundError:
        pytest.skip(f"{name} has not been recorded")
    records.validate(record)


def test_a_broken_record_is_refused():
    good = {
        "run": "x",
        "schema": 1,
        "settings": {"seeds": 2},
        "provenance": {"data": {}, "versions": {}, "machine": {}, "commit": "0" * 40, "command": "bionet"},
        "test": cells.summary([1.0, 2.0]),
    }
    records.validate(good)
    for change, message in (
        ({"schema": "1"}, "schema"),
        ({"provenance": {}}, "provenance"),
        ({"test": {"values": [1.0, 2.0], "mean": 1.9, "low": 0.0, "high": 3.0}}, "mean"),
        ({"test": {"values": []}}, "values"),
    ):
        with pytest.raises(ValueError, match=message):
            records.validate({**good, **change})


def test_the_dynamical_model_is_compared_with_the_ranking_rule_by_hand():
    """Four units, three images, worked out on paper: one learner, two unlearners, then ranks."""
    W = np.diag([1.0, 0.9, 0.8, -1.0])
    X = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    seen = dynamical.compare_rules(W, X, w_inh=0.5, h_star=0.9, delta=0.4, k=2)
    # Image 1: I = (1, .9, .8, -1)/2, S = 1.35/2, h = (.325, .225, .125, -): one learns, two unlearn.
    # Image 2: I = (1, .9, 0, 0)/sqrt 2, two are active. Image 3: nobody is active, nobody changes.
    assert seen["active"] == 2
    assert seen["learners"] == pytest.approx(2 / 3)
    assert seen["unlearners"] == pytest.approx((2 + 1) / 3)
    assert seen["unlearner_ranks"][:3] == pytest.approx([0, 0.6667, 0.3333], abs=1e-4)
    assert seen["kth_unlearns"] == pytest.approx(2 / 3)


def test_a_row_is_its_own_best_match():
    W = np.random.default_rng(0).standard_normal((6, 9))
    np.testing.assert_allclose(dynamical.best_matches(3 * W, W[::-1]), 1.0)
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
        assert (dynamical.best_matches(W, X) > 1 - 1e-6).all()


def test_a_negative_spread_of_the_start_is_refused():
    from bionet.units import initial_weights

    assert initial_weights(0.1, 50, 40, np.random.default_rng(0)).std() == pytest.approx(0.1, rel=0.1)
    with pytest.raises(ValueError, match="init must"):
        initial_weights(-0.1, 2, 3, np.random.default_rng(0))
