"""The ledger: what is measured for every claim, and the verdict that follows.

The claims and their rules are text (:mod:`bionet_reproduction.claims`). The measured values lie in
``results/ledger/``, a file a chapter, written by the chapters when they run with ``BIONET_RECORD=1``.
"""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionet.files import atomic_write
from bionet_reproduction.claims import CHAPTERS, Claim, Measurement, claims
from bionet_reproduction.paths import results_folder


@dataclass(frozen=True, repr=False)
class Verdict:
    """A claim with its measurement and verdict. Its repr is plain text, four lines long."""

    claim: Claim
    measurement: Measurement | None
    verdict: str

    @property
    def measured_text(self) -> str:
        """The measured value with its unit and interval, or why there is none."""
        if self.measurement is not None:
            return self.measurement.text(self.claim.digits, self.claim.unit)
        return "not measured yet" if self.claim.is_measured else "argued, not measured"

    def __repr__(self) -> str:
        claim = self.claim
        quantity = f": {claim.quantity}" if claim.is_measured else ""
        rows = (
            ("claim", claim.statement),
            (f"{claim.source} says", claim.says),
            ("measured", self.measured_text + quantity),
            ("verdict", self.verdict),
        )
        width = max(len(head) for head, _ in rows) + 2
        return "\n".join(
            textwrap.fill(
                text,
                width=74,
                initial_indent=head.ljust(width),
                subsequent_indent=" " * width,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for head, text in rows
        )


def measured(claim_id: str) -> Measurement | None:
    """The recorded measurement of a claim, or None if there is none yet."""
    return _recorded().get(_claim(claim_id).id)


def verdict(claim_id: str, measured: Any = None, *, stand_in: bool = False) -> Verdict:
    """Judge a claim by what a chapter has just measured: the last line of its cell.

    Parameters
    ----------
    claim_id : str
        The claim's id in ``claims.toml``.
    measured : number, bool or flat sequence of them, optional
        A sequence holds one value per seed: the mean is shown with its 95 % t-interval.
        Leave it out for a claim that is argued only.
    stand_in : bool
        True if it was measured on stand-in data: then there is no verdict and no record.

    Returns
    -------
    Verdict
        Prints as plain text. With ``BIONET_RECORD=1`` in the environment the rounded value
        is also stored in ``results/ledger/``.
    """
    claim = _claim(claim_id)
    if (measured is None) == claim.is_measured:
        need = f"measure {claim.quantity!r}" if claim.is_measured else "nothing to measure"
        raise TypeError(f"claim {claim_id!r}: {need}, got {measured!r}")
    if measured is None:
        return Verdict(claim, None, claim.verdict)
    measurement = Measurement.of(measured, claim.digits)
    if stand_in:
        return Verdict(claim, measurement, "no verdict: stand-in data")
    given = claim.judge(measurement)
    if os.environ.get("BIONET_RECORD") == "1":
        _record(claim, measurement)
    return Verdict(claim, measurement, given)


def table(source: str | None = None, chapter: str | None = None) -> list[Verdict]:
    """Every claim with its recorded measurement, chapter by chapter.

    A claim that is still to be measured carries the verdict of the claims file.
    """
    recorded = _recorded()
    rows = []
    for claim in sorted(claims().values(), key=lambda claim: claim.chapter):
        if source in (None, claim.source) and chapter in (None, claim.chapter):
            measurement = recorded.get(claim.id)
            given = claim.judge(measurement) if measurement else claim.verdict
            rows.append(Verdict(claim, measurement, given))
    return rows


def check() -> list[str]:
    """List what is wrong with the record; an empty list means that all of it stands."""
    recorded = _recorded()
    problems = [f"{name}: recorded, but no such claim" for name in recorded.keys() - claims()]
    for claim in claims().values():
        measurement = recorded.get(claim.id)
        if measurement is None:
            if claim.is_measured:
                problems.append(f"{claim.id}: not measured yet ({claim.chapter})")
            continue
        if not claim.is_measured:
            problems.append(f"{claim.id}: argued only, yet a value is recorded")
            continue
        if not claim.is_expected(measurement):
            problems.append(
                f"{claim.id}: measured {measurement.text(claim.digits, claim.unit)}, "
                f"expected {claim.expect} within {claim.tolerance}"
            )
        try:
            given = claim.judge(measurement)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
            continue
        if given != claim.verdict:
            problems.append(
                f"{claim.id}: the measured value gives {given!r}, the claims file says {claim.verdict!r}"
            )
    return sorted(problems)


def _claim(claim_id: str) -> Claim:
    try:
        return claims()[claim_id]
    except KeyError:
        raise KeyError(f"no claim {claim_id!r} in claims.toml") from None


def file_of(chapter: str) -> Path:
    """Where the measured values of a chapter lie."""
    return results_folder() / "ledger" / f"{chapter}.json"


def _of_chapter(chapter: str) -> dict[str, Measurement]:
    path = file_of(chapter)
    if not path.exists():
        return {}
    content = json.loads(path.read_text("utf-8"))
    return {name: Measurement(**entry) for name, entry in content.items()}


def _recorded() -> dict[str, Measurement]:
    """The measured values of all chapters."""
    folder = results_folder() / "ledger"
    chapters = sorted({*CHAPTERS, *(path.stem for path in folder.glob("*.json"))})
    return {name: value for chapter in chapters for name, value in _of_chapter(chapter).items()}


def _record(claim: Claim, measurement: Measurement) -> None:
    """Write one value into its chapter's file; untouched if nothing changed."""
    path = file_of(claim.chapter)
    values = {**_of_chapter(claim.chapter), claim.id: measurement}
    content = {name: value.as_json() for name, value in values.items()}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if not path.exists() or path.read_text("utf-8") != text:
        with atomic_write(path) as file:
            file.write(text.encode())
