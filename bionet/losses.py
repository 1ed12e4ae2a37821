r"""Losses on logits: each returns its value and its gradient, a row for every sample.

Shapes: `logits` is ``(samples, classes)``, `labels` is ``(samples,)`` with class indices; the
loss is ``(samples,)`` and the gradient ``(samples, classes)``. No host synchronisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bionet import activations
from bionet.backend import Array, device, namespace


def one_hot(labels: Array, n_classes: int, like: Array) -> Array:
    """Return ``(samples, classes)`` with 1 at each label, in the dtype of `like`."""
    xp = namespace(like)
    classes = xp.arange(n_classes, dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[:, None] == classes[None, :], like.dtype)


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    xp = namespace(logits)
    e = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def sigmoid(x: Array) -> Array:
    """Logistic function ``1 / (1 + exp(-x))``, written so that it cannot overflow."""
    xp = namespace(x)
    return 0.5 * (1.0 + xp.tanh(0.5 * x))


def power(logits: Array, labels: Array, *, m: float, beta: float) -> tuple[Array, Array]:
    r"""The paper's cost :math:`\sum_a |c_a - t_a|^m` with :math:`c = \tanh(\beta S)`, t = +-1.

    The cost of the supervised layer in Krotov & Hopfield (2019).
    """
    xp = namespace(logits)
    c = xp.tanh(beta * logits)
    miss = c - (2.0 * one_hot(labels, logits.shape[1], logits) - 1.0)
    size = xp.abs(miss)
    steep = activations.power(size, m - 1.0)
    gradient = (m * beta) * steep * xp.sign(miss) * (1.0 - c * c)
    return xp.sum(steep * size, axis=1), gradient


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of the softmax of the logits."""
    xp = namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=1, keepdims=True)
    target = one_hot(labels, logits.shape[1], logits)
    loss = xp.log(total[:, 0]) - xp.sum(target * shifted, axis=1)
    return loss, e / total - target


def steep_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """:func:`cross_entropy` without cancellation, for attacks.

    Once a sample is classified with some confidence (in float32 from a gap of 17 on) the probability of its
    class rounds to 1. Its entry of the gradient would be zero while the others are not, and an attack would
    climb in a wrong direction. Here that entry is minus the sum of the others.
    """
    xp = namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    target = one_hot(labels, logits.shape[1], logits)
    e = xp.exp(shifted)
    others = xp.where(target > 0, xp.zeros_like(e), e)
    rest = xp.sum(others, axis=1)
    own = xp.sum(target * shifted, axis=1)
    total = rest + xp.exp(own)
    loss = xp.where(own == 0, xp.log1p(rest), xp.log(total) - own)
    return loss, others / total[:, None] - target * (rest / total)[:, None]


def sigmoid_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of the softmax of the *sigmoid* of the logits: the talk's double squashing.

    With C classes it cannot fall below ``log(1 + (C - 1) exp(-1))``.
    """
    q = sigmoid(logits)
    loss, gradient = cross_entropy(q, labels)
    return loss, gradient * q * (1.0 - q)


def margin(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Largest wrong logit minus the right one: positive where the sample is misclassified."""
    xp = namespace(logits)
    target = one_hot(labels, logits.shape[1], logits)
    wrong = _highest(xp, xp.where(target > 0, -float("inf") * xp.ones_like(logits), logits))
    gradient = wrong - target
    return xp.sum(gradient * logits, axis=1), gradient


def dlr(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Difference of logits ratio: :func:`margin` over the gap from the first to the third logit.

    Invariant under a shift or a positive rescaling of the logits; needs three classes. Croce &
    Hein (2020).

    Raises
    ------
    ValueError
        With fewer than three classes.
    """
    xp = namespace(logits)
    if logits.shape[1] < 3:
        raise ValueError(f"the DLR loss needs three classes, got {logits.shape[1]}: use 'margin'")
    lowest = -float("inf") * xp.ones_like(logits)
    first = _highest(xp, logits)
    second = _highest(xp, xp.where(first > 0, lowest, logits))
    third = _highest(xp, xp.where(first + second > 0, lowest, logits))
    above, above_gradient = margin(logits, labels)
    gap_gradient = first - third
    gap = xp.sum(gap_gradient * logits, axis=1)
    gap = xp.where(gap > 0, gap, xp.ones_like(gap))
    loss = above / gap
    return loss, (above_gradient - loss[:, None] * gap_gradient) / gap[:, None]


def _highest(xp: Any, logits: Array) -> Array:
    best = xp.argmax(logits, axis=1)
    return one_hot(best, logits.shape[1], logits)


TRAINING = ("power", "cross_entropy", "sigmoid_cross_entropy")  # in this order compiled code counts them
ATTACKS: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "cross_entropy": steep_cross_entropy,
    "margin": margin,
    "dlr": dlr,
}
