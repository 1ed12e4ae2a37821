"""CIFAR-10 with locality given: the same rule on small patches, its rows at every place, one readout.

Controls have the same patches, pooling and readout, and other rows: normal numbers, patches drawn from the
images, and k-means (Coates, Lee & Ng, AISTATS 2011). Settings are chosen on 5000 held-out training images.
The learned rows of seed 0 are put beside the record, in float16.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from bionet.files import atomic_write
from bionet.readout import PowerReadout
from bionet.units import PatchFeatures
from bionet_reproduction import cells, views
from bionet_reproduction.cifar import Rule
from bionet_reproduction.paths import results_folder, runs_folder
from bionet_reproduction.rows import Drawn, KMeans, Random, Ranked, Rows
from bionet_reproduction.run import Plan, Run, Table
from bionet_reproduction.statistics import shown, summary
from bionet_reproduction.sweeps import Cell, Recipe, Sweep

LEARNED = ("ranked", "kmeans")  # kinds of rows


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How patches are prepared before rows learn from them.

    Attributes
    ----------
    whiten : float or None
        Of :class:`bionet.units.PatchFeatures`.
    first_power : float
        With which p, k and delta are chosen.
    """

    whiten: float | None
    first_power: float


@dataclass(frozen=True, kw_only=True)
class Patches(Plan):
    """Every constant of the run."""

    seeds: int = 3  # of patches, rows and readout
    shape: tuple[int, int, int] = (3, 32, 32)
    n_hidden: int = 400
    n_patches: int = 100_000  # that rows learn from
    learning_rate: float = 0.02  # of the ranking rule
    batch_size: int = 100
    n_epochs: int = 20
    rules: tuple[tuple[float, int, float], ...] = (  # p, k, delta among which to choose
        (2.0, 2, 0.0),
        (2.0, 2, 0.1),
        (2.0, 2, 0.3),
        (2.0, 7, 0.3),
        (3.0, 2, 0.1),
        (3.0, 7, 0.4),
    )
    preparations: dict[str, Preparation] = field(
        default_factory=lambda: {
            "whitened": Preparation(whiten=0.1, first_power=1.0),
            "plain": Preparation(whiten=None, first_power=4.0),
        }
    )
    first_size: int = 6  # of the patches with which p, k and delta are chosen
    sizes: tuple[int, ...] = (6, 8)
    powers: tuple[float, ...] = (1.0, 2.0, 4.0)
    stride: int = 2
    grid: int = 2
    pooling: str = "sum"
    trial_images: int = 10_000  # with which everything but the readout's epochs is chosen
    trial_epochs: int = 20
    epochs: tuple[int, ...] = (20, 50)  # of the readout, among which to choose
    readout_batch_size: int = 100


@dataclass(frozen=True, kw_only=True)
class Activation(Recipe):
    """How rows respond, as in :class:`bionet.units.PatchFeatures`."""

    activation: str = "power"
    n: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Centroids(KMeans):
    """Centroids of patches as they are prepared, not of unit length."""

    def computed(self, X: np.ndarray) -> np.ndarray:
        return self.centroids(X)


class Computed(BaseEstimator):
    """Rows that a recipe computes from patches.

    Parameters
    ----------
    recipe : Rows

    Attributes
    ----------
    components_ : numpy.ndarray, shape (hidden, features)
    """

    def __init__(self, recipe: Rows) -> None:
        self.recipe = recipe

    def fit(self, X: np.ndarray, y: Any = None) -> Computed:
        """Compute the rows; `X` are patches, shape (patches, features)."""
        self.components_ = self.recipe.computed(X)
        return self


@dataclass(frozen=True, kw_only=True)
class Windows(Recipe):
    """Settings of a :class:`bionet.units.PatchFeatures`, but for its rows and their activation.

    The length of a row does not matter: currents are homogeneous in it, and features are standardised.
    """

    shape: tuple[int, int, int]
    size: int
    stride: int
    grid: int
    pooling: str
    whiten: float | None
    n_patches: int

    def estimator(self, rows: Rows, seed: int) -> PatchFeatures:
        """The layer on rows of a kind; not fitted yet."""
        units = rows.estimator(None) if isinstance(rows, Ranked) else Computed(rows)
        return PatchFeatures(
            units,
            shape=self.shape,
            size=self.size,
            stride=self.stride,
            grid=self.grid,
            pooling=self.pooling,
            whiten=self.whiten,
            n_patches=self.n_patches,
            random_state=seed,
        )


