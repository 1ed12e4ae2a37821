r"""Small windows of images: cut out, normalised, whitened; and features made of them by convolution.

A patch :math:`\mathbf v` of N numbers loses its mean and gets unit length,

.. math::

    \hat v_i = \frac{v_i - \bar v}{\sqrt{\sum_j (v_j - \bar v)^2 + N c^2}}\,,

with a small contrast c, so that a nearly blank patch stays short. Units learn from such patches as they would
from images. The same rows, at every place of an image, give :math:`\max(\mathbf W \hat{\mathbf v}, 0)^n`, and
these are pooled over the cells of a coarse grid.

Images are rows, as everywhere here: grey ones row-major, colour ones in planes R, G, B. So are patches.

Sources: Coates, Lee & Ng, AISTATS 2011 (patches, whitening, pooling, k-means with the triangle activation);
Grinberg, Hopfield & Krotov, arXiv 1908.08993 (the competitive rule on normalised patches, steep powers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import array_api_compat
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from bionet.activations import power
from bionet.backend import (
    Array,
    asarray_like,
    blocks,
    floating,
    generators,
    indices_like,
    namespace,
    require_finite,
    require_number,
    to_host,
)
from bionet.checks import choice, fitted_images, images, integer

CONTRAST = 10**0.5 / 255  # of Coates, Lee & Ng: 10 is added to the variance of pixels from 0 to 255
_LARGEST = 1 << 18  # numbers in the largest array of one block of images: it stays in a core's cache


def extract(X: Array, shape: Sequence[int], size: int, stride: int = 1) -> Array:
    """Return the patches at every place of every image.

    Parameters
    ----------
    X : array, shape (samples, features)
        Images.
    shape : (rows, columns) or (planes, rows, columns)
        Shape of one image.
    size : int
        Side of the square patches, in pixels.
    stride : int
        Distance of neighbouring patches, in pixels.

    Returns
    -------
    array, shape (samples, down, across, planes * size * size)
        Places run from the upper left corner; pixels that no whole patch covers are left out.

    Raises
    ------
    ValueError
        If `X` does not hold images of this shape, or no patch fits into one.
    """
    xp, X = floating(X)
    picture = _picture(shape)
    _require_pictures(X, picture)
    corners, window = _places(picture, size, stride)
    return _cut(xp, X, corners, window)


def sample(X: Array, shape: Sequence[int], size: int, count: int, rng: np.random.Generator) -> Array:
    """Return patches from random places of random images.

    Parameters
    ----------
    X : array, shape (samples, features)
        Images.
    shape : (rows, columns) or (planes, rows, columns)
    size : int
        Side of the square patches, in pixels.
    count : int
        Number of patches. Images and places are drawn with replacement.
    rng : numpy.random.Generator
        On the host.

    Returns
    -------
    array, shape (count, planes * size * size)

    Raises
    ------
    ValueError
        As :func:`extract`.
    """
    xp, X = floating(X)
    picture = _picture(shape)
    _require_pictures(X, picture)
    corners, window = _places(picture, size, 1)
    count = integer("count", count)
    which, where = rng.integers(X.shape[0], size=count), rng.integers(corners.size, size=count)
    first = which * X.shape[1] + corners.reshape(-1)[where]
    flat = xp.reshape(X, (-1,))
    parts = []
    for block in blocks(count, 1 << 16):
        index = first[block, None] + window
        parts.append(xp.reshape(xp.take(flat, indices_like(index.reshape(-1), X)), index.shape))
    return xp.concat(parts)


def normalize(patches: Array, contrast: float = CONTRAST) -> Array:
    """Take the mean out of each patch and give it unit length, nearly.

    Parameters
    ----------
    patches : array, shape (..., features)
    contrast : float
        Standard deviation of a patch, in units of a pixel, at which the length becomes ``sqrt(1/2)``;
        patches of less contrast stay short. With 0 every patch that is not blank gets unit length.

    Returns
    -------
    array, shape (..., features)
        Blank patches become zero.

    Raises
    ------
    ValueError
        For a negative contrast.
    """
    xp, patches = floating(patches)
    return _normalize(xp, patches, require_number("contrast", contrast, 0.0))


def whitening(patches: Array, regularization: float = 0.1) -> tuple[Array, Array]:
    r"""Fit a symmetric whitening (ZCA) to patches.

    .. math::

        \mathbf M = \mathbf U (\boldsymbol\Lambda + \varepsilon \bar\lambda)^{-1/2} \mathbf U^T

    for the covariance :math:`\mathbf U \boldsymbol\Lambda \mathbf U^T`, whose mean eigenvalue is
    :math:`\bar\lambda`.

    Parameters
    ----------
    patches : array, shape (patches, features)
        At least two.
    regularization : float
        The share :math:`\varepsilon` of the mean eigenvalue that is added to each; positive for patches
        without their mean, whose covariance is singular.

    Returns
    -------
    mean : array, shape (features,)
    M : array, shape (features, features)
        ``(patches - mean) @ M`` has mean zero and, up to `regularization`, the identity as covariance.

    Raises
    ------
    ValueError
        For fewer than two patches, NaN, or a covariance that cannot be inverted.
    """
    xp, patches = floating(patches)
    regularization = require_number("regularization", regularization, 0.0)
    if patches.ndim != 2 or patches.shape[0] < 2:
        raise ValueError(f"whitening needs at least two patches (patches, features), got {patches.shape}")
    require_finite("patches", patches)
    mean = xp.mean(patches, axis=0)
    centred = patches - mean
    covariance = xp.astype(centred.T @ centred, xp.float64) / float(patches.shape[0] - 1)
    values, vectors = xp.linalg.eigh(covariance)
    values = xp.where(values > 0, values, xp.zeros_like(values))
    values = values + regularization * xp.mean(values)
    smallest, largest = float(xp.min(values)), float(xp.max(values))
    if not smallest > 1e-7 * largest:
        raise ValueError(
            f"the patches' covariance cannot be inverted (eigenvalues {smallest:.2g} to {largest:.2g}): "
            "raise regularization, or give more patches"
        )
    M = (vectors / xp.sqrt(values)) @ vectors.T
    return mean, xp.astype(M, patches.dtype)


def pool(h: Array, grid: int, pooling: str = "sum") -> Array:
    """Reduce the activities in each cell of a grid to one number a unit.

    Parameters
    ----------
    h : array, shape (samples, down, across, hidden)
    grid : int
        Cells along either side; they differ by at most one place.
    pooling : {"sum", "mean", "max"}

    Returns
    -------
    array, shape (samples, grid * grid * hidden)
        Cell after cell, row-major.

    Raises
    ------
    ValueError
        If there are more cells than places, or for an unknown `pooling`.
    """
    xp, h = floating(h)
    choice("pooling", pooling, ("sum", "mean", "max"))
    reduce = getattr(xp, pooling)
    down, across = h.shape[1:3]
    if not 1 <= integer("grid", grid) <= min(down, across):
        raise ValueError(f"grid = {grid} cells do not fit {down} x {across} places: lower grid or stride")
    rows, columns = _cells(down, grid), _cells(across, grid)
    return xp.concat([reduce(h[:, r, c, :], axis=(1, 2)) for r in rows for c in columns], axis=1)


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
        Floor of the normalisation, see :func:`normalize`; None takes the patches as they are.
    whiten : float or None
        Regularisation of the whitening, see :func:`whitening`; None leaves it out.
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
            In the dtype of `X`; cell after cell, row-major, as :func:`pool`.

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
        places = _places(self._shape_of(X), self.size, self.stride)
        learned = [
            a if a is None else xp.astype(a, X.dtype, copy=False)
            for a in (self.components_, self.mean_, self.whitening_)
        ]
        widest = max(self.components_.shape)
        size = max(1, _LARGEST // (places[0].size * widest))
        parts = [self._features(xp, X[block, :], places, *learned) for block in blocks(X.shape[0], size)]
        return xp.concat(parts) if len(parts) > 1 else parts[0]

    def _features(
        self,
        xp: Any,
        X: Array,
        places: tuple[np.ndarray, np.ndarray],
        W: Array,
        mean: Array | None,
        M: Array | None,
    ) -> Array:
        """One block of images: cut, prepare, respond, pool."""
        patches = _cut(xp, X, *places)
        grid_of_places = patches.shape[:3]
        patches = xp.reshape(patches, (-1, patches.shape[-1]))
        if self.contrast is not None:
            patches = _normalize(xp, patches, float(self.contrast))
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
        picture = self._shape_of(X)
        _require_pictures(X, picture)
        down, across = _places(picture, self.size, self.stride)[0].shape
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

    def _shape_of(self, X: Array) -> tuple[int, int, int]:
        return _picture(self.shape)

    @property
    def _n_features_out(self) -> int:
        return self.grid**2 * self.components_.shape[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _picture(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return `shape` as (planes, rows, columns)."""
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sides) not in (2, 3):
        raise ValueError(f"shape must be (rows, columns) or (planes, rows, columns), got {shape!r}")
    planes, rows, columns = (integer("shape", side) for side in ((1, *sides) if len(sides) == 2 else sides))
    return planes, rows, columns


