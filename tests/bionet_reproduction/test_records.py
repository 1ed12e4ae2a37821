"""Records: what they must hold, how they are written, and the recorded ones of the book."""

from __future__ import annotations

import json
import math

import pytest
from oracles import assert_within, hangs_on_float16

from bionet_reproduction import catalogue, records
from bionet_reproduction.statistics import summary

GOOD = {
    "run": "x",
    "schema": 1,
    "settings": {"seeds": 2},
    "provenance": {"data": {}, "versions": {}, "machine": {}, "commit": "0" * 40, "command": "bionet"},
    "test": summary([1.0, 2.0]),
}


@pytest.mark.parametrize("name", catalogue.RUNS)
def test_recorded_runs_keep_the_schema(name):
    """The book's own records, whole; each can be shown."""
    record = records.record(name)
    records.validate(record)
    assert record["run"] == name
    rows = catalogue.RUNS[name].run().table(record)
    assert len(rows) > 1
    assert all(len(row) == 3 for row in rows)


@pytest.mark.parametrize("name", catalogue.RUNS)
def test_settings_of_a_record_are_fields_of_its_plan(name):
    """What a record says was set is what the plan can set."""
    said = set(records.record(name)["settings"]) - {"jobs"}
    assert said == set(catalogue.RUNS[name].run().plan.__dataclass_fields__)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "1"}, "schema"),
        ({"provenance": {}}, "provenance"),
        ({"test": {"values": [1.0, 2.0], "mean": 1.9, "low": 0.0, "high": 3.0}}, "mean"),
        ({"test": {"values": []}}, "values"),
    ],
)
def test_a_broken_record_is_refused(change, message):
    records.validate(GOOD)
    with pytest.raises(ValueError, match=message):
        records.validate({**GOOD, **change})


def test_records_are_written_whole_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="bionet reproduce talk"):
        records.record("talk")
    records.write("talk", GOOD)
    assert records.record("talk") == json.loads(json.dumps(GOOD))
    assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]
    for spoilt in ({**GOOD, "value": math.nan}, {**GOOD, "settings": None}):
        with pytest.raises(ValueError, match=r"JSON|settings"):
            records.write("talk", spoilt)
    assert records.record("talk")["test"]["values"] == [1.0, 2.0]


def test_the_stored_net_scores_as_recorded(made):
    """Of a tiny run: through float16, on its own test images."""
    from bionet import data

    record = made("mnist")
    test = data.load("mnist", split="test")
    net = records.load_trained("mnist")
    error = 100 * (1 - net.score(test.images, test.labels))
    bound = 100 * hangs_on_float16(net, test.images) + 0.5e-4  # recorded with four digits
    assert bound < 2
    assert_within(error, record["readouts"]["power"]["test"]["values"][0], bound)


def test_a_run_goes_on_where_it_was(made, monkeypatch):
    """A second time nothing is computed: neither rows nor readouts."""
    from bionet.readout import PowerReadout
    from bionet.units import RankedUnits
    from bionet_reproduction import run
    from bionet_reproduction.sweeps import Sweep

    first = made("mnist")

    def forbidden(*_args, **_kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(PowerReadout, "fit", forbidden)
    monkeypatch.setattr(RankedUnits, "fit", forbidden)
    entry = catalogue.RUNS["mnist"]
    declared = entry.run()
    again, _ = run.carry_out(
        "mnist", declared, declared.others["tiny"], Sweep(progress=False), data=entry.data
    )
    again = json.loads(json.dumps(again))
    assert {**first, "provenance": None} == {**again, "provenance": None}
