"""Every recorded run, whole but tiny: one test a run."""

from __future__ import annotations

import pytest

from bionet_reproduction import catalogue, records


@pytest.mark.parametrize("name", catalogue.RUNS)
def test_a_tiny_run_records_itself(made, name):
    """All of its plan is used; its record is valid, is written, is read back, and can be shown."""
    record = made(name)
    records.validate(record)
    rows = catalogue.RUNS[name].run().table(record)
    assert len(rows) > 1
    assert all(len(row) == 3 and all(isinstance(entry, str) for entry in row) for row in rows)
    assert catalogue.state(name) == "recorded"
