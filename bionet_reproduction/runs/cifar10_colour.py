"""How continuous in colour and space rows are that learned from CIFAR-10, beside rows of other kinds.

Measures the end-to-end net, too, where the run ``cifar10_end_to_end`` has left it in the folder of unfinished
runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bionet import persistence
from bionet.measures import colour, maps
from bionet_reproduction import cells, cifar, records, views
from bionet_reproduction.rows import KMeans, Made, PrincipalComponents, Random, Rows
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.sweeps import Cell, Sweep

NET = "cifar10_end_to_end-seed0"
ONE_SEED = ("ranked, long", "pca", "kmeans", "photographs", "backprop")


@dataclass(frozen=True, kw_only=True)
class Colour(Plan):
    """Every constant of the run; rows are those of the recorded run ``cifar10`` and its controls."""

    seeds: int = 3
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)  # over rows, of each measure
    distances: tuple[int, ...] = (1, 2, 4, 8, 16)  # pixels
    below: float = -0.5  # cosine of an opponent pair
    photographs: int = 2000
    shape: tuple[int, int, int] = (3, 32, 32)


@dataclass(frozen=True, kw_only=True)
class Photographs(Rows):
    """The first images of a part, as they are."""

    count: int

    def of(self, part: str, view: str | None = None) -> Made:
        return views.images(part)[0][: self.count], {}


@dataclass(frozen=True, kw_only=True)
class FirstLayer(Rows):
    """The first layer of a net that a cell kept, as it acts on centred pixels."""

    net: str

    def of(self, part: str, view: str | None = None) -> Made:
        W = persistence.load(cells.kept(self.net)).coefs_[0]
        return views.as_seen_by_pixels(W, view, part), {}


@dataclass(frozen=True, kw_only=True)
class MeasureColour(Cell):
    """Measures of one set of rows, each as quantiles over the rows.

    Every row's mean grey is taken out first: images of unit length share a large one, and so do the rows that
    learned from them. `shuffled`: each row's pixels are put in an order of its own.
    """

    rows: Rows
    train: str
    view: str | None
    shuffled: bool
    shape: tuple[int, int, int]
    quantiles: tuple[float, ...]
    distances: tuple[int, ...]
    below: float

    def work(self) -> dict[str, Any]:
        W = np.asarray(self.rows.of(self.train, self.view)[0], dtype=np.float64)
        norms = np.linalg.norm(W, axis=1)
        grey = W.mean(axis=1, keepdims=True)
        result: dict[str, Any] = {
            "rows": len(W),
            "share_of_mean_grey": self.spread(grey[:, 0] ** 2 * W.shape[1] / norms**2),
        }
        W = W - grey
        if self.shuffled:
            rng = np.random.default_rng([0, 3])
            pixels = W.reshape(len(W), self.shape[0], -1)
            W = np.stack([row[:, rng.permutation(row.shape[1])] for row in pixels]).reshape(len(W), -1)
        reach = [d for d in self.distances if d < min(self.shape[1:])]
        correlation = colour.spatial_correlation(W, reach, self.shape, pooled=True)  # (rows, 2, distances)
        for axis, name in enumerate(("brightness", "colour")):
            result[f"{name}_correlation"] = {
                str(d): self.spread(correlation[:, axis, i]) for i, d in enumerate(reach)
            }
        if not isinstance(self.rows, Photographs):
            X = views.without_mean(views.images(self.train)[0])
            cosine = maps.nearest_image(W.astype(np.float32), X)[0]
            result["nearest_image_cosine"] = self.spread(np.abs(cosine))
        shares = colour.shares(W, self.shape)
        for axis, name in enumerate(("grey", "red_green", "yellow_blue")):
            result[f"share_{name}"] = self.spread(shares[:, axis])
        hues = colour.hue_coherence(W, self.shape)
        result["hue_coherence"] = self.spread(hues.coherence)
        result["hue_coherence_shuffled"] = self.spread(hues.shuffled)
        result["hue_concentration"] = self.spread(hues.concentration)
        # the axis of a map without one is noise: weigh each by how concentrated its hues are
        weight = np.nan_to_num(np.asarray(hues.concentration))
        turn = np.sum(weight * np.exp(2j * np.nan_to_num(np.asarray(hues.axis))))
        result["mean_axis_degrees"] = round(float(np.degrees(np.angle(turn) / 2) % 180), 2)
        result["axes_agree"] = round(float(np.abs(turn) / weight.sum()), 4)
        pairs = colour.opponent_pairs(W, self.shape, below=self.below)
        result["most_opposite_cosine"] = self.spread(pairs.cosine)
        result["share_in_opponent_pairs"] = round(2 * len(pairs.matched) / len(W), 4)
        return result

    def spread(self, values: Any) -> list[float]:
        """Quantiles of one measure, without the rows that have none."""
        found = np.nanquantile(np.asarray(values, dtype=np.float64), self.quantiles)
        return [round(float(q), 4) for q in found]


def layers(plan: Colour, network: cifar.Network, rule: cifar.Rule, seed: int) -> dict[str, tuple[Rows, str]]:
    """The rows of one seed by name, and how they saw the images."""
    view = network.view
    found: dict[str, tuple[Rows, str]] = {
        "ranked": (cifar.rows(network, rule, seed, network.n_epochs), view),
        "ranked, centred": (cifar.trial_rows(network, rule, seed), "centred"),
        "random": (Random(n_hidden=network.n_hidden, seed=seed), view),
        "ranked, long": (cifar.rows(network, rule, seed, network.long_epochs), view),
        "pca": (PrincipalComponents(n_hidden=network.n_hidden), view),
        "kmeans": (KMeans(n_hidden=network.trial_hidden, seed=seed), view),
        "photographs": (Photographs(count=plan.photographs), view),
    }
    if cells.kept(NET).exists():
        net_view = records.record("cifar10_end_to_end")["selection"]["chosen"]["view"]
        found["backprop"] = (FirstLayer(net=NET), net_view)
    return found


def make(plan: Colour, sweep: Sweep) -> dict[str, Any]:
    """The part of the record: measures of all rows."""
    network, rule, _ = cifar.recorded()

    def cell(name: str, seed: int, shuffled: bool) -> MeasureColour:
        rows, view = layers(plan, network, rule, seed)[name]
        return MeasureColour(
            rows=rows,
            train="cifar-50k",
            view=view,
            shuffled=shuffled,
            shape=plan.shape,
            quantiles=plan.quantiles,
            distances=plan.distances,
            below=plan.below,
        )

    table = {}
    for name, (_, view) in layers(plan, network, rule, 0).items():
        seeds = range(1 if name in ONE_SEED else plan.seeds)
        for shuffled in (False, True) if name == "ranked" else (False,):
            label = f"{name}, shuffled" if shuffled else name
            mine = [cell(name, seed, shuffled) for seed in seeds]
            table[label] = {"view": view, "seeds": sweep(mine, label)}
    return {"table": table}


def table(record: dict[str, Any]) -> Table:
    """How alike neighbours are in colour, at the median row of seed 0."""
    return [
        ("", "the paper", "here"),
        *(
            (
                f"neighbours' correlation in colour, {name}",
                "-",
                f"{entry['seeds'][0]['colour_correlation']['1'][1]:.2f}",
            )
            for name, entry in record["table"].items()
        ),
    ]


RUN = Run(
    plan=Colour(),
    make=make,
    table=table,
    others={"tiny": Colour(seeds=2, shape=(3, 8, 8))},
)
