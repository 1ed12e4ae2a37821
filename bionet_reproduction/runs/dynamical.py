"""The dynamical model, eqs. 1 to 3, at full scale on MNIST: search, seeds, and the fast rule beside it.

Everything is chosen on 10 000 held-out training images. The test images are read once per reported number.
The trained net of 2000 units and seed 0 is put beside the record, in float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from bionet.units import CompetingUnits
from bionet_reproduction import agreement, cells, views
from bionet_reproduction.cells import Length, Measure, Readout, entropy_readout, power_readout
from bionet_reproduction.records import chosen_loss
from bionet_reproduction.rows import Competing, Learned, Ranked
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Cell, Sweep

LOSSES = ("power", "cross_entropy")
RULES = ("dynamical", "ranked")
Settings = dict[str, Any]  # w_inh, h_star, delta, duration, init, and what a variant changes

SEARCH: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {  # each trial draws one of each
        "w_inh": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
        "h_star": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0),  # a fraction of the largest activity
        "delta": (0.05, 0.1, 0.2, 0.3, 0.4),
        "duration": (0.02, 0.05, 0.1, 0.2, 0.4),
        "init": (0.1, 0.3, 1.0),  # standard deviation of the first weights
    }
)
WIDE: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {  # beyond the edges of the search, for the neighbours of its best settings
        "w_inh": (0.3, *SEARCH["w_inh"], 0.98),
        "h_star": (0.3, *SEARCH["h_star"]),
        "delta": (0.0, *SEARCH["delta"], 0.5, 0.6),
        "duration": (0.01, *SEARCH["duration"], 0.8),
        "init": (0.03, *SEARCH["init"], 2.0, 4.0, 8.0),
    }
)


@dataclass(frozen=True, kw_only=True)
class Dynamical(Plan):
    """Every constant of the run."""

    seeds: int = 5
    sizes: tuple[int, int] = (484, 2000)  # the talk's network and the paper's
    search: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: SEARCH)
    wide: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: WIDE)
    trials: int = 60
    trial_passes: int = 6
    trial_readout_epochs: int = 20
    finalists: int = 6
    finalist_passes: int = 10
    stable_seeds: int = 5  # seeds that a setting has to survive
    patient_passes: int = 30  # of the candidates for the last choice of settings
    patient_trials: int = 3
    turns: int = 6  # steps to the best neighbour, at most
    passes: tuple[int, ...] = (30, 60)
    absolute: tuple[float, ...] = (0.03, 0.1, 0.3, 0.6)  # thresholds of the variants
    raw_length: float = 9.2  # of a digit with pixels in [0, 1], in the mean
    length: float = 2.2  # Euclidean length given to rows: about that of the paper's, whose 3-norm is 1
    lengths: tuple[float, ...] = (
        1.5,
        2.2,
        3.3,
    )  # among which every kind of rows finds its own, for each loss
    short_readout_epochs: int = 60
    readout_epochs: int = 300


def drawn_trials(plan: Dynamical, seed: int = 0) -> list[Settings]:
    """The settings of the random search, all different, the same on every machine."""
    rng = np.random.default_rng(seed)
    drawn: list[Settings] = []
    while len(drawn) < plan.trials:
        trial = {name: values[int(rng.integers(len(values)))] for name, values in plan.search.items()}
        if trial not in drawn:
            drawn.append(trial)
    return drawn


def neighbours(wide: Mapping[str, tuple[float, ...]], settings: Settings) -> list[Settings]:
    """The settings that differ from these in one entry, by one step of the wide grid."""
    near = []
    for name, values in wide.items():
        at = values.index(settings[name])
        around = (*values[max(at - 1, 0) : at], *values[at + 1 : at + 2])
        near += [{**settings, name: value} for value in around]
    return near


def variants(plan: Dynamical, settings: Settings) -> list[Settings]:
    """Changes of schedule, input, threshold and start, tried with the best settings for comparison only."""
    return [
        {**settings, **change}
        for change in (
            {"schedule": "constant"},
            {"schedule": "constant", "duration": settings["duration"] / 4},
            {"normalize": False, "duration": settings["duration"] / plan.raw_length},  # the same dose
            *({"threshold": "absolute", "h_star": h_star} for h_star in plan.absolute),
            {"init": "uniform"},
            {"init": "sphere"},
        )
    ]


@dataclass(frozen=True, kw_only=True)
class FirstDivergence(Cell):
    """For each seed, what diverges in a pass of constant presentations (None: nothing does)."""

    rows: Competing
    seeds: int

    def work(self) -> dict[str, Any]:
        X = views.images("60k")[0]
        diverged: list[str | None] = []
        for seed in range(self.seeds):
            settings = {**self.rows.settings(), "schedule": "constant"}
            try:
                CompetingUnits(**settings, random_state=seed).fit(X)
                diverged.append(None)
            except ArithmeticError as error:
                diverged.append(str(error))
        return {"diverged": diverged}


def validation(result: dict[str, Any], position: int = 0) -> float:
    """Validation error of a cell; infinite where its rows diverged."""
    return result["readouts"][position]["10k_error"] if result["readouts"] else float("inf")


def least(row: dict[str, Any]) -> float:
    """The better of the two losses' validation errors."""
    return min(row[loss] for loss in LOSSES)


