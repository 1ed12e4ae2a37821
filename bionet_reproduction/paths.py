"""Where things lie: the repository, its recorded results, and the folder of unfinished runs."""

from __future__ import annotations

import os
from pathlib import Path

_ABOVE = Path(__file__).resolve().parent.parent


def checkout() -> Path | None:
    """The repository that this package runs from; None if it was installed from a wheel."""
    return _ABOVE if (_ABOVE / "results").is_dir() and (_ABOVE / "pyproject.toml").is_file() else None


def results_folder() -> Path:
    """The folder of recorded results: ``$BIONET_RESULTS``, or the repository's ``results``.

    Raises
    ------
    FileNotFoundError
        Where there is neither.
    """
    named = os.environ.get("BIONET_RESULTS")
    if named:
        return Path(named)
    root = checkout()
    if root is None:
        raise FileNotFoundError(
            "the recorded runs live in the repository, and this package was installed without it: work in a "
            "checkout, or name a folder in BIONET_RESULTS"
        )
    return root / "results"


def runs_folder() -> Path:
    """The folder of unfinished runs: ``$BIONET_RUNS``, or ``runs`` beside the results."""
    named = os.environ.get("BIONET_RUNS")
    return Path(named) if named else results_folder().parent / "runs"


def claims_file() -> Path:
    """The claims, as text; it comes with the package."""
    return Path(__file__).with_name("claims.toml")
