r"""The supervised layer on top of frozen features.

.. math::

    h = \max(W \hat v, 0)^n, \qquad S = V h, \qquad c = \tanh(\beta S), \qquad
    C = \sum_a |c_a - t_a|^m

with :math:`\hat v = v / |v|` and t = +-1, one-hot.

Source: the supervised layer of Krotov & Hopfield, PNAS 116, 7723 (2019); unit-length images are the
author's later advice for n = 4.5.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from bionet.activations import (
    rectified_power,
    rectified_power_slope,
    unit_norm,
    unit_norm_pullback,
)
from bionet.backend import Array, asarray_like, namespace, to_host
from bionet.checks import choice, require_finite, require_number
from bionet.classifier import GradientClassifier, uniform_start
from bionet.fast import readout as fast


class PowerReadout(GradientClassifier):
    """Classifier of images: learned rows, a power of the rectified currents, one linear layer.

    Only the linear layer is trained, on features computed once.

    Parameters
    ----------
    units : estimator, FrozenEstimator, array of shape (hidden, features), or None
        Where the rows W come from. An estimator with ``components_`` after ``fit`` is cloned and
        fitted on the images, without labels; ``sklearn.frozen.FrozenEstimator(fitted)`` is used as
        it is; an array is taken for W; with None there is no hidden layer.
    n : float
        Power of the rectified currents, at least 1 (dimensionless).
    m, beta : float
        Exponent of the power loss, at least 1, and slope of its tanh (dimensionless).
    loss : {"power", "cross_entropy", "sigmoid_cross_entropy"}
        The paper's loss; cross-entropy of the logits; cross-entropy of their sigmoid (the talk's).
    unit_norm : bool
        Scale every image to unit L2 norm first.
    rectify : bool
        Set negative currents to zero. ``rectify=False`` needs n = 1: the talk's linear net.
    fit_intercept : bool
        Give the linear layer a bias.
    optimizer : {"adam", "sgd"}
    learning_rate : float or sequence of (epochs, rate)
    batch_size, n_epochs : int
    engine : {"auto", "numpy", "numba"}
        How the linear layer learns on NumPy arrays: ``numba`` needs the extra ``fast``, and is several
        times quicker with small minibatches; ``auto`` takes it where it is installed and quicker. Both
        agree up to rounding.
    random_state : None, int or NumPy random generator
        Start of the layer and orders of the images (`units` has its own).
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    units_ : estimator or None
        The fitted units.
    components_ : array, shape (hidden, features), or None
        Rows W.
    coef_ : array, shape (classes, hidden)
        Weights V of the linear layer.
    intercept_ : array, shape (classes,)
        Its bias (zero without `fit_intercept`).
    classes_ : numpy.ndarray, shape (classes,)
    loss_history_ : list of float
        Mean loss of each epoch of ``fit``, or each step of ``partial_fit``.
    """

    def __init__(
        self,
        units: Any = None,
        *,
        n: float = 4.5,
        m: float = 6.0,
        beta: float = 1.0,
        loss: str = "power",
        unit_norm: bool = True,
        rectify: bool = True,
        fit_intercept: bool = False,
        optimizer: str = "adam",
        learning_rate: Any = 1e-3,
        batch_size: int = 100,
        n_epochs: int = 20,
        engine: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.units = units
        self.n = n
        self.m = m
        self.beta = beta
        self.loss = loss
        self.unit_norm = unit_norm
        self.rectify = rectify
        self.fit_intercept = fit_intercept
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.engine = engine
        self.random_state = random_state
        self.verbose = verbose

    def features(self, X: Any) -> Array:
        """Return the hidden features ``max(W v, 0)^n`` of images, shape (samples, hidden).

        Without `units` they are the (rectified, powered) pixels; without `rectify` the currents.
        """
        return self._prepare_all(self._fitted_images(X))

    def _draw(self, X: Array, rng: np.random.Generator) -> None:
        n = require_number("n", self.n, 1.0)
        if not self.rectify and n != 1.0:
            raise ValueError(f"rectify=False needs n = 1, got n = {n:g}: a negative base has no power n")
        fast.serves(self._engine(), 1, X)  # an engine that is not there is refused before all work
        self.units_, W = self._rows(X)
        if W is not None and W.shape[1] != X.shape[1]:
            raise ValueError(f"the units' rows have {W.shape[1]} features, but the images have {X.shape[1]}")
        self.components_ = W
        hidden = X.shape[1] if W is None else W.shape[0]
        self.coef_, self.intercept_ = uniform_start(rng, len(self.classes_), hidden, X)
        if not self.fit_intercept:
            self.intercept_ = self.intercept_ * 0.0

    def _rows(self, X: Array) -> tuple[Any, Array | None]:
        units = self.units
        if units is None:
            return None, None
        if array_api_compat.is_array_api_obj(units):
            if units.ndim != 2:
                raise ValueError(f"rows must have shape (hidden, features), got {units.shape}")
            return None, self._own_rows(units, X)
        if not hasattr(units, "fit"):
            raise TypeError(
                "units must be an estimator, an array of rows (hidden, features) or None, "
                f"got {type(units).__name__}"
            )
        if isinstance(units, FrozenEstimator):
            check_is_fitted(units)
        fitted = units if isinstance(units, FrozenEstimator) else clone(units).fit(X)
        if not hasattr(fitted, "components_"):
            raise ValueError(f"units must have components_ after fit, but {fitted!r} has none")
        return fitted, self._own_rows(fitted.components_, X)

    def _own_rows(self, rows: Array, X: Array) -> Array:
        """A copy of `rows` beside `X`: units that learn on do not change a trained readout.

        Subnormal weights become 0. Those of always-blank pixels shrink until they are subnormal, and then
        slow every product by an order of magnitude.
        """
        own = np.array(to_host(rows))
        if np.issubdtype(own.dtype, np.floating):
            own[np.abs(own) < np.finfo(own.dtype).smallest_normal] = 0
        W = asarray_like(own, X)
        require_finite("the units' rows", W)
        return W

    def _direction(self, X: Array) -> Array:
        return unit_norm(X) if self.unit_norm else X

    def _currents(self, X: Array) -> Array:
        v = self._direction(X)
        if self.components_ is None:
            return v
        return v @ namespace(X).astype(self.components_, X.dtype, copy=False).T

    def _prepare(self, X: Array) -> Array:
        return self._hidden(self._currents(X))

    def _hidden(self, currents: Array) -> Array:
        return rectified_power(currents, float(self.n)) if self.rectify else currents

    def _parameters(self) -> list[Array]:
        return [self.coef_, self.intercept_] if self.fit_intercept else [self.coef_]

    def _compiles(self, inputs: Array, size: int) -> bool:
        products = size * self.coef_.shape[0] * self.coef_.shape[1]
        return fast.serves(self._engine(), products, inputs, self.coef_, self.intercept_)

    def _engine(self) -> str:
        return choice("engine", self.engine, ("auto", "numpy", "numba"))

    def _pass(self, inputs: Array, index: Array, order: Array, size: int, rate: float) -> Any:
        if not self._compiles(inputs, size):
            return super()._pass(inputs, index, order, size, rate)
        self.n_iter_ += -(-order.shape[0] // size)
        return fast.learn(
            inputs, index, order, size, self.coef_, self.intercept_, bool(self.fit_intercept),
            self._optimizer, rate, self.loss, float(self.m), float(self.beta),
        )  # fmt: skip

    def _step(self, inputs: Array, index: Array, rate: float) -> Any:
        size = inputs.shape[0]
        if not self._compiles(inputs, size):
            return super()._step(inputs, index, rate)
        return self._pass(inputs, index, np.arange(size), size, rate)

    def _forward(self, inputs: Array) -> tuple[Array, Any]:
        xp = namespace(inputs)
        coef = xp.astype(self.coef_, inputs.dtype, copy=False)
        intercept = xp.astype(self.intercept_, inputs.dtype, copy=False)
        return inputs @ coef.T + intercept, inputs

    def _backward(self, cache: Any, dS: Array) -> list[Array]:
        gradients = [dS.T @ cache]
        if self.fit_intercept:
            gradients.append(namespace(dS).sum(dS, axis=0))
        return gradients

    def _trace(self, X: Array) -> tuple[Array, Any]:
        currents = self._currents(X)
        return self._forward(self._hidden(currents))[0], currents

    def _pixels(self, X: Array, cache: Any, dS: Array) -> Array:
        xp = namespace(X)
        gradient = dS @ xp.astype(self.coef_, X.dtype, copy=False)  # (samples, hidden)
        if self.rectify:
            gradient *= rectified_power_slope(cache, float(self.n))
        if self.components_ is not None:
            gradient = gradient @ xp.astype(self.components_, X.dtype, copy=False)
        return unit_norm_pullback(X, gradient) if self.unit_norm else gradient
