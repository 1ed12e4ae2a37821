"""Every field of every plan can be set from the command line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bionet_reproduction import catalogue, options
from bionet_reproduction.run import Plan
from bionet_reproduction.sweeps import Recipe


@dataclass(frozen=True, kw_only=True)
class Layer(Recipe):
    n_hidden: int = 20
    p: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Small(Plan):
    seeds: int = 2
    rows: Layer = Layer()
    powers: tuple[float, ...] = (1.0, 4.5)
    tried: tuple[tuple[float, int], ...] = ((1e-3, 10),)
    length: float | None = None
    name: str = "a"


def test_a_field_is_set_by_its_name_and_the_rest_stays():
    words = [
        "--seeds",
        "5",
        "--rows.n-hidden=7",
        "--powers",
        "2, 3",
        "--tried",
        "[(0.1, 3)]",
        "--length",
        "1",
    ]
    plan = options.changed(Small(), options.pairs(words))
    assert plan == Small(seeds=5, rows=Layer(n_hidden=7), powers=(2.0, 3.0), tried=((0.1, 3),), length=1)
    assert type(plan.powers[0]) is float
    assert options.changed(Small(), {"powers": "8"}).powers == (8.0,)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--seed", "5"], "no field 'seed'; there are seeds, rows.n-hidden"),
        (["--seeds", "many"], "--seeds is of the kind of 2, got 'many'"),
        (["--seeds", "2.5"], "--seeds is of the kind of 2"),
        (["--powers", "1, 'x'"], "--powers is of the kind of"),
        (["--seeds"], "--seeds needs a value"),
        (["5"], "'5' belongs to no option"),
    ],
)
def test_what_cannot_be_set_is_named(words, match):
    with pytest.raises(ValueError, match=match):
        options.changed(Small(), options.pairs(words))


@pytest.mark.parametrize("name", catalogue.RUNS)
def test_every_field_of_every_plan_can_be_set(name):
    """To its own value, from the text of it: nothing changes."""
    plan = catalogue.RUNS[name].run().plan
    for field, value in options.flat(plan).items():
        text = value if isinstance(value, str) else repr(dict(value) if hasattr(value, "items") else value)
        assert options.changed(plan, {field: text}) == plan
