"""Where the data files come from, how they are fetched, and how they are read safely.

Everything here works on bytes and files; :mod:`bionet.data` makes images of them.
A file is judged by the SHA-256 of its *contents* (the decompressed idx file, the
``.bin`` members), so a repacked archive is as good as the official one.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import platformdirs
from numpy.typing import NDArray
from tqdm import tqdm

logger = logging.getLogger(__name__)

Bytes = NDArray[np.uint8]

_STALE_AFTER = 3600.0  # seconds after which another process's download counts as dead


class DataUnavailable(RuntimeError):
    """The data set is not on this machine and cannot be brought here."""


class DataCorrupt(RuntimeError):
    """A data file is here, but its contents are not the official ones."""


@dataclass(frozen=True)
class Remote:
    """One file of a data set, as its official addresses serve it."""

    name: str
    """File name under ``<folder>/<data set>/``."""
    addresses: tuple[str, ...]
    """Complete URLs, tried in this order."""
    known_hash: str
    """Hash of the served file, ``"algorithm:hex"`` as pooch writes it."""
    contents: Mapping[str, str]
    """SHA-256 of what is inside, by member name; the only thing a local file must match."""


def _mnist(name: str, served: str, contents: str) -> Remote:
    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    addresses = tuple(f"{mirror}{name}.gz" for mirror in mirrors)
    return Remote(f"{name}.gz", addresses, f"sha256:{served}", {name: contents})


REGISTRY: dict[str, tuple[Remote, ...]] = {
    "mnist": (
        _mnist(
            "train-images-idx3-ubyte",
            served="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            contents="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _mnist(
            "train-labels-idx1-ubyte",
            served="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            contents="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _mnist(
            "t10k-images-idx3-ubyte",
            served="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            contents="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _mnist(
            "t10k-labels-idx1-ubyte",
            served="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            contents="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "cifar10": (
        Remote(
            "cifar-10-binary.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
            {
                "data_batch_1.bin": ("cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
                "data_batch_2.bin": ("a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
                "data_batch_3.bin": ("bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
                "data_batch_4.bin": ("014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
                "data_batch_5.bin": ("755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
                "test_batch.bin": ("8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
            },
        ),
    ),
}

_CIFAR_FOLDER = "cifar-10-batches-bin"


def cache_folder() -> Path:
    """Return the user's own cache folder for this package (it may not exist yet)."""
    return Path(platformdirs.user_cache_dir("bionet"))


def download(remote: Remote, target: Path) -> None:
    """Bring one file to `target`, whole and verified, or leave nothing there.

    Parameters
    ----------
    remote : Remote
        The file; its addresses are tried in order.
    target : Path
        Final place. It is written by one rename after the hash has been checked.

    Raises
    ------
    DataUnavailable
        No address gave the intact file (each one's reason is listed), or the folder
        cannot be written.
    """
    with warnings.catch_warnings():  # in a notebook tqdm.auto, which pooch imports, misses its widgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        try:
            import pooch
        except ImportError as error:  # it needs lzma
            raise DataUnavailable(f"nothing can be downloaded by this Python: {error}") from error

    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=(10, 60))
    algorithm, _, digest = remote.known_hash.partition(":")
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as partial:
            for address in remote.addresses:
                logger.info("downloading %s", address)
                part = Path(partial) / remote.name
                try:
                    downloader(address, str(part), None)
                except OSError as error:  # every exception of requests is one
                    reasons.append(f"  {address}: {str(error) or type(error).__name__}")
                    continue
                if pooch.file_hash(str(part), alg=algorithm) == digest:
                    os.replace(part, target)
                    return
                reasons.append(f"  {address}: what came is not the official file (wrong {algorithm})")
    except OSError as error:
        raise DataUnavailable(
            f"cannot write to {target.parent} ({error.strerror or error}): make it writable, or "
            "set BIONET_DATA to a folder that is"
        ) from error
    raise DataUnavailable(f"{remote.name} could not be downloaded:\n" + "\n".join(reasons))


def _unreadable() -> tuple[type[Exception], ...]:
    """What a damaged or half-written compressed file raises while it is read."""
    errors = (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error)
    try:
        from lzma import LZMAError
    except ImportError:  # a Python built without it
        return errors
    return (*errors, LZMAError)


