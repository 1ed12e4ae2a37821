"""Many cells at once, by the names of their networks: one attack on all networks at all radii."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bionet_reproduction.robustness.attack_cells import Ladder
from bionet_reproduction.robustness.nets import Train
from bionet_reproduction.robustness.plan import Nets, Radii
from bionet_reproduction.statistics import summary
from bionet_reproduction.sweeps import Cell, Sweep

Results = dict[Any, dict[str, Any]]  # of cells, by net, norm and radius


def swept(sweep: Sweep, cells: Mapping[Any, Cell], label: str) -> Results:
    """Results of cells by the names that they have here."""
    return dict(zip(cells, sweep(cells.values(), label), strict=True))


def train(
    sweep: Sweep, nets: list[Nets], label: str, evaluate: tuple[str, ...] = ("10k", "test")
) -> list[Results]:
    """Train the networks of each seed, all side by side."""
    cells = {
        (seed, name): Train(net=net, evaluate=evaluate)
        for seed, one in enumerate(nets)
        for name, net in one.items()
    }
    found = swept(sweep, cells, label)
    return [{name: found[seed, name] for name in one} for seed, one in enumerate(nets)]


def grid(
    sweep: Sweep, nets: Nets, radii: Radii, attack: Callable[..., Cell], label: str, **settings: Any
) -> Results:
    """One attack on all networks at all radii, by net, norm and radius."""
    cells = {
        (name, norm, eps): attack(net=net, norm=norm, eps=eps, **settings)
        for name, net in nets.items()
        for norm, values in radii.items()
        for eps in values
    }
    return swept(sweep, cells, f"{label}, seed {settings['seed']}")


def ladders(sweep: Sweep, nets: Nets, radii: Radii, **settings: Any) -> Results:
    """The gradient attack at all radii of each norm, one after the other; by net, norm and radius."""
    cells = {
        (name, norm): Ladder(net=net, norm=norm, eps=tuple(sorted(values)), **settings)
        for name, net in nets.items()
        for norm, values in radii.items()
    }
    return {
        (name, norm, eps): {entry: found[entry][at] for entry in found if entry != "seconds"}
        for (name, norm), found in swept(sweep, cells, f"ladder, seed {settings['seed']}").items()
        for at, eps in enumerate(cells[name, norm].eps)
    }


def over_seeds(found: Mapping[str, list[Results]]) -> dict[str, Any]:
    """Summaries over seeds, by net, norm and radius."""
    table: dict[str, Any] = {}
    for key in found["gradient"][0]:
        net, norm, eps = key
        table.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
            **{
                name: summary([one[key]["accuracy"] for one in each if key in one])
                for name, each in found.items()
            },
            "zero_gradients": max(one[key]["zero_gradients"] for one in found["gradient"] if key in one),
        }
    return table


def curves(found: Results) -> dict[str, Any]:
    """Accuracies by net, norm and radius."""
    table: dict[str, Any] = {}
    for (net, norm, eps), entry in found.items():
        table.setdefault(net, {}).setdefault(norm, {})[str(eps)] = entry["accuracy"]
    return table
