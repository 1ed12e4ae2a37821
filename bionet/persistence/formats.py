"""What saved estimators hold, format by format: parameters, counts, arrays."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

import array_api_compat
import numpy as np

from bionet.checks import choice
from bionet.losses import TRAINING
from bionet.mlp import ACTIVATIONS, BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits

FORMAT = 2
KINDS = {c.__name__: c for c in (CompetingUnits, RankedUnits, PowerReadout, BackpropClassifier)}

# A parameter younger than format 1: the first format whose files all hold it, and the value that says what
# the estimator did before there was a choice. Whoever adds a parameter enters it here and raises FORMAT by
# one, once a release.
BEFORE: dict[str, dict[str, tuple[int, Any]]] = {
    "CompetingUnits": {"engine": (2, "numpy")},
    "RankedUnits": {"engine": (2, "numpy")},
    "PowerReadout": {"engine": (2, "numpy")},
    "BackpropClassifier": {},
}
NEVER = {"checkpoint": None, "units": None}  # in no file: a path; and what has become the rows
IN_PLACE = {"init": "normal", "random_state": None}  # loaded where an array or a generator was left out
COUNTS = {
    "CompetingUnits": ("n_features_in_", "n_silent_"),
    "RankedUnits": ("n_features_in_",),
    "PowerReadout": ("n_features_in_", "n_iter_"),
    "BackpropClassifier": ("n_features_in_", "n_iter_"),
}
LISTS = ("coefs_", "intercepts_")  # stored in parts: coefs_0, coefs_1, ...
ARRAYS = {  # kinds of dtype, and the axes
    "CompetingUnits": {
        "components_": ("f", "hidden features"),
        "wins_": ("i", "hidden"),
        "last_win_": ("i", "hidden"),
    },
    "RankedUnits": {
        "components_": ("f", "hidden features"),
        "wins_": ("i", "hidden"),
        "converged_": ("f", "epochs"),
    },
    "PowerReadout": {
        "components_": ("f", "hidden features"),
        "coef_": ("f", "classes hidden"),
        "intercept_": ("f", "classes"),
        "classes_": ("biufUMm", "classes"),
        "loss_history_": ("f", "steps"),
    },
    "BackpropClassifier": {"classes_": ("biufUMm", "classes"), "loss_history_": ("f", "steps")},
}
_OPTIONS = {  # what a trained classifier still computes with, checked nowhere else
    "PowerReadout": {"loss": TRAINING},
    "BackpropClassifier": {"loss": TRAINING, "activation": ACTIVATIONS},
}
_TYPES: dict[Any, Any] = {float: (int, float), int: int, bool: (bool, int), str: str}


def encode_parameters(params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return parameters as JSON, and the names of those left out: an array, or a generator.

    Raises
    ------
    ValueError
        For any other parameter that JSON cannot hold.
    """
    stored, left_out = {}, []
    for name, value in params.items():
        drawn = isinstance(value, (np.random.Generator, np.random.RandomState, np.random.SeedSequence))
        array = array_api_compat.is_array_api_obj(value) and not isinstance(value, np.generic)
        if name in NEVER:
            continue
        if name in IN_PLACE and (drawn or array):
            left_out.append(name)
            continue
        try:
            stored[name] = _encoded(value)
        except ValueError:
            raise ValueError(
                f"{name} = {value!r} cannot be stored; use numbers, strings, or tuples or lists of them"
            ) from None
    return stored, left_out


def decode_parameters(kind: str, header: dict[str, Any]) -> dict[str, Any]:
    """Return every parameter of an estimator: those a file says, and those it is too old to say.

    Raises
    ------
    ValueError
        For a parameter that is unknown, of a wrong type, or missing.
    """
    params = {name: _decoded(value) for name, value in header["params"].items()}
    params |= {name: IN_PLACE[name] for name in header["left_out"]}
    for name, (since, before) in BEFORE[kind].items():
        if header["format"] < since:
            params.setdefault(name, before)
    every = inspect.signature(KINDS[kind]).parameters.keys()
    if strange := sorted(params.keys() - (every - NEVER.keys())):
        raise ValueError(f"it holds the parameters {strange}, which this version does not take from a file")
    if lacking := sorted(every - NEVER.keys() - params.keys()):
        raise ValueError(f"it lacks the parameters {lacking}, and no table says what it was saved with")
    hints = get_type_hints(KINDS[kind].__init__)
    for name, value in params.items():
        if not isinstance(value, _TYPES.get(hints[name], object)):
            raise ValueError(f"{name} = {value!r} is not of type {hints[name].__name__}")
    for name, options in _OPTIONS.get(kind, {}).items():
        choice(name, params[name], options)
    return params | {name: value for name, value in NEVER.items() if name in every}


