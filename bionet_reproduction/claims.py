"""The claims: what each source says, what is measured for it, and the rule that judges it.

``claims.toml`` beside this file holds them as text, with the errata of the talk.

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

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bionet_reproduction.paths import claims_file
from bionet_reproduction.statistics import interval

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
        n = int(array.size)
        if n == 1:
            return cls(measured=_rounded(array[0], digits), n=1)
        mean, low, high = (_rounded(value, digits) for value in interval(array))
        return cls(measured=mean, low=low, high=high, n=n)

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
        """The entry in ``results/ledger/``; what is not known is left out."""
        entries = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in entries if value is not None}


@dataclass(frozen=True, kw_only=True)
class Margin:
    """How large a difference counts, for one data set and one kind of quantity.

    Attributes
    ----------
    size : float
        Differences up to it are none, in `unit`.
    argument : str
        Why this much.
    """

    id: str
    data: str
    quantity: str
    unit: str
    size: float
    argument: str

    def __post_init__(self) -> None:
        if not 0 < self.size < math.inf or not self.argument.strip():
            raise ValueError(f"margin {self.id!r}: give a size above 0 and an argument")

    def verdict(self, value: float, measurement: Measurement) -> str:
        """Judge a measurement by its interval: within the margin of `value`, outside it, or too wide to say.

        Returns
        -------
        {"reproduced", "not reproduced", "open"}
            Always ``open`` for a single seed.
        """
        if measurement.low is None or measurement.high is None:
            return "open"
        apart = 10.0**-9  # bounds are rounded: a margin of ten images holds exactly ten
        low, high = value - self.size - apart, value + self.size + apart
        if low <= measurement.low and measurement.high <= high:
            return "reproduced"
        if measurement.high < low or high < measurement.low:
            return "not reproduced"
        return "open"


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
    margin : Margin, optional
        With ``value``: the verdict is that of :meth:`Margin.verdict`. In the file its id.
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
    margin: Margin | None = None
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
        if self.margin is not None and self.value is not None:
            return self.margin.verdict(self.value, measurement)
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
        if self.margin is not None:
            yield from self._problems_of_the_margin()
            return
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

    def _problems_of_the_margin(self) -> Iterator[str]:
        if self.value is None or self.between is not None or self.holds is not None:
            yield "a margin goes with a value, and with no other rule"
        if self.inside or self.outside:
            yield "a margin gives its verdicts itself: leave out inside and outside"
        if self.verdict not in ("reproduced", "not reproduced", "open"):
            yield f"a margin can never give the verdict {self.verdict!r}"
        if not self.finding.strip():
            yield "a ruled claim needs a finding"
        if self.expect is None or isinstance(self.expect, bool):
            yield "a ruled claim needs the value we expect"

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
    if unknown := content.keys() - {"claim", "erratum", "margin"}:
        raise ValueError(f"unknown tables in the claims file: {sorted(unknown)}")
    sizes = {entry.get("id"): _entry(Margin, entry, entry.get("id")) for entry in content.get("margin", [])}
    found: dict[str, Claim] = {}
    for entry in content.get("claim", []):
        name = entry.get("id", "without an id")
        if "margin" in entry and entry["margin"] not in sizes:
            raise ValueError(f"claim {name!r}: unknown margin {entry['margin']!r}, expected {sorted(sizes)}")
        margin = sizes.get(entry.get("margin"))
        claim = _entry(Claim, {**entry, "margin": margin}, name)
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


def margins(path: str | Path | None = None) -> tuple[Margin, ...]:
    """The margins of a claims file, by default the one in the package."""
    content = tomllib.loads(Path(path or claims_file()).read_text("utf-8"))
    return tuple(_entry(Margin, entry, entry.get("id")) for entry in content.get("margin", []))


def claims() -> Mapping[str, Claim]:
    """Every claim of the package's claims file, by id."""
    return _package()[0]


def errata() -> tuple[Erratum, ...]:
    """Every erratum of the talk, by number."""
    return _package()[1]


@cache
def _package() -> tuple[dict[str, Claim], tuple[Erratum, ...]]:
    return load()


def _entry(kind: Any, entry: dict[str, Any], name: object) -> Any:
    try:
        return kind(**entry)
    except TypeError as error:
        raise ValueError(f"{kind.__name__.lower()} {name!r}: {error}") from None


def _rounded(value: Any, digits: int) -> float:
    return round(float(value), digits) + 0.0  # the sum turns -0.0 into 0.0


def _number(value: float, digits: int) -> str:
    """Fixed decimals; digits in groups of three from ten thousand on: 48 000."""
    text = f"{value:,.{max(digits, 0)}f}"
    return text.replace(",", " " if abs(value) >= 10_000 else "")
