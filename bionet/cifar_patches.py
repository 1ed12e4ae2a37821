"""CIFAR-10 with locality given: the same rule on small patches, its rows at every place, one readout.

Controls have the same patches, pooling and readout, and other rows: normal numbers, patches drawn from the
images, and k-means (Coates, Lee & Ng, AISTATS 2011). Settings are chosen on 5000 held-out training images.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import MiniBatchKMeans
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from bionet import cells
from bionet.cells import Sweep, shown, summary
from bionet.files import atomic_write
from bionet.ledger import results_folder
from bionet.patches import PatchFeatures
from bionet.readout import PowerReadout
from bionet.units import RankedUnits

KINDS = ("ranked", "kmeans", "patches", "random")
UNITS = 400
PATCHES = 100_000  # that rows learn from
ROWS: dict[str, Any] = {"learning_rate": 0.02, "batch_size": 100, "n_epochs": 20}  # of the ranking rule
RULES: tuple[tuple[float, int, float], ...] = (  # p, k, delta among which to choose
    (2.0, 2, 0.0),
    (2.0, 2, 0.1),
    (2.0, 2, 0.3),
    (2.0, 7, 0.3),
    (3.0, 2, 0.1),
    (3.0, 7, 0.4),
)
VIEWS: dict[str, float | None] = {"whitened": 0.1, "plain": None}  # how patches are prepared: the whitening
FIRST_SIZE, FIRST_POWERS = 6, {"whitened": 1.0, "plain": 4.0}  # with which p, k and delta are chosen
SIZES = (6, 8)
POWERS = (1.0, 2.0, 4.0)
GRID = 2
STRIDE, FINE_STRIDE = 2, 1
FINE_KINDS = ("ranked", "kmeans")  # compared at the fine stride
TRIAL_IMAGES, TRIAL_EPOCHS = 10_000, 20  # where everything but the readout's epochs is chosen
EPOCHS = (20, 50)  # of the readout, among which to choose


class DrawnRows(BaseEstimator):
    """Rows that learn nothing: patches drawn from those given, or normal numbers.

    Parameters
    ----------
    n_hidden : int
    kind : {"patches", "random"}
    random_state : int

    Attributes
    ----------
    components_ : numpy.ndarray, shape (hidden, features)
    """

    def __init__(self, n_hidden: int = 100, kind: str = "patches", random_state: int = 0) -> None:
        self.n_hidden = n_hidden
        self.kind = kind
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: Any = None) -> DrawnRows:
        """Draw the rows; `X` are patches, shape (patches, features)."""
        rng = np.random.default_rng([self.random_state, 7])
        if self.kind == "patches":
            W = X[rng.choice(len(X), self.n_hidden, replace=False)]
        else:
            W = rng.standard_normal((self.n_hidden, X.shape[1]))
        self.components_ = np.asarray(W, dtype=X.dtype)
        return self


def units(kind: str, seed: int, rule: dict[str, Any] | None = None, n_hidden: int | None = None) -> Any:
    """Return the estimator that makes rows of one kind; `rule` has p, k and delta, for ``ranked``."""
    count = UNITS if n_hidden is None else n_hidden
    if kind == "ranked":
        return RankedUnits(count, **ROWS, **(rule or {}), random_state=seed)
    if kind == "kmeans":
        return MiniBatchKMeans(count, batch_size=10_000, max_iter=20, n_init=1, random_state=seed)
    if kind in ("patches", "random"):
        return DrawnRows(count, kind, seed)
    raise ValueError(f"unknown kind of rows {kind!r}; there are {', '.join(KINDS)}")


def network(rows: Any, features: dict[str, Any], readout: dict[str, Any]) -> Pipeline:
    """Return the whole network: pooled features of patches, standardised, and one linear layer.

    The length of a row does not matter: currents are homogeneous in it, and features are standardised.

    Parameters
    ----------
    rows : estimator or array of shape (hidden, patch features)
        The ``units`` of :class:`bionet.patches.PatchFeatures`.
    features : dict
        Its other settings.
    readout : dict
        ``n_epochs`` and ``random_state`` of the :class:`bionet.readout.PowerReadout`.
    """
    linear = PowerReadout(
        None,
        n=1.0,
        rectify=False,
        unit_norm=False,
        fit_intercept=True,
        loss="cross_entropy",
        learning_rate=cells.schedule(readout["n_epochs"]),
        batch_size=cells.BATCH,
        **readout,
    )
    return make_pipeline(
        PatchFeatures(rows, n_patches=PATCHES, **features), StandardScaler(copy=False), linear
    )


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Train the rows of a cell once, and a readout for each activation and each number of epochs.

    Parameters
    ----------
    cell : dict
        ``rows`` (``kind``, ``seed``, ``n_hidden`` and, for ranked ones, ``rule``), ``features`` (settings of
        :class:`bionet.patches.PatchFeatures`), ``activations`` (a list of further ones), ``epochs`` (a list),
        ``train`` and ``evaluate`` (parts of CIFAR-10, see :func:`bionet.cells.images`) and optionally
        ``images``, of which many of `train` are used, and ``keep``, a name under which the rows are saved.

    Returns
    -------
    dict
        ``rows`` (facts about them) and ``scores``, one for each activation and number of epochs: errors in
        per cent and seconds. No scores, and the reason in ``rows``, if the rule diverged.
    """
    X, y = (a[: cell.get("images")] for a in cells.images(cell["train"]))
    settings = cell["rows"]
    seed = settings["seed"]
    clock = time.perf_counter()
    rows = units(settings["kind"], seed, settings.get("rule"), settings["n_hidden"])
    features = {**cell["features"], "random_state": seed}
    readout = {"n_epochs": 1, "random_state": seed}
    try:
        learned = network(rows, features, readout)[0].fit(X)
    except ArithmeticError as error:
        return {"rows": {"diverged": str(error)}, "scores": []}
    facts: dict[str, Any] = {"seconds": time.perf_counter() - clock}
    if settings["kind"] == "ranked":
        facts["norms_within_5_percent"] = float(learned.units_.converged_[-1])
        facts["never_won"] = int((learned.units_.wins_ == 0).sum())
    scores = []
    for activation in cell["activations"]:
        clock = time.perf_counter()
        learned.set_params(**activation)
        _, scaler, _ = network(rows, features, readout)
        parts = {"train": (scaler.fit_transform(learned.transform(X)), y)}
        for part in cell["evaluate"]:
            Z, labels = cells.images(part)
            parts[part] = (scaler.transform(learned.transform(Z)), labels)
        spent = time.perf_counter() - clock
        for n_epochs in cell["epochs"]:
            clock = time.perf_counter()
            linear = network(rows, features, {**readout, "n_epochs": n_epochs})[-1].fit(*parts["train"])
            score = {"seconds_features": spent, "seconds_readout": time.perf_counter() - clock}
            for part, (F, labels) in parts.items():
                score[f"{part}_error"] = round(100.0 * float(np.mean(linear.predict(F) != labels)), 4)
            scores.append(score)
    if cell.get("keep"):
        _keep(cell["keep"], learned.components_)
    return {"rows": facts, "scores": scores}


