"""Checkpoints of long runs: atomic, without pickle, and refused by a run they do not belong to."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bionet.files import ArrayFile, write_arrays

EVERY = 120.0  # seconds between two saves


def fingerprint(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, dtype and bytes."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode())
    digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


class Checkpoint:
    """Where a run keeps its state between two sessions.

    Parameters
    ----------
    path : path
        File (``.npz``).
    identity : dict
        What must agree for the state to belong to the run: settings, seed, a hash of the images. Plain JSON.
    """

    def __init__(self, path: str | Path, identity: dict[str, Any]) -> None:
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self._saved = time.monotonic()

    def load(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """Return the epochs done and the arrays, or None if there is no checkpoint.

        Raises
        ------
        ValueError
            If the file is damaged, or belongs to a run with other settings, which are named.
        """
        if not self.path.exists():
            return None
        try:
            with open(self.path, "rb") as opened:
                file = ArrayFile(opened)
                header = file.header()
                epoch, identity = int(header["epoch"]), dict(header["identity"])
                arrays = {name: file.read(name) for name in file.names if file.head(name)}
        except Exception as error:  # whatever a damaged file makes zipfile, zlib, json or NumPy raise
            raise ValueError(
                f"{self.path} is not a checkpoint of bionet, or is damaged ({error}); delete it to start over"
            ) from error
        differ = [
            f"{key} = {identity.get(key)!r} there, {self.identity.get(key)!r} here"
            for key in sorted(identity.keys() | self.identity.keys())
            if identity.get(key) != self.identity.get(key)
        ]
        if differ:
            raise ValueError(
                f"{self.path} belongs to another run ({'; '.join(differ)}); delete it or name another file"
            )
        return epoch, arrays

    def save(self, epoch: int, arrays: dict[str, np.ndarray]) -> None:
        """Write the state after `epoch` epochs."""
        header = {"epoch": epoch, "identity": self.identity}
        write_arrays(self.path, header, arrays, compress=False, sync=True)
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether the last save is longer ago than :data:`EVERY` seconds."""
        return time.monotonic() - self._saved > EVERY


class Keeper:
    """Counts the epochs of a run and, with a checkpoint, keeps its state: a context around its loop.

    Parameters
    ----------
    checkpoint : Checkpoint or None
    state : callable
        Returns the arrays to keep.
    """

    def __init__(self, checkpoint: Checkpoint | None, state: Callable[[], dict[str, np.ndarray]]) -> None:
        self._checkpoint, self._state = checkpoint, state
        self._whole: tuple[int, dict[str, np.ndarray]] | None = (
            None  # the last whole epochs, and the state then
        )

    def epochs(self, done: int, count: int, progress: bool) -> Iterator[int]:
        """Yield the epochs that are left; save from time to time, and at the end."""
        self._count = count
        left = tqdm(range(done, count), desc="epochs", disable=not progress, initial=done, total=count)
        for epoch in left:
            if self._checkpoint:
                self._whole = (epoch, self._state())
            yield epoch
            if self._checkpoint and (self._checkpoint.due() or epoch + 1 == count):
                self._checkpoint.save(epoch + 1, self._state())

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Save the last whole epoch where a user stops the run, and say how to go on."""
        if kind is None or not issubclass(kind, KeyboardInterrupt) or not self._checkpoint or not self._whole:
            return
        self._checkpoint.save(*self._whole)
        raise KeyboardInterrupt(
            f"stopped; the state after epoch {self._whole[0]} of {self._count} is in "
            f"{self._checkpoint.path}: run the same again to go on"
        ) from None
