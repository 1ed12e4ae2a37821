"""Measures of feature maps against loops, known patterns, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding

from bionet.measures import maps


def geary(image):
    """Geary's C of one plane, pair by pair."""
    rows, columns = image.shape
    squares, pairs = 0.0, 0
    for r in range(rows):
        for c in range(columns):
            for r2, c2 in ((r + 1, c), (r, c + 1)):
                if r2 < rows and c2 < columns:
                    squares += (image[r, c] - image[r2, c2]) ** 2
                    pairs += 1
    return squares / pairs / (2 * image.var(ddof=1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(2, 6))
def test_roughness_is_gearys_c_pair_by_pair(seed, rows, columns):
    W = np.random.default_rng(seed).standard_normal((3, rows * columns))
    expected = [geary(w.reshape(rows, columns)) for w in W]
    # squares of at most 4 |W|^2, whose mean was taken away, over the variance; two sums
    size = (W**2).max(axis=1) / W.var(axis=1, ddof=1)
    assert_within(maps.roughness(W, (rows, columns)), expected, rounding(4 * 36) * (1 + 4 * size))


def test_roughness_of_noise_ramp_and_chequerboard():
    noise = np.random.default_rng(0).standard_normal((200, 784))
    assert maps.roughness(noise).mean() == pytest.approx(1.0, abs=0.01)
    row, column = np.mgrid[:28, :28]
    ramp, board = (row + column).ravel(), (-1.0) ** (row + column).ravel()
    smooth, rough = maps.roughness(np.stack([ramp, board]))
    assert smooth < 0.01
    assert rough == pytest.approx(2.0, rel=0.01)


def test_roughness_of_planes_looks_within_each_plane_only():
    gray = np.random.default_rng(1).standard_normal((4, 20))
    colour = np.concatenate([gray + level for level in (0.0, 5.0, -3.0)], axis=1)
    # levels of up to 5 round the maps' values of about 1
    rough = maps.roughness(gray, (4, 5))
    assert_within(maps.roughness(colour, (3, 4, 5)), rough, rounding(4 * 60) * 8 * (1 + rough))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_a_scaled_row_keeps_its_measures(seed, scale):
    rng = np.random.default_rng(seed)
    W, X = rng.standard_normal((5, 12)), rng.random((7, 12))
    rough, spread = maps.roughness(W, (3, 4)), W.std(axis=1, ddof=1)
    size = ((1 + np.abs(W).max(axis=1)) / spread) ** 2  # the level of 1 is taken away from a spread
    assert_within(maps.roughness(-scale * W + scale, (3, 4)), rough, rounding(60) * size * (1 + rough))
    part = maps.participation(W)
    assert_within(maps.participation(-scale * W), part, rounding(60) * part)  # sums of positive terms
    (cosine, index), (scaled, same) = maps.nearest_image(W, X), maps.nearest_image(-scale * W, X)
    assert_within(scaled, -cosine, rounding(4 * 12))
    np.testing.assert_array_equal(same, index)


def test_participation_counts_equal_weights():
    W = np.zeros((3, 10))
    W[0, 4], W[1, :5], W[2] = -2.0, 0.3, 1.0
    assert_within(maps.participation(W), [0.1, 0.5, 1.0], rounding(40))
    noise = np.random.default_rng(0).standard_normal((50, 4000))
    assert maps.participation(noise).mean() == pytest.approx(1 / 3, abs=0.01)
    assert np.isfinite(maps.participation(np.full((1, 4), 1e-30, dtype=np.float32))).all()


@pytest.mark.parametrize("block", [1, 3, 100])
def test_nearest_image_is_found_by_a_loop(block):
    rng = np.random.default_rng(3)
    W, X = rng.standard_normal((6, 8)), rng.random((10, 8))
    X[4] = 0.0
    cosine, index = maps.nearest_image(W, X, block=block)
    for mu, w in enumerate(W):
        every = [w @ v / (np.linalg.norm(w) * max(np.linalg.norm(v), 1e-300)) for v in X]
        expected = int(np.argmax(np.abs(every)))
        assert index[mu] == expected
        assert_within(cosine[mu], every[expected], rounding(40))


def test_a_copy_of_an_image_has_cosine_one_and_a_negative_minus_one():
    X = np.random.default_rng(4).random((20, 9))
    cosine, index = maps.nearest_image(np.stack([3 * X[7], -0.5 * X[11]]), X)
    assert_within(cosine, [1.0, -1.0], rounding(40))
    np.testing.assert_array_equal(index, [7, 11])


def test_maps_without_contrast():
    W = np.stack([np.zeros(12), np.ones(12)])
    assert np.isnan(maps.roughness(W, (3, 4))).all()
    assert np.isnan(maps.participation(W)[0])
    assert_within(maps.participation(W)[1], 1.0, rounding(40))
    assert maps.nearest_image(W, np.eye(12))[0][0] == 0.0


@pytest.mark.parametrize("make", MAKERS)
def test_every_library_gives_the_same(make):
    rng = np.random.default_rng(5)
    W, X = rng.standard_normal((5, 12)), rng.random((7, 12))
    for dtype in (np.float32, np.float64):
        w, x = make(W, dtype), make(X, dtype)
        for measure in (
            lambda W, X: maps.roughness(W, (3, 4)),
            lambda W, X: maps.participation(W),
            lambda W, X: maps.nearest_image(W, X, block=3)[0],
        ):
            got = measure(w, x)
            assert type(got) is type(w)
            assert got.dtype == w.dtype
            assert_within(host(got), measure(W, X), backward_bound(measure, W, X, terms=2 * 12, dtype=dtype))
        np.testing.assert_array_equal(host(maps.nearest_image(w, x, block=3)[1]), maps.nearest_image(W, X)[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maps.roughness(np.ones((2, 10)), (3, 4)), "do not hold images"),
        (lambda: maps.roughness(np.ones((2, 12)), (1, 12)), "at least two rows"),
        (lambda: maps.roughness(np.ones(12), (3, 4)), "hidden, features"),
        (lambda: maps.roughness(np.full((2, 12), np.nan), (3, 4)), "W"),
        (lambda: maps.participation(np.ones(3)), "hidden, features"),
        (lambda: maps.nearest_image(np.ones((2, 3)), np.ones((2, 4))), "of 3 features"),
        (lambda: maps.nearest_image(np.ones((2, 3)), np.ones((0, 3))), "at least one"),
        (lambda: maps.nearest_image(np.ones((2, 3)), np.ones((2, 3)), block=0), "block"),
        (lambda: maps.nearest_image(np.ones((2, 3)), np.array([[np.inf, 0, 0]])), "X"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
