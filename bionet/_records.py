"""Records in ``results/``: where and with what a run was made, its spread, writing and reading."""

from __future__ import annotations

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
from bionet.backend import require_finite, require_number
from bionet.files import atomic_write
from bionet.ledger import results_folder


def provenance(*sets: data.ImageSet) -> dict[str, Any]:
    """Where and with what a run was made: data hashes, versions, machine, threads, commit."""
    return {
        "data": {f"{s.name}/{s.split}": s.sha256 for s in sets},
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
    from scipy.stats import t as student

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"an interval needs at least two values in one dimension, got {values!r}")
    require_finite("values", array)
    confidence = require_number("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    half = student.ppf(0.5 + confidence / 2, array.size - 1) * array.std(ddof=1) / array.size**0.5
    return float(array.mean()), float(array.mean() - half), float(array.mean() + half)


def write(name: str, record: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` atomically."""
    path = results_folder() / f"{name}.json"
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return path


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
