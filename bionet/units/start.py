"""What both estimators share: the weights that learning starts from, currents, counting."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from bionet.backend import Array, asarray_like, namespace, to_host
from bionet.checks import choice, fitted_images, integer, require_finite, require_number


def initial_weights(init: Any, n_hidden: int, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the weights that learning starts from, on the host.

    Parameters
    ----------
    init : {"normal", "uniform", "sphere", "ball"}, float, or array of shape (hidden, features)
        Entries from N(0, 1) (the paper and the talk's slides); from U[0, 1) (the talk's notebook);
        rows of norm 1; rows of norm 1/2. A number is the standard deviation of normal entries. An
        array is copied.
    n_hidden, n_features : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, shape (hidden, features), float64

    Raises
    ------
    ValueError
        For an unknown name, a negative number, or an array of another shape or with NaN or infinity.
    """
    shape = (n_hidden, n_features)
    if isinstance(init, (int, float)):
        return require_number("init", init, 0.0) * rng.standard_normal(shape)
    if not isinstance(init, str):
        W = np.array(to_host(init), dtype=np.float64)
        if W.shape != shape:
            raise ValueError(f"init must have shape (hidden, features) = {shape}, got {W.shape}")
        require_finite("init", W)
        return W
    choice("init", init, ("normal", "uniform", "sphere", "ball"))
    if init == "uniform":
        return rng.random(shape)
    W = rng.standard_normal(shape)
    if init == "normal":
        return W
    W /= np.sqrt(np.sum(W * W, axis=1, keepdims=True))
    return W if init == "sphere" else 0.5 * W


def require_squares(X: Array) -> None:
    """Raise ``ValueError`` if the squared length of an image could leave the range of its dtype."""
    xp = namespace(X)
    largest = float(xp.max(xp.abs(X)))
    if largest > (float(xp.finfo(X.dtype).max) / X.shape[1]) ** 0.5:
        raise ValueError(
            f"images with entries as large as {largest:.3g} have no length in {X.dtype}: set "
            "normalize=True, rescale them, or use float64"
        )


class Units(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share: start, counting, currents."""

    def transform(self, X: Any) -> Array:
        """Return the currents ``X @ components_.T``, shape (samples, hidden).

        The ordinary dot product, whatever p the units were trained with.

        Parameters
        ----------
        X : array, shape (samples, features)
            Images, in the array library of those the units learned from.

        Returns
        -------
        array, shape (samples, hidden)
            In the dtype of `X`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For another number of features, NaN or infinity.
        TypeError
            For images of another array library.
        """
        X = fitted_images(self, X)
        xp = namespace(X, self.components_)
        return X @ xp.astype(self.components_, X.dtype, copy=False).T

    def _start(self, X: Array, rng: np.random.Generator) -> None:
        n_hidden = integer("n_hidden", self.n_hidden)
        W = initial_weights(self.init, n_hidden, X.shape[1], rng)
        self.components_ = asarray_like(W, X)
        self.wins_ = np.zeros(n_hidden, dtype=np.int64)

    def _require_finite_weights(self, X: Array, W: Array, remedy: str) -> None:
        """Look at the weights once a pass (synchronises with the device)."""
        xp = namespace(W)
        if not bool(xp.all(xp.isfinite(W))):
            raise ArithmeticError(
                f"the weights left the floating-point range; {remedy}, and check the scale of the images "
                f"(largest entry {float(xp.max(xp.abs(X))):.3g})"
            )

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
