"""A small world for runs: MNIST is the digits, CIFAR-10 small photographs, results have their own folder."""

from __future__ import annotations

import json
from functools import cache

import pytest

from bionet import data
from bionet.data import imageset, sets
from bionet_reproduction import catalogue, records, run, views
from bionet_reproduction.sweeps import Sweep


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the tiny runs of this process leave their results."""
    return tmp_path_factory.mktemp("tiny")


@cache
def small_photographs(split):
    """Photographs of 8 x 8 pixels."""
    found = sets.load_stand_in("cifar10", split)
    pixels = found.images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(-1, 192)
    return imageset.make(pixels, found.labels, (3, 8, 8), "cifar10", split, "small", found.class_names)


@pytest.fixture
def small(folder, monkeypatch):
    """Small data and a folder for results and unfinished runs."""
    load = data.load
    monkeypatch.setattr(
        data,
        "load",
        lambda name, split="train", **kw: (
            load("digits", split=split) if name in ("mnist", "digits") else small_photographs(split)
        ),
    )
    monkeypatch.setenv("BIONET_RESULTS", str(folder / "results"))
    monkeypatch.setenv("BIONET_RUNS", str(folder / "runs"))
    views.forget()
    yield folder
    views.forget()


@pytest.fixture
def made(small):
    """A function from a run's name to its tiny record; what it needs is made first, each run once."""

    def make(name):
        entry = catalogue.RUNS[name]
        path = small / "results" / f"{name}.json"
        if not path.exists():
            for need in entry.needs:
                make(need)
            declared = entry.run()
            record, unread = run.carry_out(
                name,
                declared,
                declared.others["tiny"],
                Sweep(progress=False),
                data=entry.data,
                needs=entry.needs,
            )
            assert not unread, f"{name} says settings that it does not use: {sorted(unread)}"
            records.write(name, record)
        return json.loads(path.read_text(encoding="utf-8"))

    return make
