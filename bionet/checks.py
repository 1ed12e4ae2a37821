"""Whether arguments are right: numbers and arrays, and what every estimator asks of its input, on any device.

The library of estimators is imported where one asks: numbers are checked by commands that start at once.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from bionet.backend import Array, indices_like, is_numpy, namespace, to_host


def require_finite(name: str, array: Array) -> None:
    """Raise ``ValueError`` if `array` holds NaN or infinity (synchronises with the device)."""
    xp = namespace(array)
    if not bool(xp.all(xp.isfinite(array))):
        host = to_host(array)
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
        place = f" at index {where}" if where else ""
        raise ValueError(f"{name} must be finite, but holds {host[where]}{place}; remove or replace it first")


def require_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    hint: str = "",
) -> float:
    """Return `value` as a Python float if it is a number in the interval, else raise.

    Raises
    ------
    TypeError
        If `value` is not a number.
    ValueError
        If it is NaN or outside the interval from `low` to `high`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    fits_low = number > low if open_low else number >= low
    fits_high = number < high if open_high else number <= high
    if not (fits_low and fits_high) or math.isinf(number):
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise ValueError(
            f"{name} must lie in {left}{low:g}, {high:g}{right}, got {value!r}"
            + (f": {hint}" if hint else "")
        )
    return number


def integer(name: str, value: Any, low: int = 1) -> int:
    """Return `value` as an int of at least `low`.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")
    return int(value)


def choice(name: str, value: Any, options: tuple[str, ...]) -> str:
    """Return `value` if it is one of `options`.

    Raises
    ------
    ValueError
        Otherwise.
    """
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}")
    return value


def images(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Return `X` as float32 or float64 ``(samples, features)``, checked as scikit-learn does.

    Raises
    ------
    ValueError
        For a wrong shape, NaN or infinity, or another number of features than in ``fit``.
    """
    if is_numpy(X) or not array_api_compat.is_array_api_obj(X):
        from sklearn.utils.validation import validate_data

        return validate_data(estimator, X, reset=reset, dtype=[np.float64, np.float32])
    xp = namespace(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"expected images of shape (samples, features), got {X.shape}")
    if not xp.isdtype(X.dtype, "real floating"):
        X = xp.astype(X, xp.float64)
    require_finite("X", X)
    if reset:
        estimator.n_features_in_ = X.shape[1]
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )
    return X


def fitted_images(estimator: Any, X: Any) -> Array:
    """Return checked `X` for a fitted `estimator`, in its own floating dtype.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    ValueError
        As :func:`images`.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    return images(estimator, X, reset=False)


def like_learned(X: Array, learned: Array) -> Array:
    """Return `X` in the dtype of the `learned` array, so that training goes on in that dtype.

    Raises
    ------
    TypeError
        If `X` belongs to another array library.
    """
    return namespace(X, learned).astype(X, learned.dtype, copy=False)


def labels(estimator: Any, X: Array, y: Any, *, classes: Any = None, reset: bool) -> Array:
    """Return class indices ``(samples,)`` beside `X`, and set ``estimator.classes_``.

    Raises
    ------
    ValueError
        If `y` has another length than `X`, is not a classification target, or holds a label that
        is not among the classes.
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, column_or_1d

    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    host = column_or_1d(to_host(y) if array_api_compat.is_array_api_obj(y) else y, warn=True)
    if host.dtype.kind in "fc":
        check_array(host.reshape(-1, 1), input_name="y")
    check_classification_targets(host)
    if host.shape[0] != X.shape[0]:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{X.shape[0]}, {host.shape[0]}]"
        )
    if reset:
        estimator.classes_ = np.unique(host if classes is None else np.asarray(classes))
    try:
        index = np.searchsorted(estimator.classes_, host)
    except TypeError:  # strings where numbers are known, or the other way round: none is a class
        index = np.zeros(host.shape, dtype=np.int64)
    index = np.minimum(index, len(estimator.classes_) - 1)
    strange = estimator.classes_[index] != host
    if strange.any():
        label = host[strange].tolist()[0]
        raise ValueError(
            f"label {label!r} at index {int(np.argmax(strange))} is not one of the classes "
            f"{estimator.classes_.tolist()}"
        )
    return indices_like(index, X)
