"""First-order optimisers and learning-rate schedules.

An optimiser changes a list of parameter arrays in place, so its caller hands it arrays of its
own. All state lives where the parameters live; nothing is copied to the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bionet.backend import Array, blocks, is_numpy, namespace
from bionet.checks import choice, integer, require_number

_CHUNK = 1 << 15  # entries at a time on the host, so that the terms of one update stay in a core's cache
Schedule = float | Sequence[tuple[int, float]]


def rates_of(learning_rate: Schedule, n_epochs: int) -> list[float]:
    """Return the rate of each epoch.

    Parameters
    ----------
    learning_rate : float, or sequence of (epochs, rate)
        A constant rate, or the rates of successive stretches of epochs.
    n_epochs : int
        Number of epochs, at least 1; a sequence must add up to it.

    Raises
    ------
    ValueError
        If a rate is negative or not finite, the schedule is not made of pairs, or its stretches do
        not add up to `n_epochs`.
    """
    n_epochs = integer("n_epochs", n_epochs)
    if isinstance(learning_rate, Sequence):
        if not all(isinstance(part, Sequence) and len(part) == 2 for part in learning_rate) or isinstance(
            learning_rate, str
        ):
            raise ValueError(
                f"learning_rate must be a number or a sequence of (epochs, rate), got {learning_rate!r}"
            )
        rates = []
        for count, rate in learning_rate:
            rates += [require_number("rate", rate, 0.0)] * integer("epochs", count)
        if len(rates) != n_epochs:
            raise ValueError(
                f"the schedule {tuple(learning_rate)!r} has {len(rates)} epochs, but n_epochs is {n_epochs}"
            )
        return rates
    return [require_number("learning_rate", learning_rate, 0.0)] * n_epochs


class SGD:
    """Stochastic gradient descent: ``parameter -= rate * gradient``."""

    def step(self, parameters: list[Array], gradients: list[Array], rate: float) -> None:
        """Change `parameters` in place."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= rate * gradient


class Adam:
    """Adam (Kingma & Ba, 2015).

    Parameters
    ----------
    beta1, beta2 : float
        Decay rates of the running means of the gradient and of its square.
    epsilon : float
        Added to the root of the second.

    Attributes
    ----------
    steps : int
        Steps taken.
    means, squares : list of array
        Running means of the gradient and of its square, a pair for every parameter.
    """

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.steps = 0
        self.means: list[Array] = []
        self.squares: list[Array] = []

    def begin(self, parameters: list[Array]) -> None:
        """Start the running means at zero, unless there are some from a step before."""
        if not self.means:
            xp = namespace(*parameters)
            self.means = [xp.zeros_like(parameter) for parameter in parameters]
            self.squares = [xp.zeros_like(parameter) for parameter in parameters]

    def step(self, parameters: list[Array], gradients: list[Array], rate: float) -> None:
        """Change `parameters` in place."""
        self.begin(parameters)
        self.steps += 1
        scale = rate / (1.0 - self.beta1**self.steps)
        unbias = (1.0 - self.beta2**self.steps) ** 0.5
        for arrays in zip(parameters, gradients, self.means, self.squares, strict=True):
            if all(is_numpy(a) and a.flags.c_contiguous for a in arrays):
                flat = [a.reshape(-1) for a in arrays]
                for chunk in blocks(flat[0].size, _CHUNK):
                    self._move(np, tuple(a[chunk] for a in flat), scale, unbias)
            else:
                self._move(namespace(arrays[0]), arrays, scale, unbias)

    def _move(self, xp: Any, arrays: tuple[Array, ...], scale: float, unbias: float) -> None:
        parameter, gradient, mean, square = arrays
        mean *= self.beta1
        mean += (1.0 - self.beta1) * gradient
        square *= self.beta2
        square += (1.0 - self.beta2) * (gradient * gradient)
        parameter -= scale * mean / (xp.sqrt(square) / unbias + self.epsilon)


def optimizer(name: Any) -> SGD | Adam:
    """Return a new optimiser: ``"sgd"`` or ``"adam"``.

    Raises
    ------
    ValueError
        For another name.
    """
    return SGD() if choice("optimizer", name, ("adam", "sgd")) == "sgd" else Adam()
