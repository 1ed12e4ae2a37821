"""The run on the dynamics: its search, and how it is compared with the fast rule."""

from __future__ import annotations

import numpy as np
from oracles import assert_within, rounding

from bionet_reproduction import agreement
from bionet_reproduction.runs import dynamical

PLAN = dynamical.RUN.plan


def test_the_dynamical_model_is_compared_with_the_fast_rule_by_hand():
    """Four units, three images, worked out on paper: one learner, two unlearners, then ranks."""
    W = np.diag([1.0, 0.9, 0.8, -1.0])
    X = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    seen = agreement.compare_rules(W, X, w_inh=0.5, h_star=0.9, delta=0.4, k=2)
    # Image 1: I = (1, .9, .8, -1)/2, S = 1.35/2, h = (.325, .225, .125, -): one learns, two unlearn.
    # Image 2: I = (1, .9, 0, 0)/sqrt 2, two are active. Image 3: nobody is active, nobody changes.
    assert seen["active"] == 2
    assert_within(seen["learners"], 2 / 3, rounding(4))
    assert_within(seen["unlearners"], (2 + 1) / 3, rounding(4))
    assert_within(seen["unlearner_ranks"][:3], [0, 2 / 3, 1 / 3], 0.5e-4)  # recorded with four digits
    assert_within(seen["kth_unlearns"], 2 / 3, rounding(4))


def test_a_row_is_its_own_best_match():
    W = np.random.default_rng(0).standard_normal((6, 9))
    assert_within(agreement.best_matches(3 * W, W[::-1]), np.ones(6), rounding(4 * 9))
    assert (agreement.best_matches(W, W[:1])[1:] < 1).all()


def test_the_trials_are_the_same_everywhere_and_all_different():
    drawn = dynamical.drawn_trials(PLAN)
    assert drawn == dynamical.drawn_trials(PLAN)
    assert len({tuple(t.values()) for t in drawn}) == PLAN.trials
    assert all(t[name] in values for t in drawn for name, values in PLAN.search.items())


def test_neighbours_differ_in_one_step_of_one_entry():
    settings = {"w_inh": 0.8, "h_star": 1.0, "delta": 0.0, "duration": 0.1, "init": 1.0}
    near = dynamical.neighbours(PLAN.wide, settings)
    assert all(sum(n[name] != settings[name] for name in settings) == 1 for n in near)
    assert len(near) == 2 + 1 + 1 + 2 + 2
    assert {n["w_inh"] for n in near} == {0.7, 0.8, 0.9}
