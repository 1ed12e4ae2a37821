"""Features of images made by units that saw small windows of them: prepared, convolved, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from bionet.activations import power
from bionet.backend import Array, asarray_like, blocks, generators, namespace, to_host
from bionet.checks import choice, fitted_images, images, integer, require_finite, require_number
from bionet.patches import CONTRAST, extract, normalize, places, pool, sample, whitening

_LARGEST = 1 << 18  # numbers in the largest array of one block of images: it stays in a core's cache


class PatchFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Features of images: units that saw patches, at every place, pooled.

    ``fit`` draws patches, normalises and, on request, whitens them, and lets `units` learn from them.
    ``transform`` applies the rows at every place of an image and pools.

    Parameters
    ----------
    units : estimator, FrozenEstimator, or array of shape (hidden, patch features)
        Where the rows W come from. An estimator with ``components_`` (or ``cluster_centers_``) after
        ``fit`` is cloned and fitted on the patches; ``sklearn.frozen.FrozenEstimator(fitted)`` is used as
        it is; an array is taken for W.
    shape : (rows, columns) or (planes, rows, columns)
        Shape of one image.
    size, stride : int
        Side of the patches and distance of neighbouring ones, in pixels.
    n : float
        Power of the rectified currents, at least 1 (dimensionless); for ``activation="power"``.
    activation : {"power", "triangle"}
        ``power``: :math:`\max(\mathbf W_\mu \hat{\mathbf v}, 0)^n`. ``triangle``: how much nearer a row is
        than the mean row, :math:`\max(\langle z \rangle - z_\mu, 0)` for the distances
        :math:`z_\mu = |\hat{\mathbf v} - \mathbf W_\mu|`.
    pooling : {"sum", "mean", "max"}
    grid : int
        Cells of the pooling along either side of an image.
    contrast : float or None
        Floor of the normalisation, see :func:`bionet.patches.normalize`; None takes the patches as they are.
    whiten : float or None
        Regularisation of the whitening, see :func:`bionet.patches.whitening`; None leaves it out.
    n_patches : int
        Patches that the whitening and the units see.
    random_state : None, int or NumPy random generator
        Places of the patches (`units` has its own).

    Attributes
    ----------
    units_ : estimator or None
        The fitted units.
    components_ : array, shape (hidden, patch features)
        Rows W, in the space of prepared patches.
    mean_, whitening_ : array, shapes (patch features,) and (patch features, patch features), or None
        Of the whitening.
    n_features_in_ : int
        Number of pixels of an image.

    References
    ----------
    Coates, Lee & Ng, AISTATS 2011 (pooling, k-means with the triangle activation); Grinberg, Hopfield &
    Krotov, arXiv 1908.08993 (the competitive rule on normalised patches, steep powers).
    """

    def __init__(
        self,
        units: Any,
        *,
        shape: Sequence[int] = (3, 32, 32),
        size: int = 6,
        stride: int = 1,
        n: float = 1.0,
        activation: str = "power",
        pooling: str = "sum",
        grid: int = 2,
        contrast: float | None = CONTRAST,
        whiten: float | None = None,
        n_patches: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.units = units
        self.shape = shape
        self.size = size
        self.stride = stride
        self.n = n
        self.activation = activation
        self.pooling = pooling
        self.grid = grid
        self.contrast = contrast
        self.whiten = whiten
        self.n_patches = n_patches
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> PatchFeatures:
        """Learn from patches of images.

        Parameters
        ----------
        X : array, shape (samples, features)
            Images.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For wrong shapes, NaN, parameters out of range, or units that do not fit the patches.
        TypeError
            For units that are neither an estimator nor an array.
        """
        X = images(self, X, reset=True)
        self._check(X)
        (rng,) = generators(self.random_state, 1)
        patches = sample(X, self._shape_of(X), self.size, self.n_patches, rng)
        if self.contrast is not None:
            patches = normalize(patches, self.contrast)
        self.mean_ = self.whitening_ = None
        if self.whiten is not None:
            self.mean_, self.whitening_ = whitening(patches, self.whiten)
            patches = (patches - self.mean_) @ self.whitening_
        self.units_, rows = self._learn(patches)
        W = asarray_like(np.array(to_host(rows)), X)
        if W.ndim != 2 or W.shape[1] != patches.shape[1]:
            raise ValueError(
                f"the units' rows have shape {tuple(W.shape)}, but a patch has {patches.shape[1]} numbers"
            )
        require_finite("the units' rows", W)
        self.components_ = W
        return self

    def transform(self, X: Any) -> Array:
        """Return the pooled features of images.

        Parameters
        ----------
        X : array, shape (samples, features)
            Images, in the array library of those seen in ``fit``.

        Returns
        -------
        array, shape (samples, grid * grid * hidden)
            In the dtype of `X`; cell after cell, row-major, as :func:`bionet.patches.pool`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before ``fit``.
        ValueError
            For another number of pixels, NaN or infinity.
        TypeError
            For images of another array library.
        """
        X = fitted_images(self, X)
        xp = namespace(X, self.components_)
        self._check(X)
        shape = self._shape_of(X)
        corners, _ = places(shape, self.size, self.stride)
        learned = [
            a if a is None else xp.astype(a, X.dtype, copy=False)
            for a in (self.components_, self.mean_, self.whitening_)
        ]
        widest = max(self.components_.shape)
        size = max(1, _LARGEST // (corners.size * widest))
        parts = [self._features(xp, X[block, :], shape, *learned) for block in blocks(X.shape[0], size)]
        return xp.concat(parts) if len(parts) > 1 else parts[0]

    def _features(
        self, xp: Any, X: Array, shape: Sequence[int], W: Array, mean: Array | None, M: Array | None
    ) -> Array:
        """One block of images: cut, prepare, respond, pool."""
        patches = extract(X, shape, self.size, self.stride)
        grid_of_places = patches.shape[:3]
        patches = xp.reshape(patches, (-1, patches.shape[-1]))
        if self.contrast is not None:
            patches = normalize(patches, self.contrast)
        if M is not None:
            patches = (patches - mean) @ M
        currents = patches @ W.T  # (patches, hidden)
        zero = xp.zeros_like(currents[:1, :1])
        if self.activation == "power":  # here maximum is ten times as fast as where
            h = power(xp.maximum(currents, zero), float(self.n))
        else:
            squares = xp.sum(patches * patches, axis=1, keepdims=True) + xp.sum(W * W, axis=1)
            z = xp.sqrt(xp.maximum(squares - 2.0 * currents, zero))
            h = xp.maximum(xp.mean(z, axis=1, keepdims=True) - z, zero)
        return pool(xp.reshape(h, (*grid_of_places, W.shape[0])), self.grid, self.pooling)

    def _learn(self, patches: Array) -> tuple[Any, Array]:
        units = self.units
        if array_api_compat.is_array_api_obj(units):
            return None, units
        if not hasattr(units, "fit"):
            raise TypeError(
                "units must be an estimator or an array of rows (hidden, patch features), "
                f"got {type(units).__name__}"
            )
        if isinstance(units, FrozenEstimator):
            check_is_fitted(units)
        fitted = units if isinstance(units, FrozenEstimator) else clone(units).fit(patches)
        for name in ("components_", "cluster_centers_"):
            if hasattr(fitted, name):
                return fitted, getattr(fitted, name)
        raise ValueError(f"units must have components_ after fit, but {fitted!r} has none")

    def _check(self, X: Array) -> None:
        down, across = places(self._shape_of(X), self.size, self.stride)[0].shape
        require_number("n", self.n, 1.0)
        choice("activation", self.activation, ("power", "triangle"))
        choice("pooling", self.pooling, ("sum", "mean", "max"))
        integer("n_patches", self.n_patches)
        if self.contrast is not None:
            require_number("contrast", self.contrast, 0.0)
        if integer("grid", self.grid) > min(down, across):
            raise ValueError(
                f"grid = {self.grid} cells do not fit {down} x {across} places: lower grid or stride"
            )

    def _shape_of(self, X: Array) -> Sequence[int]:
        return self.shape

    @property
    def _n_features_out(self) -> int:
        return self.grid**2 * self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
