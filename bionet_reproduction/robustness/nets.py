"""The networks whose robustness is measured: recipes, training, and nets kept between cells.

A recipe is a plain dict. A net is trained once and kept beside the cells, in full precision.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from bionet import attacks, persistence
from bionet.backend import blocks
from bionet.mlp import BackpropClassifier
from bionet.optim import rates_of
from bionet.readout import PowerReadout
from bionet.units import lebesgue_norms
from bionet_reproduction import cells, sweeps
from bionet_reproduction.cells import entropy_readout, power_readout
from bionet_reproduction.ledger import results_folder
from bionet_reproduction.runs import cifar10 as cifar
from bionet_reproduction.runs.mnist import ranked_rows

HIDDEN = 2000
POWER = 4.5  # n of the bio net, and of the back-propagation net with the same activation
RANDOM_POWER = 1.0  # of readouts on random rows, the best for them (the run ``controls``)
OTHER_POWERS = (1.0, 2.0, 8.0)  # on the same rows, one seed: the role of n
PASSES = 100  # of the rows: more do not lower the error (the run ``scale``)
READOUT_EPOCHS = 100
BACKPROP_EPOCHS = 6
BACKPROP_BATCH = 250
RATE = 2e-3
DECAYS = (3e-3, 1e-3, 3e-4, 1e-4)  # penalties on the mean loss, the strongest first
MORE_DECAY = 1e-3  # costs clean accuracy
ADVERSARIAL_EPOCHS = 6
ADVERSARIAL = {"norm": "linf", "eps": 0.1, "steps": 5}  # of the attacks in adversarial training
RARE = 1e-3  # share of images with ink below which a pixel is rare
SMALL = 0.01  # factor of a smaller start
PLAIN = ((20, 0.3), (5, 0.03))  # epochs and rates of gradient descent without Adam
COMPONENTS = 100  # principal components of the images that count as the directions in which they vary
PROJECTED = (300, 100, 50)  # numbers of them that the rows of a net are projected on
STEEP = (6.0, 1.0)  # m and beta of the readout that saturates
CHECK = 20  # minibatches between looks at the held-out images, where training stops early


def readout(
    rows: dict[str, Any],
    settings: dict[str, Any],
    length: float | None = None,
    part: str = "60k",
    **more: Any,
) -> dict[str, Any]:
    """Recipe of a readout on rows, which are scaled to a Euclidean length if one is given.

    ``reach`` scales all rows together, so that the largest current of the median image is 1; ``schedule`` and
    ``batch_size`` are those of a cell's readout (:func:`bionet_reproduction.cells.measure`).
    """
    return {"kind": "readout", "rows": rows, "length": length, "readout": settings, "train": part, **more}


def stored(name: str) -> dict[str, Any]:
    """Recipe of a net that another run recorded, or kept in the folder of unfinished runs."""
    return {"kind": "stored", "name": name}


def cleared(recipe: dict[str, Any], share: float) -> dict[str, Any]:
    """Recipe of a net whose first weights are 0 at pixels with ink in at most this share of the images."""
    return {"kind": "cleared", "of": recipe, "share": share}


def projected(recipe: dict[str, Any], components: int) -> dict[str, Any]:
    """Recipe of a net whose first rows are projected on the first principal components of its images.

    What it answers to the mean image is kept; for a back-propagation net without normalisation.
    """
    return {"kind": "projected", "of": recipe, "components": components}


def backprop(seed: int, epochs: int | None = None, **more: Any) -> dict[str, Any]:
    """Recipe of a back-propagation net; `more` are settings of the net, and of the training if capital.

    ``ROWS="start"`` gives the first rows the 3-norm 1 of converged units, ``ROWS="kept"`` gives it back to
    them after every step; ``START`` is a factor of the first weights at the start; ``ADVERSARIAL`` trains on
    attacked images; ``STOP`` is the accuracy on held-out images at which the training ends; ``PART`` are the
    images it learns from.
    """
    epochs = epochs or BACKPROP_EPOCHS
    first = max(1, round(0.7 * epochs))
    rates = [[first, RATE], [epochs - first, RATE / 10]] if epochs > first else [[first, RATE]]
    net = {
        "hidden": HIDDEN,
        "learning_rate": rates,
        "batch_size": BACKPROP_BATCH,
        "n_epochs": epochs,
        "random_state": seed,
        **{name: value for name, value in more.items() if not name.isupper()},
    }
    training = {name.lower(): value for name, value in more.items() if name.isupper()}
    part = training.pop("part", "50k" if "stop" in training else "60k")
    return {"kind": "backprop", "net": net, "train": part, **training}


def goal(m: float, beta: float) -> dict[str, Any]:
    """The bio net trained without the held-out images: its accuracy on them is what others are matched to."""
    return readout(
        ranked_rows(0, n_epochs=PASSES), power_readout(m, beta, READOUT_EPOCHS, 0, POWER), part="50k"
    )


def decayed(decay: float, **more: Any) -> dict[str, Any]:
    """A back-propagation net with a penalty, for its choice on the held-out images."""
    return backprop(0, weight_decay=decay, PART="50k", **more)


def recipes(
    seed: int, m: float, beta: float, decay: float, dynamical: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """The networks of one seed, but for those matched in accuracy.

    Parameters
    ----------
    seed : int
    m, beta : float
        Of the paper's loss.
    decay : float
        Penalty of the net with weight decay, as it was chosen.
    dynamical : dict or None
        Settings that the run ``dynamical`` chose for the large network; without them that net is left out.
    """
    epochs = READOUT_EPOCHS
    power = power_readout(m, beta, epochs, seed, POWER)
    rows = ranked_rows(seed, n_epochs=PASSES)
    nets = {
        "bio": readout(rows, power),
        "bio, cross-entropy": readout(rows, entropy_readout(epochs, seed, POWER)),
        "bio, Delta = 0": readout(ranked_rows(seed, delta=0.0, n_epochs=PASSES), power),
        "random rows": readout(
            {"kind": "random", "n_hidden": HIDDEN, "seed": seed}, entropy_readout(epochs, seed, RANDOM_POWER)
        ),
        "backprop": backprop(seed),
        "backprop, decay": backprop(seed, weight_decay=decay),
        "backprop, more decay": backprop(seed, weight_decay=MORE_DECAY),
        "backprop, norms": backprop(seed, unit_norm=True, ROWS="kept"),
        "backprop, adversarial": backprop(seed, ADVERSARIAL_EPOCHS, ADVERSARIAL=ADVERSARIAL),
    }
    if dynamical is not None:
        kept = {k: v for k, v in dynamical.items() if k not in ("passes", "length")}
        learned = {"kind": "competing", "n_hidden": HIDDEN, "seed": seed, "n_epochs": dynamical["passes"]}
        nets["bio, dynamical"] = readout({**learned, **kept}, power, dynamical["length"]["power"])
    return nets


def matched(seed: int, accuracy: float) -> dict[str, dict[str, Any]]:
    """Back-propagation nets that stop at a given accuracy on held-out images."""
    same: dict[str, Any] = {"activation": "power", "n": POWER, "unit_norm": True, "ROWS": "start"}
    return {
        "backprop, matched": backprop(seed, STOP=accuracy),
        "backprop, power": backprop(seed, **same, STOP=accuracy),
    }


def paper(seed: int, m: float, beta: float) -> dict[str, dict[str, Any]]:
    """The net with rows of the paper's length; that of seed 0 is stored with the book."""
    power = power_readout(m, beta, cells.READOUT_EPOCHS, seed, POWER)
    recipe = readout(ranked_rows(seed), power) if seed else stored("mnist-seed0")
    return {"bio, 1000 passes": recipe}


