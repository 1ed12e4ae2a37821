"""How a run is declared, and how it is carried out.

A run is a plan (a frozen dataclass with every constant), a function that makes the parts of its record from
the plan, and one that shows a record. The runner adds the settings, the provenance and the checks, so that no
record can say what was not done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bionet_reproduction import records
from bionet_reproduction.sweeps import Sweep, described

Table = list[tuple[str, str, str]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every constant of a run. A quick run and a tiny one are other plans."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its module declares it; what it is about and needs stands in the catalogue.

    Attributes
    ----------
    plan : Plan
        The recorded run's.
    make : callable
        ``make(plan, sweep)`` returns the parts of the record.
    table : callable
        ``table(record)`` returns rows for the screen; the first is the head.
    others : mapping of str to Plan
        Shorter plans: ``tiny`` for the tests, ``quick`` for a look where there is one.
    """

    plan: Plan
    make: Callable[[Any, Sweep], dict[str, Any]]
    table: Callable[[dict[str, Any]], Table]
    others: Mapping[str, Plan] = field(default_factory=dict)


class Watched:
    """A plan that notes which of its fields have been read."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._read = plan, set[str]()

    def __getattr__(self, name: str) -> Any:
        self._read.add(name)
        return getattr(self._plan, name)

    def unread(self) -> set[str]:
        """Names of the fields that nobody has asked for."""
        return {entry.name for entry in fields(self._plan)} - self._read


def carry_out(
    name: str,
    run: Run,
    plan: Plan,
    sweep: Sweep,
    *,
    data: tuple[str, ...],
    needs: tuple[str, ...] = (),
) -> tuple[dict[str, Any], set[str]]:
    """Make the record of a run.

    Parameters
    ----------
    name : str
        The run's name in the catalogue.
    run : Run
    plan : Plan
        The run's own, or another of its kind.
    sweep : Sweep
        How cells are computed.
    data : tuple of str
        Data sets whose hashes the record keeps.
    needs : tuple of str
        Runs whose records it reads; their hashes are kept, too.

    Returns
    -------
    record : dict
        Valid, not written yet.
    unread : set of str
        Fields of the plan that `make` never read: settings that would be said and not done.
    """
    watched = Watched(plan)
    parts = run.make(watched, sweep)
    record = {
        "run": name,
        "schema": records.SCHEMA,
        "settings": {**described(plan), "jobs": sweep.jobs},
        "provenance": records.provenance(*data, needs=needs),
        **parts,
    }
    records.validate(record)
    return record, watched.unread()
