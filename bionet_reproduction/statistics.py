"""Results over seeds: their mean and its interval, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet.backend import require_finite, require_number


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