def explanations(seed: int, accuracy: float) -> dict[str, dict[str, Any]]:
    """Back-propagation nets that show what makes them weak.

    Whether it is the rim, what is left of the start, the optimiser, or the directions in which images
    hardly vary. The nets trained by plain gradient descent do not reach the accuracy in their time.
    """
    plain: dict[str, Any] = {
        "optimizer": "sgd",
        "learning_rate": [list(pair) for pair in PLAIN],
        "PART": "50k",
    }
    epochs = sum(count for count, _ in PLAIN)
    net = matched(seed, accuracy)["backprop, matched"]
    return {
        "blank pixels cleared": cleared(net, 0.0),
        "rare pixels cleared": cleared(net, RARE),
        "smaller start": backprop(seed, STOP=accuracy, START=SMALL),
        "plain steps": backprop(seed, epochs, **plain),
        "plain steps, smaller start": backprop(seed, epochs, START=SMALL, **plain),
        **{f"{count} components": projected(net, count) for count in PROJECTED},
    }


def with_powers(seed: int) -> dict[str, dict[str, Any]]:
    """Readouts with other powers on the rows of the bio net."""
    return {
        f"bio, cross-entropy, n = {n:g}": readout(
            ranked_rows(seed, n_epochs=PASSES), entropy_readout(READOUT_EPOCHS, seed, n)
        )
        for n in OTHER_POWERS
    }


def steep(seed: int) -> dict[str, Any]:
    """The bio net with a readout whose tanh saturates."""
    return readout(ranked_rows(seed, n_epochs=PASSES), power_readout(*STEEP, READOUT_EPOCHS, seed, POWER))


def on_cifar(seed: int, beta: float) -> dict[str, dict[str, Any]]:
    """Networks for CIFAR-10: the paper's at 200 passes, as another run kept it, and its controls."""
    power = {
        **power_readout(cifar.M, beta, READOUT_EPOCHS, seed, cifar.N),
        "batch_size": cifar.READOUT["batch_size"],
        "schedule": "cifar",
    }
    random = {"kind": "random", "n_hidden": cifar.PAPER["n_hidden"], "seed": seed}
    return {
        "bio": stored(f"cifar10-{cifar.EPOCHS}-seed{seed}"),
        "random rows": readout(random, power, part="cifar-50k", reach=1),
        "backprop": backprop(seed, unit_norm=True, PART="cifar-50k", hidden=cifar.PAPER["n_hidden"]),
    }


