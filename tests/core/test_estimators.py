"""scikit-learn's own checks, for every estimator."""

from __future__ import annotations

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits

ESTIMATORS = [
    CompetingUnits(8),
    CompetingUnits(8, solver="euler", dt=0.1, dt_w=0.05),
    RankedUnits(8, n_epochs=2),
    # The check seeds the outer estimator only, so the inner one brings its own seed.
    PowerReadout(RankedUnits(8, n_epochs=2, random_state=0), n_epochs=3),
    # Without units a power would turn scikit-learn's centred data into mostly zeros.
    PowerReadout(None, n=1.0, rectify=False, n_epochs=3),
    BackpropClassifier(8, n_epochs=2),
]

# Skipped by scikit-learn itself: it needs SCIPY_ARRAY_API=1 before SciPy is imported. Parity of
# backends is tested in test_units.py and test_classifiers.py instead.
EXCEPTED = {"check_array_api_input"}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_every_check_of_scikit_learn_passes(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None)
    failed = [
        f"{r['check_name']}: {r['exception']}"
        for r in results
        if r["status"] != "passed" and r["check_name"] not in EXCEPTED
    ]
    assert not failed, "\n".join(failed)
    assert len(results) > 40
