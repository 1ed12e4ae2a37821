"""Arrays of images from what a machine already has: scikit-learn's samples, a folder.

Host only. Everything returns pixels as float32 in [0, 1], dimensionless.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_TEST_DIGITS = 360
_PATCH = 32  # pixels, the side of a CIFAR-10 picture
_PATCHES = {"train": 5000, "test": 1000}

# np.take with this table is seven times faster than a division, and gives the same bits.
_UNIT = (np.arange(256) / 255).astype(np.float32)


def unit_interval(pixels: NDArray[np.uint8]) -> Floats:
    """Return 8-bit `pixels` divided by 255 as a new contiguous float32 array of the same shape."""
    return np.take(_UNIT, pixels)


def resize(images: NDArray[Any], size: tuple[int, int]) -> Floats:
    """Resize `images` by bilinear interpolation, with pixel centres at half-integers.

    Plain element-wise arithmetic, so every machine gives the same bits.

    Parameters
    ----------
    images : array of shape (samples, rows, columns)
    size : (int, int)
        Rows and columns of the result.

    Returns
    -------
    array of shape (samples, \\*size), float32
    """
    result = np.asarray(images, dtype=np.float64)
    for axis, new in enumerate(size, start=1):
        old = result.shape[axis]
        centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        left = np.minimum(centre.astype(np.intp), max(old - 2, 0))
        right = np.minimum(left + 1, old - 1)
        shape = (1, new, 1) if axis == 1 else (1, 1, new)
        share = (centre - left).reshape(shape)
        result = result.take(left, axis) * (1 - share) + result.take(right, axis) * share
    return result.astype(np.float32)


def digits(split: str) -> tuple[Floats, Labels]:
    """Return scikit-learn's handwritten digits, resized from 8 x 8 to 28 x 28.

    1437 training and 360 test images, drawn once, stratified by class.

    Returns
    -------
    images : array of shape (samples, 784), float32
    labels : array of shape (samples,), int64
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(
        np.arange(len(bunch.target)), test_size=_TEST_DIGITS, stratify=bunch.target, random_state=0
    )
    chosen = train if split == "train" else test
    images = resize(bunch.images[chosen] / 16, (28, 28))  # the 8 x 8 counts run from 0 to 16
    return images.reshape(len(chosen), -1), bunch.target[chosen].astype(np.int64)


def photo_patches(split: str) -> tuple[Floats, Labels]:
    """Return 32 x 32 colour patches of scikit-learn's two sample photographs.

    5000 training patches come from the left four fifths, 1000 test patches from the right
    fifth, half of them from each photograph, so no pixel is in both.

    Returns
    -------
    images : array of shape (samples, 3072), float32
        Planes R, G, B.
    labels : array of shape (samples,), int64
        Which photograph: 0 the temple (china.jpg), 1 the dahlia (flower.jpg).
    """
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng([2019, list(_PATCHES).index(split)])
    count = _PATCHES[split] // 2
    patches, labels = [], []
    for label, name in enumerate(("china.jpg", "flower.jpg")):
        photo = load_sample_image(name)  # (rows, columns, 3)
        border = photo.shape[1] * 4 // 5
        part = photo[:, :border] if split == "train" else photo[:, border:]
        rows = rng.integers(part.shape[0] - _PATCH + 1, size=count)
        columns = rng.integers(part.shape[1] - _PATCH + 1, size=count)
        window = np.lib.stride_tricks.sliding_window_view(part, (_PATCH, _PATCH), axis=(0, 1))
        patches.append(window[rows, columns])  # (count, 3, 32, 32)
        labels.append(np.full(count, label, dtype=np.int64))
    order = rng.permutation(2 * count)
    pixels = np.concatenate(patches)[order].reshape(2 * count, -1)
    return unit_interval(pixels), np.concatenate(labels)[order]


def list_folder(path: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Return the image files under `path` in sorted order, their class indices and class names.

    The last two are empty where `path` itself holds the images.
    """

    def pictures(folder: Path) -> list[Path]:
        return sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in SUFFIXES and entry.is_file() and entry.name[0] != "."
        )

    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    loose = pictures(path)
    folders = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and entry.name[0] != "."]
    by_class = {folder.name: found for folder in folders if (found := pictures(folder))}
    if loose and by_class:
        raise ValueError(
            f"{path} holds both images ({loose[0].name}) and folders of images ({next(iter(by_class))}/): "
            "give one sub-folder a class, or no sub-folders"
        )
    if not loose and not by_class:
        raise ValueError(
            f"no image in {path}: expected files ending in {', '.join(SUFFIXES)}, "
            "in the folder itself or in one sub-folder a class"
        )
    if loose:
        return loose, [], ()
    files = [file for found in by_class.values() for file in found]
    classes = [index for index, found in enumerate(by_class.values()) for _ in found]
    return files, classes, tuple(by_class)


def read_image(path: Path, size: tuple[int, int], *, color: bool) -> NDArray[np.uint8]:
    """Return one image file as 8-bit pixels, (rows, columns) or (3, rows, columns)."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading image files needs Pillow: pip install pillow") from error
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    if picture.mode[0] in "IF":
        raise ValueError(
            f"{path} has more than 8 bits a pixel (mode {picture.mode}): convert it to 8 bits, "
            "or read it yourself and use from_array"
        )
    if picture.has_transparency_data:  # what cannot be seen counts as black
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    picture = picture.convert("RGB" if color else "L")
    picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)  # Pillow counts columns first
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels.transpose(2, 0, 1) if color else pixels
