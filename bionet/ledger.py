"""The ledger: every claim, what its source says, what is measured here, and the verdict.

Two files hold it. ``bionet/claims.toml`` is text: claims and the rule that turns a
measured value into a verdict. ``results/ledger.json`` holds the measured values, written
by the chapters when they run with ``BIONET_RECORD=1``.

A claim is one of three kinds.

ruled
    ``between``, ``holds`` or ``value`` is given: the verdict follows from the measurement.
shown
    only ``quantity`` is given: a value is measured and shown, the verdict is argued.
argued
    neither is given: the verdict rests on ``argument`` alone.

The rule judges the *rounded* value, the very one that is printed, so nobody ever reads a
number beside a verdict that does not follow from it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: one writer at a time is up to the user
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CHAPTERS",
    "VERDICTS",
    "Claim",
    "Erratum",
    "Measurement",
    "Verdict",
    "check",
    "claims",
    "claims_file",
    "errata",
    "load",
    "measured",
    "results_folder",
    "table",
    "verdict",
]

VERDICTS = ("reproduced", "not reproduced", "explained", "corrected", "open")
SOURCES = ("talk", "paper", "notebook")
CHAPTERS = {
    "01-motivation": "Motivation",
    "02-h-part": "The h-part",
    "03-w-part": "The W-part",
    "04-convergence": "Convergence",
    "05-supervised": "The supervised phase",
    "06-bp-comparison": "Back-propagation",
    "07-cifar-10": "CIFAR-10",
    "08-adversarial-question": "The adversarial question",
    "09-dynamics-at-scale": "The dynamical model at full scale",
}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured value, rounded for good: a number, a mean over seeds, or yes and no.

    ``low`` and ``high`` bound the 95 % t-interval of the mean of ``n`` values.
    """

    measured: float | bool
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @classmethod
    def of(cls, value: Any, digits: int) -> Measurement:
        """Round a raw value; a sequence becomes its mean with a 95 % t-interval.

        Raises
        ------
        ValueError
            If the value is empty, NaN or infinite: a ledger keeps no such thing.
        TypeError
            If it is not a number, a bool or a flat sequence of them.
        """
        array = np.asarray(value)
        if array.dtype == object or array.dtype.kind not in "biuf" or array.ndim > 1:
            raise TypeError(f"expected a number, a bool or a flat list of them, got {value!r}")
        if array.size == 0:
            raise ValueError("expected at least one value, got an empty list")
        if array.dtype.kind == "b":
            n = int(array.size) if array.ndim else None
            return cls(measured=bool(array.all()), n=n)
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"a measured value must be finite, got {value!r}")
        if array.ndim == 0:
            return cls(measured=_rounded(array, digits))
        mean, n = array.mean(), int(array.size)
        if n == 1:
            return cls(measured=_rounded(mean, digits), n=1)
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, 0.975)) * array.std(ddof=1) / math.sqrt(n)
        return cls(
            measured=_rounded(mean, digits),
            low=_rounded(mean - half, digits),
            high=_rounded(mean + half, digits),
            n=n,
        )

    def text(self, digits: int, unit: str = "") -> str:
        """The value as it is printed everywhere: ``83.6 % (83.1 to 84.1, 5 seeds)``."""
        if isinstance(self.measured, bool):
            word = "holds" if self.measured else "does not hold"
            return word if self.n is None else f"{word} ({self.n} seeds)"
        space = f" {unit}" if unit else ""
        value = _number(self.measured, digits) + space
        if self.low is not None and self.high is not None:
            low, high = _number(self.low, digits), _number(self.high, digits)
            return f"{value} ({low} to {high}, {self.n} seeds)"
        return f"{value} (1 seed)" if self.n == 1 else value

    def as_json(self) -> dict[str, float | bool | int]:
        """The entry in ``results/ledger.json``; what is not known is left out."""
        entries = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in entries if value is not None}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim, the rule that judges it, and the verdict that is printed for it.

    Attributes
    ----------
    id : str
        Kebab-case and unique; the cell that measures it carries the label ``claim-<id>``.
    source, place, statement, says : str
        Who says it (talk, paper or notebook), where, in our words, and in theirs.
    chapter : str
        The notebook that measures or argues it, a key of `CHAPTERS`.
    quantity, unit, digits : str, str, int
        What is measured, in what unit, and the decimals kept: coarser than its spread.
    between : (float, float), optional
        Closed range; a measured value in it gives ``inside``, any other ``outside``.
    holds : bool, optional
        The statement's expected truth; a measured bool equal to it gives ``inside``.
    rule : {"mean", "interval"}
        Whether the mean is judged, or its 95 % interval: with ``between`` the whole
        interval must lie in the range, with ``value`` it must contain that value.
    expect, tolerance : optional
        The recorded value must stay within these; the ledger's test fails otherwise.
    verdict : str
        The printed verdict; for a ruled claim it must be the one that the rule gives.
    finding, argument : str
        One sentence each. ``{measured}``, ``{low}``, ``{high}``, ``{n}`` are filled in.
    """

    id: str
    source: str
    place: str
    statement: str
    says: str
    chapter: str
    verdict: str
    quantity: str = ""
    unit: str = ""
    digits: int = 1
    between: tuple[float, float] | None = None
    holds: bool | None = None
    value: float | None = None
    rule: str = "mean"
    inside: str = ""
    outside: str = ""
    expect: float | bool | None = None
    tolerance: float | None = None
    finding: str = ""
    argument: str = ""

    def __post_init__(self) -> None:
        if self.between is not None:
            object.__setattr__(self, "between", tuple(self.between))
        for problem in self._problems():
            raise ValueError(f"claim {self.id!r}: {problem}")

    @property
    def is_ruled(self) -> bool:
        """True if the verdict follows from a measurement."""
        return (self.between, self.holds, self.value) != (None, None, None)

    @property
    def is_measured(self) -> bool:
        """True if a chapter has to measure something for it."""
        return bool(self.quantity)

    @property
    def label(self) -> str:
        """The target that the chapter puts before the cell."""
        return f"claim-{self.id}"

    def judge(self, measurement: Measurement) -> str:
        """Return the verdict that follows from a measurement."""
        if not self.is_ruled:
            return self.verdict
        return self.inside if self._is_inside(measurement) else self.outside

    def is_expected(self, measurement: Measurement) -> bool:
        """Return whether the measured value is within tolerance of the expected one."""
        if self.expect is None:
            return True
        if isinstance(self.expect, bool) or isinstance(measurement.measured, bool):
            return measurement.measured is self.expect
        slack = 10.0**-self.digits * 1e-6
        return abs(measurement.measured - self.expect) <= (self.tolerance or 0.0) + slack

    def tell(self, measurement: Measurement | None) -> str:
        """The finding, or the argument, with the measured values filled in."""
        text = self.finding or self.argument
        if measurement is None:
            return "" if "{" in text else text
        shown = {
            name: _number(value, self.digits)
            for name in ("low", "high")
            if (value := getattr(measurement, name)) is not None
        }
        single = Measurement(measured=measurement.measured)
        return text.format(measured=single.text(self.digits, self.unit), n=measurement.n, **shown)

    def _is_inside(self, measurement: Measurement) -> bool:
        if isinstance(measurement.measured, bool) != (self.holds is not None):
            kind = "a bool" if self.holds is not None else "a number"
            raise TypeError(f"claim {self.id!r} is judged by {kind}, got {measurement.measured!r}")
        if self.holds is not None:
            return measurement.measured is self.holds
        low, high = self._judged(measurement)
        if self.value is not None:
            return low <= self.value <= high
        assert self.between is not None
        return self.between[0] <= low and high <= self.between[1]

    def _judged(self, measurement: Measurement) -> tuple[float, float]:
        if self.rule == "mean":
            return measurement.measured, measurement.measured
        if measurement.low is None or measurement.high is None:
            raise ValueError(
                f"claim {self.id!r} is judged by its 95 % interval: give the values of at least two seeds"
            )
        return measurement.low, measurement.high

    def _problems(self) -> Iterator[str]:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id):
            yield "an id is kebab-case: small letters, digits and single hyphens"
        for name in ("place", "statement", "says"):
            if not getattr(self, name).strip():
                yield f"{name} is empty"
        if self.source not in SOURCES:
            yield f"unknown source {self.source!r}, expected one of {SOURCES}"
        if self.chapter not in CHAPTERS:
            yield f"unknown chapter {self.chapter!r}, expected one of {[*CHAPTERS]}"
        if self.verdict not in VERDICTS:
            yield f"unknown verdict {self.verdict!r}, expected one of {VERDICTS}"
        if not -9 <= self.digits <= 9:
            yield f"digits is {self.digits}, expected -9 to 9"
        if self.rule not in ("mean", "interval"):
            yield f"unknown rule {self.rule!r}, expected 'mean' or 'interval'"
        if self.is_ruled:
            yield from self._problems_of_the_rule()
        elif self.inside or self.outside:
            yield "inside and outside need a rule: between, holds or value"
        elif not self.argument.strip():
            yield "a verdict without a rule needs an argument"
        if isinstance(self.expect, bool) or self.expect is None:
            if self.tolerance is not None:
                yield "a tolerance needs an expected number"
        elif self.tolerance is None or not 0 <= self.tolerance < math.inf:
            yield "an expected number needs a tolerance of 0 or more"
        if self.expect is not None and not self.is_measured:
            yield "an expected value needs a quantity"
        yield from self._problems_of_the_text()

    def _problems_of_the_rule(self) -> Iterator[str]:
        if not self.is_measured:
            yield "a rule needs the quantity that it judges"
        if sum(rule is not None for rule in (self.between, self.holds, self.value)) > 1:
            yield "give one of between, holds and value"
        for name in ("inside", "outside"):
            if getattr(self, name) not in VERDICTS:
                yield f"{name} is {getattr(self, name)!r}, expected one of {VERDICTS}"
        if self.inside == self.outside:
            yield "inside and outside are the same: that is no rule"
        if self.verdict not in (self.inside, self.outside):
            yield f"the rule can never give the verdict {self.verdict!r}"
        if self.between is not None and (
            len(self.between) != 2
            or any(isinstance(bound, bool | str) for bound in self.between)
            or not self.between[0] <= self.between[1]
        ):
            yield f"between is {self.between}, expected [low, high] with low <= high"
        if self.value is not None and self.rule != "interval":
            yield "value is judged by an interval: say rule = 'interval'"
        if self.holds is not None and self.rule != "mean":
            yield "holds is judged by a bool, which has no interval"
        if not self.finding.strip():
            yield "a ruled claim needs a finding"
        if self.expect is None:
            yield "a ruled claim needs the value we expect"
        elif isinstance(self.expect, bool) != (self.holds is not None):
            yield f"the rule cannot judge the expected {self.expect!r}"
        elif self.rule == "mean":
            given = self.judge(Measurement(measured=self.expect))
            if given != self.verdict:
                yield f"expect gives {given!r}, but the verdict says {self.verdict!r}"

    def _problems_of_the_text(self) -> Iterator[str]:
        allowed = {"measured", "low", "high", "n"} if self.is_measured else set()
        for text in (self.finding, self.argument):
            unknown = set(re.findall(r"\{([^}]*)\}", text)) - allowed
            if unknown:
                yield f"unknown placeholders in the text: {sorted(unknown)}"


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """One place where the slides, the talk's notebook and the paper disagree.

    The chapter that shows it carries the label ``erratum-<number>``; ``claims`` names the
    claims of the ledger that measure it.
    """

    number: int
    title: str
    slides: str
    notebook: str
    paper: str
    shown: str
    chapter: str
    claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", tuple(self.claims))
        if self.chapter not in CHAPTERS:
            raise ValueError(f"erratum {self.number}: unknown chapter {self.chapter!r}")

    @property
    def label(self) -> str:
        """The target that the chapter puts where the erratum is shown."""
        return f"erratum-{self.number}"


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


def load(path: str | Path | None = None) -> tuple[dict[str, Claim], tuple[Erratum, ...]]:
    """Read and validate a claims file (by default the one in the package).

    Returns
    -------
    claims : dict of str to Claim
        In the order of the file.
    errata : tuple of Erratum
        In the order of their numbers, which run from 1 without a gap.

    Raises
    ------
    ValueError
        If an entry is malformed, naming the entry and what is wrong with it.
    """
    content = tomllib.loads(Path(path or claims_file()).read_text("utf-8"))
    if unknown := content.keys() - {"claim", "erratum"}:
        raise ValueError(f"unknown tables in the claims file: {sorted(unknown)}")
    found: dict[str, Claim] = {}
    for entry in content.get("claim", []):
        claim = _entry(Claim, entry, entry.get("id", "without an id"))
        if claim.id in found:
            raise ValueError(f"claim {claim.id!r} appears twice")
        found[claim.id] = claim
    rows = [
        _entry(Erratum, entry, entry.get("number", "without a number"))
        for entry in content.get("erratum", [])
    ]
    if [row.number for row in rows] != [*range(1, len(rows) + 1)]:
        raise ValueError("errata must be numbered 1, 2, 3 ... in order")
    for row in rows:
        if unknown := set(row.claims) - found.keys():
            raise ValueError(f"erratum {row.number} names unknown claims {unknown}")
    return found, tuple(rows)


def claims() -> Mapping[str, Claim]:
    """Every claim of the package's claims file, by id."""
    return _package()[0]