def linear(n_epochs: int, batch_size: int, seed: int) -> PowerReadout:
    """The readout of standardised features: one linear layer with cross-entropy."""
    return PowerReadout(
        None,
        n=1.0,
        rectify=False,
        unit_norm=False,
        fit_intercept=True,
        loss="cross_entropy",
        learning_rate=cells.schedule(n_epochs),
        n_epochs=n_epochs,
        batch_size=batch_size,
        random_state=seed,
    )


@dataclass(frozen=True, kw_only=True)
class MeasurePatches(Cell):
    """Train rows once, and a readout for each activation and each number of epochs.

    The result has ``rows`` (facts about them) and ``scores``, one for each activation and number of epochs:
    errors in per cent and seconds. No scores, and the reason in ``rows``, if the rule diverged.

    Attributes
    ----------
    seed : int
        Of patches and readout.
    train : str
        Part of the images that rows and readouts learn from; see :mod:`bionet_reproduction.views`.
    evaluate : str
        Part to measure the error on.
    images : int, optional
        Of `train`, take only as many.
    keep : str, optional
        A name under which the rows are saved.
    """

    rows: Rows
    windows: Windows
    activations: tuple[Activation, ...]
    epochs: tuple[int, ...]
    batch_size: int
    seed: int
    train: str
    evaluate: str
    images: int | None = None
    keep: str | None = None

    def work(self) -> dict[str, Any]:
        X, y = (a[: self.images] for a in views.images(self.train))
        Z, labels = views.images(self.evaluate)
        clock = time.perf_counter()
        layer = self.windows.estimator(self.rows, self.seed)
        try:
            layer.fit(X)
        except ArithmeticError as error:
            return {"rows": {"diverged": str(error)}, "scores": []}
        facts: dict[str, Any] = {"seconds": time.perf_counter() - clock}
        if isinstance(self.rows, Ranked):
            facts["norms_within_5_percent"] = float(layer.units_.converged_[-1])
            facts["never_won"] = int((layer.units_.wins_ == 0).sum())
        scores = []
        for activation in self.activations:
            clock = time.perf_counter()
            layer.set_params(**asdict(activation))
            scaler = StandardScaler(copy=False)
            parts = {
                "train": (scaler.fit_transform(layer.transform(X)), y),
                self.evaluate: (scaler.transform(layer.transform(Z)), labels),
            }
            spent = time.perf_counter() - clock
            for n_epochs in self.epochs:
                clock = time.perf_counter()
                net = linear(n_epochs, self.batch_size, self.seed).fit(*parts["train"])
                score = {"seconds_features": spent, "seconds_readout": time.perf_counter() - clock}
                for part, (features, known) in parts.items():
                    missed = float(np.mean(net.predict(features) != known))
                    score[f"{part}_error"] = round(100.0 * missed, 4)
                scores.append(score)
        if self.keep:
            path = kept(self.keep)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                np.save(file, layer.components_.astype(np.float16))
        return {"rows": facts, "scores": scores}


def kept(kind: str) -> Path:
    """Where a cell saves rows of a kind."""
    return runs_folder() / "kept" / f"patches-{kind}.npy"


def publish(kinds: tuple[str, ...]) -> None:
    """Put rows that cells kept together in ``results/patches-seed0.npz``, those that are there."""
    rows = {kind: np.load(kept(kind)) for kind in kinds if kept(kind).exists()}
    if rows:
        path = results_folder() / "patches-seed0.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez_compressed(file, **rows)


