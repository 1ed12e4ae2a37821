"""How continuous in colour and space rows are that learned from CIFAR-10, beside rows of other kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bionet_reproduction import cells
from bionet_reproduction.runs import cifar10 as cifar
from bionet.measures import colour, maps
from bionet import persistence
from bionet_reproduction.records import record
from bionet_reproduction.cells import Sweep

DISTANCES = (1, 2, 4, 8, 16)
SHAPE = (3, 32, 32)
QUANTILES = (0.1, 0.5, 0.9)
PHOTOGRAPHS = 2000
BELOW = -0.5  # cosine of an opponent pair


def measure_colour(cell: dict[str, Any]) -> dict[str, Any]:
    """Measures of one set of rows, each as its 10th, 50th and 90th percentile over the rows.

    Every row's mean grey is taken out first: images of unit length share a large one, and so do the rows that
    learned from them.

    Parameters
    ----------
    cell : dict
        ``rows`` as in :func:`bionet_reproduction.cells.rows_of`, or of the kinds ``backprop`` (first layer of the
        end-to-end net) and ``photographs``; ``train`` and ``view``; ``shuffled``, whether each row's pixels
        are put in an order of its own; ``shape`` of an image.
    """
    shape = tuple(cell["shape"])
    W = _rows(cell)
    norms = np.linalg.norm(W, axis=1)
    grey = W.mean(axis=1, keepdims=True)
    result: dict[str, Any] = {
        "rows": len(W),
        "share_of_mean_grey": _spread(grey[:, 0] ** 2 * W.shape[1] / norms**2),
    }
    W = W - grey
    if cell["shuffled"]:
        rng = np.random.default_rng([0, 3])
        pixels = W.reshape(len(W), shape[0], -1)
        W = np.stack([row[:, rng.permutation(row.shape[1])] for row in pixels]).reshape(len(W), -1)
    reach = [d for d in DISTANCES if d < min(shape[1:])]
    correlation = colour.spatial_correlation(W, reach, shape, pooled=True)  # (rows, 2, distances)
    for axis, name in enumerate(("brightness", "colour")):
        result[f"{name}_correlation"] = {
            str(d): _spread(correlation[:, axis, i]) for i, d in enumerate(reach)
        }
    if cell["rows"]["kind"] != "photographs":
        X = cells.images(cell["train"])[0]
        cosine = maps.nearest_image(W.astype(np.float32), X - X.mean(axis=1, keepdims=True))[0]
        result["nearest_image_cosine"] = _spread(np.abs(cosine))
    shares = colour.shares(W, shape)
    for axis, name in enumerate(("grey", "red_green", "yellow_blue")):
        result[f"share_{name}"] = _spread(shares[:, axis])
    hues = colour.hue_coherence(W, shape)
    result["hue_coherence"] = _spread(hues.coherence)
    result["hue_coherence_shuffled"] = _spread(hues.shuffled)
    result["hue_concentration"] = _spread(hues.concentration)
    # the axis of a map without one is noise: weigh each by how concentrated its hues are
    weight = np.nan_to_num(np.asarray(hues.concentration))
    turn = np.sum(weight * np.exp(2j * np.nan_to_num(np.asarray(hues.axis))))
    result["mean_axis_degrees"] = round(float(np.degrees(np.angle(turn) / 2) % 180), 2)
    result["axes_agree"] = round(float(np.abs(turn) / weight.sum()), 4)
    pairs = colour.opponent_pairs(W, shape, below=BELOW)
    result["most_opposite_cosine"] = _spread(pairs.cosine)
    result["share_in_opponent_pairs"] = round(2 * len(pairs.matched) / len(W), 4)
    return result


def _trained_net() -> Path:
    return cells.workplace() / "kept" / "cifar10_end_to_end-seed0.npz"


def _rows(cell: dict[str, Any]) -> np.ndarray:
    kind = cell["rows"]["kind"]
    if kind == "backprop":
        W = cells.as_seen_by_pixels(persistence.load(_trained_net()).coefs_[0], cell["view"], cell["train"])
    elif kind == "photographs":
        W = cells.images(cell["train"])[0][:PHOTOGRAPHS]
    else:
        W = cells.rows_of(cell["rows"], cell["train"], cell["view"])[0]
    return np.asarray(W, dtype=np.float64)


def _spread(values: Any) -> list[float]:
    return [round(float(q), 4) for q in np.nanquantile(np.asarray(values, dtype=np.float64), QUANTILES)]


def reproduce_cifar10_colour(
    seeds: int = 3, jobs: int = 1, dask: str | None = None, progress: bool = True
) -> dict[str, Any]:
    """Continuity of colour and space, measured on the rows of the runs ``cifar10`` and its controls.

    Needs those runs, and measures the end-to-end net, too, if ``cifar10_end_to_end`` has left it in the
    workplace.
    """
    sweep = Sweep("cifar10_colour", jobs, dask, progress, of="cifar10")
    chosen = record("cifar10")["search"]["chosen"]
    count = cifar.PAPER["n_hidden"]
    kinds: dict[str, tuple[Any, str]] = {
        "ranked": (lambda s: cifar.rows(s, chosen, n_epochs=cifar.EPOCHS), cifar.VIEW),
        "ranked, centred": (lambda s: cifar.rows(s, chosen, **cifar.CONTROL), "centred"),
        "random": (lambda s: {"kind": "random", "n_hidden": count, "seed": s}, cifar.VIEW),
    }
    once: dict[str, tuple[Any, str]] = {
        "ranked, long": (lambda s: cifar.rows(s, chosen, n_epochs=cifar.LONG_EPOCHS), cifar.VIEW),
        "pca": (lambda s: {"kind": "pca", "n_hidden": count, "seed": s}, cifar.VIEW),
        "kmeans": (
            lambda s: {"kind": "kmeans", "n_hidden": cifar.CONTROL["n_hidden"], "seed": s},
            cifar.VIEW,
        ),
        "photographs": (lambda s: {"kind": "photographs"}, cifar.VIEW),
    }
    if _trained_net().exists():
        net_view = record("cifar10_end_to_end")["selection"]["chosen"]["view"]
        once["backprop"] = (lambda s: {"kind": "backprop"}, net_view)
    table = {}
    for name, (make, view) in {**kinds, **once}.items():
        for shuffled in (False, True) if name == "ranked" else (False,):
            mine = [
                {
                    "rows": make(seed),
                    "train": "cifar-50k",
                    "view": view,
                    "shuffled": shuffled,
                    "shape": list(SHAPE),
                    "of": "colour",
                }
                for seed in range(seeds if name in kinds else 1)
            ]
            label = f"{name}, shuffled" if shuffled else name
            table[label] = {"view": view, "seeds": sweep(mine, measure_colour, label=label)}
    return sweep.record(
        {"seeds": seeds, "quantiles": QUANTILES, "distances": DISTANCES, "below": BELOW}, table=table
    )


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen."""
    return [
        (
            f"neighbours' correlation in colour, {name}",
            "-",
            f"{e['seeds'][0]['colour_correlation']['1'][1]:.2f}",
        )
        for name, e in run["table"].items()
    ]