class Study:
    """The steps of the run: search, patience, lengths, final runs. Every step is recorded.

    Attributes
    ----------
    settings : dict
        From the number of units to the settings that are best so far.
    search : dict
        From the name of a step to its table.
    """

    def __init__(self, plan: Dynamical, sweep: Sweep) -> None:
        self.plan, self.sweep = plan, sweep
        self.m, self.beta = chosen_loss()
        self.settings: dict[int, Settings] = {}
        self.search: dict[str, Any] = {}

    def readouts(self, epochs: int, seed: int) -> tuple[Readout, Readout]:
        """One readout for each of the losses; cross-entropy needs no more than short ones."""
        return (
            power_readout(self.m, self.beta, epochs, seed),
            entropy_readout(min(epochs, self.plan.short_readout_epochs), seed),
        )

    def rows(self, rule: str, size: int, passes: int, seed: int) -> Learned:
        """Rows of either rule, with the best settings for the dynamics."""
        if rule == "dynamical":
            return Competing(n_hidden=size, n_epochs=passes, seed=seed, **self.settings[size])
        return Ranked(n_hidden=size, n_epochs=passes, seed=seed)

    def chosen_by(self, rows: Learned, readouts: tuple[Readout, ...], length: float | None = None) -> Measure:
        """A cell that measures on the held-out images."""
        scale = Length(length=self.plan.length if length is None else length)
        return Measure(rows=rows, readouts=readouts, train="50k", evaluate=("10k",), scale=scale)

    def attempt(self, size: int, passes: int, tried: list[Settings], name: str) -> list[Settings]:
        """Try settings with one short readout; record them as `name`, return them from best to worst."""
        short = (power_readout(self.m, self.beta, self.plan.trial_readout_epochs, 0),)
        layers = [Competing(n_hidden=size, n_epochs=passes, seed=0, **trial) for trial in tried]
        found = self.sweep([self.chosen_by(rows, short) for rows in layers], name)
        self.search[name] = [searched(t, r) for t, r in zip(tried, found, strict=True)]
        return [tried[i] for i in sorted(range(len(tried)), key=lambda i: validation(found[i]))]

    def stable(self, size: int, tried: list[Settings]) -> list[Settings]:
        """Those of the settings under which no unit diverges in a first pass, whatever the seed."""
        layers = [Competing(n_hidden=size, n_epochs=1, seed=0, **trial) for trial in tried]
        found = self.sweep(
            [FirstDivergence(rows=rows, seeds=self.plan.stable_seeds) for rows in layers], f"stable, {size}"
        )
        table = self.search.setdefault(f"stable {size}", [])
        table += [{**t, **r} for t, r in zip(tried, found, strict=True) if {**t, **r} not in table]
        return [t for t, r in zip(tried, found, strict=True) if not any(r["diverged"])]

    def first_stable(self, size: int, ordered: list[Settings]) -> Settings:
        """The first of the settings that is stable."""
        for settings in ordered:
            if self.stable(size, [settings]):
                return settings
        raise ArithmeticError(f"none of the {len(ordered)} settings tried with {size} units is stable")

    def walk(self, size: int, best: list[Settings]) -> None:
        """From the best of the finalists to its best neighbour, for as long as that is better."""
        passes = self.plan.finalist_passes
        self.settings[size] = self.first_stable(size, self.attempt(size, passes, best, f"finalists {size}"))
        for turn in range(1, self.plan.turns + 1):
            now = self.settings[size]
            tried = [now, *neighbours(self.plan.wide, now)]
            ordered = self.attempt(size, passes, tried, f"neighbours {size}, turn {turn}")
            self.settings[size] = self.first_stable(size, ordered)
            if self.settings[size] == now:
                break

    def be_patient(self, size: int, best: list[Settings]) -> None:
        """Choose again, with more passes and longer readouts, by the better of the two losses."""
        tried = [self.settings[size]]
        for trial in best[
            : self.plan.patient_trials
        ]:  # as they are, and from the start that this size prefers
            for candidate in (trial, {**trial, "init": self.settings[size]["init"]}):
                if candidate not in tried:
                    tried.append(candidate)
        tried = self.stable(size, tried)
        readouts = self.readouts(self.plan.short_readout_epochs, 0)
        passes = self.plan.patient_passes
        layers = [Competing(n_hidden=size, n_epochs=passes, seed=0, **trial) for trial in tried]
        found = self.sweep([self.chosen_by(rows, readouts) for rows in layers], f"patient {size}")
        table = self.search[f"patient {size}"] = [
            {**t, **{loss: validation(r, i) for i, loss in enumerate(LOSSES)}}
            for t, r in zip(tried, found, strict=True)
        ]
        self.settings[size] = tried[min(range(len(tried)), key=lambda i: least(table[i]))]

    def lengths(self, rule: str, size: int, counts: tuple[int, ...]) -> list[dict[str, Any]]:
        """Validation errors of both losses for every number of passes and length of rows."""
        tried = [(count, length) for count in counts for length in self.plan.lengths]
        readouts = self.readouts(self.plan.short_readout_epochs, 0)
        found = self.sweep(
            [self.chosen_by(self.rows(rule, size, count, 0), readouts, length) for count, length in tried],
            f"lengths, {rule} {size}",
        )
        table = self.search[f"lengths {rule} {size}"] = [
            {"passes": c, "length": length, **{loss: validation(r, i) for i, loss in enumerate(LOSSES)}}
            for (c, length), r in zip(tried, found, strict=True)
        ]
        return table

    def choose(self, size: int) -> dict[str, dict[str, Any]]:
        """Passes, and the length of rows for each loss, of both rules; the fast rule gets equal passes."""
        table = self.lengths("dynamical", size, self.plan.passes)
        passes = min(table, key=least)["passes"]
        tables = {
            "dynamical": [row for row in table if row["passes"] == passes],
            "ranked": self.lengths("ranked", size, (passes,)),
        }
        return {
            f"{rule} {size}": {
                "passes": passes,
                **(self.settings[size] if rule == "dynamical" else {}),
                "length": {loss: min(at, key=lambda row: row[loss])["length"] for loss in LOSSES},
            }
            for rule, at in tables.items()
        }

    def test(self, rule: str, size: int, chosen: dict[str, Any]) -> dict[str, Any]:
        """Errors on the test images over seeds, for both losses, and what is known of the rows."""
        name, seeds = f"{rule} {size}", range(self.plan.seeds)
        final: dict[str, Any] = {}
        for i, loss in enumerate(LOSSES):
            runs = self.sweep(
                [
                    Measure(
                        rows=self.rows(rule, size, chosen["passes"], seed),
                        readouts=(self.readouts(self.plan.readout_epochs, seed)[i],),
                        train="60k",
                        evaluate=("test",),
                        scale=Length(length=chosen["length"][loss]),
                        keep=f"{rule}-{size}-{loss}-seed{seed}",
                    )
                    for seed in seeds
                ],
                f"{name}, {loss}",
            )
            final[loss] = {
                part: summary([run["readouts"][0][f"{part}_error"] for run in runs])
                for part in ("train", "test")
            }
            final["rows"] = [{k: v for k, v in run["rows"].items() if k != "converged"} for run in runs]
        return final