def errata() -> tuple[Erratum, ...]:
    """Every erratum of the talk, by number."""
    return _package()[1]


def claims_file() -> Path:
    """The claims file that comes with the package."""
    return Path(__file__).with_name("claims.toml")


def results_folder() -> Path:
    """The folder of recorded results: ``$BIONET_RESULTS`` or the checkout's ``results``."""
    given = os.environ.get("BIONET_RESULTS")
    return Path(given) if given else Path(__file__).resolve().parent.parent / "results"


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
        is also stored in ``results/ledger.json``.
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
        _record(claim_id, measurement)
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


@cache
def _package() -> tuple[dict[str, Claim], tuple[Erratum, ...]]:
    return load()


def _claim(claim_id: str) -> Claim:
    try:
        return claims()[claim_id]
    except KeyError:
        raise KeyError(f"no claim {claim_id!r} in bionet/claims.toml") from None


def _entry(kind: Any, entry: dict[str, Any], name: object) -> Any:
    try:
        return kind(**entry)
    except TypeError as error:
        raise ValueError(f"{kind.__name__.lower()} {name!r}: {error}") from None


def _recorded() -> dict[str, Measurement]:
    path = results_folder() / "ledger.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text("utf-8"))
    return {name: Measurement(**entry) for name, entry in content.items()}


def _record(claim_id: str, measurement: Measurement) -> None:
    """Merge one value into the record: locked, atomic, untouched if nothing changed."""
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger.json"
    with _locked(folder):
        content = {name: value.as_json() for name, value in _recorded().items()}
        content[claim_id] = measurement.as_json()
        text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
        if path.exists() and path.read_text("utf-8") == text:
            return
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".ledger-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder while chapters that run side by side record their values."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _rounded(value: Any, digits: int) -> float:
    return round(float(value), digits) + 0.0  # the sum turns -0.0 into 0.0


def _number(value: float, digits: int) -> str:
    """Fixed decimals; digits in groups of three from ten thousand on: 48 000."""
    text = f"{value:,.{max(digits, 0)}f}"
    return text.replace(",", " " if abs(value) >= 10_000 else "")