def trained(recipe: dict[str, Any]) -> Any:
    """The net of a recipe, trained now or before."""
    path = cells.workplace() / "robust" / f"{sweeps.key(recipe)}.npz"
    if path.exists():
        return persistence.load(path)
    if recipe["kind"] == "stored":
        return _find(recipe["name"])
    if recipe["kind"] == "cleared":
        net = trained(recipe["of"])
        X = cells.images(recipe["of"]["train"])[0]
        net.coefs_[0][:, (X > 0).mean(axis=0) <= recipe["share"]] = 0
        return net
    if recipe["kind"] == "projected":
        net = trained(recipe["of"])
        main, mean = directions(recipe["of"]["train"], recipe["components"])
        W = net.coefs_[0]
        across = W - (W @ main.T) @ main
        net.coefs_[0], net.intercepts_[0] = W - across, net.intercepts_[0] + across @ mean
        return net
    net = _train_readout(recipe) if recipe["kind"] == "readout" else _train_backprop(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    persistence.save(net, path)
    return net


@lru_cache(maxsize=4)
def directions(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first principal components of images, shape (count, features), and their mean; float32."""
    X = cells.images(part)[0]
    found = PCA(min(count, *X.shape), svd_solver="covariance_eigh").fit(X.astype(np.float64))
    return found.components_.astype(np.float32), found.mean_.astype(np.float32)


def train(cell: dict[str, Any]) -> dict[str, Any]:
    """Train the net of a cell's recipe, if it is not there; return its clean accuracies in per cent."""
    began = time.perf_counter()
    net = trained(cell["model"])
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "steps": int(net.n_iter_),
        **{
            f"{part}_accuracy": round(100 * attacks.accuracy(net, *cells.images(part)), 4)
            for part in cell["evaluate"]
        },
    }


def found(name: str) -> Path | None:
    """Where the net is that another run kept or recorded; None if it is nowhere."""
    places = (cells.workplace() / "kept" / f"{name}.npz", results_folder() / f"{name}.npz")
    return next((path for path in places if path.exists()), None)


def _find(name: str) -> PowerReadout:
    path = found(name)
    if path is None:
        raise FileNotFoundError(
            f"{results_folder() / name}.npz is missing; run `bionet reproduce {name.partition('-')[0]}` "
            "to train and record it"
        )
    return persistence.load(path)


def _train_readout(recipe: dict[str, Any]) -> PowerReadout:
    X, y = cells.images(recipe["train"])
    W, _ = cells.rows_of(recipe["rows"], recipe["train"])
    if recipe["length"]:
        W = W * (recipe["length"] / np.linalg.norm(W, axis=1, keepdims=True)).astype(np.float32)
    if recipe.get("reach"):
        W = W * np.float32(1.0 / cells.reach(W, X))
    return cells.readout_of(W, recipe["readout"]).fit(X, y)


def _train_backprop(recipe: dict[str, Any]) -> BackpropClassifier:
    X, y = cells.images(recipe["train"])
    net = BackpropClassifier(**recipe["net"])
    rows, adversarial, stop, start = (recipe.get(name) for name in ("rows", "adversarial", "stop", "start"))
    if not (rows or adversarial or stop or start):
        return net.fit(X, y)
    held = cells.images("10k") if stop else None
    rng = np.random.default_rng([net.random_state, 3])
    net.partial_fit(X[: net.batch_size], y[: net.batch_size], np.unique(y), learning_rate=0.0)
    if start:
        net.coefs_[0] *= net.coefs_[0].dtype.type(start)
    if rows:
        _unit_rows(net)
    for rate in rates_of(net.learning_rate, net.n_epochs):
        order = rng.permutation(len(X))
        for number, block in enumerate(blocks(len(X), net.batch_size)):
            batch, labels = X[order[block]], y[order[block]]
            if adversarial:
                attack = attacks.PGD(adversarial["norm"], steps=adversarial["steps"], random_start=True)
                batch = attack.search(net, batch, labels, adversarial["eps"], rng).images
            net.partial_fit(batch, labels, learning_rate=rate)
            if rows == "kept":
                _unit_rows(net)
            if (
                held is not None
                and stop is not None
                and number % CHECK == 0
                and attacks.accuracy(net, *held) >= stop
            ):
                return net
    return net


def _unit_rows(net: BackpropClassifier) -> None:
    """Give the first rows the 3-norm 1, in place."""
    net.coefs_[0] /= np.asarray(lebesgue_norms(net.coefs_[0], 3.0))[:, None].astype(net.coefs_[0].dtype)
