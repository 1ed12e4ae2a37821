"""Patches of images: cutting, preparing, convolving and pooling, each against a loop."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from backends import MAKERS, host
from oracles import assert_within, backward_bound, rounding
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bionet.backend import generators
from bionet.patches import extract, normalize, places, pool, sample, whitening, whitening_matrix
from bionet.readout import PowerReadout
from bionet.units import PatchFeatures, RankedUnits, patch_features

SHAPE = (3, 9, 8)
TERMS = 3 * 48 + 30  # in the mean, the length and the product of a patch; and in a pool


@pytest.fixture
def X():  # noqa: N802 - the images
    return np.random.default_rng(0).random((7, 3 * 9 * 8))


@pytest.fixture
def W():  # noqa: N802 - the rows
    return np.random.default_rng(1).standard_normal((5, 3 * 4 * 4))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_extract_is_a_loop_over_places(X, make, stride):
    found = extract(make(X, np.float32), SHAPE, 4, stride)
    pictures = X.astype(np.float32).reshape(-1, *SHAPE)
    rows, columns = range(0, 9 - 3, stride), range(0, 8 - 3, stride)
    assert found.shape == (7, len(rows), len(columns), 48)
    found = host(found)
    for down, r in enumerate(rows):
        for across, c in enumerate(columns):
            window = pictures[:, :, r : r + 4, c : c + 4].reshape(7, -1)
            np.testing.assert_array_equal(found[:, down, across], window)


def test_grey_images_have_one_plane():
    picture = np.arange(12.0).reshape(1, 12)
    np.testing.assert_array_equal(extract(picture, (3, 4), 2)[0, 1, 2], [6, 7, 10, 11])
    np.testing.assert_array_equal(extract(picture, (3, 4), 2), extract(picture, (1, 3, 4), 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_places_are_the_pixels_of_the_patches(X, stride):
    corners, window = places(SHAPE, 4, stride)
    np.testing.assert_array_equal(X[:, corners[..., None] + window], extract(X, SHAPE, 4, stride))


@pytest.mark.parametrize("make", MAKERS)
def test_every_sampled_patch_is_a_patch_and_every_place_is_drawn(X, make):
    found = sample(make(X, np.float32), SHAPE, 4, 4000, np.random.default_rng(2))
    assert found.shape == (4000, 48)
    possible = extract(X.astype(np.float32), SHAPE, 4).reshape(-1, 48)
    assert {row.tobytes() for row in host(found)} == {row.tobytes() for row in possible}


@pytest.mark.parametrize("make", MAKERS)
def test_a_normalised_patch_has_no_mean_and_unit_length(X, make):
    found = normalize(make(X, np.float64), 0.0)
    sums = rounding(3 * X.shape[1])  # of the mean, the squares and the check
    assert_within(host(found).mean(axis=1), np.zeros(len(X)), sums * np.abs(host(found)).mean(axis=1))
    assert_within(np.linalg.norm(host(found), axis=1), np.ones(len(X)), sums)
    brighter = normalize(make(0.2 + 0.5 * X, np.float64), 0.0)
    bound = backward_bound(lambda X: normalize(0.2 + 0.5 * X, 0.0), X, terms=2 * X.shape[1])
    assert_within(host(brighter), host(found), 2 * bound)


def test_patches_of_little_contrast_stay_short():
    noise = np.random.default_rng(0).standard_normal((1, 48))
    noise = (noise - noise.mean()) / noise.std()
    for contrast, length in ((1.0, 0.5**0.5), (3.0, 0.1**0.5)):
        assert_within(np.linalg.norm(normalize(noise, contrast)), length, rounding(3 * 48))
    np.testing.assert_array_equal(normalize(np.full((2, 3, 48), 0.5), 0.0), np.zeros((2, 3, 48)))


@pytest.mark.parametrize("make", MAKERS)
def test_whitened_patches_have_the_identity_as_covariance(make):
    rng = np.random.default_rng(0)
    P = 3 + rng.standard_normal((2000, 6)) @ rng.standard_normal((6, 6))
    mean, M = (host(a) for a in whitening(make(P, np.float64), 0.0))
    white = (P - mean) @ M
    # the covariance errs as sums of 2000 products, which whitening multiplies by its condition
    values = np.linalg.eigvalsh(np.cov(P.T))
    bound = rounding(2000 + 60) * values[-1] / values[0] * 6
    assert_within(np.cov(white.T), np.eye(6), bound)
    size = np.abs(P).mean(axis=0) @ np.abs(M)
    assert_within(white.mean(axis=0), np.zeros(6), rounding(2 * 2000) * size)
    assert_within(M, M.T, rounding(60) * np.abs(M).max() * 6)  # ZCA: no turn


@pytest.mark.parametrize("make", MAKERS)
def test_the_whitening_matrix_is_the_inverse_root_of_the_covariance(make):
    root = np.random.default_rng(0).standard_normal((6, 6))
    C = root @ root.T
    M = whitening_matrix(make(C, np.float64), 0.2)
    assert type(M) is type(make(C, np.float64))
    levelled = C + 0.2 * np.trace(C) / 6 * np.eye(6)
    # eigenvalues err by rounding of the largest, which the smallest one's inverse multiplies
    values = np.linalg.eigvalsh(levelled)
    assert_within(host(M) @ levelled @ host(M), np.eye(6), rounding(60) * values[-1] / values[0] * 6)
    assert_within(host(M), host(M).T, rounding(60) * np.abs(host(M)).max() * 6)
    with pytest.raises(ValueError, match="regularization must"):
        whitening_matrix(make(C, np.float64), -0.1)
    with pytest.raises(ValueError, match="covariance must be finite"):
        whitening_matrix(make(C * np.nan, np.float64))


def test_regularised_whitening_shrinks_by_the_share_of_the_mean_eigenvalue(X):
    P = normalize(extract(X, SHAPE, 3).reshape(-1, 27))
    mean, M = whitening(P, 0.1)
    before = np.sort(np.linalg.eigvalsh(np.cov(P.T)))
    after = np.sort(np.linalg.eigvalsh(np.cov(((P - mean) @ M).T)))
    # an eigenvalue errs by rounding of the largest, over 0.1 of their mean
    bound = rounding(len(P) + 27 * 10) * before[-1] / (0.1 * before.mean())
    assert_within(after, before / (before + 0.1 * before.mean()), bound * 27)
    with pytest.raises(ValueError, match="raise regularization"):
        whitening(P, 0.0)  # without their mean, patches lie in a plane


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
@pytest.mark.parametrize("grid", [1, 2, 3])
def test_pool_is_a_loop_over_cells(make, pooling, grid):
    h = np.random.default_rng(0).random((2, 6, 9, 4))
    found = host(pool(make(h, np.float32), grid, pooling)).reshape(2, grid, grid, 4)
    tall, wide = 6 // grid, 9 / grid
    for r in range(grid):
        for c in range(grid):
            low, high = round(c * wide), round((c + 1) * wide)
            cell = h[:, r * tall : (r + 1) * tall, low:high]
            expected = getattr(np, pooling)(cell.reshape(2, -1, 4), axis=1)
            assert_within(found[:, r, c], expected, rounding(6 * 9 + 3, np.float32) * expected)


def by_the_book(features, X):
    """Patch after patch and unit after unit, in float64, pooled as sums over a 2 x 2 grid."""
    W = np.asarray(features.components_, dtype=np.float64)
    made = []
    for picture in np.asarray(X, dtype=np.float64).reshape(-1, *SHAPE):
        cells_ = np.zeros((2, 2, len(W)))
        places_down = range(0, SHAPE[1] - features.size + 1, features.stride)
        places_across = range(0, SHAPE[2] - features.size + 1, features.stride)
        half_down, half_across = round(len(places_down) / 2), round(len(places_across) / 2)
        for down, r in enumerate(places_down):
            for across, c in enumerate(places_across):
                v = picture[:, r : r + features.size, c : c + features.size].reshape(-1)
                v = v - v.mean()
                v = v / np.sqrt(v @ v + v.size * features.contrast**2)
                if features.whiten is not None:
                    v = (v - features.mean_) @ features.whitening_
                if features.activation == "power":
                    h = [max(w @ v, 0.0) ** features.n for w in W]
                else:
                    z = np.array([np.linalg.norm(w - v) for w in W])
                    h = np.maximum(z.mean() - z, 0.0)
                cells_[int(down >= half_down), int(across >= half_across)] += h
        made.append(cells_.reshape(-1))
    return np.array(made)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("whiten", [None, 0.1])
@pytest.mark.parametrize(
    "settings",
    [{"n": 1.0}, {"n": 4.5, "stride": 2}, {"activation": "triangle"}],
    ids=["n1", "n4.5", "triangle"],
)
def test_features_are_a_loop_over_patches(X, W, make, whiten, settings):
    features = PatchFeatures(W, shape=SHAPE, size=4, whiten=whiten, n_patches=300, random_state=0, **settings)
    expected = by_the_book(clone(features).fit(X), X)

    def transformed(X):
        return clone(features).fit(X).transform(X)

    for dtype in (np.float64, np.float32):
        given = make(X, dtype)
        found = clone(features).fit(given).transform(given)
        assert type(found) is type(given)
        assert found.dtype == given.dtype
        assert_within(host(found), expected, backward_bound(transformed, X, terms=TERMS, dtype=dtype))
        np.testing.assert_array_equal(host(given), X.astype(dtype))


def test_an_image_moved_by_one_stride_moves_the_responses(W):
    """With a cell a place, nothing is pooled and the map of responses can be seen."""
    wide = np.random.default_rng(3).random((4, 3, 10, 10))
    left, right = (wide[..., c : c + 8].reshape(4, -1) for c in (0, 2))  # moved by two pixels
    features = PatchFeatures(W, shape=(3, 10, 8), size=4, stride=2, grid=3, n_patches=50)
    for kind in ({"n": 2.0}, {"activation": "triangle"}):
        features.set_params(**kind)
        maps = [features.fit(left).transform(part).reshape(4, 3, 3, 5) for part in (left, right)]
        # 4 places down in 3 cells, 3 across in 3
        bound = 2 * backward_bound(features.transform, left, terms=TERMS)
        assert_within(maps[0][:, :, 1:], maps[1][:, :, :-1], bound)


def test_blocks_do_not_change_the_features(X, W, monkeypatch):
    features = PatchFeatures(W, shape=SHAPE, size=4, n=2.0, whiten=0.1, n_patches=300, random_state=0).fit(X)
    found = []
    for largest in (1, 3 * 30 * 48, 1 << 30):  # one image, three, all
        monkeypatch.setattr(patch_features, "_LARGEST", largest)
        found.append(features.transform(X))
    for other in found[1:]:
        assert_within(other, found[0], 2 * backward_bound(features.transform, X, terms=TERMS))


def test_units_learn_from_the_patches_that_the_seed_draws(X):
    inner = RankedUnits(6, k=2, n_epochs=2, random_state=1)
    features = PatchFeatures(inner, shape=SHAPE, size=4, whiten=0.1, n_patches=300, random_state=0).fit(X)
    (rng,) = generators(0, 1)
    P = normalize(sample(X, SHAPE, 4, 300, rng))
    mean, M = whitening(P, 0.1)
    np.testing.assert_array_equal(features.components_, clone(inner).fit((P - mean) @ M).components_)
    assert not hasattr(inner, "components_")
    frozen = PatchFeatures(FrozenEstimator(features.units_), shape=SHAPE, size=4, n_patches=300).fit(X)
    np.testing.assert_array_equal(frozen.components_, features.components_)
    centres = PatchFeatures(KMeans(3, n_init=1, random_state=0), shape=SHAPE, size=4, n_patches=300).fit(X)
    np.testing.assert_array_equal(centres.components_, centres.units_.cluster_centers_)


class AnyImage(PatchFeatures):
    """Images of one row of pixels and patches of one pixel, so that scikit-learn's data fit."""

    def _shape_of(self, X):
        return 1, 1, X.shape[1]


