"""Images to learn from: MNIST, CIFAR-10, the embedded digits, and your own.

:func:`load` looks in ``$BIONET_DATA``, then in the user's cache, then downloads. Every byte
it returns has been checked against the official SHA-256.

=================== ==========================================================================
environment         meaning
=================== ==========================================================================
``BIONET_DATA``     folder with ``mnist/*.gz`` and ``cifar10/cifar-10-binary.tar.*`` (or
                    ``cifar10/cifar-10-batches-bin/*.bin``). Once set, nothing else is used:
                    what is missing there raises, even with ``stand_in=True``.
``BIONET_OFFLINE``  ``1`` forbids downloads.
=================== ==========================================================================

Host only: move an array to a GPU with its own library, for instance ``cupy.asarray``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bionet.data import archives, samples
from bionet.data.archives import DataCorrupt, DataUnavailable, cache_folder
from bionet.data.imageset import ImageSet, check_pixels, from_array, load_folder, make

__all__ = [
    "IMAGE_SHAPE",
    "NAMES",
    "DataCorrupt",
    "DataStatus",
    "DataUnavailable",
    "ImageSet",
    "cache_folder",
    "check_pixels",
    "fetch",
    "from_array",
    "load",
    "load_folder",
    "status",
]

IMAGE_SHAPE: dict[str, tuple[int, ...]] = {
    "mnist": (28, 28),
    "cifar10": (3, 32, 32),
    "digits": (28, 28),
}
"""Shape of one image of each data set, (rows, columns) or (3, rows, columns)."""

NAMES = tuple(IMAGE_SHAPE)
"""The data sets that :func:`load` knows."""

_TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "scikit-learn's handwritten digits"}
_SPLITS = ("train", "test")
_ABSENT = (FileNotFoundError, NotADirectoryError)
_DIGITS = tuple("0123456789")
_CLASSES = {
    "mnist": _DIGITS,
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
_LAYOUT = {
    "mnist": "mnist/train-images-idx3-ubyte.gz and its three companions",
    "cifar10": "cifar10/cifar-10-binary.tar.gz or cifar10/cifar-10-batches-bin/*.bin",
}


@dataclass(frozen=True)
class DataStatus:
    """Where one data set stands on this machine."""

    name: str
    """A name that :func:`load` knows."""
    state: Literal["ready", "missing", "damaged", "embedded"]
    """A verified set is "ready", one that comes with scikit-learn is "embedded"."""
    where: str
    """The folder that was looked into."""
    detail: str
    """What is wrong and what to do about it; empty when nothing is."""


def load(name: str, split: str = "train", *, stand_in: bool = False) -> ImageSet:
    """Return the images and labels of a data set, verified.

    Parameters
    ----------
    name : {"mnist", "cifar10", "digits"}
        "digits" are scikit-learn's 1797 handwritten digits, resized to 28 x 28; they are always
        at hand.
    split : {"train", "test"}
        60 000 / 10 000 images of MNIST, 50 000 / 10 000 of CIFAR-10, 1437 / 360 digits.
    stand_in : bool
        Where the data set can neither be found nor downloaded, return other images of the same
        shape, with ``.stand_in`` true: for MNIST the digits, for CIFAR-10 patches of
        scikit-learn's two sample photographs (labels: which photograph).

    Returns
    -------
    ImageSet
        Newly made read-only arrays: 188 MB for MNIST's training images, 614 MB for CIFAR-10's.

    Raises
    ------
    ValueError
        Unknown `name` or `split`.
    DataUnavailable
        ``BIONET_DATA`` names no folder or lacks the files; or, without `stand_in`, there is no
        local file and none can be downloaded.
    DataCorrupt
        A file is here but damaged. It is left as it is, and so are the others.
    """
    _require(name, NAMES, "data set")
    _require(split, _SPLITS, "split")
    if name == "digits":
        images, labels = samples.digits(split)
        return make(images, labels, IMAGE_SHAPE[name], name, split, _TITLES[name], _DIGITS)
    try:
        images, labels, hashes = _read(name, split)
    except DataUnavailable:
        if not stand_in or _explicit_folder() is not None:
            raise
        return load_stand_in(name, split)
    return make(images, labels, IMAGE_SHAPE[name], name, split, _TITLES[name], _CLASSES[name], hashes=hashes)


def fetch(name: str) -> list[Path]:
    """Make sure that a data set is here, whole; download what is missing or damaged.

    Intact files are kept. The files go to ``$BIONET_DATA`` where it is set, else to the user's
    cache.

    Parameters
    ----------
    name : {"mnist", "cifar10", "digits"}

    Returns
    -------
    list of Path
        The files that were downloaded; empty when nothing was needed.

    Raises
    ------
    ValueError
        Unknown `name`.
    DataUnavailable
        No address gave the file, ``BIONET_OFFLINE=1``, or the folder cannot be written.
    """
    _require(name, NAMES, "data set")
    if name == "digits":
        return []
    folder = _root() / name
    fetched = []
    for remote in archives.REGISTRY[name]:
        try:
            _contents(folder, remote)
        except (*_ABSENT, DataCorrupt):
            target = folder / remote.name
            if _offline():
                raise DataUnavailable(_missing(name, "BIONET_OFFLINE forbids downloads")) from None
            try:
                archives.download(remote, target)
            except DataUnavailable as error:
                raise DataUnavailable(_missing(name, str(error))) from error
            fetched.append(target)
    return fetched


def status(name: str) -> DataStatus:
    """Say whether :func:`load` would find a data set without downloading, and verify it.

    Parameters
    ----------
    name : {"mnist", "cifar10", "digits"}

    Raises
    ------
    ValueError
        Unknown `name`.
    DataUnavailable
        ``BIONET_DATA`` names no folder.
    """
    _require(name, NAMES, "data set")
    if name == "digits":
        return DataStatus(name, "embedded", "scikit-learn", "")
    folder = _root() / name
    try:
        for remote in archives.REGISTRY[name]:
            _contents(folder, remote)
    except _ABSENT:
        return DataStatus(name, "missing", str(folder), f"run `bionet data fetch {name}`")
    except DataCorrupt as error:
        return DataStatus(name, "damaged", str(folder), _damaged(name, error))
    return DataStatus(name, "ready", str(folder), "")


def _read(name: str, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Return images, labels and content hashes, from disk or, if need be, the network."""
    folder = _root() / name
    remotes = archives.REGISTRY[name]
    try:
        try:
            return _decode(name, folder, remotes, split)
        except _ABSENT as error:
            if _explicit_folder() is not None:
                raise DataUnavailable(
                    _missing(name, f"BIONET_DATA is set, and {error.filename or folder} is not there")
                ) from None
            fetch(name)
            return _decode(name, folder, remotes, split)
    except DataCorrupt as error:
        raise DataCorrupt(_damaged(name, error)) from error


