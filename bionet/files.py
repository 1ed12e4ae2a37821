"""Files written whole or not at all, and ``.npz`` files read with suspicion, without pickle."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

LIMIT = 1 << 32  # bytes of one array
HEADER_LIMIT = 1 << 26  # bytes of a JSON header
_DEFLATE = 1032  # bytes that deflate can make of one, at most


@contextlib.contextmanager
def atomic_write(path: str | Path, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` once the block has ended without an error.

    A crash leaves the old file or the new one, whole; writers side by side do not meet.

    Parameters
    ----------
    path : path
        Final place; its folder is made if it is missing.
    sync : bool
        Wait until the bytes are on the disk, so that not even a power failure leaves half a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(partial, "xb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_arrays(
    path: str | Path,
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
    *,
    compress: bool = True,
    sync: bool = False,
) -> None:
    """Write an ``.npz`` of `arrays` and a JSON `header`, atomically.

    Raises
    ------
    ValueError
        For what :class:`ArrayFile` would not read: objects, NaN in the header, too many bytes.
    """
    text = np.array(json.dumps(header, allow_nan=False))
    for name, array, limit in [("header", text, HEADER_LIMIT), *((n, a, LIMIT) for n, a in arrays.items())]:
        _require_plain(name, array.dtype, array.nbytes, limit)
    with atomic_write(path, sync) as file:
        write = np.savez_compressed if compress else np.savez
        # none of them holds objects: nothing is pickled
        write(file, header=text, **arrays)  # type: ignore[arg-type]  # its options have no such names


class ArrayFile:
    """An ``.npz`` with a JSON header: first its names, then dtypes and shapes, and only then arrays.

    Nothing is allocated before what the array says of itself agrees with the zip's own directory, and
    nothing is unpickled. A damaged or hostile file raises whatever zipfile, zlib and NumPy raise.

    Parameters
    ----------
    file : binary file
        Opened for reading.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        members = [info.filename for info in self._zip.infolist()]
        # NumPy before 2.2 kept the option allow_pickle, once given here to savez, as an array of that name.
        passed_over = ("header.npy", "allow_pickle.npy")
        self.names = [member.removesuffix(".npy") for member in members if member not in passed_over]
        if len(set(members)) < len(members) or not all(member.endswith(".npy") for member in members):
            raise ValueError(f"it holds members twice, or others than arrays: {', '.join(members)[:200]}")

    def header(self) -> dict[str, Any]:
        """Return the JSON header."""
        dtype, shape = self.head("header", HEADER_LIMIT)
        if dtype.kind != "U" or shape:
            raise ValueError("its header is no text")
        header = json.loads(str(self.read("header")), parse_constant=_not_json)
        if not isinstance(header, dict):
            raise TypeError("its header is no table")
        return header

    def head(self, name: str, limit: int = LIMIT) -> tuple[np.dtype, tuple[int, ...]]:
        """Return dtype and shape of an array, without reading it."""
        info = self._zip.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is compressed by a method that is not used here")
        with self._zip.open(info) as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise ValueError(f"{name} has a version that is not used here")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            start = member.tell()
        if any(isinstance(n, bool) or n < 0 for n in shape):
            raise ValueError(f"{name} has shape {shape}")
        size = math.prod(shape) * dtype.itemsize
        _require_plain(name, dtype, size, limit)
        if start + size != info.file_size or info.file_size > _DEFLATE * (info.compress_size + 64):
            raise ValueError(f"{name} of {dtype} {shape} has not the size that the file says")
        return dtype, shape

    def read(self, name: str) -> np.ndarray:
        """Return an array; call :meth:`head` first."""
        with self._zip.open(f"{name}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):
                raise ValueError(f"{name} is longer than it says")
        return array


def _require_plain(name: str, dtype: np.dtype, size: int, limit: int) -> None:
    if dtype.hasobject or dtype.names or dtype.subdtype or not dtype.itemsize:
        raise ValueError(f"{name} has dtype {dtype}, which no file here holds")
    if size > limit:
        raise ValueError(f"{name} has {size} bytes, more than the limit of {limit}")


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"its header holds {constant}")
