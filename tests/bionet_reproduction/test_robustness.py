"""The run on robustness: its networks, its attacks, the whole of it in the small, and what is recorded."""

from __future__ import annotations

import importlib.util
import itertools
import json
import multiprocessing
import time
from dataclasses import replace

import numpy as np
import pytest
from oracles import assert_within, backward_bound, rounding

from bionet import attacks
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet_reproduction import catalogue, records, views
from bionet_reproduction.robustness import nets, plan, study
from bionet_reproduction.robustness.attack_cells import Gradient, Ladder, Walks, packed, subset, unpacked
from bionet_reproduction.robustness.facts import certified_l2, facts, surface
from bionet_reproduction.sweeps import Sweep

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
TINY = plan.TINY
CHOSEN = {"m": 6.0, "beta": 0.1, "goal": 30.0, "decay": 1e-3, "dynamical": None}
library = pytest.mark.skipif(
    importlib.util.find_spec("art") is None,
    reason="THE RUN ON ROBUSTNESS IS NOT TESTED: pip install adversarial-robustness-toolbox",
)


@pytest.fixture
def alone(small, tmp_path, monkeypatch):
    """Small data, with folders for results and unfinished runs of this test only."""
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("BIONET_RUNS", str(tmp_path / "runs"))
    (tmp_path / "results").mkdir()
    nets.directions.cache_clear()
    yield tmp_path
    nets.directions.cache_clear()


@library
def test_the_tiny_run_is_whole(made):
    record = made("robustness")
    others = {"bio, steep", "bio, cross-entropy, n = 1"}
    assert set(record["nets"]) == NETS | others
    assert set(record["gradient"]) == set(record["worst"]) == set(record["curve"]) == NETS
    assert set(record["cifar10"]["gradient"]) == {"bio", "random rows", "backprop"}
    tried = {"blank pixels cleared", "rare pixels cleared", "smaller start", "5 components"}
    tried |= {"plain steps", "plain steps, smaller start"}
    assert set(record["explain"]["gradient"]) == set(record["explain"]["medians"]) == tried
    assert set(record["explain"]["steps"]) == set(TINY.asked)
    chosen = record["chosen"]
    assert str(chosen["decay"]) == list(chosen["decays"])[-1]
    assert all(accuracy < chosen["goal"] for accuracy in list(chosen["decays"].values())[:-1])
    for net in NETS:
        assert len(record["nets"][net]["held_out"]) == 2
        assert len(record["nets"][net]["test_accuracy"]["values"]) == 2
        for norm in attacks.NORMS:
            (entry,) = record["gradient"][net][norm].values()
            pairs = zip(entry["gradient"]["values"], entry["noise"]["values"], strict=True)
            assert all(attacked <= noisy for attacked, noisy in pairs)
    for net, by_norm in record["worst"].items():
        for norm, by_eps in by_norm.items():
            (both,) = by_eps.values()
            assert both["all"] <= min(both[k] for k in ("gradient", "apgd", "transfer") if k in both)
            assert ("transfer" in both) == (norm == "linf")
            assert ("square" in both) == (norm == "linf" and net in TINY.asked)
            assert ("hop_skip_jump" in both) == (net in TINY.asked)
    assert len({row["check"] for row in record["sanity"]}) == 13
    assert {row["net"] for row in record["sanity"]} == NETS
    assert set(record["trap"]) == {"bio", "bio, steep"}


@library
def test_the_run_goes_on_where_it_was(made, monkeypatch):
    record = made("robustness")
    monkeypatch.setattr(nets.Learned, "trained", lambda self: pytest.fail("computed again"))
    again = json.loads(json.dumps(study.make(TINY, Sweep(progress=False))))
    for part in (again["cifar10"], record["cifar10"]):
        del part["provenance"]
    assert again == {name: record[name] for name in again}


def test_a_ladder_loses_what_its_lower_rungs_lost(alone):
    """And it is as strong as the attack at each radius alone, up to what those find by other walks."""
    walks = replace(TINY.gradient, steps=5)
    settings = {"net": plan.backprop(TINY, 0), "images": 60, "norm": "linf", "seed": 0, "walks": walks}
    radii = (0.02, 0.05, 0.1, 0.3)
    alive = [unpacked(text, 60) for text in Ladder(eps=radii, **settings).work()["survived"]]
    assert all((b <= a).all() for a, b in itertools.pairwise(alive))
    for eps, left in zip(radii, alive, strict=True):
        found = unpacked(Gradient(eps=eps, **settings).work()["survived"], 60)
        assert abs(int(left.sum()) - int(found.sum())) <= 2
    assert alive[0].sum() > alive[-1].sum()


