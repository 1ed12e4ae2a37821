"""Save and load trained estimators without pickle: one ``.npz`` with a JSON header."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bionet
from bionet.backend import to_host
from bionet.checks import choice
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits

_KINDS = {c.__name__: c for c in (CompetingUnits, RankedUnits, PowerReadout, BackpropClassifier)}
_FORMAT = 1
_ARRAYS = {
    "CompetingUnits": ("components_", "wins_", "last_win_"),
    "RankedUnits": ("components_", "wins_", "converged_"),
    "PowerReadout": ("components_", "coef_", "intercept_", "classes_"),
    "BackpropClassifier": ("coefs_", "intercepts_", "classes_"),
}
_VALUES = ("n_features_in_", "n_silent_", "loss_history_", "n_iter_")


def save(estimator: Any, path: str | Path, dtype: str | None = None, exactly: Sequence[str] = ()) -> Path:
    """Write a fitted estimator to `path` (``.npz``), atomically.

    Parameters
    ----------
    estimator : CompetingUnits, RankedUnits, PowerReadout or BackpropClassifier
        Fitted. A readout is stored with its rows; its units come back as those rows.
    path : path
        File to write; ``.npz`` is added if missing.
    dtype : {"float16", "float32", "float64"}, optional
        Store floating arrays in this precision (they load in their original one).
    exactly : sequence of str
        Arrays that keep their own dtype all the same, by name.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    TypeError
        For another kind of estimator.
    ValueError
        If it is not fitted, holds what can only be pickled, or a number too large for `dtype`.
    """
    kind = type(estimator).__name__
    if kind not in _KINDS:
        raise TypeError(f"cannot save {kind}; expected one of {', '.join(sorted(_KINDS))}")
    if not hasattr(estimator, "n_features_in_"):
        raise ValueError(f"this {kind} is not fitted yet; call fit before saving it")
    if dtype is not None:
        choice("dtype", dtype, ("float16", "float32", "float64"))
    arrays: dict[str, np.ndarray] = {}
    kinds: dict[str, str] = {}
    for name in _ARRAYS[kind]:
        value = getattr(estimator, name)
        if value is None:
            continue
        parts = {f"{name}{i}": a for i, a in enumerate(value)} if isinstance(value, list) else {name: value}
        for key, part in parts.items():
            host = to_host(part)
            kinds[key] = host.dtype.str
            rounds = dtype and host.dtype.kind == "f" and name not in exactly
            arrays[key] = _rounded(key, host, str(dtype)) if rounds else host
    if any(a.dtype.hasobject for a in arrays.values()):
        raise ValueError(
            "classes_ of Python objects cannot be stored without pickle; use strings or integers"
        )
    header = {
        "format": _FORMAT,
        "bionet": bionet.__version__,
        "kind": kind,
        "params": _jsonable({k: v for k, v in estimator.get_params(deep=False).items() if k != "checkpoint"}),
        "values": {n: getattr(estimator, n) for n in _VALUES if hasattr(estimator, n)},
        "dtypes": kinds,
        "feature_names": list(getattr(estimator, "feature_names_in_", [])),
    }
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> Any:
    """Read an estimator written by :func:`save`; its arrays are NumPy arrays.

    What :func:`save` cannot hold is left out: parameters that are estimators, arrays or generators
    have their defaults, and an optimiser its start.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    CompetingUnits, RankedUnits, PowerReadout or BackpropClassifier

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, is damaged, or comes from a newer version.
    """
    path = Path(path)
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {name: file[name] for name in file.files if name != "header"}
        newer = header["format"] > _FORMAT
        kind, params, values = header["kind"], header["params"], header["values"]
        cls = _KINDS[kind]
        arrays = {name: a.astype(header["dtypes"][name]) for name, a in arrays.items()}
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not an estimator saved by bionet, or is damaged ({error}); train and save it again"
        ) from error
    if newer:
        raise ValueError(f"{path} was written by a newer bionet ({header['bionet']}); update this one")
    if kind == "PowerReadout":
        params["units"] = arrays.get("components_")
    if isinstance(params.get("learning_rate"), list):
        params["learning_rate"] = tuple(map(tuple, params["learning_rate"]))
    if isinstance(params.get("hidden"), list):
        params["hidden"] = tuple(params["hidden"])
    estimator = cls(**params)
    for name in _ARRAYS[kind]:
        if name in ("coefs_", "intercepts_"):
            count = sum(key.startswith(name) for key in arrays)
            setattr(estimator, name, [arrays[f"{name}{i}"] for i in range(count)])
        else:
            setattr(estimator, name, arrays.get(name))
    if kind == "PowerReadout":
        estimator.units_ = None
    for name, value in values.items():
        setattr(estimator, name, value)
    if header.get("feature_names"):
        estimator.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    return estimator


def _rounded(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > float(np.finfo(dtype).max):
        raise ValueError(f"{name} holds {largest:.3g}, too large for {dtype}; save it without dtype")
    return array.astype(dtype)


def _jsonable(params: dict[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold; estimators, arrays and generators are left to their defaults."""
    kept = {}
    for name, value in params.items():
        value = value.item() if isinstance(value, np.generic) else value
        try:
            json.dumps(value)
        except TypeError:
            continue
        kept[name] = value
    return kept