def searched(settings: Settings, result: dict[str, Any]) -> dict[str, Any]:
    """A line of a search table."""
    error = validation(result)
    return {
        **settings,
        "validation_error": error if np.isfinite(error) else None,
        **{name: result["rows"].get(name) for name in ("diverged", "never_won", "effective_units")},
    }


def make(plan: Dynamical, sweep: Sweep) -> dict[str, Any]:
    """Search for settings on validation, then test both sizes over seeds, beside the fast rule."""
    study = Study(plan, sweep)
    small, large = plan.sizes
    best = study.attempt(small, plan.trial_passes, drawn_trials(plan), "random")[: plan.finalists]
    for size in plan.sizes:
        study.walk(size, best)
        study.be_patient(size, best)
    study.attempt(small, plan.finalist_passes, variants(plan, study.settings[small]), "variants")
    chosen: dict[str, Any] = {}
    for size in plan.sizes:
        chosen |= study.choose(size)
    final = {
        f"{rule} {size}": study.test(rule, size, chosen[f"{rule} {size}"])
        for size in plan.sizes
        for rule in RULES
    }
    name = f"dynamical {large}"
    headline = min(LOSSES, key=lambda loss: min(row[loss] for row in study.search[f"lengths {name}"]))
    cells.publish(f"dynamical-{large}-{headline}-seed0", "dynamical-seed0")
    passes = chosen[name]["passes"]
    dynamical, ranked = (
        [study.rows(rule, large, passes, seed).of("60k")[0] for seed in range(min(plan.seeds, 2))]
        for rule in RULES
    )
    alike = agreement.compared(dynamical, ranked, views.images("test")[0], study.settings[large])
    return {
        "loss": {"m": study.m, "beta": study.beta},
        "chosen": chosen,
        "headline": headline,
        "search": study.search,
        "final": final,
        "agreement": alike,
    }


def table(record: dict[str, Any]) -> Table:
    """Test errors of both rules and sizes."""
    return [
        ("", "the paper", "here"),
        *(
            (
                f"test error, {name}, {loss}",
                "1.46 %" if name == "ranked 2000" else "-",
                shown(part[loss]["test"]),
            )
            for name, part in record["final"].items()
            for loss in LOSSES
        ),
    ]


RUN = Run(
    plan=Dynamical(),
    make=make,
    table=table,
    others={
        "tiny": Dynamical(
            seeds=2,
            sizes=(10, 20),
            trials=4,
            trial_passes=1,
            trial_readout_epochs=5,
            finalists=2,
            finalist_passes=1,
            stable_seeds=2,
            patient_passes=2,
            turns=1,
            passes=(1, 2),
            short_readout_epochs=5,
            readout_epochs=6,
        )
    },
)
