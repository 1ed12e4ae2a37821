"""How alike the dynamics and the fast rule are, image by image and feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet import dynamics, plasticity, ranking
from bionet.activations import unit_norm


def compare_rules(
    W: np.ndarray, X: np.ndarray, *, w_inh: float, h_star: float, delta: float, k: int = 7
) -> dict[str, Any]:
    """Whom the two rules would teach, and whom they would unteach, with the same rows and images.

    Parameters
    ----------
    W : array, shape (hidden, features)
        Rows.
    X : array, shape (samples, features)
        Images; they are scaled to unit length.
    w_inh, h_star, delta : float
        Of the dynamics; `h_star` as a fraction of the largest activity (dimensionless).
    k : int
        Rank of the unit that the fast rule unteaches.

    Returns
    -------
    dict
        ``active``: units with positive activity, median; ``learners`` and ``unlearners``: units with g = 1
        and g = -delta, mean; ``one_learner``: share of images with exactly one; ``same_winner``: share of
        images whose strongest unit is that of the fast rule; ``kth_unlearns``: share of images in which
        the k-th strongest unit has g = -delta; ``unlearner_ranks``: how often (share of images) the unit of
        rank 1, 2, ... 40 has g = -delta; ``cosine``: median cosine between the two rules' changes of W, over
        the images that change any.
    """
    currents = (unit_norm(X) @ W.T).astype(np.float64)  # (samples, hidden)
    h = dynamics.steady_state(currents, w_inh)
    g = plasticity.learning_activation(h, h_star, delta, relative=True)
    order = np.argsort(-currents, axis=1, kind="stable")
    by_rank = np.take_along_axis(g, order, axis=1)
    fast = ranking.rank_activation(currents, k, delta)
    # Both rules change row mu by g_mu (v - y_mu W_mu) to first order: the cosine weighs units alike.
    some = g.any(axis=1)
    change = np.sum(g * fast, axis=1)[some]
    change /= np.linalg.norm(g[some], axis=1) * np.linalg.norm(fast[some], axis=1)
    return {
        "active": float(np.median((h > 0).sum(axis=1))),
        "learners": float((g > 0).sum(axis=1).mean()),
        "unlearners": float((g < 0).sum(axis=1).mean()),
        "one_learner": float(((g > 0).sum(axis=1) == 1).mean()),
        "same_winner": float((h.argmax(axis=1) == order[:, 0]).mean()),
        "kth_unlearns": float((by_rank[:, k - 1] < 0).mean()),
        "unlearner_ranks": [round(float(x), 4) for x in (by_rank[:, :40] < 0).mean(axis=0)],
        "cosine": float(np.median(change)),
    }


def best_matches(W: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Cosine of each row of `W` with the row of `V` that is most like it, shape (hidden,)."""
    first, second = (unit_norm(np.asarray(rows, dtype=np.float64)) for rows in (W, V))
    return (first @ second.T).max(axis=1)


def compared(
    dynamical: Sequence[np.ndarray], ranked: Sequence[np.ndarray], X: np.ndarray, settings: dict[str, float]
) -> dict[str, Any]:
    """Both comparisons, on rows that learned by the one rule and by the other, a set of rows a seed.

    Returns
    -------
    dict
        ``images``: see :func:`compare_rules`; ``features``: medians over units of :func:`best_matches`.
    """
    noise = np.random.default_rng(0).standard_normal(dynamical[0].shape)
    pairs = {
        "dynamical in ranked": (dynamical[0], ranked[0]),
        "ranked in dynamical": (ranked[0], dynamical[0]),
        "dynamical in noise": (dynamical[0], noise),
    }
    if len(dynamical) > 1:
        pairs["dynamical in another seed"] = (dynamical[0], dynamical[1])
        pairs["ranked in another seed"] = (ranked[0], ranked[1])
    rule: Any = {name: settings[name] for name in ("w_inh", "h_star", "delta")}
    return {
        "images": {
            "dynamical rows": compare_rules(dynamical[0], X, **rule),
            "ranked rows": compare_rules(unit_norm(ranked[0]), X, **rule),
        },
        "features": {name: float(np.median(best_matches(*pair))) for name, pair in pairs.items()},
    }
