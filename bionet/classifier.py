"""What the classifiers here share: the training loop, predictions, and gradients to the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from tqdm import tqdm

from bionet import checks, losses
from bionet.backend import (
    Array,
    asarray_like,
    blas_threads_for,
    blocks,
    generators,
    indices_like,
    namespace,
    to_host,
)
from bionet.checks import require_number
from bionet.optim import optimizer, rates_of

_BLOCK = 2000  # images at a time where gradients or features are computed


class GradientClassifier(ClassifierMixin, BaseEstimator):
    """Base of classifiers whose logits can be differentiated down to the pixels.

    A subclass provides ``_prepare`` (images to the input of the trained part), ``_parameters``
    (its arrays), ``_forward``, ``_backward`` and ``_pixels`` (the gradient down to the images).
    """

    classes_: np.ndarray
    loss_history_: list[float]

    def fit(self, X: Any, y: Any) -> Any:
        """Train on images `X`, shape (samples, features), with labels `y`, shape (samples,).

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For wrong shapes, NaN, fewer than two classes or parameters out of range.
        ArithmeticError
            If the loss or a weight leaves the floating-point range.
        """
        X = checks.images(self, X, reset=True)
        index = checks.labels(self, X, y, reset=True)
        order_rng = self._begin(X)
        rates = rates_of(self.learning_rate, self.n_epochs)
        inputs = self._prepare_all(X)
        size = checks.integer("batch_size", self.batch_size)
        for epoch in tqdm(range(len(rates)), desc="epochs", disable=not self.verbose):
            order = indices_like(order_rng.permutation(X.shape[0]), X)
            total = self._pass(inputs, index, order, size, rates[epoch])
            self._record(float(total) / X.shape[0])
        self._finish()
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, learning_rate: float | None = None) -> Any:
        """Take one optimiser step on the minibatch `X`, `y`.

        Parameters
        ----------
        X : array, shape (samples, features)
        y : array, shape (samples,)
        classes : array, optional
            All labels that will ever occur; needed at the first call if `y` lacks some.
        learning_rate : float, optional
            Rate of this step; by default `learning_rate`, or its first value if that is a
            schedule. With the rates and minibatches that ``fit`` would use, a loop of
            ``partial_fit`` equals ``fit``, but for weights that decayed to nothing.

        Returns
        -------
        self

        Raises
        ------
        ValueError, ArithmeticError
            As ``fit``; also for a label that is not among the classes of the first call.
        TypeError
            For images of another array library than those before.

        Notes
        -----
        A classifier that was saved and loaded goes on with a fresh optimiser: Adam's running means
        are not stored.
        """
        first = not hasattr(self, "n_iter_")
        X = checks.images(self, X, reset=first)
        index = checks.labels(self, X, y, classes=classes, reset=first)
        if first:
            self._begin(X)
        elif not hasattr(self, "_optimizer"):
            self._optimizer = optimizer(self.optimizer)
        X = checks.like_learned(X, self._parameters()[0])
        if learning_rate is None:
            rate = rates_of(self.learning_rate, self.n_epochs)[0]
        else:
            rate = require_number("learning_rate", learning_rate, 0.0)
        total = self._step(self._prepare_all(X), index, rate)
        self._record(float(total) / X.shape[0])
        return self

    def logits(self, X: Any) -> Array:
        """Return the logits of images `X`, shape (samples, features), as (samples, classes).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For another number of features, NaN or infinity.
        TypeError
            For images of another array library than those of ``fit``.
        ArithmeticError
            If a logit leaves the floating-point range.
        """
        X = self._fitted_images(X)
        xp = namespace(X)
        S = xp.concat([self._forward(self._prepare(X[block, :]))[0] for block in blocks(X.shape[0], _BLOCK)])
        if not bool(xp.all(xp.isfinite(S))):
            raise ArithmeticError(
                f"logits leave the range of {S.dtype} (largest pixel {float(xp.max(xp.abs(X))):.3g}); "
                "rescale the images as for training, set unit_norm=True, or use float64"
            )
        return S

    def decision_function(self, X: Any) -> Array:
        """Return the logits, or for two classes their difference, as scikit-learn asks."""
        S = self.logits(X)
        return S[:, 1] - S[:, 0] if S.shape[1] == 2 else S

    def predict_proba(self, X: Any) -> Array:
        """Return class probabilities, shape (samples, classes).

        The softmax that belongs to the loss: of ``S`` for cross-entropy, of its sigmoid for the
        talk's, and of ``2 beta S`` for the power loss, whose outputs ``(1 + tanh(beta S))/2`` are
        the logistic function of ``2 beta S``.
        """
        S = self.logits(X)
        if self.loss == "power":
            S = (2.0 * float(self.beta)) * S
        elif self.loss == "sigmoid_cross_entropy":
            S = losses.sigmoid(S)
        return losses.softmax(S)

    def predict(self, X: Any) -> Any:
        """Return the label with the largest logit for each image (a NumPy array of labels)."""
        S = self.logits(X)
        return self.classes_[to_host(namespace(S).argmax(S, axis=1))]

    def input_gradient(self, X: Any, logit_weights: Any) -> Array:
        """Return the gradient of ``sum(logit_weights * logits)`` with respect to the pixels.

        Parameters
        ----------
        X : array, shape (samples, features)
        logit_weights : array, shape (samples, classes)

        Returns
        -------
        array, shape (samples, features)

        Raises
        ------
        ValueError
            For wrong shapes, NaN or infinity.
        """
        X = self._fitted_images(X)
        weights = asarray_like(logit_weights, X)
        if weights.shape != (X.shape[0], len(self.classes_)):
            raise ValueError(
                f"logit_weights must have shape (samples, classes) = {(X.shape[0], len(self.classes_))}, "
                f"got {weights.shape}"
            )
        xp = namespace(X)
        parts = []
        for block in blocks(X.shape[0], _BLOCK):
            part = X[block, :]
            parts.append(self._pixels(part, self._trace(part)[1], weights[block, :]))
        return xp.concat(parts)

    def loss_gradient(self, X: Any, y: Any, loss: str = "cross_entropy") -> tuple[Array, Array]:
        """Return a loss and its gradient with respect to the pixels.

        Parameters
        ----------
        X : array, shape (samples, features)
        y : array, shape (samples,)
            True labels.
        loss : {"cross_entropy", "margin", "dlr", "trained"}
            ``trained`` is the loss that the classifier was trained with; the others look at the
            logits themselves.

        Returns
        -------
        loss : array, shape (samples,)
        gradient : array, shape (samples, features)

        Raises
        ------
        ValueError
            For wrong shapes, NaN, an unknown label or loss, or ``"dlr"`` with two classes.
        """
        return self.logits_and_gradient(X, y, loss)[1:]

    def logits_and_gradient(self, X: Any, y: Any, loss: str = "cross_entropy") -> tuple[Array, Array, Array]:
        """Return the logits too: :meth:`loss_gradient` and the answer to `X` from one pass.

        Returns
        -------
        logits : array, shape (samples, classes)
        loss : array, shape (samples,)
        gradient : array, shape (samples, features)

        Raises
        ------
        ValueError
            As :meth:`loss_gradient`.
        """
        checks.choice("loss", loss, (*losses.ATTACKS, "trained"))
        X = self._fitted_images(X)
        index = checks.labels(self, X, y, reset=False)
        xp = namespace(X)
        logits, values, gradients = [], [], []
        for block in blocks(X.shape[0], _BLOCK):
            part, target = X[block, :], index[block]
            S, cache = self._trace(part)
            function = self._loss if loss == "trained" else losses.ATTACKS[loss]
            value, dS = function(S, target)
            logits.append(S)
            values.append(value)
            gradients.append(self._pixels(part, cache, dS))
        if len(logits) == 1:
            return logits[0], values[0], gradients[0]
        return xp.concat(logits), xp.concat(values), xp.concat(gradients)

    def _loss(self, S: Array, index: Array) -> tuple[Array, Array]:
        if self.loss == "power":
            return losses.power(S, index, m=float(self.m), beta=float(self.beta))
        if self.loss == "cross_entropy":
            return losses.cross_entropy(S, index)
        return losses.sigmoid_cross_entropy(S, index)

    def _begin(self, X: Array) -> np.random.Generator:
        """Check the parameters, draw the start, and return the generator of the orders."""
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got one class: "
                f"{self.classes_.tolist()}"
            )
        checks.choice("loss", self.loss, losses.TRAINING)
        if self.loss == "power":
            require_number("m", self.m, 1.0)
            require_number("beta", self.beta, 0.0, open_low=True)
        self._optimizer = optimizer(self.optimizer)
        weights_rng, order_rng = generators(self.random_state, 2)
        self._draw(X, weights_rng)
        self.loss_history_ = []
        self.n_iter_ = 0
        return order_rng

    def _pass(self, inputs: Array, index: Array, order: Array, size: int, rate: float) -> Any:
        """Steps over ``inputs[order]``, `size` images each; returns the summed loss, still on the device."""
        xp = namespace(inputs)
        total = xp.zeros_like(inputs[0, 0])
        with blas_threads_for(size * max(w.size for w in self._parameters())):
            for block in blocks(order.shape[0], size):
                chosen = order[block]
                batch = xp.take(inputs, chosen, axis=0)
                total = total + self._step(batch, xp.take(index, chosen, axis=0), rate)
        return total

    def _step(self, inputs: Array, index: Array, rate: float) -> Any:
        """One optimiser step; returns the summed loss, still on the device."""
        S, cache = self._forward(inputs)
        value, dS = self._loss(S, index)
        parameters = self._parameters()
        gradients = self._backward(cache, dS * (1.0 / inputs.shape[0]))
        self._optimizer.step(parameters, gradients, rate)
        self.n_iter_ += 1
        return namespace(value).sum(value)

    def _record(self, loss: float) -> None:
        finite = all(bool(namespace(a).all(namespace(a).isfinite(a))) for a in self._parameters())
        if not (finite and np.isfinite(loss)):
            raise ArithmeticError(
                f"the {'loss' if finite else 'weights'} left the floating-point range in epoch "
                f"{len(self.loss_history_) + 1} (loss {loss:g}); lower learning_rate, or "
                "set unit_norm=True so that powers of the currents stay in range"
            )
        self.loss_history_.append(loss)

    def _fitted_images(self, X: Any) -> Array:
        X = checks.fitted_images(self, X)
        namespace(X, self._parameters()[0])  # images and weights in one library, or a clear TypeError
        return X

    def _prepare_all(self, X: Array) -> Array:
        parts = [self._prepare(X[block, :]) for block in blocks(X.shape[0], _BLOCK)]
        return namespace(X).concat(parts) if len(parts) > 1 else parts[0]

    def _finish(self) -> None:
        """What is left to do after the last epoch."""

    def _draw(self, X: Array, rng: np.random.Generator) -> None:
        raise NotImplementedError

    def _prepare(self, X: Array) -> Array:
        raise NotImplementedError

    def _parameters(self) -> list[Array]:
        raise NotImplementedError

    def _forward(self, inputs: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def _backward(self, cache: Any, dS: Array) -> list[Array]:
        raise NotImplementedError

    def _trace(self, X: Array) -> tuple[Array, Any]:
        """Logits of images, and what ``_pixels`` needs to come back from them."""
        return self._forward(self._prepare(X))

    def _pixels(self, X: Array, cache: Any, dS: Array) -> Array:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # few epochs by default: scikit-learn's toy sets give a dozen optimiser steps
        tags.classifier_tags.poor_score = True
        return tags


def uniform_start(rng: np.random.Generator, n_out: int, n_in: int, like: Array) -> tuple[Array, Array]:
    """Draw weights ``(out, in)`` and bias ``(out,)`` from U(-1/sqrt(in), 1/sqrt(in)).

    PyTorch's default for a linear layer, which the talk used.
    """
    bound = 1.0 / float(np.sqrt(n_in))
    weights = rng.uniform(-bound, bound, size=(n_out, n_in))
    bias = rng.uniform(-bound, bound, size=n_out)
    return asarray_like(weights, like), asarray_like(bias, like)
