"""Trained estimators come back from a file, without pickle, or refuse with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from bionet import persistence
from bionet.mlp import BackpropClassifier
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits

X = np.random.default_rng(0).random((30, 8)).astype(np.float32)
y = np.arange(30) % 3


@pytest.mark.parametrize(
    "estimator",
    [
        CompetingUnits(5, init="sphere", random_state=0),
        RankedUnits(5, k=2, n_epochs=1, random_state=np.random.RandomState(0)),
        PowerReadout(RankedUnits(5, k=2, n_epochs=1), n_epochs=2, learning_rate=((1, 0.1), (1, 0.01))),
        PowerReadout(None, n_epochs=2),
        BackpropClassifier((6, 4), n_epochs=2),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_is_saved_comes_back(tmp_path, estimator):
    method = "transform" if hasattr(estimator, "transform") else "logits"
    estimator.fit(X, y)
    path = persistence.save(estimator, tmp_path / "model")
    assert path == tmp_path / "model.npz"
    again = persistence.load(path)
    np.testing.assert_array_equal(getattr(again, method)(X), getattr(estimator, method)(X))
    assert again.n_features_in_ == 8
    if method == "logits":
        np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
        again.fit(X, y)  # the parameters came back too: it can be trained again


def test_half_precision_is_smaller_and_close(tmp_path):
    units = RankedUnits(50, k=2, n_epochs=1, random_state=0).fit(X)
    full = persistence.save(units, tmp_path / "full")
    half = persistence.save(units, tmp_path / "half", dtype="float16")
    assert half.stat().st_size < full.stat().st_size
    again = persistence.load(half)
    assert again.components_.dtype == np.float32
    np.testing.assert_allclose(again.components_, units.components_, rtol=1e-3, atol=1e-4)


def test_no_pickle_is_ever_loaded(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, header=np.array([{"kind": "RankedUnits"}], dtype=object))
    with pytest.raises(ValueError, match="not an estimator saved by bionet"):
        persistence.load(path)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 broken"])
def test_damaged_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.npz is not an estimator"):
        persistence.load(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = persistence.save(RankedUnits(5, k=2, n_epochs=1).fit(X), tmp_path / "units")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not an estimator"):
        persistence.load(path)


def test_the_unfitted_and_the_unknown_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        persistence.save(RankedUnits(), tmp_path / "units")
    with pytest.raises(TypeError, match="cannot save dict"):
        persistence.save({}, tmp_path / "units")
    with pytest.raises(FileNotFoundError):
        persistence.load(tmp_path / "absent.npz")


def test_nothing_half_written_is_left(tmp_path):
    persistence.save(RankedUnits(5, k=2, n_epochs=1).fit(X), tmp_path / "units")
    assert [p.name for p in tmp_path.iterdir()] == ["units.npz"]
