"""The talk's run: its sample, its two schemes, its record."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from oracles import assert_within, backward_bound, rounding
from scipy.stats import ttest_1samp

from bionet import data, plasticity
from bionet_reproduction import records, statistics, talk
from bionet_reproduction.runs.talk import RUN
from bionet_reproduction.talk import TALK, Talk


@pytest.fixture(scope="module")
def mnist():
    try:
        return data.load("mnist")
    except data.DataUnavailable as error:
        pytest.skip(f"MNIST is not at hand: {error}")


def test_the_sample_has_sixty_images_a_digit():
    labels = np.arange(1000) % 10
    order = talk.sample(labels)
    assert np.bincount(labels[order]).tolist() == [60] * 10
    np.testing.assert_array_equal(order, talk.sample(labels))


def test_on_mnist_it_is_the_notebooks_sample(mnist):
    """591 distinct images of 600, as counted in the notebook."""
    assert len(np.unique(talk.sample(mnist.labels))) == 591


def test_one_presentation_lasts_0358_tau_l():
    assert_within(TALK.duration, 0.358, rounding(8))
    assert sum(TALK.steps_h) == 373


def test_the_talks_scheme_and_the_exact_solution_agree_on_its_first_images():
    digits = data.load("mnist", stand_in=True)
    X = 0.6 * digits.images[talk.sample(digits.labels)[:4]].astype(float)  # MNIST's thin strokes
    start = talk.start(X.shape[1])
    euler = talk.euler(X, start)
    exact = talk.units(init=start).fit(X)
    assert np.abs(euler.W - exact.components_).mean() < 0.02
    assert abs(int(euler.wins.sum()) - int(exact.wins_.sum())) <= 4
    assert len(euler.winners) == len(euler.losers) == 4
    np.testing.assert_array_equal(start, talk.start(X.shape[1]))


def test_euler_diverges_in_silence_at_the_papers_delta_where_the_exact_solver_says_so():
    digits = data.load("mnist", stand_in=True)
    X = digits.images[talk.sample(digits.labels)[:3]].astype(float)
    start = talk.start(X.shape[1])
    with np.errstate(all="ignore"):
        euler = talk.euler(X, start, talk=Talk(delta=0.4))
    assert np.isnan(euler.W).any()
    with pytest.raises(plasticity.Divergence):
        talk.units(init=start, delta=0.4).fit(X)


def test_intervals_are_students():
    values = [0.1, 0.4, 0.35, 0.2]
    mean, low, high = statistics.interval(values)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert_within(mean, np.mean(values), rounding(8))
    # SciPy finds the quantile by iteration
    assert_within([low, high], [expected.low, expected.high], rounding(1000))
    with pytest.raises(ValueError, match="at least two values"):
        statistics.interval([0.5])
    with pytest.raises(ValueError, match=r"values must be finite, but holds nan at index \(1,\)"):
        statistics.interval([0.5, math.nan])
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\), got 95"):
        statistics.interval(values, 95)


def test_the_recorded_run_is_complete():
    """Settings, seeds, data, versions, machine, seconds and commit stand beside the numbers."""
    run = records.record("talk")
    assert run["run"] == "talk"
    assert run["schema"] == records.SCHEMA
    known = run["provenance"]
    assert set(known) >= {"data", "versions", "machine", "commit", "command"}
    assert set(known["data"]) == {"mnist/train", "mnist/test"}
    assert all(len(sha) == 64 for sha in known["data"].values())
    assert len(known["commit"]) == 40
    assert known["machine"]["processor"]
    assert run["settings"]["talk"]["seed"] == TALK.seed
    unsupervised = run["unsupervised"]
    assert len(unsupervised["wins"]) == len(unsupervised["row_norms"]) == TALK.n_hidden
    assert len(unsupervised["winners_an_image"]) == unsupervised["images"] == 600
    assert unsupervised["seconds_euler"] > unsupervised["seconds_exact"] > 0
    for entry in (*run["supervised"].values(), run["backprop"]):
        assert len(entry["accuracy"]) == run["settings"]["seeds"] >= 5
        assert all(0 <= a <= 1 for a in entry["accuracy"])
    assert "/" not in json.dumps(known["command"])


def test_the_recorded_run_repeats_the_notebooks_weight_divergence():
    # the notebook shows 14 digits; n steps add n roundings to a weight, by chance about 8 sqrt(n) of them
    bound = 0.5e-14 + rounding(8 * math.sqrt(600 * TALK.steps_w))
    assert_within(records.record("talk")["unsupervised"]["weight_divergence"], 0.48201244626089, bound)


def test_the_recorded_exact_run_can_be_recomputed(mnist):
    """The record's exact solution, again from the data, in a fraction of a second."""
    order = talk.sample(mnist.labels)
    X = mnist.images[order].astype(np.float64)
    start = talk.start(X.shape[1])
    units = talk.units(init=start).fit(X)
    run = records.record("talk")["unsupervised"]

    def divergence(X):
        return np.abs(talk.units(init=start).fit(X).components_ - start).mean()

    bound = 2 * backward_bound(divergence, X, terms=784 + 484, draws=2)
    assert_within(np.abs(units.components_ - start).mean(), run["weight_divergence_exact"], bound)
    assert units.n_silent_ == run["silent_images_exact"]


def test_the_comparison_table_shows_a_spread():
    rows = RUN.table(records.record("talk"))
    assert len(rows) >= 8
    assert all(len(row) == 3 for row in rows)
    assert any("83.93 %" in row[1] and "seeds" in row[2] for row in rows)
