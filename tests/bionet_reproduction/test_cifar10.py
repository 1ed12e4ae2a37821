"""The runs on CIFAR-10: what is searched, what is chosen by, and what is reported."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
from oracles import assert_within, hangs_on_float16, rounding

from bionet import data
from bionet_reproduction import catalogue, cells, cifar, records, rows, views
from bionet_reproduction.runs import cifar10, cifar10_colour
from bionet_reproduction.sweeps import described

NAMES = ("cifar10", "cifar10_controls", "cifar10_end_to_end", "cifar10_colour", "patches")


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_settings_are_the_plans(name):
    """But for the seeds, which the command line can set."""
    record, plan = records.record(name), catalogue.RUNS[name].run().plan
    records.validate(record)
    said = {**record["settings"], "seeds": plan.seeds}
    said.pop("jobs")
    assert said == json.loads(json.dumps(described(plan)))


def test_other_runs_read_what_the_recorded_run_found():
    network, rule, beta = cifar.recorded()
    record = records.record("cifar10")
    assert described(rule).items() <= record["search"]["chosen"].items()
    betas = record["epochs"][str(network.n_epochs)]["beta"]["table"]
    assert min(betas, key=lambda row: row["validation_error"])["beta"] == beta
    assert all(getattr(cifar10.RUN.plan, f.name) == getattr(network, f.name) for f in fields(network))


def test_the_schedule_is_the_papers():
    assert [count for count, _ in cells.cifar_schedule(500)] == [100] + 8 * [50]
    rates = [rate for _, rate in cells.cifar_schedule(500)]
    assert rates[0] == 4e-3
    assert rates[-1] == 1e-5
    assert rates == sorted(rates, reverse=True)
    for n_epochs in (9, 20, 50, 61):
        assert sum(count for count, _ in cells.cifar_schedule(n_epochs)) == n_epochs


def test_the_search_covers_the_papers_range_once():
    plan = cifar10.Cifar10()
    first, second = cifar10.first_trials(plan), cifar10.second_trials(plan, [2.0, 3.0])
    assert {rule.p for rule in first} == {2.0, 3.0, 4.0, 5.0}
    assert len(second) == 2 * (1 + 2 * 3)  # without anti-Hebbian learning k has no meaning
    for rules in (first, second):
        assert len(set(rules)) == len(rules)
    assert all(rule in second for rule in first if rule.p < 4)


def test_everything_is_chosen_on_validation(made):
    record = made("cifar10")
    first, second, chosen = (record["search"][name] for name in ("first", "second", "chosen"))
    best = sorted(first, key=lambda row: row["validation_error"])
    assert set(record["search"]["left"]) == {row["p"] for row in best[:2]}
    assert chosen["validation_error"] == min(row["validation_error"] for row in second)
    assert all(row["validation_error"] == min(row["by_beta"].values()) for row in second)
    for entry in record["epochs"].values():
        best = min(entry["beta"]["table"], key=lambda row: row["validation_error"])
        assert entry["beta"]["chosen"] == best["beta"]
    for kind in made("cifar10_controls")["table"].values():
        assert kind["validation"][str(kind["n"])] == min(kind["validation"].values())
    selection = made("cifar10_end_to_end")["selection"]
    assert selection["chosen"] == min(selection["table"], key=lambda row: row["validation_error"])


def test_the_stored_net_scores_as_recorded(made):
    """It is the one of most passes."""
    record = made("cifar10")
    error = record["epochs"]["2"]["readouts"]["power"]["test"]["values"][0]
    V, y = views.seen("cifar-test", "as they are", "cifar-50k"), views.images("cifar-test")[1]
    net = records.load_trained("cifar10")
    bound = 100 * hangs_on_float16(net, V) + 0.5e-4  # recorded with four digits
    assert bound < 2
    assert_within(100 * (1 - net.score(V, y)), error, bound)


def test_the_controls_measure_the_rows_of_the_run_itself(made):
    """Kinds, seeds and views; rows with as many units as the paper's are those that the run has learned."""
    network, table = made("cifar10"), made("cifar10_controls")["table"]
    assert len(table) == 9 + 2 * 3
    for name, kind in table.items():
        assert len(kind["own_n"]["values"]) == (1 if "pixels" in name or "2 passes" in name else 2)
        assert kind["view"] == (
            name.split(", ")[-1] if name.endswith(("centred", "whitened")) else "as they are"
        )
    for passes, entry in network["epochs"].items():
        won = [one["never_won"] for one in entry["rows"]]
        assert table[f"ranked, {passes} passes"]["never_won"] == won


def test_a_table_without_any_error_is_refused():
    with pytest.raises(ValueError, match="did all diverge"):
        cells.least([{"p": 2.0, "validation_error": None}])


@pytest.mark.parametrize("factor", [1.0, 7.0])
def test_rows_that_reach_one_give_the_median_image_a_current_of_one(small, factor):
    X = views.seen("cifar-45k", "as they are", "cifar-45k")
    drawn = rows.Drawn(n_hidden=20, seed=0).computed(X)
    W, facts = cells.Reach().scaled(factor * drawn, X, "cifar-45k")
    # images lose their length, currents are summed, rows divided: in float32
    few = rounding(3 * X.shape[1], np.float32) * (X @ np.abs(W).T).max()
    assert_within(np.median((X[:5000] @ W.T).max(axis=1)), 1.0, few)
    assert_within(W * facts["reach"], factor * drawn, rounding(5, np.float32) * np.abs(factor * drawn))


def colours(layer, *, shuffled=False):
    plan = cifar10_colour.Colour(shape=(3, 8, 8))
    return cifar10_colour.MeasureColour(
        rows=layer,
        train="cifar-50k",
        view="as they are",
        shuffled=shuffled,
        shape=plan.shape,
        quantiles=plan.quantiles,
        distances=plan.distances,
        below=plan.below,
    ).work()


def test_photographs_are_continuous_until_their_pixels_are_shuffled(small):
    whole = colours(cifar10_colour.Photographs(count=50))
    torn = colours(cifar10_colour.Photographs(count=50), shuffled=True)
    for name in ("brightness_correlation", "colour_correlation"):
        assert set(whole[name]) == {"1", "2", "4"}  # what fits into eight pixels
        assert whole[name]["1"][1] > 0.5 > 0.2 > abs(torn[name]["1"][1])
    same = ("rows", "share_of_mean_grey", "share_grey", "share_red_green", "share_yellow_blue")
    assert {name: whole[name] for name in same} == {name: torn[name] for name in same}


def test_drawn_images_are_their_own_nearest(small):
    cosine = colours(rows.Drawn(n_hidden=20, seed=0))["nearest_image_cosine"]
    assert_within(
        cosine, np.ones(len(cosine)), 0.5e-4 + rounding(4 * 192, np.float32)
    )  # four digits are kept


def test_the_first_layer_acts_on_pixels_as_on_its_view(made):
    """The net that the baseline kept, and the same rows, moved to the pixels."""
    view = made("cifar10_end_to_end")["selection"]["chosen"]["view"]
    W, _ = cifar10_colour.FirstLayer(net=cifar10_colour.NET).of("cifar-50k", view)
    assert W.shape == (20, data.load("cifar10").images.shape[1])
    assert "backprop" in made("cifar10_colour")["table"]