def _decode(
    name: str, folder: Path, remotes: Sequence[archives.Remote], split: str
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    if name == "mnist":
        chosen = remotes[:2] if split == "train" else remotes[2:]
        images, labels = (archives.read_gzip(folder / remote.name, remote) for remote in chosen)
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)  # idx header: 4 integers
        classes = np.frombuffer(labels, np.uint8, offset=8)
        hashes = [digest for remote in chosen for digest in remote.contents.values()]
    else:
        (remote,) = remotes
        *batches, test = remote.contents
        members = batches if split == "train" else [test]
        rows = archives.read_cifar(folder, remote, members)
        records = np.concatenate(rows).reshape(-1, 3073)  # 1 label byte, 3072 pixels
        pixels, classes = records[:, 1:], records[:, 0]
        hashes = [remote.contents[member] for member in members]
    return samples.unit_interval(pixels), classes.astype(np.int64), hashes


def _contents(folder: Path, remote: archives.Remote) -> None:
    """Verify one file of a data set, or raise as the readers do."""
    if remote.name.endswith(".tar.gz"):
        archives.read_cifar(folder, remote, list(remote.contents))
    else:
        archives.read_gzip(folder / remote.name, remote)


def load_stand_in(name: str, split: str) -> ImageSet:
    if name == "mnist":
        images, labels = samples.digits(split)
        source = "scikit-learn's handwritten digits, standing in for MNIST"
        class_names = _DIGITS
    else:
        images, labels = samples.photo_patches(split)
        source = "patches of scikit-learn's sample photographs, standing in for CIFAR-10"
        class_names = ("china", "flower")
    return make(images, labels, IMAGE_SHAPE[name], name, split, source, class_names, stand_in=True)


def _explicit_folder() -> Path | None:
    """Return ``$BIONET_DATA`` if it is set; raise if it is no folder."""
    value = os.environ.get("BIONET_DATA", "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataUnavailable(
            f"BIONET_DATA is set to {value}, which is no folder: correct it, or unset it to use "
            f"the cache {cache_folder()}"
        )
    return folder


def _root() -> Path:
    return _explicit_folder() or cache_folder()


def _offline() -> bool:
    return os.environ.get("BIONET_OFFLINE", "") not in ("", "0")


def _missing(name: str, reason: str) -> str:
    addresses = [address for remote in archives.REGISTRY[name] for address in remote.addresses]
    folders = ", ".join(dict.fromkeys(address.rsplit("/", 1)[0] + "/" for address in addresses))
    return (
        f"{_TITLES[name]} cannot be had: {reason}\n"
        f"Remedy: run `bionet data fetch {name}` where there is a network, or set BIONET_DATA to a "
        f"folder that holds {_LAYOUT[name]}. The files are served at {folders}"
    )


def _damaged(name: str, error: DataCorrupt) -> str:
    return f"{error}\nFetch it again with `bionet data fetch {name}`; intact files are kept."


def _require(value: str, allowed: Sequence[str], what: str) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(allowed)}")
