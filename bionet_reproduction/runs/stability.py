"""The recorded run ``results/stability.json``: two maps made with :mod:`bionet.measures.stability`."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from bionet import data, dynamics, plasticity
from bionet_reproduction.records import provenance
from bionet.activations import unit_norm
from bionet.measures.stability import diverging_units, effective_number, predicted_divergence

DURATIONS = (0.358, 0.1, 0.02)  # tau_L an image; the first is the talk's
STEPS = 8  # values of delta from the talk's 0.01 to the paper's 0.4, evenly in their logarithm
FRACTIONS = (0.5, 0.65, 0.8, 0.9, 0.95)  # h_* over the largest activity
ABSOLUTE = (0.03, 0.1, 0.3, 1.0, 3.0)  # h_*; the last is the talk's
INHIBITION = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
TALK_ROW = 10  # the row of the divergence map that is the talk's own start
NORMS = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)


def deltas(steps: int, low: int = -3, high: int = 10) -> list[float]:
    """Values of delta, evenly in the logarithm; 0.01 and 0.4 are `steps` steps apart and among them."""
    scale = steps // STEPS
    return [0.01 * 40 ** (j / steps) for j in range(low * scale, high * scale + 1)]


def divergence_map(X: np.ndarray, start: np.ndarray, *, w_inh: float, h_star: float, progress: bool) -> Any:
    """Units lost over a whole run, measured and predicted, by duration, norm of the start and delta.

    Parameters
    ----------
    X : array, shape (samples, features)
    start : array, shape (hidden, features)
        Weights that are scaled to the norms of the map.
    w_inh, h_star : float
        Inhibition and threshold (dimensionless).
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``norms`` (mean norm of the rows), ``deltas``, and for each duration: units lost (``measured``,
        ``predicted``; norms by deltas) and the lowest delta that loses a unit in theory, in the
        ``first_image`` and over the ``whole_run`` (a value a norm, None where there is none).
    """
    mean = float(np.linalg.norm(start, axis=1).mean())
    factors = [2 ** ((j - TALK_ROW) / 2) for j in range(13)]
    values, fine = deltas(STEPS), deltas(3 * STEPS)
    maps = {}
    for T in DURATIONS:
        table: dict[str, list[Any]] = {"measured": [], "predicted": [], "first_image": [], "whole_run": []}
        for factor in tqdm(factors, desc=f"duration {T}", disable=not progress):
            W = factor * start
            settings: dict[str, Any] = {"w_inh": w_inh, "h_star": h_star, "duration": T}
            lost = [int(diverging_units(X, W, delta=d, **settings).diverged.sum()) for d in values]
            told = {d: int((predicted_divergence(X, W, delta=d, **settings) >= 0).sum()) for d in fine}
            h = dynamics.steady_state(W @ X[0], w_inh)
            losers = W[(h >= 0) & (h < h_star)]
            times = plasticity.blow_up_time(losers, X[0], -np.ones(len(losers)))  # at delta = 1
            soonest = float(times.min(initial=np.inf))
            table["measured"].append(lost)
            table["predicted"].append([told[d] for d in fine[::3]])
            table["first_image"].append(soonest / T if soonest < np.inf else None)
            table["whole_run"].append(min((d for d in fine if told[d]), default=None))
        maps[str(T)] = table
    return {"norms": [mean * f for f in factors], "deltas": values, "durations": maps}


def recruitment_map(
    X: np.ndarray,
    starts: dict[str, np.ndarray],
    *,
    delta: float,
    durations: tuple[float, ...],
    progress: bool,
) -> list[dict[str, Any]]:
    """Who takes part, by norm of the start, threshold and inhibition, for images of unit length.

    Parameters
    ----------
    X : array, shape (samples, features)
    starts : dict of str to array, shape (hidden, features)
        Directions of the rows, scaled to the norms of the map.
    delta : float
        Anti-Hebbian strength (dimensionless).
    durations : tuple of float
        Lengths of the first presentation, in units of ``tau_L``; the last is 0.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of dict
        One cell each: its settings, the units that ever won, their effective number, the units that
        diverged, and the images without a winner.
    """
    lines = [("relative", f, 0.8) for f in FRACTIONS]
    lines += [("relative", 0.8, w) for w in INHIBITION if w != 0.8]
    lines += [("absolute", h, 0.7) for h in ABSOLUTE]
    X = unit_norm(X)
    cells = [
        (name, T, kind, h_star, w_inh, R)
        for name in starts
        for T in durations
        for kind, h_star, w_inh in lines
        for R in NORMS
    ]
    found = []
    for name, T, kind, h_star, w_inh, R in tqdm(cells, desc="recruitment", disable=not progress):
        W = R * unit_norm(starts[name])
        falling = T * (1.0 - np.arange(len(X)) / len(X))
        run = diverging_units(
            X, W, w_inh=w_inh, h_star=h_star, delta=delta, duration=falling, relative=kind == "relative"
        )
        found.append(
            {
                "start": name,
                "duration": T,
                "threshold": kind,
                "h_star": h_star,
                "w_inh": w_inh,
                "norm": R,
                "winners": int((run.wins > 0).sum()),
                "effective": round(effective_number(run.wins), 1),
                "diverged": int(run.diverged.sum()),
                "silent": run.silent,
            }
        )
    return found


def reproduce_stability(progress: bool = True) -> dict[str, Any]:
    """Map the stability of the talk's run, and the recruitment at the paper's delta, on MNIST.

    Parameters
    ----------
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        The record, as written to ``results/stability.json``.
    """
    from bionet_reproduction.experiments import SCHEMA, TALK, talk_sample, talk_start  # they name this run in their list

    train = data.load("mnist")
    X = train.images[talk_sample(train.labels)].astype(np.float64)
    start = talk_start(X.shape[1])
    rng = np.random.default_rng(TALK.seed)
    images = train.images[rng.choice(len(train.labels), 2000, replace=False)].astype(np.float32)
    starts = {
        "normal": rng.standard_normal(start.shape).astype(np.float32),
        "uniform": start.astype(np.float32),
    }
    return {
        "run": "stability",
        "schema": SCHEMA,
        "settings": {
            "n_hidden": TALK.n_hidden,
            "seed": TALK.seed,
            "divergence": {"w_inh": TALK.w_inh, "h_star": TALK.h_star, "images": len(X)},
            "recruitment": {"delta": 0.4, "images": len(images), "schedule": "linear", "unit_length": True},
        },
        "provenance": provenance(train),
        "divergence": divergence_map(X, start, w_inh=TALK.w_inh, h_star=TALK.h_star, progress=progress),
        "recruitment": recruitment_map(images, starts, delta=0.4, durations=(0.1, 0.2), progress=progress),
    }


def kept_alive(cells: list[dict[str, Any]], n_hidden: int) -> list[dict[str, Any]]:
    """Cells of a recruitment map in which every unit won and none diverged."""
    return [cell for cell in cells if cell["winners"] == n_hidden and not cell["diverged"]]


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: quantity, what the talk says, the value here."""
    part, hidden = run["divergence"], run["settings"]["n_hidden"]
    row = part["durations"][str(DURATIONS[0])]

    def lost(delta: float) -> str:
        column = min(range(len(part["deltas"])), key=lambda j: abs(part["deltas"][j] - delta))
        found, told = row["measured"][TALK_ROW][column], row["predicted"][TALK_ROW][column]
        return f"{found} of {hidden} diverge ({told} predicted)"

    alive = kept_alive(run["recruitment"], hidden)
    return [
        ("units at Delta = 0.01", "stable", lost(0.01)),
        ("units at Delta = 0.4", "not stable", lost(0.4)),
        ("settings at Delta = 0.4, all alive", "-", f"{len(alive)} of {len(run['recruitment'])}"),
    ]
