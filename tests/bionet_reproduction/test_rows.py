"""Hidden layers by recipe."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracles import assert_within, rounding

from bionet.activations import unit_norm
from bionet.plasticity import lebesgue_norms
from bionet.units import RankedUnits
from bionet_reproduction import views
from bionet_reproduction.agreement import best_matches
from bionet_reproduction.rows import Drawn, KMeans, PrincipalComponents, Random, Ranked, Talk


@pytest.mark.parametrize(
    "rows", [Random(n_hidden=20, seed=0), KMeans(n_hidden=20, seed=0), PrincipalComponents(), Talk()]
)
def test_rows_that_do_not_learn_have_the_norm_of_converged_units(small, rows):
    W, _ = rows.of("60k")
    # each weight rounds on its own; cubes are summed in float64 or float32, then the root takes a third
    assert_within(lebesgue_norms(W, 3.0), np.ones(len(W)), rounding(W.shape[1] / 3 + 8, np.float32))
    assert W.dtype == np.float32
    if isinstance(rows, PrincipalComponents):  # every direction with both signs
        np.testing.assert_array_equal(W[: len(W) // 2], -W[len(W) // 2 :])


def test_kmeans_rows_fit_images_better_than_random_rows(small):
    X = unit_norm(views.images("60k")[0])

    def fit(rows):
        W = unit_norm(rows.of("60k")[0])
        return (X @ W.T).max(axis=1).mean()

    assert fit(KMeans(n_hidden=20, seed=0)) > fit(Random(n_hidden=20, seed=0)) + 0.2


def test_drawn_rows_are_images_of_the_part(small):
    W, _ = Drawn(n_hidden=20, seed=0).of("talk")
    X = views.images("talk")[0]
    assert len(X) == 600
    assert (best_matches(W, X) > 1 - rounding(4 * 784, np.float32)).all()


def test_learned_rows_are_kept_and_not_learned_twice(small, monkeypatch):
    """Also where the recipe is equal but not the same object; another seed is another layer."""
    first, facts = Ranked(seed=5, n_hidden=12, n_epochs=1).of("60k")
    fit = RankedUnits.fit
    calls = []
    monkeypatch.setattr(RankedUnits, "fit", lambda self, X: calls.append(0) or fit(self, X))
    again, same_facts = Ranked(seed=5, n_hidden=12, n_epochs=1).of("60k")
    np.testing.assert_array_equal(first, again)
    assert facts == same_facts
    assert calls == []
    Ranked(seed=6, n_hidden=12, n_epochs=1).of("60k")
    assert len(calls) == 1


def test_two_that_want_the_same_rows_at_once_learn_them_once(small, monkeypatch):
    """The second waits at the lock beside the file, then takes what the first has learned."""
    fit = RankedUnits.fit
    calls = []
    monkeypatch.setattr(RankedUnits, "fit", lambda self, X: calls.append(0) or fit(self, X))
    rows = Ranked(seed=7, n_hidden=12, n_epochs=3)
    with ThreadPoolExecutor(2) as pool:
        (first, _), (second, _) = pool.map(lambda _: rows.of("60k"), range(2))
    assert len(calls) == 1
    np.testing.assert_array_equal(first, second)
