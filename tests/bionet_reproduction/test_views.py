"""How networks see images: parts that hold out, views that do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_no_worse_than, assert_within, rounding

from bionet.patches import whitening_matrix
from bionet_reproduction import views

PART, OTHER = "cifar-45k", "cifar-5k"
SUMS = rounding(192 + 8, np.float32)  # over the 192 pixels of an image


@pytest.mark.parametrize("parts", [("60k", "50k", "10k"), ("cifar-50k", "cifar-45k", "cifar-5k")])
def test_the_split_holds_out_for_choosing(small, parts):
    everything, kept, held = (views.images(part)[0] for part in parts)
    assert len(kept) + len(held) == len(everything)
    both = np.concatenate([kept, held])
    np.testing.assert_array_equal(both[np.lexsort(both.T)], everything[np.lexsort(everything.T)])


@pytest.mark.parametrize("view", views.VIEWS)
def test_images_of_a_view_have_unit_length(small, view):
    V = views.seen(PART, view, PART)
    assert_within(np.linalg.norm(V.astype(np.float64), axis=1), np.ones(len(V)), SUMS / 2)
    assert V.dtype == np.float32


def test_views_of_the_images(small):
    """Each does what it says on the images it was fitted on, and uses their statistics for others."""
    centred = views.without_mean(views.images(PART)[0])
    assert_within(centred.astype(np.float64).mean(axis=1), np.zeros(len(centred)), 2 * SUMS)  # pixels up to 1
    exact = centred.astype(np.float64)
    products = np.zeros((192, 192), np.float32)  # image by image
    for v in centred - centred.mean(axis=0):
        products += np.outer(v, v)
    plain, oracle = (
        whitening_matrix(covariance, views.WHITENING_FLOOR)
        for covariance in (products.astype(np.float64) / len(centred), np.cov(exact.T, bias=True))
    )
    mean, turn = views.statistics_of(PART, "whitened")
    assert_no_worse_than(turn, plain.astype(np.float32), oracle, factor=2)
    mean, scale = views.statistics_of(PART, "standardised")
    # each pixel's mean and variance are sums over the images, of squares that are as large as they add up to
    deviation, off = exact.std(axis=0), np.abs(exact).mean(axis=0)
    bound = rounding(len(exact) + 8, np.float32) * (1 + 2 * off / deviation)
    assert_within(((exact - mean) * scale).std(axis=0), np.ones(len(scale)), bound)
    held = views.unit((views.without_mean(views.images(OTHER)[0]) - mean) * scale)
    assert_within(views.seen(OTHER, "standardised", PART), held, 2 * SUMS)


def test_what_there_is_not_is_refused(small):
    with pytest.raises(ValueError, match="unknown view 'red'"):
        views.seen(PART, "red", PART)
    for part in ("cifar-60k", "70k", "stl-50k"):
        with pytest.raises(ValueError, match=f"unknown part '{part}'"):
            views.images(part)


@pytest.mark.parametrize("view", [None, *views.VIEWS])
def test_rows_seen_by_pixels_order_the_units_as_they_do_on_the_view(small, view):
    """Differences of currents between two images agree, but for each image's length."""
    W = np.random.default_rng(0).standard_normal((7, views.images(PART)[0].shape[1]))
    V = views.as_seen_by_pixels(W, view, PART)
    X = views.images(PART)[0][:50].astype(np.float64)
    if view in ("standardised", "whitened"):
        mean, turn = views.statistics_of(PART, view)
        X = views.without_mean(X) - mean
        turn = turn if turn.ndim == 2 else np.diag(turn)
        size = np.abs(X) @ np.abs(turn) @ np.abs(W.T)
        assert_within(X @ V.T, X @ turn @ W.T, rounding(2 * 2 * 192) * size)
    else:
        np.testing.assert_array_equal(V, W)
