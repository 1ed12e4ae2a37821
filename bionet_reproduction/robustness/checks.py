"""What a sound attack must show, and the worst case of each image over all attacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from bionet_reproduction.robustness.attack_cells import percent, subset, unpacked
from bionet_reproduction.robustness.grids import Results
from bionet_reproduction.robustness.plan import Robustness

Found = dict[str, Results]  # by attack


def worst(plan: Robustness, nets: list[str], found: Found) -> dict[str, Any]:
    """Two columns on the same images: gradient attacks alone, and the worst case over all attacks."""
    count, walked = len(subset(plan.subset)), len(subset(plan.walks))
    table: dict[str, Any] = {}
    for key in found["apgd"]:
        net, norm, eps = key
        alive = {
            "gradient": _all(
                unpacked(found[name][key]["survived"], count)
                for name in ("base", "steps", "curve")
                if key in found[name]
            ),
            "apgd": unpacked(found["apgd"][key]["survived"], count),
        }
        if key in found["square"]:
            alive["square"] = unpacked(found["square"][key]["survived"], count)
        if (norm, eps, net) in found["transfer"]:
            alive["transfer"] = _all(
                unpacked(found["transfer"][norm, eps, source]["survived"][net], count)
                for source in nets
                if source != net
            )
        by_walks, said = np.ones(count, dtype=bool), {}
        if (net, norm) in found["walks"]:
            walks = found["walks"][net, norm]
            at = dict(plan.independent.items())[norm].index(eps)
            by_walks[:walked] = unpacked(walks["survived"][at], walked)
            said = {"hop_skip_jump": walks["accuracy"][at]}
        every = _all([*alive.values(), by_walks])
        table.setdefault(net, {}).setdefault(norm, {})[str(eps)] = {
            **{name: percent(a) for name, a in alive.items()},
            **said,
            "all": percent(every),
            "missed_by_gradients": int((alive["gradient"] & ~every).sum()),
        }
    return table


def sanity(
    plan: Robustness, nets: list[str], base: Found, found: Found, cases: dict[str, Any]
) -> list[dict[str, Any]]:
    """What a sound attack must show, a row for each net and check.

    Parameters
    ----------
    plan : Robustness
    nets : list of str
    base : dict
        Gradients, single steps and noise on all test images, of seed 0.
    found : dict
        The attacks on the fixed images, of seed 0.
    cases : dict
        See :func:`worst`.
    """
    return [
        {"net": net, "check": check, "holds": bool(holds), "value": round(value, 4)}
        for net in nets
        for check, holds, value in [
            *_against_less(plan, net, base),
            *_on_the_curve(plan, net, found),
            *_against_more(plan, net, found),
            *_against_others(plan, net, found, cases),
        ]
    ]


Rows = list[tuple[str, bool, float]]  # a check, whether it holds, the value that says so


def _against_less(plan: Robustness, net: str, base: Found) -> Rows:
    """Single steps and noise find less; gradients are there to follow."""
    keys, most = [key for key in base["gradient"] if key[0] == net], plan.gradient.underflow
    gradient, fgsm, noise = (base[name] for name in ("gradient", "fgsm", "noise"))
    one = min(fgsm[key]["accuracy"] - gradient[key]["accuracy"] for key in keys)
    none = min(noise[key]["accuracy"] - gradient[key]["accuracy"] for key in keys)
    share = max(gradient[key]["zero_gradients"] for key in keys)
    if share > most:
        share = max(gradient[key]["zero_gradients_float64"] for key in keys)
    return [
        ("many steps beat one", one >= 0, one),
        ("an attack beats noise of its size", none >= 0, none),
        ("gradients are not zero, in float32 or else in float64", share <= most, share),
    ]


def _on_the_curve(plan: Robustness, net: str, found: Found) -> Rows:
    """Accuracy falls with the radius, to nothing."""
    rises, ends = [], []
    for norm, radii in plan.curve.items():
        curve = [found["curve"][net, norm, eps]["accuracy"] for eps in sorted(radii)]
        rise = max((b - a for a, b in itertools.pairwise(curve)), default=0.0)
        rises.append((f"accuracy never rises with eps, {norm}", rise <= 0, rise))
        most = {"linf": plan.left_linf, "l2": plan.left_l2}[norm]
        ends.append((f"at most {most:g} % left at {norm} {max(radii):g}", curve[-1] <= most, curve[-1]))
    return [*rises, *ends]


def _against_more(plan: Robustness, net: str, found: Found) -> Rows:
    """More steps and more restarts find no more."""
    slack, start = plan.slack, {key: one["accuracy"] for key, one in found["base"].items() if key[0] == net}
    gains = {
        f"{count} {what} find at most {slack} points more": [
            start[key] - found[name][key]["accuracy"] for key in start if key in found[name]
        ]
        for name, what, count in (
            ("steps", "steps", plan.more_steps),
            ("curve", "restarts", plan.curve_restarts),
        )
    }
    return [(check, max(each) <= slack, max(each)) for check, each in gains.items() if each]


def _against_others(plan: Robustness, net: str, found: Found, cases: dict[str, Any]) -> Rows:
    """The attacks of others, and images made for others, find no more."""
    entries = {(norm, eps): e for norm, by_eps in cases[net].items() for eps, e in by_eps.items()}
    walked = len(subset(plan.walks))
    leads = {
        name: [e[name] - e["gradient"] for e in entries.values() if name in e]
        for name in ("square", "transfer")
    }
    leads["hop_skip_jump"] = [
        e["hop_skip_jump"] - percent(unpacked(found["base"][net, norm, float(eps)]["survived"], walked))
        for (norm, eps), e in entries.items()
        if "hop_skip_jump" in e
    ]
    gap = max(e["gradient"] - e["apgd"] for e in entries.values())
    return [
        *((f"gradients beat {name}", min(each) >= 0, min(each)) for name, each in leads.items() if each),
        (f"apgd finds at most {plan.slack} points more", gap <= plan.slack, gap),
    ]


def _all(alive: Iterable[np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce(list(alive))
