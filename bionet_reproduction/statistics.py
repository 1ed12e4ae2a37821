"""Results over seeds: their mean and its interval, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet.checks import require_finite, require_number


def interval(values: Any, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of `values` and its t-interval: (mean, low, high).

    Parameters
    ----------
    values : sequence of float
        Independent results, for instance one a seed.
    confidence : float
        Coverage of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        With fewer than two values (one value has no spread), or with NaN or infinity.
    """
    from scipy.special import stdtrit

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"an interval needs at least two values in one dimension, got {values!r}")
    require_finite("values", array)
    confidence = require_number("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    quantile = float(stdtrit(array.size - 1, 0.5 + confidence / 2))
    half = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(array.mean())
    return mean, mean - half, mean + half


def difference(
    a: Any, b: Any, *, paired: bool = False, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean of `a` minus mean of `b` and its interval: (difference, low, high).

    Parameters
    ----------
    a, b : sequence of float
        Results over seeds.
    paired : bool
        Whether result i of both shares something (rows, a start, a split): then the differences are judged.
        Otherwise the spread of each counts, and need not be the same (Welch 1947).
    confidence : float
        Coverage of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        With fewer than two values each, with NaN or infinity, or with pairs of which one is missing.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if paired:
        if first.shape != second.shape:
            raise ValueError(f"pairs need as many results of both, got {first.size} and {second.size}")
        return interval(first - second, confidence)
    from scipy.special import stdtrit

    means, _, _ = zip(interval(first, confidence), interval(second, confidence), strict=True)
    shares = [float(values.var(ddof=1)) / values.size for values in (first, second)]
    apart, total = means[0] - means[1], sum(shares)
    if total == 0:
        return apart, apart, apart
    freedom = total**2 / sum(
        share**2 / (values.size - 1) for share, values in zip(shares, (first, second), strict=True)
    )
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(total)
    return apart, apart - half, apart + half


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Values as a record holds them: with their mean and its 95 % interval, where there are two or more."""
    if len(values) < 2:
        return {"values": list(values)}
    mean, low, high = interval(values)
    return {"values": list(values), "mean": mean, "low": low, "high": high}


def shown(entry: dict[str, Any]) -> str:
    """A summary of errors in per cent, for the screen."""
    if "mean" not in entry:
        return f"{entry['values'][0]:.2f} % (1 seed)"
    return f"{entry['mean']:.2f} % ({entry['low']:.2f} to {entry['high']:.2f}, {len(entry['values'])} seeds)"
