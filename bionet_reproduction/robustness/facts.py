"""Why a network is more or less robust: slopes, bounds, what a perturbation looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet import attacks
from bionet.activations import unit_norm
from bionet.attacks.ball import direction


def facts(
    model: Any, X: np.ndarray, y: np.ndarray, X_adv: np.ndarray, main: np.ndarray | None = None
) -> dict[str, Any]:
    """Medians over the images that are answered rightly and were turned.

    Parameters
    ----------
    model : PowerReadout or BackpropClassifier
        With one hidden layer.
    X, X_adv : array, shape (samples, features)
        Images, and their smallest changes that were found.
    y : array, shape (samples,)
        True labels.
    main : array, shape (directions, features), optional
        Orthonormal directions along which images vary most.

    Returns
    -------
    dict
        ``margin``; ``gradient_l2`` and ``gradient_l1``, norms of its gradient; ``linear_l2``, margin over
        gradient, the distance if the net were linear; ``bound_l2``, a distance that no change below it can
        turn (:func:`certified_l2`), ``likeness``, the largest absolute cosine of the change with a row of
        the first layer, and ``likeness_shuffled``, with the pixels of the rows shuffled; ``on_ink``, the
        share of the change's energy on pixels that have ink in the image, and ``on_rim``, on pixels that
        none of the images uses; with `main`, ``in_main``, the share of the gradient's energy along them.
    """
    kept = attacks.survivors(model, X, y) & (model.predict(X_adv) != y)
    X, y, X_adv = X[kept], y[kept], X_adv[kept]
    if not len(X):
        return {}
    wide = X.astype(np.float64)
    _, margin, gradient = model.logits_and_gradient(wide, y, "margin")
    change = X_adv.astype(np.float64) - wide
    W = _first_rows(model)
    shuffled = np.random.default_rng(0).permuted(W, axis=1)
    energy = change**2 / (change**2).sum(axis=1, keepdims=True)
    unused = ~(X > 0).any(axis=0)
    lengths = np.linalg.norm(gradient, axis=1)
    seen = {
        "margin": -margin,
        "gradient_l2": lengths,
        "gradient_l1": np.abs(gradient).sum(axis=1),
        "linear_l2": -margin / np.where(lengths > 0, lengths, np.inf),
        "bound_l2": certified_l2(model, wide, y),
        "likeness": _likeness(change, W),
        "likeness_shuffled": _likeness(change, shuffled),
        "on_ink": (energy * (X > 0)).sum(axis=1),
        "on_rim": energy[:, unused].sum(axis=1),
    }
    if main is not None:
        along = (gradient @ np.asarray(main, np.float64).T) ** 2
        seen["in_main"] = along.sum(axis=1) / np.where(lengths > 0, lengths, np.inf) ** 2
    return {
        "turned": int(kept.sum()),
        "zero_gradients": float((lengths == 0).mean()),
        "medians": {name: float(f"{np.median(values):.6g}") for name, values in seen.items()},
    }


def certified_l2(model: Any, X: np.ndarray, y: np.ndarray, halvings: int = 30) -> np.ndarray:
    """A radius below which no L2 change can turn an image: a lower bound, from \\|W\\|, n and S.

    A change of length r moves a unit-length input by at most ``2 r / |v|`` (without normalisation by r), each
    current by that times ``|W_i|``, hence each activity ``max(x, 0)^n`` at most to its value at the moved
    current, and a margin by the sum over units of ``|V_y - V_j|`` times those moves. The radius where the
    smallest margin is used up is found by bisection. Loose with many units: it is a proof, not an estimate.

    Parameters
    ----------
    model : PowerReadout or BackpropClassifier
        With one hidden layer of rectified powers.
    X : array, shape (samples, features)
    y : array, shape (samples,)

    Returns
    -------
    numpy.ndarray, shape (samples,)
    """
    W = _first_rows(model)
    bias: Any = 0.0
    if hasattr(model, "components_"):
        V, n = np.asarray(model.coef_, np.float64), float(model.n)
    else:
        V, bias = np.asarray(model.coefs_[1], np.float64), np.asarray(model.intercepts_[0], np.float64)
        n = float(model.n) if model.activation == "power" else 1.0
    size = np.linalg.norm(X, axis=1)
    per_pixel = 2.0 / np.maximum(size, 1e-12) if model.unit_norm else np.ones(len(X))
    x = (unit_norm(X) if model.unit_norm else X) @ W.T + bias  # (samples, hidden)
    S = model.logits(X)
    index = np.searchsorted(model.classes_, y)
    lengths = np.linalg.norm(W, axis=1)
    found = np.empty(len(X))
    for i in range(len(X)):
        difference = np.abs(V[index[i]] - V)  # (classes, hidden)
        margins = S[i, index[i]] - S[i]
        others = np.arange(len(V)) != index[i]
        now = np.maximum(x[i], 0.0) ** n
        low, high = 0.0, 30.0
        for _ in range(halvings):
            r = 0.5 * (low + high)
            reach = r * per_pixel[i] * lengths
            up = np.maximum(x[i] + reach, 0.0) ** n - now
            down = now - np.maximum(x[i] - reach, 0.0) ** n
            used = difference @ np.maximum(up, down)
            low, high = (r, high) if (used < margins)[others].all() else (low, r)
        found[i] = low
    return found


def surface(
    model: Any, X: np.ndarray, y: np.ndarray, radius: float, points: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The margin on a square around each image, along its gradient and along a random direction.

    Both directions have L2 length 1; the random one is orthogonal to the gradient. Pixels may leave [0, 1]
    here: the picture is of the network, not of an attack.

    Returns
    -------
    steps : numpy.ndarray, shape (points,)
        Lengths of the changes, from -`radius` to `radius`.
    margins : numpy.ndarray, shape (samples, points, points)
        First axis after the samples along the gradient. Above zero the image is misclassified.
    """
    X = X.astype(np.float64)
    along = direction(model.loss_gradient(X, y, "margin")[1], "l2")
    across = np.random.default_rng(seed).standard_normal(X.shape)
    across = direction(across - (across * along).sum(axis=1, keepdims=True) * along, "l2")
    steps = np.linspace(-radius, radius, points)
    a, b = (grid.reshape(-1, 1) for grid in np.meshgrid(steps, steps, indexing="ij"))
    margins = [
        model.loss_gradient(x + a * u + b * w, np.full(points**2, label), "margin")[0].reshape(points, points)
        for x, u, w, label in zip(X, along, across, y, strict=True)
    ]
    return steps, np.array(margins)


def _first_rows(model: Any) -> np.ndarray:
    """Rows of the first layer, shape (hidden, features), in float64."""
    rows = model.components_ if hasattr(model, "components_") else model.coefs_[0]
    return np.asarray(rows, np.float64)


def _likeness(change: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Largest absolute cosine of each change with a row."""
    return np.abs(unit_norm(change) @ unit_norm(W).T).max(axis=1)
