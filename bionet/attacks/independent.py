"""Attacks that others wrote, on the classifiers here: a second opinion on :mod:`bionet.attacks`.

They come from the adversarial-robustness-toolbox (Nicolae et al. 2018, arXiv 1807.01069), the extra
``attacks``; it is imported when an attack is called. Its APGD (Croce & Hein 2020) follows gradients, Square
(Andriushchenko et al. 2020) asks for logits only, HopSkipJump (Chen et al. 2020) for answers only. The
library sees a thin estimator around a classifier: its logits, its gradients, nothing computed twice.

Images go in and come back as rows. What the library returns is put into the ball again, exactly, and judged
by the classifier itself.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from bionet.attacks import NORMS, project
from bionet.checks import choice, integer, require_number
from bionet.losses import ATTACKS

_LOSSES = (*ATTACKS, "trained")


def estimator(model: Any, shape: tuple[int, ...] | None = None, loss: str = "cross_entropy") -> Any:
    """Wrap a classifier for the library.

    Parameters
    ----------
    model : classifier with ``logits``, ``logits_and_gradient`` and ``input_gradient``, on NumPy arrays
    shape : tuple of int, optional
        Shape of an image as the library sees it: (channels, rows, columns) where an attack needs pictures;
        by default (features,).
    loss : {"cross_entropy", "margin", "dlr", "trained"}
        Whose gradient the library gets. A gradient is divided by its largest entry: the library uses
        directions only, but adds 1e-7 to lengths, which would stop it at small gradients.

    Returns
    -------
    estimator of the library
        ``predict`` gives the logits.

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``attacks``.
    ValueError
        For a shape that does not hold the features, or another loss.
    """
    choice("loss", loss, _LOSSES)
    features = int(model.n_features_in_)
    shape = (features,) if shape is None else tuple(int(side) for side in shape)
    if int(np.prod(shape)) != features:
        raise ValueError(f"images of shape {shape} do not have the classifier's {features} features")
    return _estimator_class()(model, shape, loss)


def require() -> None:
    """Raise ``ModuleNotFoundError``, naming the extra, if the library is not installed."""
    _evasion()


def apgd(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 100,
    loss: str = "dlr",
    restarts: int = 1,
    random_state: int = 0,
) -> np.ndarray:
    """Auto-PGD: random starts, momentum, steps that halve where the loss no longer grows.

    The library judges the last point of a walk, not the best one, so that a few images that were turned on
    the way come back unturned.

    Parameters
    ----------
    model, X, y, eps, norm, steps, loss
        As for :func:`bionet.attacks.pgd`; the library has no loss names of its own for such an estimator, and
        climbs the one that is named here.
    restarts : int
    random_state : int
        Seed of NumPy's global generator, which the library uses; its state is restored afterwards.

    Returns
    -------
    numpy.ndarray, shape (samples, features)
    """
    evasion = _evasion()
    eps = _radius(eps, norm)
    with _seeded(random_state):
        attack = evasion.AutoProjectedGradientDescent(
            estimator(model, loss=loss),
            norm=_order(norm),
            eps=eps,
            eps_step=2.0 * eps,
            max_iter=integer("steps", steps),
            nb_random_init=integer("restarts", restarts),
            batch_size=_batch(X),
            verbose=False,
        )
        X_adv = attack.generate(np.array(X), _one_hot(model, y))
    return project(np.asarray(X_adv, X.dtype), X, eps, norm)


def square(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    eps: float,
    *,
    shape: tuple[int, ...],
    norm: str = "linf",
    iterations: int = 1000,
    restarts: int = 1,
    random_state: int = 0,
) -> np.ndarray:
    """Square: random search over squares of pixels, by logits alone, without a gradient.

    In L2 the library (1.20.1) divides a square's change by the length that the paper multiplies it with, so
    that most candidates are poor; what it finds there is a weaker check than in L_inf.

    Parameters
    ----------
    model, X, y, eps, norm
        As for :func:`bionet.attacks.pgd`.
    shape : tuple of int
        (channels, rows, columns) of an image, as :attr:`bionet.data.ImageSet.shape` gives it.
    iterations : int
        Changes that are tried.
    restarts : int
    random_state : int
        Seed of the global generators, which the library uses; their state is restored afterwards.

    Returns
    -------
    numpy.ndarray, shape (samples, features)
    """
    evasion = _evasion()
    eps = _radius(eps, norm)
    picture = shape if len(shape) == 3 else (1, *shape)
    with _seeded(random_state):
        attack = evasion.SquareAttack(
            estimator(model, picture),
            norm=_order(norm),
            eps=eps,
            max_iter=integer("iterations", iterations),
            nb_restarts=integer("restarts", restarts),
            batch_size=_batch(X),
            verbose=False,
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            X_adv = attack.generate(np.array(X).reshape(-1, *picture), _one_hot(model, y))
    return project(np.asarray(X_adv, X.dtype).reshape(X.shape), X, eps, norm)


def hop_skip_jump(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    *,
    norm: str = "linf",
    iterations: int = 20,
    evaluations: int = 100,
    most_evaluations: int = 1000,
    random_state: int = 0,
) -> np.ndarray:
    """HopSkipJump: a walk along the boundary towards the image, by answers alone.

    It looks for a small change, whatever its size; :func:`bionet.attacks.survivors_within` judges it at a
    radius. Each walk starts at another of the images `X`, one that has another answer, since the library's
    own starts cannot be seeded.

    Parameters
    ----------
    model, X, y, norm
        As for :func:`bionet.attacks.pgd`.
    iterations : int
    evaluations, most_evaluations : int
        Questions for the first estimate of a gradient, and at most for a later one.
    random_state : int
        Seed of NumPy's global generator, which the library uses; its state is restored afterwards.

    Returns
    -------
    numpy.ndarray, shape (samples, features)
        Images in [0, 1]; an image that is misclassified as it is, or from which no walk can start since
        all of `X` has its label for an answer, comes back as it is.
    """
    evasion = _evasion()
    choice("norm", norm, NORMS)
    rng = np.random.default_rng(random_state)
    answers, true = np.asarray(model.predict(X)), np.asarray(y)
    order = rng.permutation(len(X))
    starts = np.array([next((j for j in order if answers[j] != true[i]), -1) for i in range(len(X))])
    walked = np.flatnonzero((answers == true) & (starts >= 0))
    X_adv = np.array(X)
    if not len(walked):
        return X_adv
    with _seeded(random_state):
        attack = evasion.HopSkipJump(
            estimator(model),
            norm=_order(norm),
            max_iter=integer("iterations", iterations),
            init_eval=integer("evaluations", evaluations),
            max_eval=integer("most_evaluations", most_evaluations),
            batch_size=1000,
            verbose=False,
        )
        found = attack.generate(
            np.array(X[walked]), _one_hot(model, true[walked]), x_adv_init=np.array(X[starts[walked]])
        )
    X_adv[walked] = np.clip(np.asarray(found, X.dtype), 0.0, 1.0)
    return X_adv


def _evasion() -> Any:
    try:
        with warnings.catch_warnings():  # it tells which frameworks are not there
            warnings.simplefilter("ignore")
            from art.attacks import evasion
    except ImportError as error:
        raise ModuleNotFoundError(
            "the adversarial-robustness-toolbox is not installed: pip install adversarial-robustness-toolbox"
        ) from error
    return evasion


@lru_cache(maxsize=1)
def _estimator_class() -> Any:
    """The estimator around a classifier; a subclass of the library's, so it is made when that is there."""
    _evasion()
    from art.estimators import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
    from art.estimators.classification import ClassGradientsMixin, ClassifierMixin

    class Estimator(
        ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator
    ):
        def __init__(self, model: Any, shape: tuple[int, ...], loss: str) -> None:
            super().__init__(model=model, clip_values=(0.0, 1.0), channels_first=True)
            self.nb_classes = len(model.classes_)
            self._shape, self._loss = shape, loss

        @property
        def input_shape(self) -> tuple[int, ...]:
            return self._shape

        def predict(self, x: np.ndarray, batch_size: int = 128, **kwargs: Any) -> np.ndarray:
            rows = self._rows(x)
            broken = np.isnan(rows).any(axis=1)  # Square's L2 candidates may divide by zero
            logits = self.model.logits(np.where(broken[:, None], 0, rows))
            logits[broken] = np.nan  # no better than any other
            return logits

        def loss_gradient(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> np.ndarray:
            gradient = self.model.logits_and_gradient(self._rows(x), self._labels(y), self._loss)[2]
            largest = np.abs(gradient).max(axis=1, keepdims=True)
            return (gradient / np.where(largest > 0, largest, 1)).astype(x.dtype).reshape(x.shape)

        def compute_loss(
            self, x: np.ndarray, y: np.ndarray, reduction: str = "none", **kwargs: Any
        ) -> np.ndarray:
            value = self.model.logits_and_gradient(self._rows(x), self._labels(y), self._loss)[1]
            return value if reduction == "none" else np.mean(value) if reduction == "mean" else np.sum(value)

        def class_gradient(self, x: np.ndarray, label: Any = None, **kwargs: Any) -> np.ndarray:
            rows, classes = self._rows(x), range(self.nb_classes)
            wanted = [np.full(len(rows), c) for c in classes] if label is None else [label]
            identity = np.eye(self.nb_classes, dtype=rows.dtype)
            parts = [
                self.model.input_gradient(rows, identity[np.broadcast_to(np.asarray(of), len(rows))])
                for of in wanted
            ]
            return np.stack(parts, axis=1).reshape(len(rows), len(wanted), *self._shape)

        def fit(self, x: np.ndarray, y: np.ndarray, **kwargs: Any) -> None:
            raise NotImplementedError("train the classifier itself, then wrap it")

        def get_activations(self, x: np.ndarray, layer: Any, batch_size: int, framework: bool = False) -> Any:
            raise NotImplementedError("the attacks here use no hidden activities")

        def _rows(self, x: np.ndarray) -> np.ndarray:
            return np.asarray(x).reshape(len(x), -1)

        def _labels(self, y: np.ndarray) -> np.ndarray:
            return self.model.classes_[np.argmax(y, axis=1)]

    return Estimator


def _one_hot(model: Any, y: np.ndarray) -> np.ndarray:
    return (np.asarray(y)[:, None] == np.asarray(model.classes_)[None, :]).astype(np.float32)


def _order(norm: str) -> Any:
    return np.inf if norm == "linf" else 2


def _radius(eps: float, norm: str) -> float:
    choice("norm", norm, NORMS)
    return require_number("eps", eps, 0.0, open_low=True)


def _batch(X: np.ndarray) -> int:
    return min(len(X), 500)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for a while: the library draws from them."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
