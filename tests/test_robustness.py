"""The run on robustness, whole but tiny, and what it is made of."""

from __future__ import annotations

import importlib.util
import itertools
import json

import numpy as np
import pytest
from oracles import assert_within, backward_bound, rounding

from bionet import _records, _robust_models, attacks, cells, cifar, data, paper, persistence, robustness
from bionet._robust_facts import certified_l2, facts, surface
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout

NETS = {
    "bio",
    "bio, cross-entropy",
    "bio, Delta = 0",
    "bio, dynamical",
    "bio, 1000 passes",
    "random rows",
    "backprop",
    "backprop, power",
    "backprop, decay",
    "backprop, more decay",
    "backprop, norms",
    "backprop, adversarial",
    "backprop, matched",
}
_RESTARTS, _STEPS = (f"{what} find at most 0.5 points more" for what in ("5 restarts", "80 steps"))
KNOWN_FAILURES = {  # the chapter says why
    ("bio, cross-entropy", _RESTARTS),
    ("backprop, power", _RESTARTS),
    ("backprop, decay", _RESTARTS),
    ("backprop, adversarial", _RESTARTS),
    ("backprop, adversarial", _STEPS),
}
DYNAMICAL = {"passes": 1, "w_inh": 0.8, "h_star": 0.5, "delta": 0.4, "duration": 0.2, "init": 1.0}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """MNIST is the digits, every net has 12 hidden units and a few epochs, every attack a few steps."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, split="train", **kw: load("digits", split=split))
    monkeypatch.setattr(robustness, "load", data.load)
    monkeypatch.setattr(paper, "PAPER", {**paper.PAPER, "n_hidden": 12, "n_epochs": 2})
    monkeypatch.setattr(cifar, "PAPER", {**cifar.PAPER, "n_hidden": 12})
    for name, value in {"SPLIT": 200, "CIFAR_SPLIT": 200}.items():
        monkeypatch.setattr(cells, name, value)
    for name, value in {
        "HIDDEN": 12,
        "OTHER_POWERS": (1.0,),
        "PASSES": 2,
        "READOUT_EPOCHS": 10,
        "DECAYS": (10.0, 1e-3),
        "BACKPROP_EPOCHS": 2,
        "PROJECTED": (5,),
        "PLAIN": ((1, 0.3), (1, 0.03)),
        "COMPONENTS": 5,
        "ADVERSARIAL_EPOCHS": 1,
        "ADVERSARIAL": {"norm": "linf", "eps": 0.1, "steps": 2},
    }.items():
        monkeypatch.setattr(_robust_models, name, value)
    for name, value in {
        "RADII": {"linf": (0.1,), "l2": (1.0,)},
        "CURVE": {"linf": (0.1, 0.5), "l2": (1.0,)},
        "INDEPENDENT": {"linf": (0.1,), "l2": (1.0,)},
        "SQUARES": {"linf": (0.1,)},
        "TRANSFER": {"linf": 0.1, "l2": 1.0},
        "ASKED": ("bio", "backprop"),
        "MINIMAL_IMAGES": 40,
        "CIFAR_RADII": {"linf": (0.05, 0.1), "l2": (0.5,)},
        "CIFAR_IMAGES": 30,
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
    records = {
        "dynamical": {"settings": {"chosen": {"dynamical 12": chosen}}},
        "cifar10": {"epochs": {"200": {"beta": {"chosen": 0.1}}}},
    }
    monkeypatch.setattr(robustness, "record", records.__getitem__)
    for module in (cells, _robust_models):
        monkeypatch.setattr(module, "results_folder", lambda: tmp_path / "results")
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    caches = (cells.images, cells.seen, cells._statistics)
    for cached in caches:
        cached.cache_clear()
    kept = tmp_path / "runs" / "kept"
    kept.mkdir(parents=True)
    digits = data.load("digits")
    net = PowerReadout(np.eye(12, 784), n_epochs=2, random_state=0).fit(digits.images, digits.labels)
    for name in ("mnist-seed0", "cifar10-200-seed0", "cifar10-200-seed1"):
        persistence.save(net, kept / f"{name}.npz")
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


@pytest.mark.skipif(
    importlib.util.find_spec("art") is None,
    reason="THE RUN ON ROBUSTNESS IS NOT TESTED: pip install adversarial-robustness-toolbox",
)
def test_the_run_records_itself_and_goes_on_where_it_was(tiny, monkeypatch):
    made = robustness.reproduce_robustness(seeds=2, progress=False)
    _records.validate(json.loads(json.dumps(made)))
    alone = {"bio, steep", "bio, cross-entropy, n = 1"}
    assert set(made["nets"]) == NETS | alone
    assert set(made["worst"]) == set(made["curve"]) == NETS
    asked = {"bio", "backprop"}
    assert set(made["gradient"]) == NETS
    assert set(made["cifar10"]["gradient"]) == {"bio", "random rows", "backprop"}
    tried = {"blank pixels cleared", "rare pixels cleared", "smaller start", "5 components"}
    tried |= {"plain steps", "plain steps, smaller start"}
    assert set(made["explain"]["gradient"]) == tried
    assert set(made["explain"]["medians"]) == tried
    assert set(made["explain"]["steps"]) == {"bio", "backprop"}
    held = made["settings"]["decays"]
    assert min(held, key=float) == list(held)[-1]
    for net in NETS:
        assert len(made["nets"][net]["held_out"]) == 2
    assert all(accuracy < made["settings"]["goal"] for accuracy in list(held.values())[:-1])
    for net in NETS:
        assert len(made["nets"][net]["test_accuracy"]["values"]) == 2
        for norm in attacks.NORMS:
            (entry,) = made["gradient"][net][norm].values()
            assert all(
                a <= b for a, b in zip(*(entry[k]["values"] for k in ("gradient", "noise")), strict=True)
            )
    for net, by_norm in made["worst"].items():
        for norm, by_eps in by_norm.items():
            (both,) = by_eps.values()
            assert both["all"] <= min(both[k] for k in ("gradient", "apgd", "transfer"))
            assert ("square" in both) == (norm == "linf" and net in asked)
            assert ("hop_skip_jump" in both) == (net in asked)
    checks = {row["check"] for row in made["sanity"]}
    assert len(checks) == 13
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


def test_a_ladder_loses_what_its_lower_rungs_lost(tiny):
    """And it is as strong as the attack at each radius alone, up to what those find by other walks."""
    recipe = _robust_models.backprop(0)
    cell = {"model": recipe, "norm": "linf", "images": 60, "seed": 0, "settings": {"steps": 5, "restarts": 2}}
    radii = [0.02, 0.05, 0.1, 0.3]
    rungs = robustness.attack({**cell, "attack": "ladder", "eps": radii})
    alive = [robustness.unpacked(text, 60) for text in rungs["survived"]]
    assert all((b <= a).all() for a, b in itertools.pairwise(alive))
    for eps, left in zip(radii, alive, strict=True):
        alone = robustness.attack({**cell, "attack": "gradient", "eps": eps})
        found = robustness.unpacked(alone["survived"], 60)
        assert abs(int(left.sum()) - int(found.sum())) <= 2
    assert alive[0].sum() > alive[-1].sum()


def test_pixels_are_cleared_and_starts_are_scaled(tiny):
    X = cells.images("50k")[0]
    whole = _robust_models.trained(_robust_models.backprop(0, STOP=0.3))
    blank = ~(X > 0).any(axis=0)
    assert 0 < blank.sum() < X.shape[1]
    net = _robust_models.trained(_robust_models.cleared(_robust_models.backprop(0, STOP=0.3), 0.0))
    assert (net.coefs_[0][:, blank] == 0).all()
    np.testing.assert_array_equal(net.coefs_[0][:, ~blank], whole.coefs_[0][:, ~blank])
    np.testing.assert_array_equal(net.predict(X), whole.predict(X))
    small = _robust_models.trained(_robust_models.backprop(0, STOP=0.3, START=0.01))
    expected = 0.01 * whole.coefs_[0][:, blank].astype(np.float64)  # one product in float32, maybe decayed
    assert_within(small.coefs_[0][:, blank], expected, rounding(4, np.float32) * np.abs(expected))


def test_rows_are_projected_on_the_main_directions(tiny):
    """Only their part in these directions is left, and the answer to the mean image is the same."""
    of = _robust_models.backprop(0, STOP=0.3)
    whole, net = (_robust_models.trained(r) for r in (of, _robust_models.projected(of, 5)))
    main, mean = _robust_models.directions("50k", 5)
    sums = rounding(4 * 784, np.float32)  # of two products with directions that were rounded
    assert_within(main @ main.T, np.eye(5), sums)
    X = cells.images("50k")[0]
    assert_within(mean, X.mean(axis=0, dtype=np.float64), rounding(2 * len(X), np.float32) * X.mean(axis=0))
    size = np.linalg.norm(whole.coefs_[0], axis=1)[:, None]
    assert_within(net.coefs_[0] @ main.T, whole.coefs_[0] @ main.T, sums * size)
    assert_within((net.coefs_[0] @ main.T) @ main, net.coefs_[0], sums * size)
    inside = mean + ((X[:20] - mean) @ main.T) @ main
    for seen, same in ((mean[None], mean[None]), (X[:20], inside)):
        noise = backward_bound(whole.logits, same, terms=4 * 784 + 12, dtype=np.float32)
        assert_within(net.logits(seen), whole.logits(same), 2 * noise)
    X, y = X[:60].astype(np.float64), cells.images("50k")[1][:60]
    shares = [
        facts(model, X, y, attacks.minimal_l2(model, X, y)[0], main)["medians"]["in_main"]
        for model in (whole, net)
    ]
    assert 0.01 < shares[0] < 0.99
    assert_within(shares[1], 1, sums)  # of squares


def test_the_part_on_photographs_is_kept_where_its_nets_are_missing(tiny, monkeypatch):
    """With where it was made; a run that has the nets makes it anew."""
    (tiny / "runs" / "kept" / "cifar10-200-seed1.npz").unlink()
    old = {"images": 7, "gradient": {}}
    last = {"cifar10": old, "settings": {"steps": 3, "restarts": 2}, "provenance": {"commit": "before"}}
    records = {"cifar10": {"epochs": {"200": {"beta": {"chosen": 0.1}}}}, "robustness": last}
    monkeypatch.setattr(robustness, "record", records.__getitem__)
    study = robustness.Study(cells.Sweep("robustness", progress=False), 2, False)
    kept = study.cifar()
    assert kept == {**old, "attack": {"steps": 3, "restarts": 2}, "provenance": {"commit": "before"}}
    records["robustness"] = {**last, "cifar10": kept, "provenance": {"commit": "later"}}
    assert study.cifar() == kept
    study.quick = True
    assert study.cifar() == {}


def test_a_net_that_was_not_kept_is_asked_for(tiny):
    with pytest.raises(FileNotFoundError, match="bionet reproduce mnist"):
        _robust_models.trained(_robust_models.stored("mnist-seed9"))


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
    assert_within(norms[0], np.ones(12), rounding(2 * 784 / 3, np.float32))  # cubes summed twice, and a root
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
    bound = backward_bound(lambda Z: net.loss_gradient(Z, y[right][:2], "margin")[0], X[right][:2], terms=30)
    assert_within(margins[:, 2, 2], centre, 2 * bound)
    assert (margins[:, 3, 2] > margins[:, 1, 2]).all()
    assert steps[2] == 0


@pytest.fixture(scope="module")
def recorded():
    try:
        return _records.record("robustness")
    except FileNotFoundError:
        pytest.skip("the run robustness has not been recorded")


def test_the_record_is_whole(recorded):
    _records.validate(recorded)
    assert recorded["settings"]["quick"] is False
    assert recorded["settings"]["seeds"] >= 3
    assert set(recorded["gradient"]) == NETS
    assert {"linf", "l2"} == set(recorded["transfer"])
    assert set(recorded["cifar10"]["gradient"]) == {"bio", "random rows", "backprop"}
    assert "first_step" not in recorded["cifar10"]["attack"]  # the chapter says so


def test_in_the_record_no_accuracy_rises_with_the_radius(recorded):
    for by_norm in recorded["curve"].values():
        for curve in by_norm.values():
            left = [curve[eps] for eps in sorted(curve, key=float)]
            assert all(b <= a for a, b in itertools.pairwise(left))
        assert by_norm["linf"]["0.5"] <= 10.0


def test_in_the_record_the_worst_case_is_the_worst_of_all(recorded):
    for by_norm in recorded["worst"].values():
        for by_eps in by_norm.values():
            for entry in by_eps.values():
                singles = [
                    entry[name] for name in ("gradient", "apgd", "square", "transfer") if name in entry
                ]
                assert entry["all"] <= min(singles)
                missed = 100 * entry["missed_by_gradients"] / recorded["settings"]["subset"]
                assert_within(entry["gradient"] - entry["all"], missed, 1e-3)  # three digits after the point


def test_in_the_record_every_check_holds_or_is_discussed(recorded):
    """What does not hold is in the chapter, by name, and nothing else fails."""
    failed = {(row["net"], row["check"]) for row in recorded["sanity"] if not row["holds"]}
    assert failed == KNOWN_FAILURES


def test_in_the_record_no_attack_came_closer_than_the_proof_allows(recorded):
    for entry in recorded["understand"].values():
        medians = entry["seed_0"]["medians"]
        assert 0 < medians["bound_l2"] < entry["seed_0"]["median"]


def test_in_the_record_the_own_loss_flatters_the_network(recorded):
    """At the logits the same attack never finds less, and it finds much more where the tanh is flat."""
    for run in recorded["trap"].values():
        gaps = np.array(run["own_loss"]) - run["logits"]
        assert gaps.min() >= 0
        assert gaps.max() > 10
        assert run["logits"][-1] == 0


def test_in_the_record_the_directions_explain_the_weakness(recorded):
    """The chapter's test of causes: blank pixels are none, and the rows' minor directions are."""
    tried, radius = recorded["explain"], ("linf", "0.1")

    def left(by_norm):
        return by_norm[radius[0]][radius[1]]["gradient"]["values"][0]

    before = left(recorded["gradient"]["backprop, matched"])
    clean = recorded["nets"]["backprop, matched"]["test_accuracy"]["values"][0]
    assert abs(left(tried["gradient"]["blank pixels cleared"]) - before) < 1
    assert left(tried["gradient"]["100 components"]) > before + 25
    assert abs(tried["test_accuracy"]["100 components"] - clean) < 0.2
    shares = {net: entry["seed_0"]["medians"]["in_main"] for net, entry in recorded["understand"].items()}
    order = ["random rows", "backprop, matched", "backprop, decay", "bio", "backprop, adversarial"]
    assert sorted(order, key=shares.__getitem__) == order
    assert sorted(order, key=lambda net: left(recorded["gradient"][net])) == order


def test_in_the_record_all_test_images_were_attacked_with_all_seeds(recorded):
    assert recorded["settings"]["images"] == 10_000
    for net, by_norm in recorded["gradient"].items():
        for by_eps in by_norm.values():
            assert all(len(entry["gradient"]["values"]) == 3 for entry in by_eps.values()), net


def test_in_the_record_the_nets_of_the_papers_length_are_those_of_the_headline(recorded):
    """Trained again here, but for seed 0, which is stored with weights of 16 bits."""
    errors = _records.record("mnist")["readouts"]["power"]["test"]["values"][:3]
    again = 100 - np.array(recorded["nets"]["bio, 1000 passes"]["test_accuracy"]["values"])
    assert_within(again, errors, 0.06)  # half a dozen of 10 000 answers
