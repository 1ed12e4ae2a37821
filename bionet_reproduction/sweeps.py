"""Many independent pieces of work, side by side, each kept as soon as it is done.

A cell is a small frozen dataclass: its fields are the settings, its method ``work`` turns them into a plain
dict of results. Every result is written to its own file at once, so a sweep that was stopped goes on where it
was. The same code runs on this machine's cores (joblib) or on a Dask cluster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from bionet.files import atomic_write
from bionet_reproduction.paths import runs_folder


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one thing, and how it is made. Recipes nest.

    Attributes
    ----------
    VERSION : int
        Of the code that makes it. Raise it when the same settings give another result: what was kept before
        is then computed again.
    """

    VERSION: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Cell(Recipe):
    """One piece of work of a sweep."""

    def work(self) -> dict[str, Any]:
        """Return the result, as plain JSON."""
        raise NotImplementedError


def described(value: Any) -> Any:
    """Return settings as plain JSON; a recipe names its type and the version of its code.

    Raises
    ------
    TypeError
        For what JSON cannot hold.
    """
    if is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: described(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, Recipe):
            return {"recipe": type(value).__name__, "version": value.VERSION, **entries}
        return entries
    if isinstance(value, Mapping):
        return {str(name): described(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"settings are made of numbers, words and recipes, got {value!r}")


def key(recipe: Recipe) -> str:
    """Return the name under which a recipe's result is kept: a hash of all that it depends on."""
    text = json.dumps(described(recipe), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def kept(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """Return the kept result of `cell`, or None.

    Raises
    ------
    ValueError
        If its file is damaged; the message names it.
    """
    path = folder / f"{key(cell)}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["result"] if found["cell"] == described(cell) else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a cell's result ({error}); delete it to compute it again") from error


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """How the cells of a run are computed.

    Attributes
    ----------
    jobs : int
        Processes on this machine; 1 computes in this one.
    dask : str, optional
        Address of a Dask scheduler (``tcp://host:8786``). The cells then run on its workers, which need
        this package and the data; results come back here.
    progress : bool
        Show a progress bar.
    folder : path, optional
        Where results are kept, a file each; ``cells`` in the folder of unfinished runs by default.
    """

    jobs: int = 1
    dask: str | None = None
    progress: bool = True
    folder: Path | None = None

    def __call__(self, cells: Iterable[Cell], label: str = "cells") -> list[dict[str, Any]]:
        """Return the results of `cells`, in their order, computing those that are not kept yet.

        Raises
        ------
        ModuleNotFoundError
            With `dask` where Dask is not installed.
        """
        from joblib import Parallel, delayed
        from tqdm import tqdm

        cells = list(cells)
        folder = self.folder or runs_folder() / "cells"
        folder.mkdir(parents=True, exist_ok=True)
        results = {key(cell): kept(cell, folder) for cell in cells}
        missing = {key(cell): cell for cell in cells if results[key(cell)] is None}
        if missing:
            with _cluster(self.dask) if self.dask else nullcontext():
                parallel = Parallel(
                    n_jobs=-1 if self.dask else self.jobs,
                    backend=None if self.dask else ("sequential" if self.jobs == 1 else "loky"),
                    return_as="generator_unordered",
                    batch_size=1,
                    pre_dispatch="all" if self.dask else "2*n_jobs",
                )
                done = parallel(delayed(_one)(cell) for cell in missing.values())
                for name, result in tqdm(done, total=len(missing), desc=label, disable=not self.progress):
                    results[name] = result
                    _keep(folder / f"{name}.json", missing[name], result)
        return [result for cell in cells if (result := results[key(cell)]) is not None]


def _one(cell: Cell) -> tuple[str, dict[str, Any]]:
    return key(cell), cell.work()


def _keep(path: Path, cell: Cell, result: dict[str, Any]) -> None:
    text = json.dumps({"cell": described(cell), "result": result}, indent=1, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode())


def _cluster(address: str) -> Any:
    """Context in which joblib computes on the Dask cluster at `address`."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ModuleNotFoundError("a Dask cluster needs Dask: pip install 'dask[distributed]'") from error
    from joblib import parallel_config

    class Cluster:
        def __enter__(self) -> None:
            self.client = Client(address)
            self.config = parallel_config(backend="dask", client=self.client)
            self.config.__enter__()

        def __exit__(self, *raised: Any) -> None:
            self.config.__exit__(*raised)
            self.client.close()

    return Cluster()
