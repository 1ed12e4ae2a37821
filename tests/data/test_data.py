"""The data sets: found, fetched, verified, refused; and images of one's own.

Nothing here reaches the internet but the test marked ``network``. Small files with the real
layout stand for the official ones; their hashes replace the registry's.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bionet import data
from bionet.data import archives, samples
from bionet.data.archives import Remote

PIXELS = np.random.default_rng(0).integers(0, 256, size=(2, 5, 784), dtype=np.uint8)
CLASSES = np.array([[5, 0, 4, 1, 9], [7, 2, 1, 0, 4]], dtype=np.uint8)
RECORDS = np.random.default_rng(1).integers(0, 10, size=(6, 2, 3073), dtype=np.uint8)
BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
MEMBERS = {name: RECORDS[i].tobytes() for i, name in enumerate(BATCHES)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx(array: np.ndarray, *dims: int) -> bytes:
    """Write MNIST's file format: magic, sizes, bytes."""
    return struct.pack(f">{1 + len(dims)}i", 2048 + len(dims), *dims) + array.tobytes()


def tar(members: Mapping[str, bytes], mode: str = "gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def small_files() -> tuple[dict[str, tuple[Remote, ...]], dict[str, bytes]]:
    """Return a registry of tiny data sets and what its addresses serve, by file name."""
    served: dict[str, bytes] = {}
    mnist = []
    for part, stem in enumerate(("train", "t10k")):
        images, labels = idx(PIXELS[part], 5, 28, 28), idx(CLASSES[part], 5)
        for name, raw in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            served[f"{name}.gz"] = gzip.compress(raw, mtime=0)
            known = "sha256:" + sha256(served[f"{name}.gz"])
            mnist.append(Remote(f"{name}.gz", (), known, {name: sha256(raw)}))
    archive = tar(MEMBERS)
    served["cifar-10-binary.tar.gz"] = archive
    inside = {name: sha256(content) for name, content in MEMBERS.items()}
    cifar = Remote("cifar-10-binary.tar.gz", (), "md5:" + hashlib.md5(archive).hexdigest(), inside)
    return {"mnist": tuple(mnist), "cifar10": (cifar,)}, served


SMALL, SERVED = small_files()
MNIST_FILES = [remote.name for remote in SMALL["mnist"]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty user's cache, no environment, and the small registry without addresses."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda project: folder)
    monkeypatch.setattr(archives, "REGISTRY", dict(SMALL))
    monkeypatch.delenv("BIONET_DATA", raising=False)
    monkeypatch.delenv("BIONET_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def put(root: Path, *names: str) -> None:
    """Lay some of the small files out under `root` as the design says."""
    for name in names or SERVED:
        folder = root / ("cifar10" if name.startswith("cifar") else "mnist")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SERVED[name])


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below `root`, with its time of change and content."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@dataclass
class Server:
    """A web server on the loopback interface that can be told to misbehave."""

    base: str
    behaviour: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    resume: threading.Event = field(default_factory=threading.Event)

    def registry(self, name: str, *folders: str) -> tuple[Remote, ...]:
        """Return the small registry's entry with addresses on this server."""
        return tuple(
            replace(remote, addresses=tuple(f"{self.base}/{folder}/{remote.name}" for folder in folders))
            for remote in SMALL[name]
        )


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = SERVED[self.path.rsplit("/", 1)[1]]
            how = state.behaviour.get(self.path.split("/")[1], "well")
            if how == "absent":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if how == "wrong":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if how in ("short", "stall"):
                content = content[: len(content) // 2]
            self.wfile.write(content)
            self.wfile.flush()
            if how == "stall":
                state.resume.wait(30)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state = Server(f"http://127.0.0.1:{running.server_address[1]}")
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            state.resume.set()
            running.shutdown()
            thread.join()


# What comes out


def check_mnist(split: str) -> None:
    part = ("train", "test").index(split)
    found = data.load("mnist", split)
    assert found.images.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.shape == data.IMAGE_SHAPE["mnist"] == (28, 28)
    np.testing.assert_array_equal(found.images, (PIXELS[part] / 255).astype(np.float32))
    np.testing.assert_array_equal(found.labels, CLASSES[part])
    assert not found.stand_in


def check_cifar(split: str) -> None:
    records = RECORDS[:5].reshape(-1, 3073) if split == "train" else RECORDS[5]
    found = data.load("cifar10", split)
    assert found.images.dtype == np.float32
    assert found.shape == data.IMAGE_SHAPE["cifar10"] == (3, 32, 32)
    np.testing.assert_array_equal(found.images, (records[:, 1:] / 255).astype(np.float32))
    np.testing.assert_array_equal(found.labels, records[:, 0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_loads_from_the_folder_that_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    """Files under BIONET_DATA are decoded to the right pixels and labels."""
    put(tmp_path / "named")
    monkeypatch.setenv("BIONET_DATA", str(tmp_path / "named"))
    check_mnist(split)
    check_cifar(split)


@pytest.mark.parametrize("split", ["train", "test"])
def test_loads_from_the_users_cache(cache: Path, split: str) -> None:
    """Without BIONET_DATA the user's cache is used."""
    put(cache)
    check_mnist(split)
    check_cifar(split)


def test_arrays_are_contiguous_and_read_only(cache: Path) -> None:
    """The hash of an image set cannot be made a lie by writing to it."""
    put(cache)
    for found in (data.load("mnist"), data.load("cifar10"), data.load("digits")):
        assert found.images.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            found.images[0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            found.labels[0] = 1


def test_provenance_is_the_same_on_every_machine(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor the packing of the archive changes what a record says."""
    put(cache)
    here = [data.load(name, split).provenance() for name in SMALL for split in ("train", "test")]
    other = tmp_path / "other"
    put(other, *MNIST_FILES)
    (other / "cifar10").mkdir()
    (other / "cifar10" / "cifar-10-binary.tar.xz").write_bytes(tar(MEMBERS, "xz"))
    monkeypatch.setenv("BIONET_DATA", str(other))
    there = [data.load(name, split).provenance() for name in SMALL for split in ("train", "test")]
    assert here == there
    assert len({record["sha256"] for record in here}) == 4
    assert str(tmp_path) not in str(here)


def test_text_of_an_image_set_names_its_source(cache: Path) -> None:
    """Printing an image set says how many images, which split, and what they really are."""
    put(cache)
    assert str(data.load("mnist")) == "5 images, 28 x 28, train: MNIST"
    assert "array" not in repr(data.load("mnist"))


@pytest.mark.parametrize(("name", "split"), [("minst", "train"), ("mnist", "validation")])
def test_unknown_names_are_refused_with_the_known_ones(cache: Path, name: str, split: str) -> None:
    """A misspelt name or split is answered with the choices."""
    with pytest.raises(ValueError, match=r"unknown .* choose one of"):
        data.load(name, split)


def test_the_registry_holds_one_hash_for_every_content() -> None:
    """Every official file has an address, a hash of itself and one of each content."""
    assert [remote.name for remote in archives.REGISTRY["mnist"]] == MNIST_FILES
    assert tuple(archives.REGISTRY["cifar10"][0].contents) == BATCHES
    hashes = [h for remotes in archives.REGISTRY.values() for r in remotes for h in r.contents.values()]
    assert len(set(hashes)) == len(hashes) == 10
    assert all(len(digest) == 64 for digest in hashes)
    for remotes in archives.REGISTRY.values():
        assert all(a.startswith("https://") and a.endswith(r.name) for r in remotes for a in r.addresses)


# Damaged files


@pytest.mark.parametrize("victim", range(4))
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "swapped"])
def test_a_damaged_mnist_file_is_refused_by_name(cache: Path, victim: int, damage: str) -> None:
    """The damaged file is named, fetching again is advised, and no file is touched."""
    put(cache)
    path = cache / "mnist" / MNIST_FILES[victim]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "flipped":
        flip(path, -12)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(SERVED[MNIST_FILES[(victim + 2) % 4]])
    before = tree(cache)
    bad, good = ("train", "test") if victim < 2 else ("test", "train")
    with pytest.raises(data.DataCorrupt, match=path.name) as refused:
        data.load("mnist", bad, stand_in=True)
    assert "bionet data fetch mnist" in str(refused.value)
    check_mnist(good)
    assert tree(cache) == before
    assert data.status("mnist").state == "damaged"


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
@pytest.mark.parametrize("mode", ["gz", "xz"])
def test_a_damaged_archive_is_refused_even_after_it_was_read_whole(
    cache: Path, mode: str, damage: str
) -> None:
    """The decoded copy of an archive does not outlive the archive's good health."""
    path = cache / "cifar10" / f"cifar-10-binary.tar.{mode}"
    path.parent.mkdir(parents=True)
    path.write_bytes(tar(MEMBERS, mode))
    check_cifar("train")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        flip(path, path.stat().st_size // 2)
    with pytest.raises(data.DataCorrupt, match=path.name) as refused:
        data.load("cifar10")
    assert "bionet data fetch cifar10" in str(refused.value)


def test_a_damaged_batch_is_refused_and_the_others_still_load(cache: Path) -> None:
    """Loose .bin files are accepted, each verified by itself."""
    folder = cache / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, content in MEMBERS.items():
        (folder / name).write_bytes(content)
    check_cifar("train")
    flip(folder / "data_batch_3.bin", 1000)
    with pytest.raises(data.DataCorrupt, match=r"data_batch_3\.bin"):
        data.load("cifar10", "train")
    check_cifar("test")


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_flipped_bit_and_no_cut_gives_wrong_bytes(draw: st.DataObject) -> None:
    """Whatever happens to an archive, reading it gives the right bytes or DataCorrupt."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(platformdirs, "user_cache_dir", lambda project: folder / "cache")
        mode = draw.draw(st.sampled_from(["gz", "xz", "bz2", ""]), label="mode")
        whole = FUZZED[mode]
        damaged = bytearray(whole[: draw.draw(st.integers(0, len(whole)), label="cut")])
        if damaged:
            at = draw.draw(st.integers(0, len(damaged) - 1), label="at")
            damaged[at] ^= 1 << draw.draw(st.integers(0, 7), label="bit")
        (folder / f"cifar-10-binary.tar.{mode or 'tar'}").write_bytes(damaged)
        try:
            rows = archives.read_cifar(folder, SMALL["cifar10"][0], BATCHES)
        except data.DataCorrupt:
            return
        assert [row.tobytes() for row in rows] == list(MEMBERS.values())


FUZZED = {mode: tar(MEMBERS, mode) for mode in ("gz", "xz", "bz2", "")}


# Archives that mean harm


def hostile(*extra: tarfile.TarInfo) -> bytes:
    """Return an archive with hostile members before the true ones."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info in extra:
            info.size = 4 if info.isreg() else 0
            archive.addfile(info, io.BytesIO(b"evil"))
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(f"./cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_members_that_lead_outside_are_never_extracted(cache: Path, tmp_path: Path) -> None:
    """Unexpected members are passed over; nothing but the decoded copy appears on disk."""
    path = cache / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        hostile(
            tarfile.TarInfo("../evil.bin"),
            tarfile.TarInfo("/evil.bin"),
            tarfile.TarInfo("../cifar-10-batches-bin/test_batch.bin"),
            tarfile.TarInfo("cifar-10-batches-bin/readme.html"),
            link("cifar-10-batches-bin", str(tmp_path)),
        )
    )
    check_cifar("train")
    check_cifar("test")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(file.suffix for file in files) == [".gz", ".npy"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_link_in_the_place_of_a_batch_is_refused(cache: Path, tmp_path: Path, kind: bytes) -> None:
    """An expected name must be a plain file: links are not followed, not even to the right bytes."""
    (tmp_path / "secret").write_bytes(MEMBERS["data_batch_1.bin"])
    path = cache / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(hostile(link("cifar-10-batches-bin/data_batch_1.bin", str(tmp_path / "secret"), kind)))
    with pytest.raises(data.DataCorrupt, match="no plain file"):
        data.load("cifar10")


# The decoded copy of an archive


def decoded(cache: Path) -> list[Path]:
    return sorted((cache / "decoded").iterdir())


def test_an_archive_is_decompressed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second load on the decoded copy is read, for both splits."""
    put(cache)
    check_cifar("test")
    monkeypatch.setattr(archives, "_members", lambda *args: pytest.fail("the archive was read again"))
    check_cifar("test")
    check_cifar("train")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: flip(path, -1), id="flipped"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:3000]), id="truncated"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: np.save(path, np.array([{}], dtype=object)), id="pickle"),
    ],
)
def test_a_spoilt_decoded_copy_is_made_anew(cache: Path, spoil: Callable[[Path], None]) -> None:
    """The copy is verified like any file, and never unpickled; the archive mends it."""
    put(cache)
    check_cifar("test")
    (copy,) = decoded(cache)
    good = copy.read_bytes()
    spoil(copy)
    check_cifar("test")
    assert copy.read_bytes() == good


def test_only_one_decoded_copy_is_kept(cache: Path) -> None:
    """When the archive changes, the copy of its former state goes."""
    put(cache)
    check_cifar("test")
    (old,) = decoded(cache)
    os.utime(cache / "cifar10" / "cifar-10-binary.tar.gz", (1, 1))
    check_cifar("test")
    (new,) = decoded(cache)
    assert new != old


def test_a_cache_that_cannot_be_written_is_done_without(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding in memory works where no copy can be kept (here: a file stands in the cache's place)."""
    put(tmp_path / "named")
    monkeypatch.setenv("BIONET_DATA", str(tmp_path / "named"))
    cache.write_bytes(b"")
    check_cifar("train")
    check_cifar("test")
    assert cache.read_bytes() == b""


# A data folder that is named, missing, read-only


def test_a_read_only_data_folder_is_enough(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading writes nothing below BIONET_DATA (root could: so the files are compared, too)."""
    named = tmp_path / "named"
    put(named)
    folders = [named, named / "mnist", named / "cifar10"]
    for folder in folders:
        folder.chmod(0o555)
    before = tree(named)
    monkeypatch.setenv("BIONET_DATA", str(named))
    try:
        check_mnist("train")
        check_cifar("train")
        assert data.fetch("mnist") == data.fetch("cifar10") == []
        assert [data.status(name).state for name in SMALL] == ["ready", "ready"]
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert tree(named) == before


def test_fetching_into_an_unwritable_folder_says_so(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Where the folder cannot be made (a file is in its place, which binds even root), it is named."""
    named = tmp_path / "named"
    named.mkdir()
    (named / "mnist").write_bytes(b"")
    monkeypatch.setenv("BIONET_DATA", str(named))
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    with pytest.raises(data.DataUnavailable, match=r"cannot write to .*named.mnist"):
        data.fetch("mnist")
    assert server.asked == []


@pytest.mark.parametrize("stand_in", [False, True])
def test_a_named_folder_that_is_missing_never_falls_back(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: bool
) -> None:
    """BIONET_DATA wins over a full cache, over the network and over the stand-in."""
    put(cache)
    monkeypatch.setenv("BIONET_DATA", str(tmp_path / "no-such-folder"))
    with pytest.raises(data.DataUnavailable, match="no-such-folder"):
        data.load("mnist", stand_in=stand_in)
    for ask in (data.fetch, data.status):
        with pytest.raises(data.DataUnavailable, match="no-such-folder"):
            ask("mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("stand_in", [False, True])
def test_a_named_folder_without_the_files_never_falls_back(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, name: str, stand_in: bool
) -> None:
    """Loading neither downloads into a named folder nor looks elsewhere."""
    put(cache)
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("BIONET_DATA", str(named))
    monkeypatch.setitem(archives.REGISTRY, name, server.registry(name, "a"))
    with pytest.raises(data.DataUnavailable, match=r"named.*\n.*bionet data fetch"):
        data.load(name, stand_in=stand_in)
    assert data.status(name).state == "missing"
    assert server.asked == []
    assert list(named.iterdir()) == []


# Downloads


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_what_is_missing_is_downloaded_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server, name: str
) -> None:
    """The first load fetches into the cache, byte by byte as served; the second asks nobody."""
    monkeypatch.setitem(archives.REGISTRY, name, server.registry(name, "a"))
    assert data.status(name).state == "missing"
    check = check_mnist if name == "mnist" else check_cifar
    check("train")
    asked = len(server.asked)
    assert asked == len(SMALL[name])
    check("train")
    check("test")
    assert len(server.asked) == asked
    assert data.status(name).state == "ready"
    for remote in SMALL[name]:
        assert (cache / name / remote.name).read_bytes() == SERVED[remote.name]


def test_mirrors_are_tried_in_order(cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """An absent file, wrong bytes and a broken connection each lead to the next address."""
    server.behaviour.update(one="absent", two="wrong", three="short")
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "one", "two", "three", "four"))
    assert len(data.fetch("mnist")) == 4
    assert [path.split("/")[1] for path in server.asked] == ["one", "two", "three", "four"] * 4
    check_mnist("test")


@pytest.mark.parametrize(
    ("how", "reason"), [("absent", "404"), ("wrong", "not the official file"), ("short", "IncompleteRead")]
)
def test_a_download_that_fails_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server, how: str, reason: str
) -> None:
    """No half-written file stays, and each address is listed with its reason."""
    server.behaviour["a"] = how
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    with pytest.raises(data.DataUnavailable, match=reason) as failed:
        data.load("mnist")
    assert f"{server.base}/a/train-images-idx3-ubyte.gz" in str(failed.value)
    assert list((cache / "mnist").iterdir()) == []


def test_fetch_replaces_the_damaged_and_keeps_the_good(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Only the damaged and the missing file are asked for."""
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    put(cache, *MNIST_FILES)
    flip(cache / "mnist" / MNIST_FILES[1], 15)
    (cache / "mnist" / MNIST_FILES[2]).unlink()
    good = {name: tree(cache)[f"mnist/{name}"] for name in (MNIST_FILES[0], MNIST_FILES[3])}
    assert [path.name for path in data.fetch("mnist")] == [MNIST_FILES[1], MNIST_FILES[2]]
    assert server.asked == [f"/a/{name}" for name in MNIST_FILES[1:3]]
    assert {name: tree(cache)[f"mnist/{name}"] for name in good} == good
    check_mnist("train")


@pytest.mark.parametrize("bad", ["cifar-10-binary.tar.xz", "cifar-10-batches-bin/test_batch.bin"])
def test_fetch_mends_a_damaged_repack(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server, bad: str
) -> None:
    """The official archive, once fetched, is preferred to a damaged repack or loose file."""
    monkeypatch.setitem(archives.REGISTRY, "cifar10", server.registry("cifar10", "a"))
    path = cache / "cifar10" / bad
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(data.DataCorrupt, match=path.name):
        data.load("cifar10", "test")
    assert [found.name for found in data.fetch("cifar10")] == ["cifar-10-binary.tar.gz"]
    check_cifar("test")


def test_a_bad_download_does_not_replace_what_is_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """A damaged file stays until a whole one has come."""
    server.behaviour["a"] = "wrong"
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    put(cache, *MNIST_FILES)
    flip(cache / "mnist" / MNIST_FILES[0], -1)
    before = tree(cache)
    with pytest.raises(data.DataUnavailable):
        data.fetch("mnist")
    assert tree(cache) == before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX kill")
def test_a_killed_download_leaves_no_file_and_is_swept_later(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """SIGKILL half-way: no data file appears; the remains go with a later download."""
    server.behaviour["a"] = "stall"
    remote = server.registry("mnist", "a")[0]
    target = cache / "mnist" / remote.name
    script = f"""
        from pathlib import Path
        from bionet.data.archives import Remote, download
        download({remote!r}, Path({str(target)!r}))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as process:
        deadline = time.monotonic() + 60
        while not list(cache.glob("mnist/.partial-*/*")):
            assert process.poll() is None, "the download ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    server.resume.set()
    assert not target.exists()
    (left,) = cache.glob("mnist/.partial-*")

    server.behaviour["a"] = "well"
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    data.fetch("mnist")
    assert left.exists(), "a fresh one may belong to a download that still runs"
    os.utime(left, (1, 1))
    target.unlink()
    data.fetch("mnist")
    assert sorted(path.name for path in (cache / "mnist").iterdir()) == sorted(MNIST_FILES)


def unreachable(name: str) -> tuple[Remote, ...]:
    """Return the small registry's entry with addresses at a port that nobody listens on."""
    return tuple(replace(r, addresses=(f"http://127.0.0.1:1/{r.name}",)) for r in SMALL[name])


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_an_unreachable_network_is_explained(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The message says what was tried, what to set, what to run and where the files are served."""
    monkeypatch.setitem(archives.REGISTRY, name, unreachable(name))
    with pytest.raises(data.DataUnavailable) as failed:
        data.load(name)
    for part in ("http://127.0.0.1:1/", "BIONET_DATA", f"bionet data fetch {name}", "refused"):
        assert part in str(failed.value)
    assert data.load(name, stand_in=True).stand_in


def test_offline_forbids_downloads(cache: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """BIONET_OFFLINE=1 asks no server, and still reads what is here."""
    monkeypatch.setitem(archives.REGISTRY, "mnist", server.registry("mnist", "a"))
    monkeypatch.setenv("BIONET_OFFLINE", "1")
    for ask in (data.load, data.fetch):
        with pytest.raises(data.DataUnavailable, match="BIONET_OFFLINE"):
            ask("mnist")
    assert data.load("mnist", stand_in=True).stand_in
    assert server.asked == []
    put(cache)
    check_mnist("train")
    assert data.fetch("mnist") == []


@pytest.mark.network
@pytest.mark.skipif(
    os.environ.get("BIONET_NETWORK_TESTS") != "1", reason="set BIONET_NETWORK_TESTS=1 to download"
)
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_official_addresses_serve_the_official_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every mirror by itself serves the files with the registered hashes."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda project: tmp_path)
    for remote in archives.REGISTRY[name]:
        for address in remote.addresses:
            archives.download(replace(remote, addresses=(address,)), tmp_path / name / remote.name)
    monkeypatch.delenv("BIONET_DATA", raising=False)
    assert data.status(name).state == "ready"


@pytest.mark.skipif(not os.environ.get("BIONET_DATA"), reason="set BIONET_DATA to read the real MNIST")
def test_the_real_mnist() -> None:
    """The official files give the well-known counts and mean brightness."""
    train, test = data.load("mnist", "train"), data.load("mnist", "test")
    assert train.images.shape == (60_000, 784)
    assert test.images.shape == (10_000, 784)
    np.testing.assert_array_equal(
        np.bincount(train.labels), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )
    assert train.images.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert (train.images.min(), train.images.max()) == (0, 1)


@pytest.mark.skipif(not os.environ.get("BIONET_DATA"), reason="set BIONET_DATA to read the real CIFAR-10")
def test_the_real_cifar10() -> None:
    """The official files give a thousand test images a class, and planes in the order R, G, B."""
    test = data.load("cifar10", "test")
    np.testing.assert_array_equal(np.bincount(test.labels), np.full(10, 1000))
    planes = test.images.reshape(-1, 3, 1024).mean(axis=(0, 2), dtype=np.float64)
    np.testing.assert_allclose(planes, [0.4942, 0.4851, 0.4504], atol=5e-5)


# Digits and stand-ins


def test_digits_are_real_and_always_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded digits need no folder, no cache and no network, and are no stand-in."""
    monkeypatch.setenv("BIONET_DATA", "/no-such-folder")
    found = data.load("digits")
    assert not found.stand_in
    assert found.shape == (28, 28)
    assert data.fetch("digits") == []
    assert data.status("digits").state == "embedded"


def test_the_digits_split_is_stratified_and_complete(cache: Path) -> None:
    """1437 + 360 images, every digit in proportion, none in both splits."""
    train, test = data.load("digits", "train"), data.load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    share = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    np.testing.assert_allclose(share, 360 / 1797, atol=0.005)
    distinct = {image.tobytes() for image in np.concatenate([train.images, test.images])}
    assert len(distinct) == 1797


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("name", "count"), [("mnist", (1437, 360)), ("cifar10", (5000, 1000))])
def test_stand_ins_fit_every_line_of_code(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: tuple[int, int], split: str
) -> None:
    """Same shape, type and range as the real thing; the same at every call; declared as stand-in."""
    monkeypatch.setenv("BIONET_OFFLINE", "1")
    found, again = (data.load(name, split, stand_in=True) for _ in range(2))
    assert found.stand_in
    assert found.name == name
    assert "standing in for" in found.source
    assert len(found) == count[split == "test"]
    assert found.images.shape[1] == np.prod(data.IMAGE_SHAPE[name])
    assert found.images.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.images.flags.c_contiguous
    data.check_pixels(found.images)
    assert found.images.max() > 0.99
    assert set(found.labels) == set(range(len(found.class_names)))
    assert found.sha256 == again.sha256
    np.testing.assert_array_equal(found.images, again.images)


def test_photo_patches_are_pieces_of_the_photographs() -> None:
    """Every patch can be found in its photograph, on its split's side, with its planes in order."""
    datasets = pytest.importorskip("sklearn.datasets")
    photos = [datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    for split, side in (("train", slice(0, 512)), ("test", slice(512, 640))):
        images, labels = samples.photo_patches(split)
        for i in range(0, len(images), len(images) // 5):
            patch = np.rint(images[i].reshape(3, 32, 32) * 255)
            part = photos[labels[i]][:, side].transpose(2, 0, 1)  # (3, rows, columns)
            windows = np.lib.stride_tricks.sliding_window_view(part[:, :, :], (3, 32, 32))[0]
            corners = np.argwhere((windows[:, :, :, 0, 0] == patch[:, 0, 0]).all(-1))
            assert any((windows[row, column] == patch).all() for row, column in corners)


small_images = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5)), elements=st.floats(0, 1)
)


@given(small_images, st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(deadline=None)
def test_resize_against_a_scalar_loop(images: np.ndarray, size: tuple[int, int]) -> None:
    """Bilinear interpolation with half-pixel centres, written out pixel by pixel."""

    def sample(image: np.ndarray, y: float, x: float) -> float:
        rows, columns = image.shape
        y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
        lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
        return upper * (1 - y + top) + lower * (y - top)

    found = samples.resize(images, size)
    assert found.dtype == np.float32
    assert found.shape == (len(images), *size)
    for n, image in enumerate(images):
        for r in range(size[0]):
            for c in range(size[1]):
                y = (r + 0.5) * image.shape[0] / size[0] - 0.5
                x = (c + 0.5) * image.shape[1] / size[1] - 0.5
                # twelve operations on numbers up to five, the last of them stored in float32
                assert abs(found[n, r, c] - sample(image, y, x)) <= 12 * np.finfo(np.float32).eps
    data.check_pixels(found)


def test_the_table_of_pixels_equals_the_division() -> None:
    """All 256 values, to the last bit."""
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(samples.unit_interval(every), every.astype(np.float32) / np.float32(255))


# Pixels


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(max_dims=3, max_side=4),
        elements=st.one_of(
            st.floats(0, 1, width=32), st.sampled_from([-0.5, 1.5, np.nan, np.inf, -np.inf, -1e-30])
        ),
    )
)
@settings(deadline=None)
def test_check_pixels_accepts_exactly_the_unit_interval(X: np.ndarray) -> None:
    """It raises if and only if a scalar loop finds an offender, and names the first one."""
    bad = [index for index, value in np.ndenumerate(X) if not 0 <= value <= 1]
    if not bad:
        assert data.check_pixels(X) is None
        return
    with pytest.raises(ValueError, match=r"pixels must lie in \[0, 1\]") as refused:
        data.check_pixels(X)
    assert f"got {X[bad[0]]} at index {bad[0]}" in str(refused.value)


@pytest.mark.parametrize("X", [np.array([0, 255], dtype=np.uint8), np.array([0.5, np.nan])])
def test_check_pixels_says_what_to_do(X: np.ndarray) -> None:
    """8-bit images and NaN have different remedies."""
    with pytest.raises(ValueError, match=r"replace it" if np.isnan(X).any() else r"divide by 255"):
        data.check_pixels(X)


@pytest.mark.parametrize("X", [np.array([0.5 + 0j]), np.array(["a"])])
def test_check_pixels_refuses_what_is_no_real_number(X: np.ndarray) -> None:
    """Complex numbers and text are no pixels."""
    with pytest.raises((ValueError, TypeError), match=r"dtype|str"):
        data.check_pixels(X)


def test_check_pixels_follows_the_array() -> None:
    """A strict array library on its second device is checked where it is."""
    xp = pytest.importorskip("array_api_strict")
    there = xp.Device("device1")
    data.check_pixels(xp.asarray([0.0, 1.0], device=there))
    with pytest.raises(ValueError, match=r"got 2\.0 at index \(1,\)"):
        data.check_pixels(xp.asarray([0.0, 2.0], device=there))


# Your own images: arrays


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(4), st.just(5), st.just(3))).filter(
        lambda a: a.max() != 1
    )
)
@settings(deadline=None)
def test_from_array_understands_both_places_of_the_colour_axis(images: np.ndarray) -> None:
    """Colours last and colours first give the same planes; so do 8-bit and float pixels."""
    last = data.from_array(images)
    first = data.from_array(images.transpose(0, 3, 1, 2))
    scaled = data.from_array(images / 255)
    assert last.shape == first.shape == (3, 4, 5)
    assert last.sha256 == first.sha256 == scaled.sha256
    np.testing.assert_array_equal(last.images.reshape(-1, 3, 4, 5)[:, 2], scaled_plane(images, 2))


def scaled_plane(images: np.ndarray, plane: int) -> np.ndarray:
    return (images[..., plane] / 255).astype(np.float32)


def test_from_array_keeps_rows_and_guesses_squares() -> None:
    """Rows of a square number of features are grey squares; other shapes are told."""
    rows = np.linspace(0, 1, 2 * 48).reshape(2, 48)
    assert data.from_array(rows[:, :16]).shape == (4, 4)
    assert data.from_array(rows, shape=(6, 8)).shape == (6, 8)
    found = data.from_array(rows, shape=(3, 4, 4))
    assert found.shape == (3, 4, 4)
    np.testing.assert_array_equal(found.images, rows.astype(np.float32))
    assert found.split == "all"
    assert not found.stand_in


def test_from_array_copies() -> None:
    """The caller's array stays writable and changing it changes nothing."""
    mine = np.zeros((2, 4), dtype=np.float32)
    found = data.from_array(mine)
    mine[:] = 1
    assert found.images.max() == 0


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (np.zeros(4), None, "images must have shape"),
        (np.zeros((0, 4)), None, "at least one pixel"),
        (np.zeros((2, 3072)), None, r"do not make pictures of shape .*give shape="),
        (np.zeros((2, 4)), (2, 3), "do not make pictures"),
        (np.zeros((2, 8)), (2, 2, 2), "do not make pictures"),
        (np.zeros((2, 2, 6)), (3, 4), "do not make pictures"),
        (np.zeros((2, 4, 4, 2)), None, "cannot tell the colour axis"),
        (np.zeros((2, 3, 4, 3)), None, "cannot tell the colour axis"),
        (np.ones((2, 4), dtype=np.uint8), None, "only 0 and 1"),
        (np.full((2, 4), 1.5), None, r"got 1\.5 at index \(0, 0\)"),
        (np.full((2, 4), np.nan), None, r"got nan at index \(0, 0\)"),
        (np.full((2, 4), 7), None, r"got 7 at index \(0, 0\)"),
    ],
)
def test_from_array_refuses(images: np.ndarray, shape: tuple[int, ...] | None, message: str) -> None:
    """Wrong shapes and pixels are refused with the value seen."""
    with pytest.raises(ValueError, match=message):
        data.from_array(images, shape=shape)


def test_from_array_numbers_the_names_of_classes() -> None:
    """Text labels become numbers in sorted order; integers stay; none is an empty array."""
    images = np.zeros((3, 4))
    named = data.from_array(images, ["b", "a", "b"])
    np.testing.assert_array_equal(named.labels, [1, 0, 1])
    assert named.class_names == ("a", "b")
    np.testing.assert_array_equal(data.from_array(images, [7, 7, 2]).labels, [7, 7, 2])
    assert data.from_array(images).labels.shape == (0,)


@pytest.mark.parametrize("labels", [[1, 2], [[1], [2], [3]], [0.5, 1.0, 2.0]])
def test_from_array_refuses_labels_that_do_not_fit(labels: list[object]) -> None:
    """One label an image; integers or text."""
    with pytest.raises(ValueError, match="labels"):
        data.from_array(np.zeros((3, 4)), labels)


# Your own images: a folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of grey, colour, palette and transparent pictures, with files to pass over."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path / "pictures"
    for name in ("dark", "light", "empty", ".hidden"):
        (root / name).mkdir(parents=True)
    image.new("L", (8, 6), 51).save(root / "dark" / "a.png")
    image.new("RGB", (8, 6), (255, 0, 51)).save(root / "dark" / "b.PNG")
    image.new("RGBA", (8, 6), (255, 255, 255, 0)).save(root / "dark" / "c.png")
    image.new("P", (8, 6), 0).save(root / "light" / "d.gif")
    image.new("L", (8, 6), 255).save(root / "light" / "e.jpg")
    (root / "light" / "notes.txt").write_text("no picture", encoding="utf-8")
    (root / "light" / "._e.jpg").write_bytes(b"no picture either")
    return root


def test_load_folder_reads_classes_in_order(pictures: Path) -> None:
    """One sub-folder a class, sorted; grey values in [0, 1]; transparent counts as black."""
    found = data.load_folder(pictures, size=(4, 5))
    assert found.class_names == ("dark", "light")
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 1, 1])
    assert found.shape == (4, 5)
    assert found.images.shape == (5, 20)
    assert found.images.dtype == np.float32
    np.testing.assert_allclose(found.images[0], 0.2, atol=np.finfo(np.float32).eps)
    np.testing.assert_array_equal(found.images[2], 0)
    np.testing.assert_allclose(found.images[4], 1, atol=1.5 / 255)  # JPEG may lose a level of grey
    assert (found.name, found.split, found.stand_in) == ("pictures", "all", False)