def kinds(plan: Patches, rule: Rule, seed: int) -> dict[str, Rows]:
    """Rows of every kind."""
    count = plan.n_hidden
    return {
        "ranked": Ranked(
            seed=seed,
            n_hidden=count,
            p=rule.p,
            k=rule.k,
            delta=rule.delta,
            n_epochs=plan.n_epochs,
            learning_rate=plan.learning_rate,
            batch_size=plan.batch_size,
        ),
        "kmeans": Centroids(n_hidden=count, seed=seed),
        "patches": Drawn(n_hidden=count, seed=seed),
        "random": Random(n_hidden=count, seed=seed),
    }


def windows(plan: Patches, view: str, size: int) -> Windows:
    """The patches of a size, prepared in a way."""
    return Windows(
        shape=plan.shape,
        size=size,
        stride=plan.stride,
        grid=plan.grid,
        pooling=plan.pooling,
        whiten=plan.preparations[view].whiten,
        n_patches=plan.n_patches,
    )


def trial(
    plan: Patches, rows: Rows, view: str, size: int, activations: Sequence[Activation]
) -> MeasurePatches:
    """A short run to choose by."""
    return MeasurePatches(
        rows=rows,
        windows=windows(plan, view, size),
        activations=tuple(activations),
        epochs=(plan.trial_epochs,),
        batch_size=plan.readout_batch_size,
        seed=0,
        train="cifar-45k",
        evaluate="cifar-5k",
        images=plan.trial_images,
    )


def choose_rule(plan: Patches, sweep: Sweep) -> dict[str, Any]:
    """Choose p, k and delta for each preparation of the patches; rules that diverge are out."""
    rules = [Rule(p=p, k=k, delta=delta) for p, k, delta in plan.rules]
    found = iter(
        sweep(
            [
                trial(
                    plan,
                    kinds(plan, rule, 0)["ranked"],
                    view,
                    plan.first_size,
                    [Activation(n=how.first_power)],
                )
                for view, how in plan.preparations.items()
                for rule in rules
            ],
            "rule",
        )
    )
    chosen: dict[str, Any] = {}
    for view in plan.preparations:
        table = []
        for rule in rules:
            seen = next(found)
            facts = {name: seen["rows"].get(name) for name in ("norms_within_5_percent", "diverged")}
            error = seen["scores"][0]["cifar-5k_error"] if seen["scores"] else None
            table.append({**asdict(rule), "validation_error": error, **facts})
        best = cells.least(table)
        chosen[view] = {"table": table, "chosen": {name: best[name] for name in ("p", "k", "delta")}}
    return chosen


def choose_features(plan: Patches, sweep: Sweep, rules: dict[str, Rule]) -> dict[str, Any]:
    """Choose the size of the patches and the activation, for each kind of rows and preparation."""

    def activations(rows: Rows) -> list[Activation]:
        powers = [Activation(n=n) for n in plan.powers]
        return [*powers, Activation(activation="triangle")] if isinstance(rows, KMeans) else powers

    tried = [
        (view, kind, rows, size)
        for view in plan.preparations
        for kind, rows in kinds(plan, rules[view], 0).items()
        for size in plan.sizes
    ]
    found = sweep(
        [trial(plan, rows, view, size, activations(rows)) for view, _, rows, size in tried], "features"
    )
    chosen: dict[str, Any] = {view: {} for view in plan.preparations}
    for (view, kind, rows, size), seen in zip(tried, found, strict=True):
        chosen[view].setdefault(kind, {"table": []})["table"] += [
            {"size": size, **asdict(activation), "validation_error": score["cifar-5k_error"]}
            for activation, score in zip(activations(rows), seen["scores"], strict=True)
        ]
    for of_view in chosen.values():
        for entry in of_view.values():
            best = cells.least(entry["table"])
            entry["chosen"] = {name: best[name] for name in ("size", "activation", "n")}
    return chosen


def best_view(own: dict[str, Any]) -> str:
    """The preparation whose best kind of rows has the least validation error."""
    return min(
        own, key=lambda view: min(cells.least(e["table"])["validation_error"] for e in own[view].values())
    )


