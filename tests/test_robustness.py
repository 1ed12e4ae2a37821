"""The run on robustness, whole but tiny, and what it is made of."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from bionet import _records, _robust_models, attacks, cells, data, paper, robustness
from bionet._robust_facts import certified_l2, facts, surface
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout

NETS = {
    "bio",
    "bio, cross-entropy",
    "bio, Delta = 0",
    "bio, dynamical",
    "random rows",
    "backprop",
    "backprop, power",
    "backprop, decay",
    "backprop, norms",
    "backprop, adversarial",
    "backprop, matched",
    "backprop, power, matched",
    "backprop, decay, matched",
}
DYNAMICAL = {"passes": 1, "w_inh": 0.8, "h_star": 0.5, "delta": 0.4, "duration": 0.2, "init": 1.0}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """MNIST is the digits, every net has 12 hidden units and a few epochs, every attack a few steps."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, split="train", **kw: load("digits", split=split))
    monkeypatch.setattr(robustness, "load", data.load)
    monkeypatch.setattr(paper, "PAPER", {**paper.PAPER, "n_hidden": 12, "n_epochs": 2})
    for name, value in {"SPLIT": 200, "READOUT_EPOCHS": 6}.items():
        monkeypatch.setattr(cells, name, value)
    for name, value in {
        "HIDDEN": 12,
        "OTHER_POWERS": (1.0,),
        "DELTA_EPOCHS": 1,
        "BACKPROP_EPOCHS": 2,
        "ADVERSARIAL_EPOCHS": 1,
        "ADVERSARIAL": {"norm": "linf", "eps": 0.1, "steps": 2},
    }.items():
        monkeypatch.setattr(_robust_models, name, value)
    for name, value in {
        "RADII": {"linf": (0.1,), "l2": (1.0,)},
        "CURVE": {"linf": (0.1, 0.5), "l2": (1.0,)},
        "INDEPENDENT": {"linf": (0.1,), "l2": (1.0,)},
        "TRANSFER": {"linf": 0.1, "l2": 1.0},
        "STEPS": 2,
        "MORE_STEPS": 3,
        "CURVE_RESTARTS": 2,
        "SUBSET": 40,
        "WALKS": 20,
        "IMAGES": 60,
        "APGD": {"steps": 2, "restarts": 1},
        "SQUARE": {"iterations": 2},
        "HOP_SKIP_JUMP": {"iterations": 1, "evaluations": 5, "most_evaluations": 10},
        "MINIMAL_STEPS": 25,
        "LADDER": (0.1, 0.5),
    }.items():
        monkeypatch.setattr(robustness, name, value)
    monkeypatch.setattr(robustness, "chosen_loss", lambda: (6.0, 0.1))
    chosen = {**DYNAMICAL, "length": {"power": 2.2, "cross_entropy": 2.2}}
    monkeypatch.setattr(robustness, "record", lambda name: {"settings": {"chosen": {"dynamical 12": chosen}}})
    monkeypatch.setattr(cells, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    caches = (cells.images, cells.seen, cells._statistics)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


@pytest.mark.skipif(
    importlib.util.find_spec("art") is None,
    reason="THE RUN ON ROBUSTNESS IS NOT TESTED: pip install 'bionet[attacks]'",
)
def test_the_run_records_itself_and_goes_on_where_it_was(tiny, monkeypatch):
    made = robustness.reproduce_robustness(seeds=2, progress=False)
    _records.validate(json.loads(json.dumps(made)))
    assert set(made["nets"]) == NETS | {"bio, steep", "bio, cross-entropy, n = 1"}
    assert set(made["gradient"]) == set(made["worst"]) == NETS
    for net in NETS:
        assert len(made["nets"][net]["test_accuracy"]["values"]) == 2
        for norm in attacks.NORMS:
            (entry,) = made["gradient"][net][norm].values()
            assert all(
                a <= b for a, b in zip(*(entry[k]["values"] for k in ("gradient", "noise")), strict=True)
            )
            (both,) = made["worst"][net][norm].values()
            assert both["all"] <= min(both[k] for k in ("gradient", "apgd", "square", "transfer"))
    checks = {row["check"] for row in made["sanity"]}
    assert len(checks) == 12
    assert {row["net"] for row in made["sanity"]} == NETS
    assert set(made["trap"]) == {"bio", "bio, steep"}
    assert all(len(row) == 3 for row in robustness.compare(made))

    def forbidden(*_args, **_kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(_robust_models, "trained", forbidden)
    again = robustness.reproduce_robustness(seeds=2, progress=False)
    assert {k: v for k, v in again.items() if k != "provenance"} == {
        k: v for k, v in json.loads(json.dumps(made)).items() if k != "provenance"
    }


def test_which_images_survive_is_kept():
    alive = np.random.default_rng(0).random(37) < 0.5
    np.testing.assert_array_equal(robustness.unpacked(robustness.packed(alive), 37), alive)


def test_training_stops_at_the_accuracy_asked_for(tiny):
    recipe = _robust_models.backprop(0, 30, STOP=0.6)
    net = _robust_models.trained(recipe)
    assert net.n_iter_ < 30 * 12
    assert attacks.accuracy(net, *cells.images("10k")) >= 0.6
    again = _robust_models.trained(recipe)
    np.testing.assert_array_equal(again.coefs_[0], net.coefs_[0])


def test_rows_keep_their_norm_where_they_are_told_to(tiny):
    kept, start = (
        _robust_models.trained(_robust_models.backprop(0, ROWS=rows, unit_norm=True))
        for rows in ("kept", "start")
    )
    norms = [(np.abs(net.coefs_[0]) ** 3).sum(axis=1) ** (1 / 3) for net in (kept, start)]
    np.testing.assert_allclose(norms[0], 1, rtol=1e-5)
    assert 0.001 < np.abs(norms[1] - 1).max() < 0.5


@pytest.mark.parametrize("kind", ["readout", "relu", "power"])
def test_no_attack_goes_below_the_certified_radius(kind):
    """A proof and an attack enclose the true distance."""
    rng = np.random.default_rng(1)
    X, y = rng.random((60, 12)), np.arange(60) % 3
    X[np.arange(60), y] += 2.0
    X = np.clip(X / 3, 0, 1)
    net = (
        PowerReadout(rng.random((6, 12)), n=2.0, n_epochs=40, random_state=0, learning_rate=0.05)
        if kind == "readout"
        else BackpropClassifier(6, activation=kind, n=2.0, n_epochs=60, random_state=0, learning_rate=0.05)
    ).fit(X, y)
    right = net.predict(X) == y
    assert right.mean() > 0.5
    _, distances = attacks.minimal_l2(net, X[right], y[right])
    bound = certified_l2(net, X[right], y[right])
    assert (bound > 0).all()
    assert (bound <= distances).all()
    found = facts(net, X, y, attacks.minimal_l2(net, X, y)[0])
    assert found["medians"]["bound_l2"] < found["medians"]["linear_l2"]
    assert 0 <= found["medians"]["on_ink"] <= 1
    steps, margins = surface(net, X[right][:2], y[right][:2], 0.1, 5, 0)
    assert margins.shape == (2, 5, 5)
    centre = net.loss_gradient(X[right][:2], y[right][:2], "margin")[0]
    np.testing.assert_allclose(margins[:, 2, 2], centre)
    assert (margins[:, 3, 2] > margins[:, 1, 2]).all()
    assert steps[2] == 0
