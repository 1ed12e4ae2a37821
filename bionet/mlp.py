"""The baseline: a fully connected net trained end to end by back-propagation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet import checks, losses
from bionet.activations import (
    rectified_power,
    rectified_power_slope,
    unit_norm,
    unit_norm_pullback,
)
from bionet.backend import Array, namespace
from bionet.checks import require_number
from bionet.classifier import GradientClassifier, uniform_start

ACTIVATIONS = ("relu", "sigmoid", "power")


class BackpropClassifier(GradientClassifier):
    """Fully connected classifier trained by back-propagation.

    Parameters
    ----------
    hidden : int or tuple of int
        Units of each hidden layer; an empty tuple for none.
    activation : {"relu", "sigmoid", "power"}
        Of the hidden layers; ``power`` is ``max(x, 0)^n``, as in the bio net.
    n : float
        Its exponent, at least 1 (dimensionless).
    optimizer : {"adam", "sgd"}
    learning_rate : float or sequence of (epochs, rate)
    batch_size, n_epochs : int
    weight_decay : float
        Added to each step's gradient: ``weight_decay * W`` (L2 penalty; biases are left out).
    loss : {"cross_entropy", "sigmoid_cross_entropy", "power"}
    m, beta : float
        Of the power loss.
    unit_norm : bool
        Scale every image to unit L2 norm first.
    squash_pixels : bool
        Pass the pixels through the logistic function first, as the talk's notebook did.
    random_state : None, int or NumPy random generator
        Start of the weights and orders of the images.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    coefs_ : list of array, shape (out, in)
        Weights of each layer.
    intercepts_ : list of array, shape (out,)
    classes_ : numpy.ndarray, shape (classes,)
    loss_history_ : list of float
        Mean loss of each epoch of ``fit``, or each step of ``partial_fit``.
    """

    def __init__(
        self,
        hidden: Any = 100,
        *,
        activation: str = "relu",
        n: float = 4.5,
        optimizer: str = "adam",
        learning_rate: Any = 1e-3,
        batch_size: int = 128,
        n_epochs: int = 10,
        weight_decay: float = 0.0,
        loss: str = "cross_entropy",
        m: float = 6.0,
        beta: float = 1.0,
        unit_norm: bool = False,
        squash_pixels: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.n = n
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.weight_decay = weight_decay
        self.loss = loss
        self.m = m
        self.beta = beta
        self.unit_norm = unit_norm
        self.squash_pixels = squash_pixels
        self.random_state = random_state
        self.verbose = verbose

    def _draw(self, X: Array, rng: np.random.Generator) -> None:
        checks.choice("activation", self.activation, ACTIVATIONS)
        require_number("n", self.n, 1.0)
        require_number("weight_decay", self.weight_decay, 0.0)
        hidden = (self.hidden,) if np.isscalar(self.hidden) else tuple(self.hidden)
        widths = [checks.integer("hidden", width) for width in hidden]
        sizes = [X.shape[1], *widths, len(self.classes_)]
        layers = [uniform_start(rng, out, into, X) for into, out in itertools.pairwise(sizes)]
        self.coefs_ = [weights for weights, _ in layers]
        self.intercepts_ = [bias for _, bias in layers]

    def _prepare(self, X: Array) -> Array:
        X = unit_norm(X) if self.unit_norm else X
        return losses.sigmoid(X) if self.squash_pixels else X

    def _parameters(self) -> list[Array]:
        return [*self.coefs_, *self.intercepts_]

    def _activate(self, x: Array) -> tuple[Array, Array]:
        """Return the activation and its slope."""
        if self.activation == "sigmoid":
            a = losses.sigmoid(x)
            return a, a * (1.0 - a)
        n = float(self.n) if self.activation == "power" else 1.0
        return rectified_power(x, n), rectified_power_slope(x, n)

    def _forward(self, inputs: Array) -> tuple[Array, Any]:
        xp = namespace(inputs)
        a, cache = inputs, []
        last = len(self.coefs_) - 1
        for layer, (W, b) in enumerate(zip(self.coefs_, self.intercepts_, strict=True)):
            x = a @ xp.astype(W, a.dtype, copy=False).T + xp.astype(b, a.dtype, copy=False)
            if layer == last:
                cache.append((a, None))
                return x, cache
            activated, slope = self._activate(x)
            cache.append((a, slope))
            a = activated
        raise AssertionError("unreachable: there is always an output layer")

    def weight_gradients(self, X: Any, y: Any, feedback: Sequence[Array] | None = None) -> list[Array]:
        """Return the gradient of the mean training loss with respect to each layer's weights.

        Parameters
        ----------
        X : array, shape (samples, features)
        y : array, shape (samples,)
            True labels.
        feedback : sequence of array, optional
            Weights that carry the error back, one array of the shape of ``coefs_[1:]`` each; by
            default the forward weights themselves. Fixed random ones give feedback alignment
            (Lillicrap et al. 2016), whose updates are no gradient below the last layer.

        Returns
        -------
        list of array, shape (out, in)
            Like ``coefs_``; with `weight_decay`, its share is in it.

        Raises
        ------
        ValueError
            For wrong shapes, NaN or an unknown label.
        """
        X = self._fitted_images(X)
        index = checks.labels(self, X, y, reset=False)
        back = self.coefs_[1:] if feedback is None else list(feedback)
        given, needed = [b.shape for b in back], [W.shape for W in self.coefs_[1:]]
        if given != needed:
            raise ValueError(f"feedback must have the shapes of coefs_[1:], {needed}, got {given}")
        S, cache = self._forward(self._prepare(X))
        dS = self._loss(S, index)[1] * (1.0 / X.shape[0])
        return self._backward(cache, dS, back)[: len(self.coefs_)]

    def _finish(self) -> None:
        """After decay, weights that came to nothing become 0.

        Those of always-blank pixels shrink until they, or their products, are subnormal, and then slow every
        product several times.
        """
        if self.weight_decay:
            xp = namespace(self.coefs_[0])
            for W in self.coefs_:
                W *= xp.astype(xp.abs(W) >= float(xp.finfo(W.dtype).smallest_normal) ** 0.5, W.dtype)

    def _backward(self, cache: Any, dS: Array, back: list[Array] | None = None) -> list[Array]:
        xp = namespace(dS)
        back = self.coefs_[1:] if back is None else back
        weights, biases = [], []
        delta = dS
        for layer in range(len(self.coefs_) - 1, -1, -1):
            a, _ = cache[layer]
            gradient = delta.T @ a
            if self.weight_decay:
                gradient = gradient + float(self.weight_decay) * self.coefs_[layer]
            weights.append(gradient)
            biases.append(xp.sum(delta, axis=0))
            if layer:
                delta = (delta @ back[layer - 1]) * cache[layer - 1][1]
        return [*weights[::-1], *biases[::-1]]

    def _pixels(self, X: Array, cache: Any, dS: Array) -> Array:
        xp = namespace(X)
        delta = dS
        for layer in range(len(self.coefs_) - 1, -1, -1):
            delta = delta @ xp.astype(self.coefs_[layer], X.dtype, copy=False)
            if layer:
                delta = delta * cache[layer - 1][1]
        if self.squash_pixels:
            squashed = cache[0][0]
            delta = delta * squashed * (1.0 - squashed)
        return unit_norm_pullback(X, delta) if self.unit_norm else delta
