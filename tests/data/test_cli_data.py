"""``bionet data``: exit codes, and messages instead of tracebacks."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from typer.testing import CliRunner

from bionet import data
from bionet.cli import app


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an empty cache, no BIONET_DATA, and no downloads."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda project: tmp_path / "cache")
    monkeypatch.delenv("BIONET_DATA", raising=False)
    monkeypatch.setenv("BIONET_OFFLINE", "1")


def run(*arguments: str, code: int) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["data", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


def test_status_lists_every_data_set() -> None:
    """Missing data is a fact, not a failure; the remedy is printed."""
    out, err = run("status", code=0)
    assert [line.split()[:2] for line in out.splitlines() if line[0] != " "] == [
        ["mnist", "missing"],
        ["cifar10", "missing"],
        ["digits", "embedded"],
    ]
    assert "bionet data fetch cifar10" in out
    assert err == ""


def test_status_fails_on_damaged_files(tmp_path: Path) -> None:
    """A damaged file is named on stderr, with exit code 1."""
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    out, err = run("status", "mnist", code=1)
    assert out.split()[:2] == ["mnist", "damaged"]
    assert "train-images-idx3-ubyte.gz is damaged" in err
    assert "bionet data fetch mnist" in err


@pytest.mark.parametrize("command", ["status", "fetch"])
def test_a_missing_named_folder_is_reported(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """BIONET_DATA is named on stderr, with exit code 1."""
    monkeypatch.setenv("BIONET_DATA", "/no-such-folder")
    out, err = run(command, "mnist", code=1)
    assert out == ""
    assert "/no-such-folder" in err


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    """Exit code 1 and the choices."""
    for command in ("status", "fetch"):
        _, err = run(command, "minst", code=1)
        assert "choose one of mnist, cifar10, digits" in err


def test_fetch_without_network_says_what_to_do() -> None:
    """Exit code 1; the remedy is on stderr."""
    out, err = run("fetch", "mnist", code=1)
    assert out == ""
    assert "BIONET_OFFLINE" in err
    assert "set BIONET_DATA" in err


def test_fetch_lists_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a downloaded file; a whole data set is called complete."""
    monkeypatch.setattr(data, "fetch", lambda name: [Path("a.gz")] if name == "mnist" else [])
    out, _ = run("fetch", code=0)
    assert [line.split() for line in out.splitlines()] == [
        ["mnist", "fetched", "a.gz"],
        ["cifar10", "complete"],
        ["digits", "complete"],
    ]
