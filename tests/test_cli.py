"""The command line: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bionet import data
from bionet.cli import app
from bionet_reproduction import records, talk
from bionet_reproduction import records

run = CliRunner().invoke


@dataclass
class Fixed:
    """A run that is `function`."""

    function: Callable[..., dict[str, Any]]
    text: str = ""

    def make(self) -> Callable[..., dict[str, Any]]:
        return self.function


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
    assert all(name in result.output for name in RUNS)


def test_every_run_of_the_table_can_be_made():
    assert all(callable(run.make()) for run in RUNS.values())


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
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    result = run(app, ["reproduce", "talk"])
    assert result.exit_code == 1
    assert "absent" in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_reproduce_writes_the_record_and_prints_the_table(tmp_path, monkeypatch):
    """The whole run on a small stand-in for MNIST: every part of it, in seconds."""
    small = data.load("digits", split="test")
    monkeypatch.setattr(data, "load", lambda name, split="train": small)
    monkeypatch.setattr(experiments, "TALK", talk.Talk(n_hidden=20, per_digit=3))
    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    quick = {"n_epochs": 1}
    readout, backprop = talk.readout, talk.backprop
    monkeypatch.setattr(experiments, "talk_readout", lambda rows, **c: readout(rows, **c, **quick))
    monkeypatch.setattr(experiments, "talk_backprop", lambda **c: backprop(**c, **quick))
    result = run(app, ["reproduce", "talk", "--seeds", "2"])
    assert result.exit_code == 0, result.output
    assert "83.93 %" in result.output
    assert "2 seeds" in result.output
    written = records.record("talk")
    assert np.shape(written["supervised"]["learned"]["accuracy"]) == (2,)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, ["data", "list", "reproduce", "demo"]),
        (["--help"], 0, ["data", "list", "reproduce", "demo"]),
        (["data", "--help"], 0, ["status", "fetch"]),
        (["reproduce", "--help"], 0, ["--seeds"]),
    ],
)
def test_help_names_the_commands(arguments, code, named):
    result = run(app, arguments, env={"TERM": "dumb", "NO_COLOR": "1"})
    assert result.exit_code == code
    assert all(re.search(rf"(?<!\w){re.escape(word)}\b", result.output) for word in named)


def test_a_quick_run_leaves_the_record_alone(tmp_path, monkeypatch):
    def make(quick=False):
        return {"run": "robustness", "gradient": {}, "sanity": [], "quick": quick}

    monkeypatch.setattr(records, "results_folder", lambda: tmp_path)
    monkeypatch.setitem(RUNS, "robustness", Fixed(make))
    for options, name in ((["--quick"], "robustness-quick"), ([], "robustness")):
        result = run(app, ["reproduce", "robustness", *options])
        assert result.exit_code == 0, result.output
        assert json.loads((tmp_path / f"{name}.json").read_text())["quick"] is bool(options)
    refused = run(app, ["reproduce", "mnist", "--quick"])
    assert refused.exit_code == 2
    assert "--quick" in refused.output
