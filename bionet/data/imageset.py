"""A set of images, and how to make one of your own array or folder. Public in :mod:`bionet.data`."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bionet.backend import namespace, to_host
from bionet.data import samples


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images as rows, with their labels and where they come from.

    Both arrays are C-contiguous and read-only, so that `sha256` stays true; take a ``.copy()``
    to change one.
    """

    images: NDArray[np.float32] = field(repr=False)
    """Pixels in [0, 1], dimensionless, shape (samples, features). Grey images are row-major,
    colour images are planes R, G, B, each row-major: ``images[i].reshape(shape)`` is a picture."""
    labels: NDArray[np.int64] = field(repr=False)
    """Class of each image, shape (samples,); of shape (0,) where there are no labels."""
    shape: tuple[int, ...]
    """Shape of one image, (rows, columns) or (3, rows, columns)."""
    name: str
    """What was asked for, that is "mnist", "cifar10", "digits", or the name given to your own."""
    split: str
    """"train", "test", or "all" for your own images."""
    stand_in: bool
    """Whether these are other images than `name` says. No claim about `name` can rest on them."""
    source: str
    """Which images these really are, in words; the same on every machine."""
    sha256: str
    """One hash for the contents (hexadecimal), for records."""
    class_names: tuple[str, ...] = ()
    """Name of class 0, 1, ...; empty where the labels are plain numbers or absent."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{len(self)} images, {size}, {self.split}: {self.source}"

    def provenance(self) -> dict[str, Any]:
        """Return what a recorded run must say about its data (JSON-ready)."""
        return {
            "name": self.name,
            "split": self.split,
            "samples": len(self),
            "shape": list(self.shape),
            "stand_in": self.stand_in,
            "source": self.source,
            "sha256": self.sha256,
        }


def from_array(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    shape: tuple[int, ...] | None = None,
    *,
    name: str = "array",
) -> ImageSet:
    """Make an :class:`ImageSet` of your own array.

    Parameters
    ----------
    images : array of shape (samples, features), (samples, rows, columns), \
