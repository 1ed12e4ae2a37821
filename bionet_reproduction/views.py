"""Images as networks see them: parts of the data sets, and preparations of them.

Parts of MNIST: ``60k``; ``50k`` and ``10k``, one stratified split of it; ``talk``, the 600 images of the
talk's notebook in its order; ``test``. Of CIFAR-10: ``cifar-50k``; ``cifar-45k`` and ``cifar-5k``, one
stratified split of it; ``cifar-test``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bionet import data
from bionet.patches import whitening_matrix
from bionet_reproduction import talk

VIEWS = ("as they are", "centred", "standardised", "whitened")
WHITENING_FLOOR = 0.1  # added to the variances of whitened directions, as a share of their mean
HELD_OUT = {"mnist": 1 / 6, "cifar10": 1 / 10}  # shares of the training images that are there to choose by


@lru_cache(maxsize=4)
def images(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a part.

    Raises
    ------
    ValueError
        For an unknown part.
    """
    name, _, rest = part.rpartition("-")
    of = {"": "mnist", "cifar": "cifar10"}.get(name)
    whole, kept, held = ("60k", "50k", "10k") if of == "mnist" else ("50k", "45k", "5k")
    if of is None or (rest not in (whole, kept, held, "test") and part != "talk"):
        raise ValueError(f"unknown part {part!r} of the images")
    found = data.load(of, split="test" if rest == "test" else "train")
    if rest in (kept, held):
        index = _split(of, len(found.labels))[rest == held]
    elif part == "talk":
        index = talk.sample(found.labels)
    else:
        return found.images, found.labels
    return found.images[index], found.labels[index]


def _split(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices that are kept and held out, each in the data's own order."""
    from sklearn.model_selection import train_test_split

    labels = data.load(name).labels
    kept, held = train_test_split(
        np.arange(count), test_size=round(count * HELD_OUT[name]), stratify=labels, random_state=0
    )
    return np.sort(kept), np.sort(held)


@lru_cache(maxsize=3)
def seen(part: str, view: str | None = None, fitted_on: str | None = None) -> np.ndarray:
    """Images of a part as a network sees them.

    Parameters
    ----------
    part : str
    view : {None, "as they are", "centred", "standardised", "whitened"}
        None: the pixels. Otherwise images of unit length, after each image's mean has been taken out
        (``centred``), or after each pixel's mean over `fitted_on` has, too, and pixels are divided by their
        standard deviation there (``standardised``) or turned and scaled by ZCA (``whitened``).
    fitted_on : str
        The part whose statistics are used.
    """
    X = images(part)[0]
    if view is None:
        return X
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}; there are {', '.join(VIEWS)}")
    if view != "as they are":
        X = without_mean(X)
    if view in ("standardised", "whitened"):
        mean, turn = statistics_of(fitted_on or part, view)
        X = (X - mean) @ turn if turn.ndim == 2 else (X - mean) * turn
    return unit(X)


@lru_cache(maxsize=2)
def statistics_of(part: str, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the centred images of a part, and what standardises or whitens them."""
    X = without_mean(images(part)[0])
    mean = X.mean(axis=0)
    if view == "standardised":
        return mean, (1.0 / np.maximum(X.std(axis=0), 1e-6)).astype(np.float32)
    centred = X - mean
    covariance = (centred.T @ centred).astype(np.float64) / len(X)
    return mean, whitening_matrix(covariance, WHITENING_FLOOR).astype(np.float32)


def as_seen_by_pixels(W: np.ndarray, view: str | None, fitted_on: str) -> np.ndarray:
    """Rows that act on a view of the images, as rows that act on the centred pixels.

    Up to each image's length, which divides all currents alike.
    """
    if view not in ("standardised", "whitened"):
        return W
    turn = statistics_of(fitted_on, view)[1]
    return W @ turn.T if turn.ndim == 2 else W * turn


def without_mean(X: np.ndarray) -> np.ndarray:
    """Images less their own mean grey."""
    return X - X.mean(axis=1, keepdims=True)


def unit(X: np.ndarray) -> np.ndarray:
    """Images of unit length; blank ones stay blank."""
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


def forget() -> None:
    """Drop what is kept of images and statistics."""
    for cached in (images, seen, statistics_of):
        cached.cache_clear()
