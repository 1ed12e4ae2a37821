"""The ball that an attack may not leave, cut with the box [0, 1]; exact after rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from bionet.backend import Array, asarray_like, namespace

NORMS = ("linf", "l2")


class Ball:
    """Images within `eps` of `X` with pixels in [0, 1].

    What :meth:`project` returns is in the ball as float64 measures it, whatever its own dtype.

    Parameters
    ----------
    X : array, shape (samples, features)
        Centres, with pixels in [0, 1].
    eps : float, or array of shape (samples, 1)
        Radius; an array only for ``l2``.
    norm : {"linf", "l2"}
    """

    def __init__(self, X: Array, eps: Any, norm: str) -> None:
        self.xp = namespace(X)
        self.X, self.eps, self.norm = X, eps, norm
        if norm == "linf":
            self.low, self.high = self._bound(-eps), self._bound(eps)

    def project(self, X_adv: Array) -> Array:
        """Move images of the same shape into the ball, then clip them to [0, 1].

        In L_inf this is the nearest point. In L2 the change is shortened, then clipped: a point of
        both, if not always the nearest.
        """
        xp = self.xp
        if self.norm == "linf":
            return xp.clip(X_adv, self.low, self.high)
        change = X_adv - self.X
        size = self._size(change)
        radius = self._radius()
        factor = xp.where(size > radius, radius / xp.where(size > 0, size, 1.0 + size), 1.0 + 0.0 * size)
        return xp.clip(self.X + change * xp.astype(factor, change.dtype), 0.0, 1.0)

    def take(self, rows: Array) -> Ball:
        """The ball of some of the images."""
        part = Ball.__new__(Ball)
        part.xp, part.eps, part.norm = self.xp, self.eps, self.norm
        part.X = self.xp.take(self.X, rows, axis=0)
        if self.norm == "linf":
            part.low = self.xp.take(self.low, rows, axis=0)
            part.high = self.xp.take(self.high, rows, axis=0)
        return part

    def random(self, rng: np.random.Generator, where: str = "ball") -> Array:
        """Points drawn uniformly from the ball, or from its corners or surface; then projected."""
        return self.project(self.X + draw(self.X, self.eps, self.norm, where, rng))

    def _bound(self, shift: float) -> Array:
        """The pixels' bound at ``X + shift``; where rounding put it outside, the next number inwards."""
        xp = self.xp
        centre = xp.astype(self.X, xp.float64, copy=False)
        bound = xp.astype(centre + shift, self.X.dtype)
        outside = xp.abs(xp.astype(bound, xp.float64) - centre) > self.eps
        return xp.clip(xp.where(outside, xp.nextafter(bound, self.X), bound), 0.0, 1.0)

    def _size(self, change: Array) -> Array:
        wide = self.xp.astype(change, self.xp.float64, copy=False)
        return self.xp.sqrt(self.xp.sum(wide * wide, axis=1, keepdims=True))

    def _radius(self) -> Any:
        """The radius, less what rounding of the pixels can add to a change's length."""
        unit = float(self.xp.finfo(self.X.dtype).eps)
        radius = self.eps * (1.0 - 16.0 * unit) - 0.5 * unit * self.X.shape[1] ** 0.5
        return max(radius, 0.0) if isinstance(radius, float) else self.xp.clip(radius, 0.0, None)


def draw(X: Array, eps: float, norm: str, where: str, rng: np.random.Generator) -> Array:
    """Random changes of images `X`: uniform in the ``ball``, or on its ``edge``.

    The edge of the L_inf ball are its corners, where every pixel moves by `eps`; that of the L2
    ball is its surface.
    """
    xp = namespace(X)
    if norm == "linf":
        if where == "edge":
            return asarray_like(eps * rng.choice([-1.0, 1.0], size=X.shape), X)
        return asarray_like(rng.uniform(-eps, eps, size=X.shape), X)
    change = asarray_like(rng.standard_normal(X.shape), X)
    share = rng.random((X.shape[0], 1)) ** (1.0 / X.shape[1]) if where == "ball" else np.ones((X.shape[0], 1))
    radius = asarray_like(eps * share, X)
    return change * (radius / xp.sqrt(xp.sum(change * change, axis=1, keepdims=True)))


def direction(gradient: Array, norm: str) -> Array:
    """The steepest change of unit size: signs in L_inf, the gradient at length 1 in L2.

    Each gradient is first divided by its largest entry, so that the square of a small one does not
    underflow. A zero gradient gives a zero step.
    """
    xp = namespace(gradient)
    if norm == "linf":
        return xp.sign(gradient)
    largest = xp.max(xp.abs(gradient), axis=1, keepdims=True)
    scaled = gradient / xp.where(largest > 0, largest, xp.ones_like(largest))
    size = xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))
    return scaled / xp.where(size > 0, size, xp.ones_like(size))