def test_steps_of_one_length_or_shrinking_from_the_radius():
    """The first of the shrinking steps is as long as the plan says, in radii."""
    steps = Walks(steps=40, restarts=1, first_step=1.0, criteria=("dlr",), underflow=1e-3)
    shrinking, fixed = (walks.pgd("dlr", "linf", 0.2) for walks in (steps, replace(steps, first_step=None)))
    assert shrinking.shrink
    assert 2.0 * shrinking.step_size == 0.2  # PGD lets the steps fall from twice the length it is given
    assert not fixed.shrink
    assert fixed.step_size is None


def test_images_are_a_fixed_part_of_the_test_images(alone):
    total = len(views.images("test")[1])
    np.testing.assert_array_equal(subset(total + 1), np.arange(total))
    few, more = subset(20), subset(60)
    np.testing.assert_array_equal(few, more[:20])
    assert len(set(more)) == 60


def test_which_images_survive_is_kept():
    alive = np.random.default_rng(0).random(37) < 0.5
    np.testing.assert_array_equal(unpacked(packed(alive), 37), alive)


def test_pixels_are_cleared_and_starts_are_scaled(alone):
    X, of = views.images("50k")[0], plan.matched(TINY, CHOSEN, 0)
    whole, net = of.trained(), nets.Cleared(of=of, share=0.0).trained()
    blank = ~(X > 0).any(axis=0)
    assert 0 < blank.sum() < X.shape[1]
    assert (net.coefs_[0][:, blank] == 0).all()
    np.testing.assert_array_equal(net.coefs_[0][:, ~blank], whole.coefs_[0][:, ~blank])
    np.testing.assert_array_equal(net.predict(X), whole.predict(X))
    small = replace(of, start=0.01).trained()
    expected = 0.01 * whole.coefs_[0][:, blank].astype(np.float64)  # one product in float32, maybe decayed
    assert_within(small.coefs_[0][:, blank], expected, rounding(4, np.float32) * np.abs(expected))


def test_rows_are_projected_on_the_main_directions(alone):
    """Only their part in these directions is left, and the answer to the mean image is the same."""
    of = plan.matched(TINY, CHOSEN, 0)
    whole, net = of.trained(), nets.Projected(of=of, components=5).trained()
    main, mean = nets.directions("50k", 5)
    sums = rounding(4 * 784, np.float32)  # of two products with directions that were rounded
    assert_within(main @ main.T, np.eye(5), sums)
    X = views.images("50k")[0]
    assert_within(mean, X.mean(axis=0, dtype=np.float64), rounding(2 * len(X), np.float32) * X.mean(axis=0))
    size = np.linalg.norm(whole.coefs_[0], axis=1)[:, None]
    assert_within(net.coefs_[0] @ main.T, whole.coefs_[0] @ main.T, sums * size)
    assert_within((net.coefs_[0] @ main.T) @ main, net.coefs_[0], sums * size)
    inside = mean + ((X[:20] - mean) @ main.T) @ main
    for seen, same in ((mean[None], mean[None]), (X[:20], inside)):
        noise = backward_bound(whole.logits, same, terms=4 * 784 + TINY.hidden, dtype=np.float32)
        assert_within(net.logits(seen), whole.logits(same), 2 * noise)
    X, y = X[:60].astype(np.float64), views.images("50k")[1][:60]
    shares = [
        facts(model, X, y, attacks.minimal_l2(model, X, y)[0], main)["medians"]["in_main"]
        for model in (whole, net)
    ]
    assert 0.01 < shares[0] < 0.99
    assert_within(shares[1], 1, sums)  # of squares


def test_training_stops_at_the_accuracy_asked_for(alone):
    asked = nets.Stop(accuracy=0.6, part="10k", every=20)
    recipe = plan.backprop(TINY, 0, 30, part="50k", batch_size=100, stop=asked)
    net = recipe.trained()
    assert net.n_iter_ < 30 * 12
    assert attacks.accuracy(net, *views.images("10k")) >= 0.6
    again = recipe.trained()
    np.testing.assert_array_equal(again.coefs_[0], net.coefs_[0])