def layout(kind: str, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return kinds of dtype and axes of the arrays of an estimator, given which names there are."""
    arrays = dict(ARRAYS[kind])
    if kind == "PowerReadout" and "components_" not in names:
        del arrays["components_"]
        arrays["coef_"] = ("f", "classes features")
    if kind == "BackpropClassifier":
        depth = sum(name.startswith("coefs_") for name in names)
        widths = ["features", *(f"hidden{i}" for i in range(1, depth)), "classes"]
        for i, (into, out) in enumerate(itertools.pairwise(widths)):
            arrays |= {f"coefs_{i}": ("f", f"{out} {into}"), f"intercepts_{i}": ("f", out)}
    if "feature_names_in_" in names:
        arrays["feature_names_in_"] = ("U", "features")
    return arrays


def require_consistent(
    kind: str, n_features: int, heads: Mapping[str, tuple[np.dtype, tuple[int, ...]]]
) -> None:
    """Raise ``ValueError`` unless these dtypes and shapes are those of one estimator."""
    expected, sizes = layout(kind, heads), {"features": n_features}
    if heads.keys() != expected.keys():
        raise ValueError(f"a {kind} does not consist of {', '.join(sorted(heads))[:200]}")
    for name, (kinds, axes) in expected.items():
        dtype, shape = heads[name]
        named = axes.split()
        if dtype.kind not in kinds:
            raise ValueError(f"{name} has dtype {dtype}, which fit does not make or no file can hold")
        if len(shape) != len(named) or any(
            sizes.setdefault(axis, size) != size for axis, size in zip(named, shape, strict=True)
        ):
            raise ValueError(f"{name} has shape {shape}; its axes are ({', '.join(named)}), with {sizes}")
    if not all(size for axis, size in sizes.items() if axis not in ("epochs", "steps")):
        raise ValueError(f"an axis is empty: {sizes}")


def require_sound(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ``ValueError`` for NaN, infinity, or classes that are not two or more, sorted and distinct."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity")
    classes = arrays.get("classes_")
    if classes is not None and not (len(classes) > 1 and (classes[1:] > classes[:-1]).all()):
        raise ValueError(f"classes_ must be two or more, sorted and distinct, got {classes.tolist()[:20]}")


def text(name: str, array: np.ndarray) -> np.ndarray:
    """Return objects that are strings as an array of text; other arrays as they are.

    Raises
    ------
    ValueError
        For an object that is no string, or a string that NumPy would cut (it ends with a zero character).
    """
    if not array.dtype.hasobject:
        return array
    for entry in array.tolist():
        if not isinstance(entry, str) or entry.endswith("\0"):
            raise ValueError(
                f"{name} holds {entry!r} ({type(entry).__name__}), which cannot be stored without pickle; "
                "use strings or integers"
            )
    return np.array(array.tolist(), dtype=str)


def upgrade(header: dict[str, Any], names: Collection[str]) -> dict[str, np.ndarray]:
    """Turn a header of format 1 into one of format 2; return the arrays that are not among `names`.

    Format 1 had lists for tuples, left out what it could not hold without a word, and kept losses and
    names of features in the header. Its first files had no ``converged_``.
    """
    params, values = header["params"], header["values"]
    for name in {"hidden", "learning_rate"} & params.keys():
        if isinstance(params[name], list):
            params[name] = {"tuple": [{"tuple": p} if isinstance(p, list) else p for p in params[name]]}
    if params.get("units", ...) is None:
        del params["units"]
    could = inspect.signature(KINDS[header["kind"]]).parameters.keys() & IN_PLACE.keys()
    header["left_out"] = sorted(could - params.keys())
    arrays = {}
    if header["kind"] == "RankedUnits" and "converged_" not in names:
        arrays["converged_"] = np.empty(0)
    if "loss_history_" in values:
        arrays["loss_history_"] = np.array(values.pop("loss_history_"), dtype=np.float64)
    if header["feature_names"]:
        arrays["feature_names_in_"] = text("feature_names", np.array(header["feature_names"], dtype=object))
    return arrays


def _encoded(value: Any) -> Any:
    """`value` as JSON: a tuple as ``{"tuple": [...]}``, NumPy numbers as Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, (tuple, list)):
        parts = [_encoded(part) for part in value]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError(f"{value!r} cannot be stored")


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if isinstance(value, dict) and value.keys() == {"tuple"}:
        return tuple(_decoded(part) for part in value["tuple"])
    return _encoded(value)
