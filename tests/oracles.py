"""Where a tolerance comes from: a bound on rounding errors, or what plain arithmetic errs against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from bionet import ranking


def rounding(count: float, dtype: Any = np.float64) -> float:
    """Bound n u / (1 - n u) of the relative error of `count` operations (Higham 2002, section 3.1).

    A sum of n products errs by at most ``rounding(n) * |x| . |y|``, in any order, with or without FMA.
    """
    errors = count * np.finfo(dtype).eps / 2
    return float(errors / (1 - errors))


def backward_bound(
    function: Callable[..., Any], *arrays: Any, terms: int, dtype: Any = np.float64, draws: int = 8
) -> float:
    """Bound on the error of any entry of a result, from how far rounded inputs move it.

    A computed sum of n terms is the exact sum of inputs that were changed by at most n u (Higham 2002,
    section 3.1). So the function is run in float64, its inputs changed by 2^-23 (for float32) or 2^-40,
    up or down at random, and what that moves is scaled to `terms` roundings in `dtype`.

    Fails where the bound exceeds 1 % of the largest entry: nothing would be tested, as where a rank or a
    sign hangs on the last digit.
    """
    rng = np.random.default_rng(0)
    exact = [np.asarray(a, dtype=np.float64) for a in arrays]
    at, unit = np.asarray(function(*exact)), 2.0**-23 if dtype == np.float32 else 2.0**-40
    there_is = np.isfinite(at)
    largest = float(np.max(np.abs(at[there_is]), initial=0.0))
    moved = 0.0
    for _ in range(draws):
        there = np.asarray(function(*(a * (1 + unit * rng.choice([-1.0, 1.0], a.shape)) for a in exact)))
        moved = max(moved, float(np.max(np.abs(there[there_is] - at[there_is]), initial=0.0)))
    bound = terms * float(np.finfo(dtype).eps) * (moved / unit + largest)
    assert bound <= 0.01 * largest, f"an error of {bound:.3g} may hide in entries up to {largest:.3g}"
    return bound


def assert_within(found: Any, expected: Any, bound: Any) -> None:
    """Assert ``|found - expected| <= bound``, entry by entry; NaN and infinity only where expected."""
    found, expected = (np.asarray(a).astype(np.float64) for a in (found, expected))
    assert found.shape == expected.shape, f"shapes {found.shape} and {expected.shape}"
    given = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[given], expected[given])
    error = np.where(given, 0.0, np.abs(found - np.where(given, 0.0, expected)))
    error[np.isnan(error)] = np.inf
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


def assert_order_one(errors: Any) -> None:
    """Assert that errors halve with the step; each is of a run whose steps are half those of the one before.

    The order found by halving a step is 1 + c h + ..., so what it is off by halves as well.
    """
    off = np.abs(-np.diff(np.log2(errors)) - 1)
    assert off.shape == (3,), "four runs, for three orders"
    assert off[0] < 0.5, f"the longest steps are too long to tell an order: {errors}"
    assert off[2] <= off[0] / 2, f"orders {off} from one do not fall with the step; errors {errors}"


def hangs_on_float16(net: Any, X: np.ndarray, draws: int = 32) -> float:
    """Share of the images that change their class if weights move by half of float16's last digit."""
    rng, W, classes = np.random.default_rng(0), net.components_, net.predict(X)
    changed = np.zeros(len(X), dtype=bool)
    try:
        for _ in range(draws):
            net.components_ = W * (1 + W.dtype.type(2.0**-11) * rng.choice([-1, 1], W.shape).astype(W.dtype))
            changed |= net.predict(X) != classes
    finally:
        net.components_ = W
    return float(changed.mean())


def clear_run(
    W: np.ndarray, X: np.ndarray, sizes: list[int], p: float, k: int, delta: float, rate: float
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Minibatches in which no rounding of float32 changes a rank; where float64 arrives, and the wins.

    An image is taken if the winner and the k-th unit are apart from their neighbours in rank by a
    thousandth of the largest current.
    """
    W, X = W.astype(np.float64), X.astype(np.float64)
    rng = np.random.default_rng(0)
    wins = np.zeros(len(W), dtype=np.int64)
    minibatches = []
    for size in sizes:
        order = rng.permutation(len(X))
        currents = ranking.p_currents(W, X[order], p)
        ranked = -np.sort(-currents, axis=1)
        gaps = -np.diff(ranked, axis=1)[:, sorted({0, k - 2, min(k, len(W) - 1) - 1})].min(axis=1)
        chosen = order[gaps > 1e-3 * np.abs(ranked).max(axis=1)][:size]
        assert len(chosen) == size, "too few images with clear ranks"
        W, g = ranking.ranked_step_unchecked(xp, W, X[chosen], p, k, delta, rate)
        wins += (g > 0).sum(axis=0)
        minibatches.append(chosen)
    return minibatches, W, wins
