"""Where a tolerance comes from: a bound on rounding errors, or what plain arithmetic errs against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def rounding(count: float, dtype: Any = np.float64) -> float:
    """Bound n u / (1 - n u) of the relative error of `count` operations (Higham 2002, section 3.1).

    A sum of n products errs by at most ``rounding(n) * |x| . |y|``, in any order, with or without FMA.
    """
    errors = count * np.finfo(dtype).eps / 2
    return float(errors / (1 - errors))


def sensitivity(function: Callable[..., Any], *arrays: Any, draws: int = 8) -> float:
    """How far rounded inputs move a result: the largest change of an entry over the inputs' relative error.

    The function runs in float64; its inputs are changed by the rounding of float32, up or down at random.
    ``factor * sensitivity * eps`` bounds the error of the same function in any precision and order of
    summation, where `factor` says how many roundings act like that of an input.
    """
    rng = np.random.default_rng(0)
    exact = [np.asarray(a, dtype=np.float64) for a in arrays]
    at, relative = np.asarray(function(*exact)), float(np.finfo(np.float32).eps)
    moved = 0.0
    for _ in range(draws):
        there = function(*(a * (1 + relative * rng.choice([-1.0, 1.0], a.shape)) for a in exact))
        moved = max(moved, float(np.max(np.abs(np.asarray(there) - at), initial=0.0)))
    return moved / relative + float(np.max(np.abs(at), initial=0.0))


def assert_within(found: Any, expected: Any, bound: Any) -> None:
    """Assert ``|found - expected| <= bound``, entry by entry; NaN only where it is expected."""
    found, expected = (np.asarray(a, dtype=np.result_type(a, np.float64)) for a in (found, expected))
    assert found.shape == expected.shape, f"shapes {found.shape} and {expected.shape}"
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    error = np.where(np.isnan(expected), 0.0, np.abs(found - expected))
    bound = np.broadcast_to(np.asarray(bound, dtype=np.float64), error.shape)
    outside = error > bound
    if outside.any():
        worst = np.unravel_index(np.argmax(np.where(outside, error - bound, 0.0)), error.shape)
        raise AssertionError(
            f"{outside.sum()} of {error.size} entries leave the bound; at {tuple(map(int, worst))} "
            f"{found[worst]:.17g} is {error[worst]:.3g} from {expected[worst]:.17g}, bound {bound[worst]:.3g}"
        )


def assert_no_worse_than(fast: Any, plain: Any, oracle: Any, factor: float) -> None:
    """Assert that `fast` errs at most `factor` times what `plain` errs against the float64 `oracle`.

    `plain` is the definition in the precision of `fast`. Where it is exact by luck, one rounding of the
    largest entry stands for its error.
    """
    fast, plain = np.asarray(fast), np.asarray(plain)
    oracle = np.asarray(oracle)
    assert oracle.dtype == np.float64, f"the oracle must be float64, got {oracle.dtype}"
    assert fast.dtype == plain.dtype, f"fast is {fast.dtype}, plain is {plain.dtype}"
    of_fast, of_plain = (float(np.max(np.abs(a.astype(np.float64) - oracle))) for a in (fast, plain))
    least = float(np.finfo(plain.dtype).eps) * float(np.max(np.abs(oracle)))
    assert of_fast <= factor * max(of_plain, least), (
        f"the fast path errs by {of_fast:.3g}, the plain one by {of_plain:.3g} "
        f"(one rounding: {least:.3g}); allowed: {factor:g} times that"
    )
