"""Colour of feature maps: hand-made maps with known values, noise with known laws, invariances."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from backends import MAKERS, host
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_within, backward_bound, rounding
from scipy import stats

from bionet.measures import colour, maps, wall

RGB = np.array(colour.OPPONENT)  # rows are the axes


FEW = rounding(10)  # a turn of three planes and a quotient
SUMS = rounding(200)  # those of up to fifty pixels in three planes


def rows_of(turned):
    """Rows of R, G, B planes from maps on the opponent axes, (hidden, 3, rows, columns)."""
    return np.einsum("ij,hirc->hjrc", RGB, turned).reshape(len(turned), -1)


def hues(angles, chroma=1.0, grey=0.0):
    """One row whose pixels have these hues (radians)."""
    angles = np.asarray(angles, dtype=float)
    planes = np.stack([grey + 0 * angles, chroma * np.cos(angles), chroma * np.sin(angles)])
    return rows_of(planes[None])


def noise(count, shape=(3, 32, 32), seed=0):
    return np.random.default_rng(seed).standard_normal((count, math.prod(shape)))


BOARD = np.indices((6, 8)).sum(axis=0) % 2


def test_the_axes_are_orthonormal_and_named_for_what_they_tell_apart():
    assert_within(RGB @ RGB.T, np.eye(3), FEW)
    white, red, green, yellow, blue = (1, 1, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)
    W = np.repeat(np.array([white, red, green, yellow, blue], dtype=float), 4, axis=1)
    grey, red_green, yellow_blue = colour.opponent(W, (3, 2, 2))[..., 0, 0].T
    assert_within(grey, np.array([3, 1, 1, 2, 1]) / math.sqrt(3), 2 * FEW)
    assert_within(red_green, np.array([0, 1, -1, 0, 0]) / math.sqrt(2), 2 * FEW)
    assert_within(yellow_blue, np.array([0, 1, 1, 2, -2]) / math.sqrt(6), 2 * FEW)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_turning_keeps_inner_products_and_a_grey_map_has_exactly_no_colour(dtype):
    W = noise(5, (3, 4, 5)).astype(dtype)
    turned = colour.opponent(W, (3, 4, 5)).reshape(5, -1)
    lengths = np.linalg.norm(W, axis=1)
    bound = rounding(2 * 60 + 12, dtype) * lengths[:, None] * lengths  # two sums of 60, two turns
    assert_within(turned @ turned.T, W @ W.T, bound)
    grey = np.tile(W[:, :20], 3)
    assert not colour.opponent(grey, (3, 4, 5))[:, 1:].any()


def test_shares_of_pure_axes_and_of_a_mixture():
    turned = np.zeros((5, 3, 6, 8))
    for axis in range(3):
        turned[axis, axis] = 2.5 + BOARD
    turned[3] = np.array([2.0, -1.0, 1.0])[:, None, None]
    W = rows_of(turned)
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [4 / 6, 1 / 6, 1 / 6], [np.nan] * 3]
    assert_within(colour.shares(W, (3, 6, 8)), expected, SUMS)


def test_noise_has_the_shares_of_its_beta_law():
    W = noise(300)
    N = 1024
    for share in colour.shares(W).T:
        assert stats.kstest(share, stats.beta(N / 2, N).cdf).pvalue > 1e-3
        assert share.std() == pytest.approx(2 / (3 * math.sqrt(3 * N)), rel=0.15)


def scalar_correlation(plane, d):
    rows, columns = plane.shape
    squares = [
        (plane[r, c] - plane[r2, c2]) ** 2
        for r in range(rows)
        for c in range(columns)
        for r2, c2 in ((r + d, c), (r, c + d))
        if r2 < rows and c2 < columns
    ]
    return 1 - np.mean(squares) / (2 * plane.var(ddof=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 6), st.integers(3, 6))
def test_correlation_is_found_pair_by_pair(seed, rows, columns):
    W = noise(2, (3, rows, columns), seed)
    turned = colour.opponent(W, (3, rows, columns))
    expected = [[[scalar_correlation(plane, d) for d in (1, 2)] for plane in row] for row in turned]
    got = colour.spatial_correlation(W, (1, 2), (3, rows, columns))
    # squares of up to 4 |W|^2 over the variance, whose own mean is taken away before
    planes = turned.reshape(2, 3, -1)
    size = (planes**2).max(axis=2) / planes.var(axis=2, ddof=1)
    assert_within(got, expected, SUMS * 4 * (1 + size[..., None]) * (1 + np.abs(expected)))
    np.testing.assert_array_equal(colour.spatial_correlation(W, 2, (3, rows, columns)), got[..., 1])


def test_at_distance_one_it_is_one_minus_the_roughness():
    W = noise(6, (3, 5, 7))
    turned = colour.opponent(W, (3, 5, 7))
    brightness, both = colour.spatial_correlation(W, 1, (3, 5, 7), pooled=True).T
    assert_within(brightness, 1 - maps.roughness(turned[:, 0].reshape(6, -1), (5, 7)), 4 * SUMS)
    assert_within(both, 1 - maps.roughness(turned[:, 1:].reshape(6, -1), (2, 5, 7)), 4 * SUMS)


def test_a_chequerboard_changes_sign_with_each_step():
    turned = np.zeros((1, 3, 6, 8))
    turned[0, 1] = 2 * BOARD - 1
    turned[0, 2] = np.arange(8) // 4  # two halves
    grey, board, halves = colour.spatial_correlation(rows_of(turned), [1, 2, 3], (3, 6, 8))[0]
    assert np.isnan(grey).all()
    assert_within(board, [-1 + 2 / 48, 1, -1 + 2 / 48], SUMS)
    assert np.all(np.diff(halves) < 0)
    assert halves[0] > 0.8


def test_over_all_orders_of_the_pixels_the_correlation_is_zero():
    pixels = np.random.default_rng(1).standard_normal((3, 6))
    W = np.stack([pixels[:, order].ravel() for order in map(list, itertools.permutations(range(6)))])
    got = colour.spatial_correlation(W, 1, (3, 2, 3))
    assert_within(got.mean(axis=0), np.zeros(3), 4 * SUMS)  # of 720 values up to 2, each erring by SUMS


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 2.0, 4.0, 6.0])
def test_one_hue_everywhere(angle):
    chroma = 1.0 + np.random.default_rng(0).random((6, 8))
    got = colour.hue_coherence(hues(np.full((6, 8), angle), chroma, grey=0.3), (3, 6, 8))
    for measure in got[:3]:
        assert_within(measure[0], 1.0, 2 * SUMS)  # the grey of 0.3 is turned away
    assert_within(np.cos(2 * (got.axis[0] - angle)), 1.0, SUMS)
    assert 0 <= got.axis[0] <= math.pi


def test_a_colour_and_its_opponent_in_a_chequerboard_and_in_halves():
    board, halves = BOARD, np.indices((6, 8))[1] // 4
    W = np.concatenate([hues(1.0 + math.pi * pattern) for pattern in (board, halves)])
    got = colour.hue_coherence(W, (3, 6, 8))
    pairs = 6 * 7 + 5 * 8
    assert_within(got.coherence, [-1, 1 - 2 * 6 / pairs], SUMS)
    assert_within(got.shuffled, np.full(2, -1 / 47), SUMS)  # two of 48 pixels, 24 of each hue
    assert_within(got.concentration, np.ones(2), SUMS)
    assert_within(got.axis, np.ones(2), SUMS)


def test_all_hues_alike_have_no_axis_and_neighbours_a_quarter_apart_no_coherence():
    wheel = np.arange(48).reshape(6, 8) * (2 * math.pi / 48)
    W = np.concatenate([hues(wheel), hues(BOARD * math.pi / 2)])
    got = colour.hue_coherence(W, (3, 6, 8))
    assert_within(got.concentration, np.zeros(2), SUMS)
    assert_within(got.coherence[1], 0.0, SUMS)


def test_the_axis_is_the_first_principal_axis_of_the_colours():
    W = noise(5, (3, 6, 8)) + 0.4
    got = colour.hue_coherence(W, (3, 6, 8))
    for row, concentration, axis in zip(
        colour.opponent(W, (3, 6, 8)), got.concentration, got.axis, strict=True
    ):
        values, vectors = np.linalg.eigh(row[1:].reshape(2, -1) @ row[1:].reshape(2, -1).T)
        assert_within(concentration, (values[1] - values[0]) / values.sum(), SUMS)
        # an axis errs by rounding over the gap of the values, its cosine by the square
        assert_within(abs(vectors[:, 1] @ [math.cos(axis), math.sin(axis)]), 1.0, SUMS)


def test_noise_has_the_hues_of_its_laws():
    got = colour.hue_coherence(noise(400, seed=3))
    pairs, pixels = 2 * 32 * 31, 32 * 32
    sigma = 2 * math.sqrt(2) / (math.pi * math.sqrt(pairs))
    assert stats.kstest(got.coherence / sigma, stats.norm.cdf).pvalue > 1e-3
    assert abs(got.coherence.mean()) < 4 * sigma / math.sqrt(400)
    assert stats.kstest(got.concentration**2 * pixels / 2, stats.expon.cdf).pvalue > 1e-3
    assert got.concentration.mean() == pytest.approx(math.sqrt(math.pi / (2 * pixels)), rel=0.1)
    assert stats.kstest(got.axis / math.pi, stats.uniform.cdf).pvalue > 1e-3


def test_shuffled_is_what_shuffling_the_pixels_gives():
    rng = np.random.default_rng(4)
    pixels = rng.standard_normal((3, 1024)) + np.array([[0.8], [0.0], [-0.4]])
    expected = colour.hue_coherence(pixels.reshape(1, -1)).shuffled[0]
    orders = np.stack([pixels[:, rng.permutation(1024)].ravel() for _ in range(60)])
    got = colour.hue_coherence(orders)
    assert_within(got.shuffled, np.full(60, expected), rounding(4 * 1024))  # sums of 1024 pixels
    assert expected > 0.1
    assert abs(got.coherence.mean() - expected) < 4 * got.coherence.std() / math.sqrt(60)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-6, 1e6), st.floats(0, 2 * math.pi))
def test_scale_and_rotation_of_the_hue_change_nothing_but_the_axis(seed, scale, turn):
    W, shape = noise(4, (3, 5, 6), seed), (3, 5, 6)
    turned = colour.opponent(W, shape)
    turned[:, 1], turned[:, 2] = (
        math.cos(turn) * turned[:, 1] - math.sin(turn) * turned[:, 2],
        math.sin(turn) * turned[:, 1] + math.cos(turn) * turned[:, 2],
    )
    other = scale * rows_of(turned)
    before, after = colour.hue_coherence(W, shape), colour.hue_coherence(other, shape)
    for name in ("coherence", "shuffled", "concentration"):
        # a pixel of little chroma turns its hue by a rounding of the row's largest over its chroma
        chroma = np.hypot(*colour.opponent(W, shape)[:, 1:].swapaxes(0, 1)).reshape(4, -1)
        bound = SUMS * (np.abs(W).max(axis=1) / chroma.min(axis=1) + 1)
        assert_within(getattr(after, name), getattr(before, name), bound)
    # an axis errs by rounding over the concentration, its cosine by the square of that
    turned_by = np.cos(2 * (after.axis - before.axis - turn))
    assert_within(turned_by, np.ones(4), SUMS * (1 + SUMS / before.concentration**2))
    assert_within(colour.shares(other, shape)[:, 0], colour.shares(W, shape)[:, 0], SUMS)
    assert_within(
        colour.spatial_correlation(other, [1, 3], shape, pooled=True),
        colour.spatial_correlation(W, [1, 3], shape, pooled=True),
        20 * SUMS,  # squares of at most 4 |W|^2 over a variance that noise of 30 pixels keeps above a tenth
    )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_rows_of_float32_keep_their_measures(scale):
    W, shape = noise(4, (3, 5, 6)).astype(np.float32), (3, 5, 6)
    scaled = W * np.float32(scale)
    for measure in (
        colour.shares,
        colour.hue_coherence,
        lambda W, s: colour.spatial_correlation(W, 1, s),
        lambda W, s: colour.opponent_pairs(W, s).cosine,
    ):
        bound = backward_bound(lambda W, m=measure: m(W, shape), W, terms=2 * 30, dtype=np.float32)
        assert_within(measure(scaled, shape), measure(W.astype(np.float64), shape), bound)


def test_maps_without_colour_or_contrast_have_no_value():
    flat, grey = np.full(48, 0.1), np.tile(np.arange(16.0), 3)
    W, shape = np.stack([np.zeros(48), flat, grey]), (3, 4, 4)
    for measure in colour.hue_coherence(W, shape):
        assert np.isnan(measure).all()
    np.testing.assert_array_equal(colour.shares(W[1:], shape), [[1, 0, 0], [1, 0, 0]])
    got = colour.spatial_correlation(W, 1, shape)
    assert np.isnan(got[:2]).all()
    assert np.isnan(got[2, 1:]).all()
    assert got[2, 0] > 0.5


def test_opponents_are_found_by_a_loop():
    W = noise(9, (3, 2, 3), seed=6)
    flat = W / np.linalg.norm(W, axis=1, keepdims=True)
    cosines = flat @ flat.T
    np.fill_diagonal(cosines, 2.0)
    got = colour.opponent_pairs(W, (3, 2, 3))
    lowest = cosines.min(axis=1)
    np.testing.assert_array_equal(got.opposite, cosines.argmin(axis=1))
    assert_within(got.cosine, lowest, SUMS)
    expected = []
    while cosines.min() < 0:
        i, j = sorted(np.unravel_index(cosines.argmin(), cosines.shape))
        expected.append((i, j))
        cosines[[i, j]], cosines[:, [i, j]] = 2.0, 2.0
    np.testing.assert_array_equal(got.matched, expected)
    assert len(np.unique(got.matched)) == got.matched.size


def test_a_row_and_its_negative_are_a_pair_and_a_weak_opponent_is_none():
    W = noise(8, seed=7)
    both = np.concatenate([W, -2.0 * W[::-1]])
    got = colour.opponent_pairs(both)
    np.testing.assert_array_equal(got.opposite, np.arange(16)[::-1])
    assert_within(got.cosine, np.full(16, -1.0), rounding(2 * 3072))
    assert {tuple(pair) for pair in got.matched.tolist()} == {(k, 15 - k) for k in range(8)}
    assert colour.opponent_pairs(W, below=-0.5).matched.shape == (0, 2)


def test_a_row_of_zeros_is_opposite_to_none():
    W = np.stack([np.zeros(12), np.ones(12), -np.ones(12)])
    got = colour.opponent_pairs(W, (3, 2, 2))
    assert got.cosine[0] == 0.0
    np.testing.assert_array_equal(got.matched, [[1, 2]])


def test_the_wall_runs_from_grey_to_colour_and_through_the_hues():
    hill = 1.0 - np.abs(np.linspace(-1, 1, 6))[:, None] - np.abs(np.linspace(-1, 1, 6))
    rest = np.random.default_rng(2).standard_normal((6, 6))
    faint = np.indices((6, 6))[1] / 5 - 0.5  # a grey ramp, little brighter in the middle
    turned = np.zeros((10, 3, 6, 6))
    turned[0, 0], turned[7, 0] = -hill, hill
    turned[1, 0], turned[4, 0] = faint + 0.01 * hill, -faint - 0.01 * hill
    for (warm, cool), angle in (((2, 9), math.pi / 2), ((6, 3), math.pi / 3)):
        turned[warm, 1], turned[warm, 2] = math.cos(angle), math.sin(angle)
        turned[cool] = -2.0 * turned[warm]
    turned[8, 0] = rest
    groups, alone = wall.wall_order(rows_of(turned), (3, 6, 6))
    assert [group.tolist() for group in groups] == [[[7, 0], [1, 4]], [], [], [[6, 3], [2, 9]]]
    assert alone.tolist() == [8, 5]  # row 5 is zero


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 12), st.floats(-1, 1))
def test_every_row_stands_in_the_wall_once(seed, count, below):
    groups, alone = wall.wall_order(noise(count, (3, 2, 3), seed), (3, 2, 3), edges=(0.5, 0.8), below=below)
    assert len(groups) == 3
    assert sorted([*np.concatenate(groups).ravel(), *alone]) == list(range(count))


@pytest.mark.parametrize("make", MAKERS)
def test_every_library_gives_the_same(make):
    W, shape = noise(7, (3, 4, 5), seed=5), (3, 4, 5)
    for dtype in (np.float32, np.float64):
        w = make(W, dtype)
        for measure in (
            colour.opponent,
            colour.shares,
            lambda W, s: colour.spatial_correlation(W, [1, 3], s),
            lambda W, s: colour.spatial_correlation(W, 2, s, pooled=True),
            *(lambda W, s, k=k: colour.hue_coherence(W, s)[k] for k in range(4)),
            lambda W, s: colour.opponent_pairs(W, s).cosine,
        ):
            got, expected = measure(w, shape), measure(W, shape)
            assert type(got) is type(w)
            assert got.dtype == w.dtype
            bound = backward_bound(lambda W, m=measure: m(W, shape), W, terms=2 * 20, dtype=dtype)
            assert_within(host(got), expected, bound)
        for k in (0, 2):
            got, expected = colour.opponent_pairs(w, shape)[k], colour.opponent_pairs(W, shape)[k]
            assert type(got) is type(w)
            np.testing.assert_array_equal(host(got), expected)
        for got, expected in zip(
            wall.wall_order(w, shape).groups, wall.wall_order(W, shape).groups, strict=True
        ):
            np.testing.assert_array_equal(got, expected)


ROWS = np.ones((2, 12))
EVERY = [
    colour.opponent,
    colour.shares,
    colour.hue_coherence,
    colour.opponent_pairs,
    wall.wall_order,
    lambda W, shape: colour.spatial_correlation(W, 1, shape),
]


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize(
    ("W", "shape", "message"),
    [
        (np.ones((2, 10)), (3, 2, 2), "do not hold images"),
        (np.ones((2, 12)), (3, 4), r"colour images have shape \(3, rows, columns\)"),
        (np.ones((2, 12)), (2, 2, 3), r"colour images have shape \(3, rows, columns\)"),
        (np.ones((2, 12)), (3, 1, 4), "at least two rows"),
        (np.ones(12), (3, 2, 2), "hidden, features"),
        (np.full((2, 12), np.nan), (3, 2, 2), "W must be finite"),
        (np.full((2, 12), -np.inf), (3, 2, 2), "W must be finite"),
    ],
)
def test_every_measure_refuses_what_is_no_colour_image(measure, W, shape, message):
    with pytest.raises(ValueError, match=message):
        measure(W, shape)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: colour.spatial_correlation(ROWS, 0, (3, 2, 2)), ValueError, "from 1 to 1 pixels.*got 0"),
        (lambda: colour.spatial_correlation(ROWS, [1, 2], (3, 2, 2)), ValueError, "got 2"),
        (lambda: colour.spatial_correlation(ROWS, [], (3, 2, 2)), ValueError, "at least one number"),
        (lambda: colour.spatial_correlation(ROWS, [1.5], (3, 2, 2)), TypeError, "integers, got 1.5"),
        (lambda: colour.opponent_pairs(ROWS[:1], (3, 2, 2)), ValueError, "at least two rows"),
        (lambda: colour.opponent_pairs(ROWS, (3, 2, 2), below=-2), ValueError, "below"),
        (lambda: wall.wall_order(ROWS, (3, 2, 2), edges=(0.3, 0.1)), ValueError, "edges must increase"),
        (lambda: wall.wall_order(ROWS, (3, 2, 2), edges=(0.0, 0.1)), ValueError, "edges must increase"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