(samples, rows, columns, 3) or (samples, 3, rows, columns)
        Pixels in [0, 1]. 8-bit integers (0 to 255) are divided by 255.
    labels : array of shape (samples,), optional
        Integers are kept; strings are numbered in sorted order, see `class_names`.
    shape : tuple of int, optional
        Shape of one picture, (rows, columns) or (3, rows, columns). Needed for rows of
        (samples, features) unless the picture is grey and square.
    name : str
        What to call the set.

    Returns
    -------
    ImageSet
        With ``split="all"``. The pixels are copied.

    Raises
    ------
    ValueError
        For pixels outside [0, 1] or NaN, shapes that do not fit, or labels that are neither
        integers nor strings.
    """
    array = np.asarray(images)
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"images must have shape (samples, features), (samples, rows, columns) or four axes "
            f"with the colours, and at least one pixel; got {array.shape}"
        )
    if array.dtype == np.uint8:
        if array.max() == 1:
            raise ValueError("8-bit images run from 0 to 255, but these hold only 0 and 1: convert to float")
        pixels = samples.unit_interval(array)
    else:
        check_pixels(array)
        pixels = array.astype(np.float32)
    if pixels.ndim == 4 and shape is None:
        planes = [axis for axis in (1, 3) if pixels.shape[axis] == 3]
        if len(planes) != 1:
            raise ValueError(
                f"cannot tell the colour axis of images of shape {pixels.shape}: it must be axis 1 or "
                "axis 3 and have length 3 (in doubt, give the planes first, and `shape`)"
            )
        pixels = np.moveaxis(pixels, planes[0], 1)
    if shape is None:
        shape = pixels.shape[1:] if pixels.ndim > 2 else (math.isqrt(pixels.shape[1]),) * 2
    features = math.prod(pixels.shape[1:])
    fits = len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)
    if not fits or math.prod(shape) != features or (pixels.ndim > 2 and pixels.shape[1:] != shape):
        raise ValueError(
            f"images of {features} features (array of shape {array.shape}) do not make pictures of shape "
            f"{shape}: give shape=(rows, columns) or (3, rows, columns)"
        )
    flat = np.ascontiguousarray(pixels.reshape(len(pixels), features))
    numbers, class_names = _labels(labels, len(flat))
    return make(flat, numbers, tuple(int(n) for n in shape), name, "all", f"array {name!r}", class_names)


def load_folder(
    path: str | os.PathLike[str],
    size: tuple[int, int] = (28, 28),
    *,
    color: bool = False,
    invert: bool = False,
) -> ImageSet:
    """Read a folder of image files; needs Pillow.

    Parameters
    ----------
    path : path
        Holds the images themselves (then there are no labels), or one sub-folder a class. Files
        are taken in sorted order; names starting with a dot are passed over.
    size : (int, int)
        Rows and columns to which every picture is resized (bilinear, antialiased, proportions
        not kept: crop before where that matters).
    color : bool
        Keep three planes R, G, B; otherwise luminance only. Transparent parts count as black.
    invert : bool
        Swap light and dark: use it for dark ink on white paper, since MNIST is white on black.

    Returns
    -------
    ImageSet
        With ``split="all"``; `class_names` are the names of the sub-folders.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        It holds no image, images both beside and inside sub-folders, or a file that cannot be
        read (named).
    ImportError
        Pillow is not installed.
    """
    folder = Path(path)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (rows, columns), both at least 1, got {size!r}")
    files, classes, class_names = samples.list_folder(folder)
    pixels = np.stack([samples.read_image(file, size, color=color) for file in files])
    if invert:
        pixels = 255 - pixels
    flat = samples.unit_interval(pixels.reshape(len(files), -1))
    labels = np.asarray(classes, dtype=np.int64)
    shape = (3, *size) if color else tuple(size)
    return make(flat, labels, shape, folder.name, "all", f"folder {folder.name!r}", class_names)


def check_pixels(X: Any) -> None:
    """Refuse pixels that are not in [0, 1]; NaN is not.

    Parameters
    ----------
    X : array of any shape
        NumPy, CuPy or any array that follows the array API standard. Synchronises with the device.

    Raises
    ------
    ValueError
        Naming the first offending value and its index.
    """
    xp = namespace(X)
    if not xp.isdtype(X.dtype, ("bool", "integral", "real floating")):
        raise ValueError(f"pixels must be real numbers in [0, 1], got an array of dtype {X.dtype}")
    if xp.isdtype(X.dtype, "bool") or bool(xp.all((X >= 0) & (X <= 1))):
        return
    host = to_host(X)
    index = tuple(int(i) for i in np.argwhere(~((host >= 0) & (host <= 1)))[0])
    value = host[index]
    advice = "replace it first" if np.isnan(value) else "scale the images first (8-bit: divide by 255)"
    raise ValueError(f"pixels must lie in [0, 1], got {value} at index {index}: {advice}")


def make(
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    shape: tuple[int, ...],
    name: str,
    split: str,
    source: str,
    class_names: tuple[str, ...] = (),
    *,
    stand_in: bool = False,
    hashes: Sequence[str] = (),
) -> ImageSet:
    """Freeze new arrays into an :class:`ImageSet`.

    `hashes` are those of the files' contents; without them the arrays themselves are hashed.
    """
    images.flags.writeable = labels.flags.writeable = False
    if not hashes:
        parts = (images.data, labels.data, str(shape).encode())
        hashes = [hashlib.sha256(part).hexdigest() for part in parts]
    sha256 = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return ImageSet(images, labels, shape, name, split, stand_in, source, sha256, class_names)


def _labels(labels: ArrayLike | None, count: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if labels is None:
        return np.empty(0, dtype=np.int64), ()
    array = np.asarray(labels)
    if array.shape != (count,):
        raise ValueError(f"{count} images need labels of shape ({count},), got {array.shape}")
    if array.dtype.kind in "OU":
        names, numbers = np.unique(array.astype(str), return_inverse=True)
        return numbers.astype(np.int64), tuple(names.tolist())
    if array.dtype.kind in "biu":
        return array.astype(np.int64), ()
    raise ValueError(f"labels must be integers or strings, got dtype {array.dtype}")
