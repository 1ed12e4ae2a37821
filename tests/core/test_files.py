"""Files are whole or not there, whoever writes beside."""

from __future__ import annotations

import json
import stat
import threading
import zipfile

import numpy as np
import pytest

from bionet import files


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    with files.atomic_write(path, sync=True) as file:
        file.write(b"old")

    def interrupted(error):
        with files.atomic_write(path) as file:
            file.write(b"half")
            raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted(error)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with files.atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_it_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with files.atomic_write(tmp_path / "atomic"):
        pass
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_writers_side_by_side_do_not_meet(tmp_path):
    """Of many that write at once, in one process, one wins, whole."""
    path, ready = tmp_path / ("long" * 60), threading.Barrier(8)

    def write(digit):
        for _ in range(20):
            with files.atomic_write(path) as file:
                ready.wait()
                file.write(str(digit).encode() * 1000)

    writers = [threading.Thread(target=write, args=(digit,)) for digit in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = path.read_bytes()
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("header", "array", "reason"),
    [
        ({"a": float("nan")}, np.ones(3), "JSON"),
        ({}, np.array([{}]), "a has dtype object"),
        ({}, np.ones(3000), "24000 bytes, more than the limit of 20000"),
        ({"long": "x" * 20000}, np.ones(3), "header has .* bytes, more than the limit of 20000"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, monkeypatch, header, array, reason):
    monkeypatch.setattr(files, "LIMIT", 20000)
    monkeypatch.setattr(files, "HEADER_LIMIT", 20000)
    with pytest.raises(ValueError, match=reason):
        files.write_arrays(tmp_path / "a.npz", header, {"a": array})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back(tmp_path, compress):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(["x", "yz"]), "c": np.empty((0, 3), "f4")}
    files.write_arrays(tmp_path / "a.npz", {"k": [1, "é"]}, arrays, compress=compress)
    with open(tmp_path / "a.npz", "rb") as opened:
        file = files.ArrayFile(opened)
        assert file.header() == {"k": [1, "é"]}
        assert file.names == list(arrays)
        for name, array in arrays.items():
            assert file.head(name) == (array.dtype, array.shape)
            np.testing.assert_array_equal(file.read(name), array, strict=True)


def test_an_option_that_an_old_numpy_stored_is_passed_over(tmp_path):
    """savez of NumPy 2.0 and 2.1 has no allow_pickle, and keeps it as an array."""
    path = tmp_path / "a.npz"
    header = np.array(json.dumps({"format": 1}))
    np.savez(path, header=header, W=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive, archive.open("allow_pickle.npy", "w") as member:
        np.lib.format.write_array(member, np.array(False))
    with open(path, "rb") as opened:
        file = files.ArrayFile(opened)
        assert file.names == ["W"]
        assert file.header() == {"format": 1}


def test_only_the_arrays_are_stored(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {}, {"W": np.ones(3)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert sorted(archive.namelist()) == ["W.npy", "header.npy"]
