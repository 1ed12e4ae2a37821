"""Records in ``results/``: where and with what a run was made, writing, checking and reading."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import bionet
from bionet import data
from bionet.files import atomic_write
from bionet_reproduction.paths import results_folder
from bionet_reproduction.statistics import interval

SCHEMA = 1


def provenance(*sets: str, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Where and with what a run was made.

    Parameters
    ----------
    *sets : str
        Names of data sets; the hashes of both parts are kept.
    needs : tuple of str
        Names of recorded runs that were read; the hashes of their files are kept.

    Returns
    -------
    dict
        Hashes, versions, machine, threads, commit, command.
    """
    parts = [data.load(name, split=split) for name in sets for split in ("train", "test")]
    return {
        "data": {f"{part.name}/{part.split}": part.sha256 for part in parts},
        "needs": {name: fingerprint(name) for name in needs},
        "versions": {
            "bionet": bionet.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in ("numpy", "scipy", "scikit-learn")},
        },
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "blas": _blas(),
        },
        "commit": commit(),
        "command": " ".join(["bionet", *sys.argv[1:]]),
    }


def fingerprint(name: str) -> str | None:
    """SHA-256 of a recorded run's file; None if it is not there."""
    path = results_folder() / f"{name}.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def write(name: str, record: dict[str, Any]) -> Path:
    """Check a record and write ``results/NAME.json``, atomically."""
    validate(record)
    path = results_folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return path


def load_trained(name: str) -> Any:
    """Return the recorded net of a run, as stored in ``results/NAME-seed0.npz``.

    Parameters
    ----------
    name : str
        ``"mnist"``, ``"cifar10"`` or ``"dynamical"``.

    Returns
    -------
    bionet.readout.PowerReadout
        Trained, with the paper's loss; its weights went through float16.

    Raises
    ------
    FileNotFoundError
        If no net of that name has been recorded; the message says how to record it.
    """
    from bionet import persistence

    path = results_folder() / f"{name}-seed0.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run `bionet reproduce {name}` to train and record it")
    return persistence.load(path)


def validate(record: Any) -> None:
    """Check a record against the schema that all files in ``results/`` of the full-scale runs share.

    A record names its run, schema version and settings, says where it was made, and wherever it holds
    ``values`` with a ``mean``, that mean and its interval follow from the values.

    Raises
    ------
    ValueError
        Naming what is missing or wrong.
    """
    needed = {"run": str, "schema": int, "settings": dict, "provenance": dict}
    for name, kind in needed.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"a record needs {name!r} ({kind.__name__}), got {record.get(name)!r}")
    missing = {"data", "versions", "machine", "commit", "command"} - record["provenance"].keys()
    if missing:
        raise ValueError(f"provenance lacks {', '.join(sorted(missing))}")
    _validate_values(record["run"], record)


def _validate_values(where: str, part: Any) -> None:
    if isinstance(part, list):
        for index, entry in enumerate(part):
            _validate_values(f"{where}[{index}]", entry)
    if not isinstance(part, dict):
        return
    for name, entry in part.items():
        _validate_values(f"{where}.{name}", entry)
    values = part.get("values")
    if values is None:
        return
    if not values or not np.isfinite(values).all():
        raise ValueError(f"{where}.values must be finite numbers, at least one, got {values!r}")
    if "mean" in part:
        said = [part["mean"], part["low"], part["high"]]
        if not np.allclose(said, interval(values), rtol=0, atol=1e-9 + 1e-9 * abs(said[0])):
            raise ValueError(f"{where}: mean and interval {said} do not follow from {values}")


def record(name: str) -> dict[str, Any]:
    """Read the recorded run ``results/NAME.json``.

    Raises
    ------
    FileNotFoundError
        If it has not been recorded, with the command that records it.
    """
    path = results_folder() / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} has not been recorded; run `bionet reproduce {name}` to record it"
        ) from None


def chosen_loss() -> tuple[float, float]:
    """m and beta as the recorded run ``mnist`` chose them."""
    best = record("mnist")["selection"]["chosen"]
    return best["m"], best["beta"]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _blas() -> list[dict[str, Any]]:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    keys = ("internal_api", "version", "architecture", "num_threads")
    return [{k: pool.get(k) for k in keys} for pool in threadpool_info() if pool["user_api"] == "blas"]


def commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
