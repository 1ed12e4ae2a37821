"""The command line: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from bionet.cli import app
from bionet_reproduction import catalogue, records

run = CliRunner().invoke


def test_the_demo_prints_an_accuracy_and_saves_a_picture(tmp_path):
    picture = tmp_path / "maps.png"
    result = run(app, ["demo", "--picture", str(picture)])
    assert result.exit_code == 0, result.output
    accuracy = float(re.search(r"test accuracy ([\d.]+) %", result.output).group(1))
    assert accuracy > 90
    assert re.fullmatch(r"learning from 1437 digits[^\n\r]*\n", result.stderr)  # one line, no bars
    assert len(result.stdout.splitlines()) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_list_names_every_run():
    result = run(app, ["list"])
    assert result.exit_code == 0
    assert all(name in result.output for name in catalogue.RUNS)


def test_list_shows_what_is_missing_and_what_is_older_than_its_needs(tmp_path, monkeypatch):
    """A record keeps the hashes of those that it read."""
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path))
    (tmp_path / "mnist.json").write_text("{}")
    seen = {"mnist": records.fingerprint("mnist"), "dynamical": None}
    (tmp_path / "repaired.json").write_text(json.dumps({"provenance": {"needs": seen}}))
    states = [catalogue.state(name) for name in ("mnist", "dynamical", "repaired")]
    assert states == ["recorded", "missing", "recorded"]
    (tmp_path / "mnist.json").write_text("{ }")
    lines = run(app, ["list"]).output.splitlines()
    assert any(re.match(r"repaired +older than mnist .*needs mnist, dynamical", line) for line in lines)


@pytest.mark.parametrize("arguments", [["list"], ["reproduce", "talk"]])
def test_without_the_repository_there_are_no_runs(arguments, tmp_path, monkeypatch):
    """An installed package says where the runs are, and leaves nothing."""
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path / "results"))
    result = run(app, arguments)
    assert result.exit_code == 1
    assert "repository" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["data", "status", "digits"], ["reproduce", "everything"]]
)
def test_what_computes_nothing_starts_without_the_libraries_that_compute(arguments):
    heavy = ("scipy", "numba", "sklearn", "matplotlib", "pandas", "pooch", "joblib")
    code = (
        "import sys\nfrom bionet.cli import app\n"
        f"try: app({arguments!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_run_is_named_and_exits_with_2():
    result = run(app, ["reproduce", "everything"])
    assert result.exit_code == 2
    assert "no run called 'everything'" in result.output


def test_reproduce_without_data_says_what_to_do_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BIONET_DATA", str(tmp_path / "absent"))
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path / "results"))
    result = run(app, ["reproduce", "talk"])
    assert result.exit_code == 1
    assert "absent" in result.output
    assert "Traceback" not in result.output
    assert list((tmp_path / "results").iterdir()) == []


def test_reproduce_writes_the_record_and_prints_the_table(small):
    """Another plan, and a changed one, leave the record alone."""
    (small / "results").mkdir(exist_ok=True)
    for options, name in (([], "talk-tiny"), (["--seeds", "3"], "talk-changed")):
        result = run(app, ["reproduce", "talk", "--plan", "tiny", *options])
        assert result.exit_code == 0, result.output
        assert "83.93 %" in result.output
        written = records.record(name)
        seeds = written["settings"]["seeds"]
        assert seeds == (3 if options else 2)
        assert f"{seeds} seeds" in result.output
        assert np.shape(written["supervised"]["learned"]["accuracy"]) == (seeds,)
    assert not (small / "results" / "talk.json").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--plan", "huge"], "no plan 'huge'; there are tiny"),
        (["--epochs", "3"], "no field 'epochs'; there are talk.n-hidden"),
        (["--seeds", "few"], "--seeds is of the kind of 10, got 'few'"),
    ],
)
def test_what_a_plan_does_not_have_is_named(options, named):
    result = run(app, ["reproduce", "talk", *options])
    assert result.exit_code == 2
    assert named in result.output


def test_the_fields_of_a_plan_are_shown():
    result = run(app, ["reproduce", "mnist", "--fields"])
    assert result.exit_code == 0
    assert "--rows.n-epochs 1000" in result.output.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, ["data", "list", "reproduce", "demo"]),
        (["--help"], 0, ["data", "list", "reproduce", "demo"]),
        (["data", "--help"], 0, ["status", "fetch"]),
        (["reproduce", "--help"], 0, ["--plan", "--fields", "--jobs"]),
    ],
)
def test_help_names_the_commands(arguments, code, named):
    result = run(app, arguments, env={"TERM": "dumb", "NO_COLOR": "1"})
    assert result.exit_code == code
    assert all(re.search(rf"(?<!\w){re.escape(word)}\b", result.output) for word in named)