def test_rows_keep_their_norm_where_they_are_told_to(alone):
    kept, start = (
        plan.backprop(TINY, 0, unit_norm=True, **rows).trained()
        for rows in ({"rows_stay_at_norm_1": True}, {"rows_start_at_norm_1": True})
    )
    norms = [(np.abs(net.coefs_[0]) ** 3).sum(axis=1) ** (1 / 3) for net in (kept, start)]
    assert_within(
        norms[0], np.ones(TINY.hidden), rounding(2 * 784 / 3, np.float32)
    )  # cubes summed twice, and a root
    assert 0.001 < np.abs(norms[1] - 1).max() < 0.5


def test_a_net_without_options_is_what_its_estimator_learns(alone):
    recipe = plan.backprop(TINY, 0, 1)
    net = recipe.estimator().fit(*views.images("60k"))
    for mine, theirs in zip(recipe.trained().coefs_, net.coefs_, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_two_processes_do_not_train_the_same_net_twice(alone):
    """The second waits for the first, and finds its net."""
    recipe = plan.backprop(TINY, 0, 1)
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        trained = manager.list()
        made = nets.Backprop.made

        def noted(self):
            trained.append(1)
            time.sleep(0.5)  # time for the other to come
            return made(self)

        both = [context.Process(target=_train_noted, args=(recipe, noted)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        assert len(trained) == 1


def _train_noted(recipe, made):
    nets.Backprop.made = made
    recipe.trained()


def test_a_net_that_was_not_kept_is_asked_for(alone):
    with pytest.raises(FileNotFoundError, match="bionet reproduce mnist"):
        nets.Stored(name="mnist-seed9").trained()


def test_the_part_on_photographs_is_carried_whole(alone, monkeypatch):
    """Where its nets are missing: with its own settings and provenance, however often it is carried."""
    part = {"settings": {"images": 7}, "provenance": {"commit": "before"}, "images": 7, "gradient": {}}
    last = {"cifar10": part, "settings": {"images": 8}, "provenance": {"commit": "later"}}
    results = alone / "results"
    photographs, sweep = replace(TINY.photographs, carry=True), Sweep(progress=False)
    assert study.photographs(photographs, 2, sweep) == {}
    beta = {"epochs": {str(photographs.passes): {"beta": {"chosen": 0.1}}}}
    (results / "cifar10.json").write_text(json.dumps(beta))
    assert study.photographs(photographs, 2, sweep) == {}
    for commit in ("later", "later still"):
        last["provenance"]["commit"] = commit
        (results / "robustness.json").write_text(json.dumps(last))
        kept = study.photographs(photographs, 2, sweep)
        assert kept == {**part, "carried": True}
        last["cifar10"] = kept
    assert study.photographs(replace(photographs, carry=False), 2, sweep) == {}


def test_a_part_that_was_carried_has_an_age_of_its_own(alone):
    """The record is older than what the part was made from, though the rest is not."""
    (alone / "results" / "cifar10.json").write_text("{}")
    now = records.fingerprint("cifar10")
    for read, state in ((now, "recorded"), ("another", "older than cifar10")):
        part = {"provenance": {"needs": {"cifar10": read}}}
        record = {"provenance": {"needs": {"cifar10": now}}, "cifar10": part}
        (alone / "results" / "robustness.json").write_text(json.dumps(record))
        assert catalogue.state("robustness") == state


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
        return records.record("robustness")
    except FileNotFoundError:
        pytest.skip("the run robustness has not been recorded")


def test_the_record_is_whole(recorded):
    records.validate(recorded)
    assert recorded["settings"]["seeds"] >= 3
    assert set(recorded["gradient"]) == NETS
    assert {"linf", "l2"} == set(recorded["transfer"])
    assert set(recorded["cifar10"]["gradient"]) == {"bio", "random rows", "backprop"}
    assert recorded["cifar10"]["settings"]["gradient"]["first_step"] is None  # the chapter says so
    assert {name.partition("/")[0] for name in recorded["cifar10"]["provenance"]["data"]} == {"cifar10"}
    assert {name.partition("/")[0] for name in recorded["provenance"]["data"]} == {"mnist"}


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
    errors = records.record("mnist")["readouts"]["power"]["test"]["values"][:3]
    again = 100 - np.array(recorded["nets"]["bio, 1000 passes"]["test_accuracy"]["values"])
    assert_within(again, errors, 0.06)  # half a dozen of 10 000 answers
