"""The maps of stability: at a small size, and the recorded ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import assert_within, rounding

from bionet import data
from bionet.measures import stability
from bionet_reproduction import records, talk
from bionet_reproduction.runs import stability as run
from bionet_reproduction.talk import TALK

TINY = run.RUN.others["tiny"]


def test_the_maps_at_a_small_size():
    """Every cell of both maps, on few images: counts within bounds, nothing lost inside the ball."""
    rng = np.random.default_rng(0)
    X, start = rng.random((6, 30)), rng.random((8, 30))
    plan = replace(TINY, talk=replace(TALK, w_inh=0.7, h_star=3.0), steps=8, factors=(0.1, 0.2, 1.0, 3.0))
    found = run.divergence_map(plan, X, start, progress=False)
    assert {0.01, 0.4} <= {round(d, 12) for d in found["deltas"]}
    for table in found["durations"].values():
        lost = np.array(table["measured"])
        assert lost.shape == np.shape(table["predicted"]) == (len(found["norms"]), len(found["deltas"]))
        assert not lost[np.array(found["norms"]) < 0.8].any()
    cells = run.recruitment_map(plan, X, {"uniform": start}, progress=False)
    assert len(cells) == 6
    assert all(0 <= c["effective"] <= c["winners"] + 0.1 <= 8.1 for c in cells)
    assert all(c["winners"] == 8 and not c["diverged"] for c in run.kept_alive(cells, 8))


def test_the_record_holds_both_maps():
    record = records.record("stability")
    part, plan = record["divergence"], record["settings"]
    own = plan["factors"].index(1.0)
    norm = np.linalg.norm(talk.start(784), axis=1).mean()
    assert_within(part["norms"][own], norm, rounding(784 + 484) * norm)
    for table in part["durations"].values():
        measured, predicted = np.array(table["measured"]), np.array(table["predicted"])
        assert measured.shape == predicted.shape == (len(part["norms"]), len(part["deltas"]))
        assert measured.max() <= plan["talk"]["n_hidden"]
        assert not measured[np.array(part["norms"]) < 1].any()


def test_a_cell_of_the_record_can_be_recomputed():
    """The talk's start at the paper's delta: units lost, again from the data."""
    try:
        mnist = data.load("mnist")
    except data.DataUnavailable as error:
        pytest.skip(f"MNIST is not at hand: {error}")
    X = mnist.images[talk.sample(mnist.labels)].astype(np.float64)
    start = talk.start(X.shape[1])
    record = records.record("stability")
    part = record["divergence"]
    row = part["durations"]["0.358"]["measured"][record["settings"]["factors"].index(1.0)]
    found = stability.diverging_units(
        X, start, delta=0.4, duration=0.358, w_inh=TALK.w_inh, h_star=TALK.h_star
    )
    assert found.diverged.sum() == row[int(np.argmin(np.abs(np.array(part["deltas"]) - 0.4)))]
