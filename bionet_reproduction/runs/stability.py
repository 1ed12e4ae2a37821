"""Two maps on MNIST: which units diverge over a whole run, and which take part in it.

Both present images exactly, with g held fixed during a presentation, as the talk's scheme does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from bionet import data, dynamics, plasticity
from bionet.activations import unit_norm
from bionet.measures.stability import diverging_units, effective_number, predicted_divergence
from bionet_reproduction import talk
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.sweeps import Sweep


@dataclass(frozen=True, kw_only=True)
class Stability(Plan):
    """Every constant of the run."""

    talk: talk.Talk = talk.TALK  # inhibition, threshold, images and start of the map of divergence
    durations: tuple[float, ...] = (0.358, 0.1, 0.02)  # tau_L an image; the first is the talk's
    factors: tuple[float, ...] = tuple(2 ** ((j - 10) / 2) for j in range(13))  # of the talk's own start
    first_delta: float = 0.01  # the talk's
    last_delta: float = 0.4  # the paper's
    steps: int = 8  # from the one to the other, evenly in the logarithm
    finer: int = 3  # steps of the prediction in one of the measurement
    below: int = 3  # steps below the first delta
    above: int = 2  # and above the last
    recruitment_images: int = 2000
    recruitment_delta: float = 0.4
    recruitment_durations: tuple[float, ...] = (0.1, 0.2)  # of the first presentation; the last is 0
    norms: tuple[float, ...] = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
    fractions: tuple[float, ...] = (0.5, 0.65, 0.8, 0.9, 0.95)  # h_* over the largest activity
    fraction: float = 0.8  # where the inhibition varies
    inhibition: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9, 0.95)
    usual_inhibition: float = 0.8  # where the threshold varies
    absolute: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)  # h_*; the last is the talk's


def deltas(plan: Stability, finer: int = 1) -> list[float]:
    """Values of delta, evenly in the logarithm; the first and the last are among them."""
    steps = plan.steps * finer
    ratio = plan.last_delta / plan.first_delta
    around = range(-plan.below * finer, steps + plan.above * finer + 1)
    return [plan.first_delta * ratio ** (j / steps) for j in around]


def divergence_map(
    plan: Stability, X: np.ndarray, start: np.ndarray, progress: bool = True
) -> dict[str, Any]:
    """Units lost over a whole run, measured and predicted, by duration, norm of the start and delta.

    Parameters
    ----------
    plan : Stability
    X : array, shape (samples, features)
    start : array, shape (hidden, features)
        Weights that are scaled by the factors of the plan.
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
    values, fine = deltas(plan), deltas(plan, plan.finer)
    w_inh, h_star = plan.talk.w_inh, plan.talk.h_star
    maps = {}
    for T in plan.durations:
        table: dict[str, list[Any]] = {"measured": [], "predicted": [], "first_image": [], "whole_run": []}
        for factor in tqdm(plan.factors, desc=f"duration {T}", disable=not progress):
            W = factor * start
            settings: dict[str, Any] = {"w_inh": w_inh, "h_star": h_star, "duration": T}
            lost = [int(diverging_units(X, W, delta=d, **settings).diverged.sum()) for d in values]
            told = {d: int((predicted_divergence(X, W, delta=d, **settings) >= 0).sum()) for d in fine}
            h = dynamics.steady_state(W @ X[0], w_inh)
            losers = W[(h >= 0) & (h < h_star)]
            times = plasticity.blow_up_time(losers, X[0], -np.ones(len(losers)))  # at delta = 1
            soonest = float(times.min(initial=np.inf))
            table["measured"].append(lost)
            table["predicted"].append([told[d] for d in fine[:: plan.finer]])
            table["first_image"].append(soonest / T if soonest < np.inf else None)
            table["whole_run"].append(min((d for d in fine if told[d]), default=None))
        maps[str(T)] = table
    return {"norms": [mean * f for f in plan.factors], "deltas": values, "durations": maps}