def full(
    plan: Patches, rows: Rows, view: str, best: dict[str, Any], seed: int, **more: Any
) -> MeasurePatches:
    """The network of one kind of rows with what was chosen for it."""
    return MeasurePatches(
        rows=rows,
        windows=windows(plan, view, best["size"]),
        activations=(Activation(activation=best["activation"], n=best["n"]),),
        batch_size=plan.readout_batch_size,
        seed=seed,
        **more,
    )


def choose_epochs(plan: Patches, sweep: Sweep, rule: Rule, own: dict[str, Any], view: str) -> dict[str, Any]:
    """Choose the readout's epochs, one number for all, on the learned kinds of rows and 45 000 images."""
    layers = kinds(plan, rule, 0)
    found = sweep(
        [
            full(
                plan,
                layers[kind],
                view,
                own[kind]["chosen"],
                0,
                epochs=plan.epochs,
                train="cifar-45k",
                evaluate="cifar-5k",
            )
            for kind in LEARNED
        ],
        "epochs",
    )
    errors = np.array([[score["cifar-5k_error"] for score in seen["scores"]] for seen in found])
    return {
        "epochs": list(plan.epochs),
        "validation_error": dict(zip(LEARNED, errors.tolist(), strict=True)),
        "chosen": plan.epochs[int(np.argmin(errors.mean(axis=0)))],
    }


def make(plan: Patches, sweep: Sweep) -> dict[str, Any]:
    """The parts of the record: what was chosen, and all four kinds of rows on test images."""
    by_view = choose_rule(plan, sweep)
    rules = {view: Rule(**entry["chosen"]) for view, entry in by_view.items()}
    features = choose_features(plan, sweep, rules)
    view = best_view(features)
    rule, own = rules[view], features[view]
    epochs = choose_epochs(plan, sweep, rule, own, view)
    found = iter(
        sweep(
            [
                full(
                    plan,
                    kinds(plan, rule, seed)[kind],
                    view,
                    own[kind]["chosen"],
                    seed,
                    epochs=(epochs["chosen"],),
                    train="cifar-50k",
                    evaluate="cifar-test",
                    keep=kind if seed == 0 and kind in LEARNED else None,
                )
                for kind in own
                for seed in range(plan.seeds)
            ],
            "seeds",
        )
    )
    table: dict[str, Any] = {}
    for kind, entry in own.items():
        runs = [next(found) for _ in range(plan.seeds)]
        scores = [run["scores"][0] for run in runs]
        table[kind] = {
            **entry["chosen"],
            "train": summary([score["train_error"] for score in scores]),
            "test": summary([score["cifar-test_error"] for score in scores]),
            "rows": [run["rows"] for run in runs],
            "seconds_features": [score["seconds_features"] for score in scores],
            "seconds_readout": [score["seconds_readout"] for score in scores],
        }
    publish(LEARNED)
    return {
        "chosen": {
            "view": view,
            "whitening": plan.preparations[view].whiten,
            "readout_epochs": epochs["chosen"],
            "readout_schedule": [list(part) for part in cells.schedule(epochs["chosen"])],
        },
        "selection": {
            "images": plan.trial_images,
            "readout_epochs": plan.trial_epochs,
            "rule": by_view,
            "features": features,
            "epochs": epochs,
        },
        "test": {f"stride {plan.stride}": table},
    }


def table(record: dict[str, Any]) -> Table:
    """Test errors of all kinds of rows."""
    return [
        ("", "the paper", "here"),
        *(
            (f"test error, {kind} rows on patches, {stride}", "-", shown(entry["test"]))
            for stride, of_kind in record["test"].items()
            for kind, entry in of_kind.items()
        ),
    ]


RUN = Run(
    plan=Patches(),
    make=make,
    table=table,
    others={
        "tiny": Patches(
            seeds=2,
            shape=(3, 8, 8),
            n_hidden=8,
            n_patches=500,
            n_epochs=2,
            rules=((2.0, 2, 0.0), (3.0, 7, 0.4)),
            first_size=4,
            sizes=(3, 4),
            powers=(1.0, 4.0),
            trial_images=200,
            trial_epochs=5,
            epochs=(5, 6),
        )
    },
)