def test_every_check_of_scikit_learn_passes():
    inner = RankedUnits(4, k=2, n_epochs=1, random_state=0)
    features = AnyImage(inner, size=1, grid=1, contrast=None, n_patches=50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(features, on_fail=None)
    failed = [
        f"{r['check_name']}: {r['exception']}"
        for r in results
        if r["status"] != "passed" and r["check_name"] != "check_array_api_input"
    ]
    assert not failed, "\n".join(failed)
    assert len(results) > 30


def test_features_work_in_a_pipeline(X, W):
    features = PatchFeatures(W, shape=SHAPE, size=4, n_patches=50, random_state=0)
    with pytest.raises(NotFittedError):
        features.transform(X)
    readout = PowerReadout(None, n=1.0, rectify=False, unit_norm=False, loss="cross_entropy", n_epochs=1)
    net = make_pipeline(features, readout).fit(X, np.arange(7) % 2)
    assert net[:-1].get_feature_names_out().tolist() == [f"patchfeatures{i}" for i in range(20)]
    assert net.n_features_in_ == X.shape[1]
    assert net.predict(X).shape == (7,)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shape": (3, 32, 32)}, r"images of shape \(3, 32, 32\) have 3072 features"),
        ({"shape": 216}, "shape must be"),
        ({"size": 9}, "a patch of side 9 does not fit"),
        ({"stride": 0}, "stride must be an integer of at least 1, got 0"),
        ({"grid": 6}, "do not fit 6 x 5 places"),
        ({"n": 0.5}, "n must lie in"),
        ({"pooling": "median"}, "pooling must be one of"),
        ({"activation": "relu"}, "activation must be one of"),
        ({"contrast": -1.0}, "contrast must lie in"),
        ({"whiten": 0.0}, "raise regularization"),
        ({"size": 3}, r"rows have shape \(5, 48\), but a patch has 27"),
        ({"units": np.full((5, 48), np.nan)}, "units' rows must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(X, W, changes, match):
    features = PatchFeatures(W, shape=SHAPE, size=4, n_patches=100).set_params(**changes)
    with pytest.raises(ValueError, match=match):
        features.fit(X)


def test_units_that_are_no_rows_are_refused(X):
    with pytest.raises(TypeError, match="an estimator or an array"):
        PatchFeatures("gabor", shape=SHAPE, size=4, n_patches=9).fit(X)
    with pytest.raises(ValueError, match="must have components_"):
        PatchFeatures(StandardScaler(), shape=SHAPE, size=4, n_patches=9).fit(X)
