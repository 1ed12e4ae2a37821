r"""Small windows of images: cut out, normalised, whitened, pooled.

A patch :math:`\mathbf v` of N numbers loses its mean and gets unit length,

.. math::

    \hat v_i = \frac{v_i - \bar v}{\sqrt{\sum_j (v_j - \bar v)^2 + N c^2}}\,,

with a small contrast c, so that a nearly blank patch stays short. Units learn from such patches as they would
from images (:class:`bionet.units.PatchFeatures`).

Images are rows, as everywhere here: grey ones row-major, colour ones in planes R, G, B. So are patches.

Source: Coates, Lee & Ng, AISTATS 2011 (patches, whitening, pooling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bionet.backend import Array, blocks, floating, indices_like
from bionet.checks import choice, integer, require_finite, require_number

CONTRAST = 10**0.5 / 255  # of Coates, Lee & Ng: 10 is added to the variance of pixels from 0 to 255


def places(shape: Sequence[int], size: int, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels make the patches of an image.

    Parameters
    ----------
    shape : (rows, columns) or (planes, rows, columns)
        Shape of one image.
    size, stride : int
        Side of the square patches and distance of neighbouring ones, in pixels.

    Returns
    -------
    corners : numpy.ndarray, shape (down, across)
        Index of each patch's first pixel.
    window : numpy.ndarray, shape (planes * size * size,)
        Indices of a patch's pixels, less that of its first.

    Raises
    ------
    ValueError
        If no patch fits into an image.
    """
    planes, rows, columns = _picture(shape)
    size, stride = integer("size", size), integer("stride", stride)
    if size > min(rows, columns):
        raise ValueError(f"a patch of side {size} does not fit into an image of {rows} x {columns} pixels")
    pixel = np.arange(planes * rows * columns).reshape(planes, rows, columns)
    corners = pixel[0, : rows - size + 1 : stride, : columns - size + 1 : stride]
    return corners, pixel[:, :size, :size].reshape(-1)


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
    _require_pictures(X, _picture(shape))
    corners, window = places(shape, size, stride)
    index = (corners[..., None] + window).reshape(-1)
    patches = xp.take(X, indices_like(index, X), axis=1)
    return xp.reshape(patches, (X.shape[0], *corners.shape, window.size))


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
    _require_pictures(X, _picture(shape))
    corners, window = places(shape, size)
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
    contrast = require_number("contrast", contrast, 0.0)
    centred = patches - xp.mean(patches, axis=-1, keepdims=True)
    square = xp.sum(centred * centred, axis=-1, keepdims=True) + patches.shape[-1] * contrast**2
    return centred / xp.where(square > 0, xp.sqrt(square), xp.ones_like(square))


def whitening(patches: Array, regularization: float = 0.1) -> tuple[Array, Array]:
    """Fit a symmetric whitening (ZCA) to patches.

    Parameters
    ----------
    patches : array, shape (patches, features)
        At least two.
    regularization : float
        As in :func:`whitening_matrix`; positive for patches without their mean, whose covariance is singular.

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
    if patches.ndim != 2 or patches.shape[0] < 2:
        raise ValueError(f"whitening needs at least two patches (patches, features), got {patches.shape}")
    require_finite("patches", patches)
    mean = xp.mean(patches, axis=0)
    centred = patches - mean
    covariance = xp.astype(centred.T @ centred, xp.float64) / float(patches.shape[0] - 1)
    return mean, xp.astype(whitening_matrix(covariance, regularization), patches.dtype)


def whitening_matrix(covariance: Array, regularization: float = 0.1) -> Array:
    r"""Return the symmetric matrix that whitens vectors of a covariance (ZCA).

    .. math::

        \mathbf M = \mathbf U (\boldsymbol\Lambda + \varepsilon \bar\lambda)^{-1/2} \mathbf U^T

    for the covariance :math:`\mathbf U \boldsymbol\Lambda \mathbf U^T`, whose mean eigenvalue is
    :math:`\bar\lambda`.

    Parameters
    ----------
    covariance : array, shape (features, features)
        Symmetric.
    regularization : float
        The share :math:`\varepsilon` of the mean eigenvalue that is added to each (dimensionless).

    Returns
    -------
    array, shape (features, features)

    Raises
    ------
    ValueError
        For a negative regularisation, NaN, or a covariance that cannot be inverted.
    """
    xp, covariance = floating(covariance)
    regularization = require_number("regularization", regularization, 0.0)
    require_finite("covariance", covariance)
    values, vectors = xp.linalg.eigh(covariance)
    values = xp.where(values > 0, values, xp.zeros_like(values))
    values = values + regularization * xp.mean(values)
    smallest, largest = float(xp.min(values)), float(xp.max(values))
    if not smallest > 1e-7 * largest:
        raise ValueError(
            f"the covariance cannot be inverted (eigenvalues {smallest:.2g} to {largest:.2g}): "
            "raise regularization, or give more samples"
        )
    return (vectors * (1.0 / xp.sqrt(values))) @ vectors.T


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


def _cells(count: int, grid: int) -> list[slice]:
    edges = [round(cell * count / grid) for cell in range(grid + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]
