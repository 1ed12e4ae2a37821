"""Projected gradient descent: the search for the worst image of a ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from bionet import checks, losses
from bionet.attacks.ball import NORMS, Ball, direction
from bionet.attacks.steps import images_of
from bionet.backend import Array, blocks, generators, indices_like, namespace, to_host
from bionet.checks import choice, integer, require_number

_CRITERIA = (*losses.ATTACKS, "trained")
_BLOCK = 500  # images attacked together: their hidden layer stays near the processor


@dataclass(frozen=True)
class Search:
    """What :meth:`PGD.search` found.

    Attributes
    ----------
    images : array, shape (samples, features)
        The worst image met for each sample.
    missed : array of bool, shape (samples,)
        Whether it is misclassified.
    loss : array, shape (samples,)
        Its loss.
    zero_gradients : float
        Share of exactly zero gradients among all that the search computed.
    gradients : int
        How many it computed.
    """

    images: Array
    missed: Array
    loss: Array
    zero_gradients: float
    gradients: int


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent: settings of an attack, apart from model, images and radius.

    Parameters
    ----------
    norm : {"linf", "l2"}
    loss : {"cross_entropy", "margin", "dlr", "trained"}
        ``dlr`` needs three classes.
    steps : int
    step_size : float, optional
        Length of a step; ``2.5 eps / steps`` by default.
    shrink : bool
        Let the steps fall linearly from twice that length to (nearly) zero. With ``step_size=eps / 2`` the
        first is as long as the radius: stronger than short steps of one length, at the same cost.
    restarts : int
        The first starts at the image itself, the others at random points of the ball.
    random_start : bool
        Let the first start at a random point too, as in adversarial training.
    early_stop : bool
        Leave an image alone once it is misclassified: quicker, and enough to count; the perturbation
        is then just large enough, which transfers less.
    dtype : {"float32", "float64"}, optional
        Compute in this precision, by default that of the images. float64 keeps gradients of powers
        and of the softmax that float32 rounds to zero.
    """

    norm: str = "linf"
    loss: str = "cross_entropy"
    steps: int = 40
    step_size: float | None = None
    shrink: bool = False
    restarts: int = 1
    early_stop: bool = False
    dtype: str | None = None
    random_start: bool = False

    def search(
        self, model: Any, X: Any, y: Any, eps: float, random_state: Any = None, verbose: bool = False
    ) -> Search:
        """Attack images; keep each one's worst case over all steps and restarts.

        A misclassified point is worse than any other; among equals the larger loss is worse.

        Parameters
        ----------
        model : classifier with ``logits_and_gradient`` and ``classes_``
        X : array, shape (samples, features)
            Images with pixels in [0, 1].
        y : array, shape (samples,)
            True labels.
        eps : float
            Radius of the ball.
        random_state : None, int or NumPy random generator
        verbose : bool
            Show a progress bar.

        Returns
        -------
        Search

        Raises
        ------
        ValueError
            For pixels outside [0, 1], labels that do not fit, or parameters out of range.
        """
        xp, X = images_of(X)
        eps = require_number("eps", eps, 0.0)
        choice("norm", self.norm, NORMS)
        choice("loss", self.loss, _CRITERIA)
        steps, restarts = integer("steps", self.steps), integer("restarts", self.restarts)
        length = 2.5 * eps / steps
        if self.step_size is not None:
            length = require_number("step_size", self.step_size, 0.0)
        share = [2.0 * (1.0 - t / steps) if self.shrink else 1.0 for t in range(steps)]
        if self.dtype is not None:
            choice("dtype", self.dtype, ("float32", "float64"))
            X = xp.astype(X, getattr(xp, self.dtype), copy=False)
        index = checks.labels(model, X, y, reset=False)
        streams = generators(random_state, restarts)
        bar = tqdm(
            total=restarts * len(range(0, X.shape[0], _BLOCK)),
            desc=f"PGD {self.norm} {eps:g}",
            disable=not verbose,
        )
        found = []
        for block in blocks(X.shape[0], _BLOCK):
            run = _Run(model, X[block, :], index[block], eps, self)
            for restart in range(restarts):
                at_image = restart == 0 and not self.random_start
                run.restart(None if at_image else streams[restart], [length * s for s in share])
                bar.update()
            found.append(run)
        bar.close()
        count = sum(run.gradients for run in found)
        return Search(
            images=xp.concat([run.worst for run in found]),
            missed=xp.concat([run.missed for run in found]),
            loss=xp.concat([run.loss for run in found]),
            zero_gradients=float(sum(int(run.zeros) for run in found)) / max(count, 1),
            gradients=count,
        )


