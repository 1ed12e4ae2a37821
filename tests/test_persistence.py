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


def test_a_loaded_classifier_learns_on(tmp_path):
    """With plain gradient descent, which has no state, as if it had never been saved."""
    net = BackpropClassifier(6, optimizer="sgd", n_epochs=2, random_state=0).fit(X, y)
    again = persistence.load(persistence.save(net, tmp_path / "net"))
    np.testing.assert_array_equal(again.partial_fit(X, y).logits(X), net.partial_fit(X, y).logits(X))
    adam = BackpropClassifier(6, n_epochs=2, random_state=0).fit(X, y)
    again = persistence.load(persistence.save(adam, tmp_path / "adam"))
    assert again.partial_fit(X, y).loss_history_[-1] < adam.loss_history_[0]


def test_names_of_features_come_back(tmp_path):
    units = RankedUnits(5, k=2, n_epochs=1).fit(X)
    units.feature_names_in_ = np.array([f"pixel{i}" for i in range(8)], dtype=object)
    again = persistence.load(persistence.save(units, tmp_path / "units"))
    assert again.feature_names_in_.tolist() == units.feature_names_in_.tolist()


@pytest.mark.parametrize("dtype", ["int8", "float8", 16])
def test_other_precisions_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="dtype must be one of 'float16', 'float32', 'float64'"):
        persistence.save(RankedUnits(5, k=2, n_epochs=1).fit(X), tmp_path / "units", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_weights_too_large_for_half_precision_are_refused(tmp_path):
    units = RankedUnits(5, k=2, n_epochs=1).fit(X)
    units.components_ = units.components_ * np.float32(1e6)
    with pytest.raises(ValueError, match=r"components_ holds .*e\+06, too large for float16"):
        persistence.save(units, tmp_path / "units", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_flipped_bytes_is_refused(tmp_path):
    path = persistence.save(RankedUnits(50, k=2, n_epochs=1).fit(X), tmp_path / "units")
    content = bytearray(path.read_bytes())
    for i in range(60, len(content) - 400, 37):
        content[i] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"units\.npz is not an estimator"):
        persistence.load(path)


@pytest.mark.parametrize("header", ["[]", "{}", '{"format": "one"}'])
def test_a_header_of_another_kind_is_refused(tmp_path, header):
    path = tmp_path / "other.npz"
    np.savez(path, header=np.array(header))
    with pytest.raises(ValueError, match="not an estimator saved by bionet"):
        persistence.load(path)


def test_a_file_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(persistence, "_FORMAT", 2)
    path = persistence.save(RankedUnits(5, k=2, n_epochs=1).fit(X), tmp_path / "units")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="newer bionet"):
        persistence.load(path)
