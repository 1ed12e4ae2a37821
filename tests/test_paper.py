"""The full-scale runs, whole but tiny: every cell of every run on the embedded digits."""

import json

import numpy as np
import pytest

from bionet import _records, data, experiments, paper
from bionet.features import unit_norm
from bionet.readout import PowerReadout
from bionet.units import lebesgue_norms

RUNS = ("mnist", "controls", "powers", "delta", "scale", "grid", "beyond", "end_to_end")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """MNIST is the digits, the paper's net has 20 units, and every schedule is a few epochs."""
    load = data.load
    monkeypatch.setattr(
        data, "load", lambda name, split="train", **kw: load("digits", split=split) if name == "mnist" else 0
    )
    monkeypatch.setattr(paper, "PAPER", {**paper.PAPER, "n_hidden": 20, "n_epochs": 3})
    monkeypatch.setattr(paper, "SPLIT", 200)
    for name, value in {
        "READOUT_EPOCHS": 6,
        "SHORT_EPOCHS": 5,
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
    monkeypatch.setattr(paper, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(experiments, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setattr(_records, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    paper.images.cache_clear()
    yield tmp_path
    paper.images.cache_clear()


def test_every_run_records_itself(tiny):
    for name in RUNS:
        record = experiments.RUNS[name][0](seeds=2, progress=False)
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
    assert record["readouts"]["power"]["test"]["mean"] == pytest.approx(
        np.mean(record["readouts"]["power"]["test"]["values"])
    )


def test_a_run_goes_on_where_it_was(tiny, monkeypatch):
    """A second call computes nothing: neither rows nor readouts."""
    first = paper.reproduce_mnist(seeds=2, progress=False)

    def forbidden(*_args, **_kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(PowerReadout, "fit", forbidden)
    monkeypatch.setattr(paper, "rows_of", forbidden)
    again = paper.reproduce_mnist(seeds=2, progress=False)
    assert {k: v for k, v in first.items() if k != "provenance"} == {
        k: v for k, v in again.items() if k != "provenance"
    }


@pytest.mark.parametrize(
    "rows", [{"kind": "random", "seed": 0}, {"kind": "kmeans", "seed": 0}, {"kind": "pca", "seed": 0}]
)
def test_control_rows_have_the_norm_of_converged_units(tiny, rows):
    W, _ = paper.rows_of({"n_hidden": 20, **rows}, "60k")
    np.testing.assert_allclose(lebesgue_norms(W, 3.0), 1.0, rtol=1e-5)
    assert W.dtype == np.float32
    if rows["kind"] == "pca":  # every direction with both signs
        np.testing.assert_array_equal(W[: len(W) // 2], -W[len(W) // 2 :])


def test_kmeans_rows_fit_images_better_than_random_rows(tiny):
    X = unit_norm(paper.images("60k")[0])

    def fit(kind):
        W = paper.rows_of({"kind": kind, "n_hidden": 20, "seed": 0}, "60k")[0]
        W = W / np.linalg.norm(W, axis=1, keepdims=True)
        return (X @ W.T).max(axis=1).mean()

    assert fit("kmeans") > fit("random") + 0.2


def test_the_split_holds_out_for_choosing(tiny):
    kept, held, everything = (paper.images(part)[0] for part in ("50k", "10k", "60k"))
    assert len(kept) + len(held) == len(everything)
    both = np.concatenate([kept, held])
    np.testing.assert_array_equal(both[np.lexsort(both.T)], everything[np.lexsort(everything.T)])


def test_the_schedule_is_the_papers():
    assert paper.schedule(300) == ((100, 1e-3), (50, 5e-4), (50, 1e-4), (50, 5e-5), (50, 1e-5))
    for n_epochs in (5, 60, 61, 300):
        assert sum(count for count, _ in paper.schedule(n_epochs)) == n_epochs


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
        "test": paper._summary([1.0, 2.0]),
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
