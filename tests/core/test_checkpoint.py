"""Long runs: killed at any moment they end where an uninterrupted one ends, to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bionet import data, persistence
from bionet.fast import numba_engine, ranked
from bionet.units import RankedUnits, checkpoint
from bionet.units.checkpoint import Checkpoint

needs_numba = pytest.mark.skipif(not numba_engine.available(), reason="Numba is not installed")
ENGINES = ["numpy", pytest.param("numba", marks=needs_numba)]
SETTINGS = {"n_hidden": 30, "k": 3, "p": 3.5, "n_epochs": 60, "batch_size": 20, "random_state": 3}
RUN = """
import sys
from bionet import data
from bionet.units import checkpoint
from bionet.units import RankedUnits
checkpoint.EVERY = 0.0
print("ready", flush=True)
RankedUnits(**{settings}, engine={engine!r}, checkpoint={path!r}).fit(data.load("digits").images[:600])
print("finished", flush=True)
"""


def start(path, engine):
    code = RUN.format(settings=SETTINGS, engine=engine, path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_same(units, other):
    for name in ("components_", "wins_", "converged_"):
        np.testing.assert_array_equal(getattr(units, name), getattr(other, name), strict=True)


@pytest.fixture(scope="module", params=ENGINES)
def uninterrupted(request):
    images = data.load("digits").images[:600]
    return RankedUnits(**SETTINGS, engine=request.param).fit(images), images


def test_killed_at_random_points_it_ends_the_same(tmp_path, uninterrupted):
    whole, images = uninterrupted
    path = tmp_path / "run.npz"
    chance = random.Random(0)
    kills = 0
    for _ in range(4):
        child = start(path, whole.engine)
        assert child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.05, 0.6))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.communicate()
    assert kills > 0
    resumed = RankedUnits(**SETTINGS, engine=whole.engine, checkpoint=path).fit(images)
    assert_same(resumed, whole)
    epoch, state = Checkpoint(path, _identity(path)).load()
    assert epoch == SETTINGS["n_epochs"]
    np.testing.assert_array_equal(state["W"], whole.components_)


def _identity(path):
    with np.load(path) as file:
        return json.loads(str(file["header"]))["identity"]


@pytest.mark.parametrize("stop", [1, 7, 59])
def test_stopped_after_any_epoch_it_ends_the_same(tmp_path, uninterrupted, stop, monkeypatch):
    """The stop falls into the middle of an epoch: what that epoch has done is dropped."""
    whole, images = uninterrupted
    monkeypatch.setattr(checkpoint, "EVERY", 1e9)
    path = tmp_path / "run.npz"
    learn = ranked.HostRule.learn
    calls = []

    def interrupted(self, order, rate):
        calls.append(rate)
        if len(calls) > stop:
            learn(self, order[: len(order) // 2], rate)
            raise KeyboardInterrupt
        learn(self, order, rate)

    with monkeypatch.context() as patch:
        patch.setattr(ranked.HostRule, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt, match=rf"after epoch {stop} of 60 .*run the same again"):
            RankedUnits(**SETTINGS, engine=whole.engine, checkpoint=path).fit(images)
    assert_same(RankedUnits(**SETTINGS, engine=whole.engine, checkpoint=path).fit(images), whole)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_on_the_command_line_saves(tmp_path, uninterrupted):
    whole, images = uninterrupted
    path = tmp_path / "run.npz"
    child = start(path, whole.engine)
    assert child.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert "finished" in out or "run the same again to go on" in err
    assert_same(RankedUnits(**SETTINGS, engine=whole.engine, checkpoint=path).fit(images), whole)


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    images = data.load("digits").images[:100]
    settings = {**SETTINGS, "n_epochs": 2, "checkpoint": tmp_path / "run.npz"}
    first = RankedUnits(**settings).fit(images)
    monkeypatch.setattr(ranked.HostRule, "step", None)
    assert_same(RankedUnits(**settings).fit(images), first)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"delta": 0.1}, "delta = 0.4 there, 0.1 here"),
        ({"random_state": 4}, "random_state"),
        ({"n_epochs": 3}, "n_epochs"),
        ({"init": "uniform"}, "init"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    images = data.load("digits").images[:100]
    settings = {**SETTINGS, "n_epochs": 2, "checkpoint": tmp_path / "run.npz"}
    RankedUnits(**settings).fit(images)
    with pytest.raises(ValueError, match=named):
        RankedUnits(**{**settings, **change}).fit(images)
    with pytest.raises(ValueError, match="images"):
        RankedUnits(**settings).fit(images[::-1])


@needs_numba
def test_the_checkpoint_of_another_engine_is_refused(tmp_path):
    images = data.load("digits").images[:100]
    settings = {**SETTINGS, "n_epochs": 2, "checkpoint": tmp_path / "run.npz"}
    RankedUnits(**settings, engine="numpy").fit(images)
    with pytest.raises(ValueError, match="engine = 'numpy' there, 'numba' here"):
        RankedUnits(**settings, engine="numba").fit(images)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    images = data.load("digits").images[:100]
    settings = {**SETTINGS, "n_epochs": 2, "checkpoint": tmp_path / "run.npz"}
    RankedUnits(**settings).fit(images)
    settings["checkpoint"].write_bytes(damage(settings["checkpoint"].read_bytes()))
    with pytest.raises(ValueError, match=r"run\.npz.*delete it to start over"):
        RankedUnits(**settings).fit(images)


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    kept = Checkpoint(tmp_path / "run.npz", {"a": 1})
    kept.save(1, {"W": np.ones(3)})

    def full(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        kept.save(2, {"W": np.zeros(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    epoch, arrays = kept.load()
    assert epoch == 1
    np.testing.assert_array_equal(arrays["W"], np.ones(3))


@pytest.mark.parametrize("random_state", [None, np.random.default_rng(0)])
def test_a_checkpoint_needs_a_seed(tmp_path, random_state):
    units = RankedUnits(5, k=2, n_epochs=1, checkpoint=tmp_path / "run.npz", random_state=random_state)
    with pytest.raises(ValueError, match="needs an int as random_state"):
        units.fit(data.load("digits").images[:50])


def test_a_saved_estimator_does_not_hold_the_path(tmp_path):
    units = RankedUnits(5, k=2, n_epochs=1, checkpoint=str(tmp_path / "run.npz"), random_state=0)
    units.fit(data.load("digits").images[:50])
    path = persistence.save(units, tmp_path / "units")
    assert str(tmp_path).encode() not in path.read_bytes()
    assert persistence.load(path).checkpoint is None
