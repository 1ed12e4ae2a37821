"""How networks see images: parts that hold out, views that do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from bionet_reproduction import views

PART, OTHER = "cifar-45k", "cifar-5k"


@pytest.mark.parametrize("parts", [("60k", "50k", "10k"), ("cifar-50k", "cifar-45k", "cifar-5k")])
def test_the_split_holds_out_for_choosing(small, parts):
    everything, kept, held = (views.images(part)[0] for part in parts)
    assert len(kept) + len(held) == len(everything)
    both = np.concatenate([kept, held])
    np.testing.assert_array_equal(both[np.lexsort(both.T)], everything[np.lexsort(everything.T)])


@pytest.mark.parametrize("view", views.VIEWS)
def test_images_of_a_view_have_unit_length(small, view):
    V = views.seen(PART, view, PART)
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1.0, rtol=1e-5)
    assert V.dtype == np.float32


def test_views_of_the_images(small):
    """Each does what it says on the images it was fitted on, and uses their statistics for others."""
    centred = views.without_mean(views.images(PART)[0])
    np.testing.assert_allclose(centred.mean(axis=1), 0.0, atol=1e-6)
    mean, turn = views.statistics_of(PART, "whitened")
    C = np.cov(centred.astype(np.float64).T, bias=True)
    levelled = C + views.WHITENING_FLOOR * np.trace(C) / len(C) * np.eye(len(C))
    np.testing.assert_allclose(turn @ levelled @ turn, np.eye(len(C)), atol=1e-3)
    mean, scale = views.statistics_of(PART, "standardised")
    np.testing.assert_allclose(((centred - mean) * scale).std(axis=0), 1.0, atol=1e-3)
    held = views.unit((views.without_mean(views.images(OTHER)[0]) - mean) * scale)
    np.testing.assert_allclose(views.seen(OTHER, "standardised", PART), held, atol=1e-6)


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
        currents = (X @ turn if turn.ndim == 2 else X * turn) @ W.T
        np.testing.assert_allclose(X @ V.T, currents, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(V, W)
