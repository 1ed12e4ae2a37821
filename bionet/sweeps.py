"""Many independent cells, side by side, each kept as soon as it is done.

A cell is a plain dict of settings; a worker turns it into a plain dict of results. Every result is written to
its own file at once, so a sweep that was stopped goes on where it was. The same code runs on this machine's
cores (joblib) or on a Dask cluster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from bionet.files import atomic_write

Cell = dict[str, Any]


def key(cell: Cell) -> str:
    """Return the name of a cell's file: a hash of its settings, whatever their order."""
    return hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:20]


def done(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """Return the kept result of `cell`, or None.

    Raises
    ------
    ValueError
        If its file is damaged; the message names it.
    """
    path = folder / f"{key(cell)}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["result"] if kept["cell"] == json.loads(json.dumps(cell)) else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a cell's result ({error}); delete it to compute it again") from error


def run(
    cells: Iterable[Cell],
    worker: Callable[[Cell], dict[str, Any]],
    folder: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    label: str = "cells",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Return the results of `cells`, in their order, computing those that are not kept yet.

    Parameters
    ----------
    cells : iterable of dict
        Settings, as plain JSON.
    worker : callable
        From a cell to its result, as plain JSON. It must be importable by name: it runs in other processes.
    folder : path
        Where results are kept, a file each.
    jobs : int
        Processes on this machine; 1 computes in this one.
    dask : str, optional
        Address of a Dask scheduler (``tcp://host:8786``). The cells then run on its workers, which need
        `bionet` and the data; results come back here.
    label : str
        For the progress bar.
    progress : bool
        Show it.

    Raises
    ------
    ModuleNotFoundError
        With `dask` but without the extra ``dask``.
    """
    cells = list(cells)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key(cell): done(cell, folder) for cell in cells}
    missing = {key(cell): cell for cell in cells if kept[key(cell)] is None}
    if missing:
        with _cluster(dask) if dask else nullcontext():
            parallel = Parallel(
                n_jobs=-1 if dask else jobs,
                backend=None if dask else ("sequential" if jobs == 1 else "loky"),
                return_as="generator_unordered",
                batch_size=1,
                pre_dispatch="all" if dask else "2*n_jobs",
            )
            results = parallel(delayed(_one)(worker, cell) for cell in missing.values())
            for name, result in tqdm(results, total=len(missing), desc=label, disable=not progress):
                kept[name] = result
                _keep(folder / f"{name}.json", missing[name], result)
    return [result for cell in cells if (result := kept[key(cell)]) is not None]


def _one(worker: Callable[[Cell], dict[str, Any]], cell: Cell) -> tuple[str, dict[str, Any]]:
    return key(cell), worker(cell)


def _keep(path: Path, cell: Cell, result: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps({"cell": cell, "result": result}, indent=1, allow_nan=False).encode())


def _cluster(address: str) -> Any:
    """Context in which joblib computes on the Dask cluster at `address`."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ModuleNotFoundError("a Dask cluster needs Dask: pip install 'dask[distributed]'") from error

    class Cluster:
        def __enter__(self) -> None:
            self.client = Client(address)
            self.config = parallel_config(backend="dask", client=self.client)
            self.config.__enter__()

        def __exit__(self, *raised: Any) -> None:
            self.config.__exit__(*raised)
            self.client.close()

    return Cluster()
