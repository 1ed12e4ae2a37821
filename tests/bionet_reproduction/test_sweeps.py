"""Sweeps: every cell once, kept at once, on this machine or on a Dask cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bionet_reproduction import sweeps
from bionet_reproduction.sweeps import Cell, Recipe, Sweep


@dataclass(frozen=True, kw_only=True)
class Inner(Recipe):
    y: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Square(Cell):
    """Leaves a trace of every call."""

    x: int
    inner: Inner = Inner()
    trace: str | None = None
    fails: bool = False

    def work(self) -> dict[str, Any]:
        if self.trace:
            with open(self.trace, "a", encoding="utf-8") as file:
                file.write(f"{self.x}\n")
        if self.fails:
            raise ArithmeticError("no result")
        return {"square": self.x**2}


@dataclass(frozen=True, kw_only=True)
class Cube(Square):
    def work(self) -> dict[str, Any]:
        return {"cube": self.x**3}


CELLS = [Square(x=x, inner=Inner(y=(x, 2))) for x in range(6)]
RESULTS = [{"square": x**2} for x in range(6)]


def sweep(folder: Path, **settings: Any) -> Sweep:
    return Sweep(folder=folder, progress=False, **settings)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_cells(tmp_path, jobs):
    assert sweep(tmp_path, jobs=jobs)(CELLS) == RESULTS


def test_what_is_done_is_not_done_again(tmp_path):
    """A sweep that failed in the middle goes on with what is missing, and only that."""
    trace = tmp_path / "trace"
    cells = [Square(x=x, trace=str(trace)) for x in range(4)]
    broken = [*cells[:2], Square(x=2, trace=str(trace), fails=True), cells[3]]
    with pytest.raises(ArithmeticError):
        sweep(tmp_path / "cells")(broken)
    kept = [sweeps.kept(cell, tmp_path / "cells") for cell in cells]
    assert kept == [{"square": 0}, {"square": 1}, None, None]
    trace.unlink()
    sweep(tmp_path / "cells")(cells)
    assert trace.read_text().split() == ["2", "3"]


def test_two_workers_never_take_each_others_results(tmp_path):
    """Equal settings, another type: another key; and so for another version of a type's code."""
    assert sweep(tmp_path)([Square(x=3)]) == [{"square": 9}]
    assert sweep(tmp_path)([Cube(x=3)]) == [{"cube": 27}]


@pytest.mark.parametrize("recipe", [Square, Inner])
def test_a_new_version_is_computed_again(recipe, monkeypatch):
    before = sweeps.key(Square(x=3))
    monkeypatch.setattr(recipe, "VERSION", 2)
    assert sweeps.key(Square(x=3)) != before


def test_a_key_depends_on_the_settings_alone():
    assert sweeps.key(Square(x=1)) == sweeps.key(Square(x=1, inner=Inner()))
    assert len({sweeps.key(cell) for cell in CELLS}) == len(CELLS)
    with pytest.raises(TypeError, match="settings are made of"):
        sweeps.key(Square(x=object()))


def test_a_damaged_result_is_named(tmp_path):
    sweep(tmp_path)(CELLS[:1])
    path = tmp_path / f"{sweeps.key(CELLS[0])}.json"
    assert json.loads(path.read_text())["cell"]["recipe"] == "Square"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ValueError, match=f"{path.name}.*delete it"):
        sweep(tmp_path)(CELLS[:1])


@pytest.mark.filterwarnings("default")
def test_the_same_sweep_on_a_dask_cluster(tmp_path):
    """Two workers in processes of their own; results come back and are kept here."""
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed: pip install 'dask[distributed]'"
    )
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        assert sweep(tmp_path, dask=cluster.scheduler_address)(CELLS) == RESULTS
    assert all(sweeps.kept(cell, tmp_path) == {"square": cell.x**2} for cell in CELLS)