def recruitment_map(
    plan: Stability, X: np.ndarray, starts: dict[str, np.ndarray], progress: bool = True
) -> list[dict[str, Any]]:
    """Who takes part, by norm of the start, threshold and inhibition, for images of unit length.

    Parameters
    ----------
    plan : Stability
    X : array, shape (samples, features)
    starts : dict of str to array, shape (hidden, features)
        Directions of the rows, scaled to the norms of the plan.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of dict
        One cell each: its settings, the units that ever won, their effective number, the units that
        diverged, and the images without a winner.
    """
    lines = [("relative", f, plan.usual_inhibition) for f in plan.fractions]
    lines += [("relative", plan.fraction, w) for w in plan.inhibition]
    lines += [("absolute", h, plan.talk.w_inh) for h in plan.absolute]
    X = unit_norm(X)
    cells = [
        (name, T, kind, h_star, w_inh, R)
        for name in starts
        for T in plan.recruitment_durations
        for kind, h_star, w_inh in lines
        for R in plan.norms
    ]
    found = []
    for name, T, kind, h_star, w_inh, R in tqdm(cells, desc="recruitment", disable=not progress):
        run = diverging_units(
            X,
            R * unit_norm(starts[name]),
            w_inh=w_inh,
            h_star=h_star,
            delta=plan.recruitment_delta,
            duration=T * (1.0 - np.arange(len(X)) / len(X)),
            relative=kind == "relative",
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


def make(plan: Stability, sweep: Sweep) -> dict[str, Any]:
    """Both maps, on MNIST."""
    train = data.load("mnist")
    X = train.images[talk.sample(train.labels, plan.talk)].astype(np.float64)
    start = talk.start(X.shape[1], plan.talk)
    rng = np.random.default_rng(plan.talk.seed)
    drawn = rng.choice(len(train.labels), plan.recruitment_images, replace=False)
    starts = {
        "normal": rng.standard_normal(start.shape).astype(np.float32),
        "uniform": start.astype(np.float32),
    }
    images = train.images[drawn].astype(np.float32)
    return {
        "divergence": divergence_map(plan, X, start, sweep.progress),
        "recruitment": recruitment_map(plan, images, starts, sweep.progress),
    }


def kept_alive(cells: list[dict[str, Any]], n_hidden: int) -> list[dict[str, Any]]:
    """Cells of a recruitment map in which every unit won and none diverged."""
    return [cell for cell in cells if cell["winners"] == n_hidden and not cell["diverged"]]


def table(record: dict[str, Any]) -> Table:
    """Units lost with the talk's own start at its delta and at the paper's."""
    part, plan, hidden = record["divergence"], record["settings"], record["settings"]["talk"]["n_hidden"]
    row = part["durations"][str(plan["durations"][0])]
    own = min(range(len(plan["factors"])), key=lambda i: abs(plan["factors"][i] - 1.0))

    def lost(delta: float) -> str:
        column = min(range(len(part["deltas"])), key=lambda j: abs(part["deltas"][j] - delta))
        found, told = row["measured"][own][column], row["predicted"][own][column]
        return f"{found} of {hidden} diverge ({told} predicted)"

    alive = kept_alive(record["recruitment"], hidden)
    return [
        ("", "the talk", "here"),
        ("units at Delta = 0.01", "stable", lost(plan["first_delta"])),
        ("units at Delta = 0.4", "not stable", lost(plan["last_delta"])),
        ("settings at Delta = 0.4, all alive", "-", f"{len(alive)} of {len(record['recruitment'])}"),
    ]


RUN = Run(
    plan=Stability(),
    make=make,
    table=table,
    others={
        "tiny": Stability(
            talk=talk.Talk(n_hidden=12, per_digit=3),
            durations=(0.358,),
            factors=(0.1, 1.0),
            steps=2,
            recruitment_images=60,
            recruitment_durations=(0.1,),
            norms=(0.5, 5.0),
            fractions=(0.8,),
            inhibition=(0.7,),
            absolute=(0.3,),
        )
    },
)
