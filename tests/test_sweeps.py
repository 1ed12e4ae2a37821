"""Sweeps: every cell once, kept at once, on this machine or on a Dask cluster."""

import json

import pytest

from bionet_reproduction import sweeps

CELLS = [{"x": x, "nested": {"y": [x, 2]}} for x in range(6)]


def square(cell):
    """A worker that leaves a trace of every call."""
    if "trace" in cell:
        with open(cell["trace"], "a", encoding="utf-8") as file:
            file.write(f"{cell['x']}\n")
    if cell["x"] == cell.get("fail"):
        raise ArithmeticError("no result")
    return {"square": cell["x"] ** 2}


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_cells(tmp_path, jobs):
    results = sweeps.run(CELLS, square, tmp_path, jobs=jobs, progress=False)
    assert results == [{"square": x**2} for x in range(6)]


def test_what_is_done_is_not_done_again(tmp_path):
    """A sweep that failed in the middle goes on with what is missing, and only that."""
    trace = tmp_path / "trace"
    cells = [{"x": x, "trace": str(trace), "fail": None} for x in range(4)]
    broken = [{**cell, "fail": 2} for cell in cells]
    with pytest.raises(ArithmeticError):
        sweeps.run(broken, square, tmp_path / "cells", progress=False)
    kept = [sweeps.done(cell, tmp_path / "cells") for cell in broken]
    assert kept == [{"square": 0}, {"square": 1}, None, None]
    trace.unlink()
    sweeps.run(cells[:2], square, tmp_path / "cells", progress=False)
    sweeps.run(cells, square, tmp_path / "cells", progress=False)
    assert trace.read_text().split() == ["0", "1", "2", "3"]


def test_a_damaged_result_is_named(tmp_path):
    sweeps.run(CELLS[:1], square, tmp_path, progress=False)
    path = tmp_path / f"{sweeps.key(CELLS[0])}.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ValueError, match=f"{path.name}.*delete it"):
        sweeps.run(CELLS[:1], square, tmp_path, progress=False)


def test_a_key_depends_on_the_settings_alone():
    cell = {"a": 1, "b": {"c": 2.0}}
    assert sweeps.key(cell) == sweeps.key(json.loads(json.dumps({"b": {"c": 2.0}, "a": 1})))
    assert sweeps.key(cell) != sweeps.key({"a": 1, "b": {"c": 2.5}})


@pytest.mark.filterwarnings("default")
def test_the_same_sweep_on_a_dask_cluster(tmp_path):
    """Two workers in processes of their own; results come back and are kept here."""
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed: pip install 'dask[distributed]'"
    )
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        results = sweeps.run(CELLS, square, tmp_path, dask=cluster.scheduler_address, progress=False)
    assert results == [{"square": x**2} for x in range(6)]
    assert all(sweeps.done(cell, tmp_path) == {"square": cell["x"] ** 2} for cell in CELLS)
