"""Intervals over seeds, of a mean and of a difference, against SciPy's tests."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_within, rounding
from scipy.stats import ttest_ind, ttest_rel

from bionet_reproduction import statistics

A, B = [1.67, 1.62, 1.71, 1.66, 1.69], [1.55, 1.60, 1.49]


def test_a_difference_of_seeds_that_share_nothing_is_welchs():
    expected = ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    found = statistics.difference(A, B)
    assert_within(found[0], np.mean(A) - np.mean(B), rounding(16) * 4)
    assert_within(found[1:], [expected.low, expected.high], rounding(1000))  # SciPy's quantile is iterative
    assert statistics.difference([1.0, 1.0], [0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_a_difference_of_pairs_is_that_of_their_differences():
    other = [x - 0.1 + e for x, e in zip(A, (0.01, -0.01, 0.0, 0.02, -0.02), strict=True)]
    expected = ttest_rel(A, other).confidence_interval(0.95)
    found = statistics.difference(A, other, paired=True)
    assert_within(found[1:], [expected.low, expected.high], rounding(1000))
    assert found[2] - found[1] < np.diff(statistics.difference(A, other)[1:])[0]
    with pytest.raises(ValueError, match="as many results of both, got 5 and 3"):
        statistics.difference(A, B, paired=True)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least two values"):
        statistics.difference(A, [1.5])