class _Run:
    """A search on one block of images. Rows of `rows` are still attacked; the rest are done."""

    def __init__(self, model: Any, X: Array, index: Array, eps: float, settings: PGD) -> None:
        self.xp = xp = namespace(X)
        self.model, self.index, self.settings = model, index, settings
        self.ball = Ball(X, eps, settings.norm)
        self.worst = X
        self.missed = xp.zeros_like(index, dtype=xp.bool)
        self.loss = -float("inf") * xp.ones_like(X[:, 0])
        self.zeros = 0 * index[0]
        self.gradients = 0

    def restart(self, rng: np.random.Generator | None, lengths: list[float]) -> None:
        """Walk from the images themselves, or from random points, with steps of these lengths."""
        xp, whole, settings = self.xp, self.ball, self.settings
        start = whole.X if rng is None else whole.random(rng)
        rows, ball, index = np.arange(whole.X.shape[0]), whole, self.index
        X_adv, worst, loss, missed = start, self.worst, self.loss, self.missed
        for step in range(len(lengths) + 1):
            if settings.early_stop:
                left = np.flatnonzero(~to_host(missed))
                if len(left) < len(rows):
                    self._keep(rows, worst, loss, missed)
                    rows, left = rows[left], indices_like(left, X_adv)
                    if not len(rows):
                        return
                    ball = ball.take(left)
                    X_adv, worst, loss, missed, index = (
                        xp.take(a, left, axis=0) for a in (X_adv, worst, loss, missed, index)
                    )
            labels = self.model.classes_[to_host(index)]
            logits, value, gradient = self.model.logits_and_gradient(X_adv, labels, settings.loss)
            wrong = xp.argmax(logits, axis=1) != index
            better = (wrong & ~missed) | ((wrong == missed) & (value > loss))
            worst = xp.where(better[:, None], X_adv, worst)
            loss = xp.where(better, value, loss)
            missed = missed | wrong
            self.zeros = self.zeros + xp.sum(xp.astype(~xp.any(gradient != 0, axis=1), self.zeros.dtype))
            self.gradients += len(rows)
            if step < len(lengths):
                X_adv = ball.project(X_adv + lengths[step] * direction(gradient, settings.norm))
        self._keep(rows, worst, loss, missed)

    def _keep(self, rows: np.ndarray, worst: Array, loss: Array, missed: Array) -> None:
        """Write the state of the rows that were still attacked back among the others."""
        xp, count = self.xp, self.worst.shape[0]
        if len(rows) == count:
            self.worst, self.loss, self.missed = worst, loss, missed
            return
        source = np.arange(count)
        source[rows] = count + np.arange(len(rows))
        source = indices_like(source, self.worst)
        self.worst, self.loss, self.missed = (
            xp.take(xp.concat([old, new]), source, axis=0)
            for old, new in ((self.worst, worst), (self.loss, loss), (self.missed, missed))
        )


def pgd(
    model: Any,
    X: Any,
    y: Any,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    shrink: bool = False,
    restarts: int = 1,
    loss: str = "cross_entropy",
    early_stop: bool = False,
    dtype: str | None = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Array:
    """Projected gradient descent from several starts; returns each image's worst case.

    The same as :meth:`PGD.search`, which also counts zero gradients; the parameters are there.

    Returns
    -------
    array, shape (samples, features)
        Images in the ball and in [0, 1].

    Raises
    ------
    ValueError
        For pixels outside [0, 1], labels that do not fit, or parameters out of range.
    """
    attack = PGD(norm, loss, steps, step_size, shrink, restarts, early_stop, dtype)
    return attack.search(model, X, y, eps, random_state, verbose).images