def _keep(name: str, W: np.ndarray) -> None:
    with atomic_write(cells.workplace() / "kept" / f"{name}.npy") as file:
        np.save(file, W.astype(np.float16))


def _publish(names: list[str], target: str) -> None:
    """Put rows that cells kept together in ``results/TARGET.npz``, those that are there."""
    folder = cells.workplace() / "kept"
    kept = {name: folder / f"patches-{name}.npy" for name in names}
    rows = {name: np.load(path) for name, path in kept.items() if path.exists()}
    if rows:
        with atomic_write(results_folder() / f"{target}.npz") as file:
            np.savez_compressed(file, **rows)


def _features(view: str, size: int, stride: int) -> dict[str, Any]:
    return {"size": size, "stride": stride, "grid": GRID, "whiten": VIEWS[view]}


def _rows(kind: str, seed: int, rule: dict[str, Any] | None) -> dict[str, Any]:
    own = {"rule": rule, "settings": ROWS} if kind == "ranked" else {}
    return {"kind": kind, "seed": seed, "n_hidden": UNITS, "patches": PATCHES, **own}


def _trial(
    kind: str, view: str, size: int, rule: dict[str, Any] | None, activations: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "rows": _rows(kind, 0, rule),
        "features": _features(view, size, STRIDE),
        "activations": activations,
        "epochs": [TRIAL_EPOCHS],
        "images": TRIAL_IMAGES,
        "train": "cifar-45k",
        "evaluate": ["cifar-5k"],
    }


