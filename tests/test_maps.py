"""Measures of feature maps against loops, known patterns, and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st

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
    np.testing.assert_allclose(maps.roughness(W, (rows, columns)), expected, rtol=1e-10)


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
    np.testing.assert_allclose(maps.roughness(colour, (3, 4, 5)), maps.roughness(gray, (4, 5)), rtol=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1e6))
def test_a_scaled_row_keeps_its_measures(seed, scale):
    rng = np.random.default_rng(seed)
    W, X = rng.standard_normal((5, 12)), rng.random((7, 12))
    np.testing.assert_allclose(
        maps.roughness(-scale * W + scale, (3, 4)), maps.roughness(W, (3, 4)), rtol=1e-6
    )
    np.testing.assert_allclose(maps.participation(-scale * W), maps.participation(W), rtol=1e-9)
    (cosine, index), (scaled, same) = maps.nearest_image(W, X), maps.nearest_image(-scale * W, X)
    np.testing.assert_allclose(scaled, -cosine, rtol=1e-9)
    np.testing.assert_array_equal(same, index)


def test_participation_counts_equal_weights():
    W = np.zeros((3, 10))
    W[0, 4], W[1, :5], W[2] = -2.0, 0.3, 1.0
    np.testing.assert_allclose(maps.participation(W), [0.1, 0.5, 1.0], rtol=1e-12)
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
        assert cosine[mu] == pytest.approx(every[expected], rel=1e-12)


def test_a_copy_of_an_image_has_cosine_one_and_a_negative_minus_one():
    X = np.random.default_rng(4).random((20, 9))
    cosine, index = maps.nearest_image(np.stack([3 * X[7], -0.5 * X[11]]), X)
    np.testing.assert_allclose(cosine, [1.0, -1.0], rtol=1e-12)
    np.testing.assert_array_equal(index, [7, 11])


def test_maps_without_contrast():
    W = np.stack([np.zeros(12), np.ones(12)])
    assert np.isnan(maps.roughness(W, (3, 4))).all()
    assert np.isnan(maps.participation(W)[0])
    assert maps.participation(W)[1] == pytest.approx(1.0)
    assert maps.nearest_image(W, np.eye(12))[0][0] == 0.0


@pytest.mark.parametrize("make", MAKERS)
def test_every_library_gives_the_same(make):
    rng = np.random.default_rng(5)
    W, X = rng.standard_normal((5, 12)), rng.random((7, 12))
    for dtype, rtol in ((np.float32, 1e-4), (np.float64, 1e-10)):
        w, x = make(W, dtype), make(X, dtype)
        for got, expected in (
            (maps.roughness(w, (3, 4)), maps.roughness(W, (3, 4))),
            (maps.participation(w), maps.participation(W)),
            (maps.nearest_image(w, x, block=3)[0], maps.nearest_image(W, X)[0]),
        ):
            assert type(got) is type(w)
            assert got.dtype == w.dtype
            np.testing.assert_allclose(host(got), expected, rtol=rtol)
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