def test_load_folder_keeps_colours_and_inverts(pictures: Path) -> None:
    """Planes R, G, B; `invert` swaps light and dark."""
    found = data.load_folder(pictures, size=(2, 2), color=True)
    assert found.shape == (3, 2, 2)
    np.testing.assert_allclose(found.images[1], np.repeat([1, 0, 0.2], 4), atol=np.finfo(np.float32).eps)
    inverted = data.load_folder(pictures, size=(2, 2), color=True, invert=True)
    np.testing.assert_allclose(inverted.images, 1 - found.images, atol=4 * np.finfo(np.float32).eps)


def test_load_folder_without_classes(pictures: Path) -> None:
    """A flat folder gives images without labels."""
    found = data.load_folder(pictures / "dark")
    assert len(found) == 3
    assert found.labels.shape == (0,)
    assert found.class_names == ()


def test_load_folder_refuses(pictures: Path) -> None:
    """No folder, no images, a mixture, a file that is no picture, 16 bits, a senseless size."""
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.load_folder(pictures / "nowhere")
    with pytest.raises(ValueError, match=r"no image in .*one sub-folder a class"):
        data.load_folder(pictures / "empty")
    with pytest.raises(ValueError, match="size must be"):
        data.load_folder(pictures, size=(0, 3))
    image.fromarray(np.full((4, 4), 60_000, dtype=np.uint16)).save(pictures / "dark" / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png has more than 8 bits"):
        data.load_folder(pictures)
    (pictures / "dark" / "deep.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"deep\.png cannot be read"):
        data.load_folder(pictures)
    (pictures / "dark" / "deep.png").replace(pictures / "loose.png")
    with pytest.raises(ValueError, match=r"both images \(loose\.png\)"):
        data.load_folder(pictures)


def test_load_folder_names_what_is_missing(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Pillow the error says what to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        data.load_folder(pictures)


WITHOUT_LZMA = """
import sys
for name in ("lzma", "_lzma"):
    sys.modules[name] = None
import numpy as np
from bionet import data

assert data.load("mnist", stand_in=True).stand_in
assert data.status("mnist").state == "missing"
try:
    data.fetch("mnist")
except data.DataUnavailable as error:
    print(error)
"""


def test_a_python_without_lzma_has_its_data(tmp_path):
    """Only a download and an .xz archive need the module; each says what is missing."""
    tree = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    tree.pop("BIONET_DATA", None)
    tree.pop("BIONET_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LZMA], env=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nothing can be downloaded by this Python" in done.stdout
    assert "lzma" in done.stdout
