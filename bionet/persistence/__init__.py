"""Save and load trained estimators without pickle.

A saved net is one ``.npz`` of format 2. Its JSON ``header`` holds the number of the ``format``, the
version of the package (``bionet``), the ``kind`` of estimator, its public parameters (``params``), the names
of those that were ``left_out``, counts (``values``) and the original ``dtypes``. Beside it lie the learned
arrays, each under its own name (``coefs_0``, ``coefs_1``, ... for a list).

A net means what it meant when it was saved: a parameter that did not exist then loads as the behaviour of
that time, not as today's default. Files of format 1 load, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bionet
from bionet.backend import to_host
from bionet.checks import choice, integer
from bionet.files import ArrayFile, write_arrays
from bionet.persistence import formats


class _Newer(ValueError):
    """The file is in order, but from a later version."""


def save(estimator: Any, path: str | Path, dtype: str | None = None, exactly: Sequence[str] = ()) -> Path:
    """Write a fitted estimator to `path` (``.npz``), atomically.

    Parameters
    ----------
    estimator : CompetingUnits, RankedUnits, PowerReadout or BackpropClassifier
        Fitted. A readout is stored with its rows; its units come back as those rows. Left out are
        `checkpoint`, an array as `init` and a generator as `random_state`.
    path : path
        File to write; ``.npz`` is added if missing.
    dtype : {"float16", "float32", "float64"}, optional
        Store learned weights in this precision (they load in their original one).
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
        If it is not fitted, holds NaN, arrays that do not fit together, labels or parameters that no
        file can hold, or a number too large for `dtype`.
    """
    kind = type(estimator).__name__
    if formats.KINDS.get(kind) is not type(estimator):
        raise TypeError(f"cannot save {kind}; expected one of {', '.join(sorted(formats.KINDS))}")
    if not hasattr(estimator, "n_features_in_"):
        raise ValueError(f"this {kind} is not fitted yet; call fit before saving it")
    if dtype is not None:
        choice("dtype", dtype, ("float16", "float32", "float64"))
    learned = _learned(estimator)
    arrays = {name: formats.text(name, array) for name, array in learned.items()}
    heads = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    formats.require_consistent(kind, estimator.n_features_in_, heads)
    formats.require_sound(arrays)
    params, left_out = formats.encode_parameters(estimator.get_params(deep=False))
    header = {
        "format": formats.FORMAT,
        "bionet": bionet.__version__,
        "kind": kind,
        "params": params,
        "left_out": left_out,
        "values": {name: int(getattr(estimator, name)) for name in formats.COUNTS[kind]},
        "dtypes": {name: array.dtype.str for name, array in learned.items()},
    }
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    kept = {"classes_", "loss_history_", *exactly}
    for name, array in arrays.items():
        if dtype and array.dtype.kind == "f" and kept.isdisjoint({name, name.rstrip("0123456789")}):
            arrays[name] = _rounded(name, array, dtype)
    write_arrays(path, header, arrays)
    return path


def load(path: str | Path) -> Any:
    """Read an estimator written by :func:`save`; its arrays are NumPy arrays.

    What :func:`save` leaves out comes back as ``checkpoint=None``, ``init="normal"`` and
    ``random_state=None``, and an optimiser begins anew. Types, shapes and sizes are checked before an
    array is read; no file, however made, runs code or names one to be written.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    CompetingUnits, RankedUnits, PowerReadout or BackpropClassifier

    Raises
    ------
    OSError
        If the file cannot be opened (``FileNotFoundError``: there is none).
    ValueError
        If it is not such a file, is damaged, or comes from a newer version.
    """
    with open(path, "rb") as opened:
        try:
            return _read(ArrayFile(opened))
        except _Newer as error:
            raise ValueError(f"{path} {error}") from None
        except Exception as error:  # whatever a damaged file makes zipfile, zlib, json or NumPy raise
            reason = str(error)[:500] or type(error).__name__
            raise ValueError(
                f"{path} is not an estimator saved by bionet, or is damaged ({reason}); "
                "train and save it again"
            ) from error


def _read(file: ArrayFile) -> Any:
    header = file.header()
    if integer("format", header["format"]) > formats.FORMAT:
        raise _Newer(f"was written by a newer bionet ({str(header['bionet'])[:20]}); update this one")
    kind, counts = choice("kind", header["kind"], tuple(formats.KINDS)), header["values"]
    arrays = formats.upgrade(header, file.names) if header["format"] == 1 else {}
    params = formats.decode_parameters(kind, header)
    if counts.keys() != set(formats.COUNTS[kind]):
        raise ValueError(f"it counts {sorted(counts)} where {formats.COUNTS[kind]} are expected")
    for name, count in counts.items():
        integer(name, count, 0)
    _require_named(file, kind, arrays)
    stored = {name: file.head(name) for name in file.names}
    known = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    formats.require_consistent(kind, counts["n_features_in_"], stored | known)
    original = {name: _original(name, dtype, header["dtypes"][name]) for name, (dtype, _) in stored.items()}
    arrays |= {name: file.read(name) for name in file.names}
    formats.require_sound(arrays)
    arrays |= {name: arrays[name].astype(dtype) for name, dtype in original.items()}
    if kind == "PowerReadout":
        params["units"] = arrays.get("components_")
    estimator = formats.KINDS[kind](**params)
    for name in formats.LISTS if kind == "BackpropClassifier" else ():
        depth = sum(part.startswith(name) for part in arrays)
        setattr(estimator, name, [arrays.pop(f"{name}{i}") for i in range(depth)])
    if kind == "PowerReadout":
        estimator.units_ = estimator.components_ = None
    for name, value in {**counts, **arrays}.items():
        setattr(estimator, name, value.tolist() if name == "loss_history_" else value)
    return estimator


def _learned(estimator: Any) -> dict[str, np.ndarray]:
    """The learned arrays on the host: lists in parts, what is None left out."""
    arrays: dict[str, np.ndarray] = {}
    for name in (*formats.ARRAYS[type(estimator).__name__], *formats.LISTS, "feature_names_in_"):
        value = getattr(estimator, name, None)
        if name in formats.LISTS and value is not None:
            arrays |= {f"{name}{i}": to_host(part) for i, part in enumerate(value)}
        elif value is not None:
            arrays[name] = to_host(value)
    return arrays


def _require_named(file: ArrayFile, kind: str, known: dict[str, np.ndarray]) -> None:
    """Raise ``ValueError`` before a head is read of an array that is not expected."""
    strange = [name for name in file.names if name in known or name not in formats.layout(kind, file.names)]
    if strange:
        raise ValueError(f"a {kind} has no array {strange[0][:100]!r}")


def _original(name: str, stored: np.dtype, said: Any) -> np.dtype:
    """The dtype that an array had before it was saved."""
    if said == "|O" and stored.kind == "U":
        return np.dtype(object)
    dtype = np.dtype(str(said))
    rounded = dtype.kind == stored.kind == "f" and dtype.itemsize <= 8
    if not rounded and dtype != stored:
        raise ValueError(f"{name} is stored as {stored}, but is said to be {said!r}")
    return dtype


def _rounded(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > float(np.finfo(dtype).max):
        raise ValueError(f"{name} holds {largest:.3g}, too large for {dtype}; save it without dtype")
    return array.astype(dtype)