def _require_pictures(X: Array, picture: tuple[int, int, int]) -> None:
    if X.ndim != 2 or X.shape[1] != math.prod(picture):
        raise ValueError(
            f"images of shape {picture} have {math.prod(picture)} features, but X has shape {tuple(X.shape)}"
        )


def _places(picture: tuple[int, int, int], size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the patches' corners, (down, across), and of a patch at the first corner, (features,)."""
    planes, rows, columns = picture
    size, stride = integer("size", size), integer("stride", stride)
    if size > min(rows, columns):
        raise ValueError(f"a patch of side {size} does not fit into an image of {rows} x {columns} pixels")
    pixel = np.arange(planes * rows * columns).reshape(picture)
    corners = pixel[0, : rows - size + 1 : stride, : columns - size + 1 : stride]
    return corners, pixel[:, :size, :size].reshape(-1)


def _cut(xp: Any, X: Array, corners: np.ndarray, window: np.ndarray) -> Array:
    index = (corners[..., None] + window).reshape(-1)
    patches = xp.take(X, indices_like(index, X), axis=1)
    return xp.reshape(patches, (X.shape[0], *corners.shape, window.size))


def _normalize(xp: Any, patches: Array, contrast: float) -> Array:
    centred = patches - xp.mean(patches, axis=-1, keepdims=True)
    square = xp.sum(centred * centred, axis=-1, keepdims=True) + patches.shape[-1] * contrast**2
    return centred / xp.where(square > 0, xp.sqrt(square), xp.ones_like(square))


def _cells(count: int, grid: int) -> list[slice]:
    edges = [round(cell * count / grid) for cell in range(grid + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]