def _sweep(folder: Path) -> None:
    """Remove what a killed download left behind."""
    for partial in folder.glob(".partial-*"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > _STALE_AFTER:
                shutil.rmtree(partial)


def _verify(content: bytes | memoryview, expected: str, path: Path, member: str) -> None:
    """Raise DataCorrupt, naming the file, unless the content's SHA-256 is the expected one."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataCorrupt(f"{path} is damaged: the SHA-256 of {member} is {found}, expected {expected}")


def read_gzip(path: Path, remote: Remote) -> bytes:
    """Return the verified contents of a one-member ``.gz`` file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataCorrupt
        It cannot be decompressed, or its contents have another SHA-256.
    """
    ((member, expected),) = remote.contents.items()
    try:
        content = gzip.decompress(path.read_bytes())
    except _unreadable() as error:
        raise DataCorrupt(f"{path} is damaged: {error}") from error
    _verify(content, expected, path, member)
    return content


def read_cifar(folder: Path, remote: Remote, wanted: Sequence[str]) -> list[Bytes]:
    """Return the verified bytes of some ``.bin`` members, one array each.

    The official archive is preferred, then any other ``cifar-10-binary.tar.*``, then the
    loose files of ``cifar-10-batches-bin/``. An archive is decompressed once; a copy of its
    members is kept in the user's cache and memory-mapped from then on. The copy is hashed at
    every load and belongs to one state of one archive: if the archive changes, it is read anew.

    Parameters
    ----------
    folder : Path
        ``<data folder>/cifar10``.
    remote : Remote
        The registry's entry.
    wanted : sequence of str
        Names of members, in the order of the result.

    Raises
    ------
    FileNotFoundError
        Neither an archive nor all the loose files are there.
    DataCorrupt
        An archive or a member cannot be read or has another SHA-256.
    """
    archives = sorted(folder.glob("cifar-10-binary.tar.*"), key=lambda p: (p.name != remote.name, p))
    if archives:
        return _from_archive(archives[0], remote, wanted)
    rows = []
    for member in wanted:
        path = folder / _CIFAR_FOLDER / member
        content = np.fromfile(path, dtype=np.uint8)
        _verify(content.data, remote.contents[member], path, member)
        rows.append(content)
    return rows


def _from_archive(archive: Path, remote: Remote, wanted: Sequence[str]) -> list[Bytes]:
    members = list(remote.contents)
    state = archive.stat()
    key = f"{archive.resolve()} {state.st_size} {state.st_mtime_ns}".encode()
    copy = cache_folder() / "decoded" / f"cifar10-{hashlib.sha256(key).hexdigest()[:16]}.npy"
    try:
        decoded = np.load(copy, mmap_mode="r", allow_pickle=False)  # (members, bytes)
        rows = [decoded[members.index(member)] for member in wanted]
        for member, row in zip(wanted, rows, strict=True):
            _verify(row.data, remote.contents[member], copy, member)
        return rows
    except (OSError, ValueError, IndexError, EOFError, DataCorrupt):
        logger.info("no usable decoded copy of %s: reading the archive", archive)
    content = dict(_members(archive, remote))
    if missing := [member for member in members if member not in content]:
        raise DataCorrupt(f"{archive} is damaged: it has no {_CIFAR_FOLDER}/{missing[0]}")
    _keep(copy, [content[member] for member in members])
    return [content[member] for member in wanted]


def _members(archive: Path, remote: Remote) -> Iterator[tuple[str, Bytes]]:
    """Yield the expected members only; nothing is ever extracted to disk."""
    expected = {f"{_CIFAR_FOLDER}/{name}": name for name in remote.contents}
    bar = tqdm(total=len(expected), desc=f"decoding {archive.name}", disable=None, delay=1)
    try:
        with bar, tarfile.open(archive, "r|*") as opened:
            for member in opened:
                name = expected.pop(str(PurePosixPath(member.name)), None)
                if name is None:
                    continue
                if not member.isreg():
                    raise DataCorrupt(f"{archive} is damaged: {member.name} is no plain file")
                stream = opened.extractfile(member)
                assert stream is not None  # a plain file has one
                content = np.frombuffer(stream.read(), dtype=np.uint8)
                _verify(content.data, remote.contents[name], archive, member.name)
                bar.update()
                yield name, content
                if not expected:
                    return
    except tarfile.CompressionError as error:  # a module that this Python was built without
        raise DataUnavailable(
            f"{archive} cannot be read by this Python ({error}): put {remote.name} beside it"
        ) from error
    except _unreadable() as error:
        raise DataCorrupt(f"{archive} is damaged: {error}") from error


def _keep(copy: Path, rows: Sequence[Bytes]) -> None:
    """Write the decoded members beside no other copy; do without where that is impossible."""
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".partial-") as partial:
            np.save(Path(partial) / copy.name, np.stack(rows))
            os.replace(Path(partial) / copy.name, copy)
        for other in copy.parent.glob("cifar10-*.npy"):
            if other != copy:
                other.unlink()
    except OSError as error:
        logger.info("%s cannot be written (%s): decoding in memory", copy, error)