def _least(table: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of least validation error; the first of several. Runs that diverged have none."""
    return min(
        (row for row in table if row["validation_error"] is not None), key=lambda row: row["validation_error"]
    )


def choose_rule(sweep: Sweep) -> dict[str, Any]:
    """Choose p, k and delta for whitened patches and for plain ones."""
    rules = [{"p": p, "k": k, "delta": delta} for p, k, delta in RULES]
    found = iter(
        sweep(
            [
                _trial("ranked", view, FIRST_SIZE, rule, [{"n": FIRST_POWERS[view]}])
                for view in VIEWS
                for rule in rules
            ],
            measure,
            "rule",
        )
    )
    chosen: dict[str, Any] = {}
    for view in VIEWS:
        table = []
        for rule in rules:
            seen = next(found)
            facts = {name: seen["rows"].get(name) for name in ("norms_within_5_percent", "diverged")}
            error = seen["scores"][0]["cifar-5k_error"] if seen["scores"] else None
            table.append({**rule, "validation_error": error, **facts})
        best = _least(table)
        chosen[view] = {"table": table, "chosen": {name: best[name] for name in ("p", "k", "delta")}}
    return chosen


def choose_features(sweep: Sweep, rules: dict[str, Any]) -> dict[str, Any]:
    """Choose the size of the patches and the activation, for each kind of rows and preparation."""

    def activations(kind: str) -> list[dict[str, Any]]:
        powers = [{"activation": "power", "n": n} for n in POWERS]
        return powers + ([{"activation": "triangle", "n": 1.0}] if kind == "kmeans" else [])

    tried = [(view, kind, size) for view in VIEWS for kind in KINDS for size in SIZES]
    found = sweep(
        [_trial(kind, view, size, rules[view]["chosen"], activations(kind)) for view, kind, size in tried],
        measure,
        "features",
    )
    chosen: dict[str, Any] = {view: {kind: {"table": []} for kind in KINDS} for view in VIEWS}
    for (view, kind, size), seen in zip(tried, found, strict=True):
        chosen[view][kind]["table"] += [
            {"size": size, **activation, "validation_error": score["cifar-5k_error"]}
            for activation, score in zip(activations(kind), seen["scores"], strict=True)
        ]
    for of_view in chosen.values():
        for entry in of_view.values():
            best = _least(entry["table"])
            entry["chosen"] = {name: best[name] for name in ("size", "activation", "n")}
    return chosen


def _full(
    kind: str, view: str, stride: int, seed: int, rules: dict[str, Any], own: dict[str, Any], **more: Any
) -> dict[str, Any]:
    best = own[view][kind]["chosen"]
    return {
        "rows": _rows(kind, seed, rules[view]["chosen"]),
        "features": _features(view, best["size"], stride),
        "activations": [{"activation": best["activation"], "n": best["n"]}],
        **more,
    }


def best_view(own: dict[str, Any]) -> str:
    """The preparation whose best kind of rows has the least validation error."""
    return min(own, key=lambda view: min(_least(e["table"])["validation_error"] for e in own[view].values()))


def choose_epochs(sweep: Sweep, rules: dict[str, Any], own: dict[str, Any], view: str) -> dict[str, Any]:
    """Choose the readout's epochs, one number for all, on two kinds of rows and 45 000 images."""
    split = {"epochs": list(EPOCHS), "train": "cifar-45k", "evaluate": ["cifar-5k"]}
    found = sweep(
        [_full(kind, view, STRIDE, 0, rules, own, **split) for kind in FINE_KINDS], measure, "epochs"
    )
    errors = np.array([[score["cifar-5k_error"] for score in seen["scores"]] for seen in found])
    return {
        "epochs": list(EPOCHS),
        "validation_error": dict(zip(FINE_KINDS, errors.tolist(), strict=True)),
        "chosen": EPOCHS[int(np.argmin(errors.mean(axis=0)))],
    }


def reproduce_patches(
    seeds: int = 3,
    fine_seeds: int = 0,
    jobs: int = 1,
    dask: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """How far the ranking rule goes on CIFAR-10 once it sees small patches, next to other rows.

    All four kinds of rows, on patches prepared in the way that is best on held-out images, at the coarse
    stride; with `fine_seeds` the two learned kinds at the fine one, too.

    Parameters
    ----------
    seeds : int
        Seeds of patches, rows and readout.
    fine_seeds : int
        As many at the fine stride, which costs four times as much; none by default.
    jobs, dask, progress
        See :func:`bionet.sweeps.run`.

    Returns
    -------
    dict
        The record, as written to ``results/patches.json``. The learned rows of seed 0 are put beside it, in
        float16 (``results/patches-seed0.npz``).
    """
    sweep = Sweep("patches", jobs, dask, progress, of="cifar10")
    rules = choose_rule(sweep)
    own = choose_features(sweep, rules)
    view = best_view(own)
    epochs = choose_epochs(sweep, rules, own, view)
    split = {"epochs": [epochs["chosen"]], "train": "cifar-50k", "evaluate": ["cifar-test"]}
    table: dict[str, Any] = {}
    for stride, kinds, count in ((STRIDE, KINDS, seeds), (FINE_STRIDE, FINE_KINDS, fine_seeds)):
        if not count:
            continue
        mine = [
            _full(
                kind,
                view,
                stride,
                seed,
                rules,
                own,
                **split,
                **(
                    {"keep": f"patches-{kind}"}
                    if seed == 0 and stride == STRIDE and kind in FINE_KINDS
                    else {}
                ),
            )
            for kind in kinds
            for seed in range(count)
        ]
        found = iter(sweep(mine, measure, f"stride {stride}"))
        table[f"stride {stride}"] = {}
        for kind in kinds:
            runs = [next(found) for _ in range(count)]
            scores = [run["scores"][0] for run in runs]
            table[f"stride {stride}"][kind] = {
                **own[view][kind]["chosen"],
                "train": summary([score["train_error"] for score in scores]),
                "test": summary([score["cifar-test_error"] for score in scores]),
                "rows": [run["rows"] for run in runs],
                "seconds_features": [score["seconds_features"] for score in scores],
                "seconds_readout": [score["seconds_readout"] for score in scores],
            }
    _publish(list(FINE_KINDS), "patches-seed0")
    return sweep.record(
        {
            "seeds": seeds,
            "n_hidden": UNITS,
            "n_patches": PATCHES,
            "rows": ROWS,
            "view": view,
            "whitening": VIEWS[view],
            "pooling": "sum",
            "grid": GRID,
            "loss": "cross_entropy",
            "readout_batch_size": cells.BATCH,
            "readout_epochs": epochs["chosen"],
            "readout_schedule": cells.schedule(epochs["chosen"]),
        },
        selection={
            "images": TRIAL_IMAGES,
            "readout_epochs": TRIAL_EPOCHS,
            "rule": rules,
            "features": own,
            "epochs": epochs,
        },
        test=table,
    )


def compare(run: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of a table for the screen: quantity, the paper's value (none), the value here."""
    return [
        (f"test error, {kind} rows on patches, {stride}", "-", shown(entry["test"]))
        for stride, kinds in run["test"].items()
        for kind, entry in kinds.items()
    ]
