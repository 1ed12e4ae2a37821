"""Trained estimators come back from a file, without pickle, or refuse with a reason."""

from __future__ import annotations

import inspect
import io
import json
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bionet import data, files, persistence
from bionet.mlp import BackpropClassifier
from bionet.persistence import formats
from bionet.readout import PowerReadout
from bionet.units import CompetingUnits, RankedUnits
from bionet_reproduction import records

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
    monkeypatch.setattr(formats, "FORMAT", 99)
    path = persistence.save(RankedUnits(5, k=2, n_epochs=1).fit(X), tmp_path / "units")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="newer bionet"):
        persistence.load(path)


# Old files are judged by what they computed when they were written


FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDED = json.loads((FIXTURES / "nets.json").read_text(encoding="utf-8"))
LABELS = {
    "format1-readout": np.array(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    ),
    "format1-readout-pixels": np.arange(10) % 2 == 0,
}


def digits():
    """The images that the recorded nets learned from (the first 1500) and were tested on, in float64."""
    pixels, digit = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32).astype(np.float64), digit


def strongest_unit_error(units, images, labels):
    """Error in per cent where each unit stands for the digit whose training images it answers most often."""
    strongest = units.transform(images).argmax(axis=1)
    counts = np.zeros((len(units.components_), 10))
    np.add.at(counts, (strongest[:1500], labels[:1500]), 1)
    answers = counts.argmax(axis=1)[strongest[1500:]]
    return strongest[1500:].tolist(), 100 * np.mean(answers != labels[1500:])


def as_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("again", [False, True], ids=["as it is", "saved again"])
@pytest.mark.parametrize("name", RECORDED)
def test_old_files_compute_what_they_did(tmp_path, name, again):
    """Predictions in float64, so that no rounding decides; the parameters of the time, by name."""
    net, recorded = persistence.load(FIXTURES / f"{name}.npz"), RECORDED[name]
    if again:
        net = persistence.load(persistence.save(net, tmp_path / "again"))
    params = {key: value for key, value in net.get_params(deep=False).items() if key in recorded["params"]}
    assert as_json(params) == recorded["params"]
    if name.endswith("no-engine"):
        assert net.engine == "numpy"  # there was no other
    images, digit = digits()
    if "strongest" in recorded:
        strongest, error = strongest_unit_error(net, images, digit)
        assert strongest == recorded["strongest"]
    else:
        labels = LABELS.get(name, np.arange(10))[digit[1500:]]
        assert net.predict(images[1500:]).tolist() == recorded["predictions"]
        error = 100 * (1 - net.score(images[1500:], labels))
    assert error == pytest.approx(recorded["test_error"], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mnist", ("readouts", "power")),
        ("dynamical", ("final", "dynamical 2000", "cross_entropy")),
        ("cifar10", ("epochs", "1000", "readouts", "power")),
    ],
)
def test_the_recorded_nets_err_as_recorded(name, part):
    """Two test images of ten thousand apart at most: the weights went through float16."""
    try:
        test = data.load(name.replace("dynamical", "mnist"), split="test")
    except data.DataUnavailable as error:
        pytest.skip(str(error))
    recorded = records.record(name)
    for step in (*part, "test"):
        recorded = recorded[step]
    error = 100 * (1 - records.load_trained(name).score(test.images, test.labels))
    assert error == pytest.approx(recorded["values"][0], abs=0.02 + 1e-9)


def test_every_parameter_says_what_older_files_mean():
    """A parameter that the recorded files lack stands in the table of what was before it."""
    held = {kind: set() for kind in formats.KINDS}
    for path in FIXTURES.glob("format1-*.npz"):
        if not path.stem.endswith("no-engine"):
            with open(path, "rb") as file:
                header = files.ArrayFile(file).header()
            held[header["kind"]] |= header["params"].keys() - {"engine"}
    for kind, cls in formats.KINDS.items():
        for name in inspect.signature(cls).parameters.keys() - held[kind] - formats.NEVER.keys():
            assert name in formats.BEFORE[kind], (
                f"{kind}({name}=...) is new: files that lack it must not load today's default. Enter it in "
                f"bionet.persistence.formats.BEFORE[{kind!r}] as {name!r}: (format, value), where the value "
                "says what the estimator did before there was the parameter, and raise "
                "bionet.persistence.formats.FORMAT to format"
            )
    for table in formats.BEFORE.values():
        assert all(2 <= since <= formats.FORMAT for since, _ in table.values())


# A file holds every parameter, or says that it does not


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (BackpropClassifier, {"hidden": (np.int64(3), np.int32(2)), "n_epochs": np.int64(1)}),
        (BackpropClassifier, {"hidden": [4], "n_epochs": 1, "weight_decay": np.float32(0.1)}),
        (BackpropClassifier, {"hidden": (), "n_epochs": 1, "unit_norm": np.bool_(True)}),
        (
            BackpropClassifier,
            {"n_epochs": 2, "learning_rate": ((np.int64(1), np.float32(0.1)), [1, np.float64(1 / 3)])},
        ),
        (RankedUnits, {"n_hidden": np.int16(5), "k": np.uint8(2), "p": np.float64(2.5), "init": 0.25}),
        (
            CompetingUnits,
            {"n_hidden": 5, "init": "ball", "w_inh": np.float32(0.3), "random_state": np.int64(3)},
        ),
        (PowerReadout, {"n": 2, "fit_intercept": True, "n_epochs": 3, "learning_rate": ((3, 1e-2),)}),
    ],
)
def test_parameters_come_back_equal(tmp_path, cls, params):
    estimator = cls(**params).fit(X, y)
    again = persistence.load(persistence.save(estimator, tmp_path / "net"))
    assert again.get_params(deep=False) == estimator.get_params(deep=False)


def test_what_no_file_can_hold_is_left_out_by_name(tmp_path):
    start = np.random.default_rng(1).random((5, 8))
    for generator in (np.random.default_rng(0), np.random.RandomState(0), np.random.SeedSequence(0)):
        units = RankedUnits(5, k=2, n_epochs=1, init=start, random_state=generator).fit(X)
        path = persistence.save(units, tmp_path / "units")
        assert header_of(path)["left_out"] == ["init", "random_state"]
        again = persistence.load(path)
        assert (again.init, again.random_state, again.checkpoint) == ("normal", None, None)


@pytest.mark.parametrize(
    ("name", "value"), [("hidden", np.array([3, 4])), ("learning_rate", float("nan")), ("batch_size", 1 + 2j)]
)
def test_other_parameters_are_refused_when_saved(tmp_path, name, value):
    net = BackpropClassifier((3, 4), n_epochs=1).fit(X, y).set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"{name} = .* cannot be stored; use numbers"):
        persistence.save(net, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-1, 0, 7]),
        np.array([0, 1, 255], dtype=np.uint8),
        np.array([1, 2, 3], dtype=">i4"),
        np.array([0.0, 1.0, 2.0], dtype=np.float16),
        np.array(["a", "ähm", "z"]),
        np.array(["a", "bb", "ccc"], dtype=object),
        np.array(["2020", "2021", "2022"], dtype="datetime64[Y]"),
        np.array([False, True, True]),
    ],
    ids=lambda a: a.dtype.str,
)
def test_labels_come_back(tmp_path, labels):
    net = PowerReadout(n_epochs=2).fit(X, labels[y])
    again = persistence.load(persistence.save(net, tmp_path / "net", dtype="float16"))
    np.testing.assert_array_equal(again.classes_, net.classes_, strict=True)
    assert set(again.predict(X).tolist()) <= set(labels.tolist())


def test_labels_that_numpy_would_cut_are_refused(tmp_path):
    net = PowerReadout(n_epochs=1).fit(X, np.array(["a", "a\0", "b"], dtype=object)[y])
    with pytest.raises(ValueError, match=r"classes_ holds 'a\\x00' \(str\), which cannot be stored"):
        persistence.save(net, tmp_path / "net")


# What comes from strangers


def content_of(path):
    """The members of a saved net: the header as a table, the arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "header"}
        return json.loads(str(file["header"])), arrays


def header_of(path):
    return content_of(path)[0]


def rewrite(path, header, arrays):
    np.savez(path, header=np.array(json.dumps(header)), **arrays)


def saved(tmp_path, kind="readout"):
    if kind == "readout":
        net = PowerReadout(RankedUnits(4, k=2, n_epochs=1), n_epochs=2, random_state=0).fit(X, y)
    elif kind == "backprop":
        net = BackpropClassifier((4, 3), n_epochs=2, random_state=0).fit(X, y)
    else:
        net = RankedUnits(4, k=2, n_epochs=1, random_state=0).fit(X)
    return persistence.save(net, tmp_path / kind)


def arrays_with(**changed):
    def change(header, arrays):
        arrays.update({name: np.asarray(value) for name, value in changed.items()})

    return change


def header_with(part, **changed):
    def change(header, arrays):
        (header[part] if part else header).update(changed)

    return change


def header_without(part, name):
    def change(header, arrays):
        del header[part][name]

    return change


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("units", header_with("params", checkpoint="here.npz"), "parameters .'checkpoint'"),
        ("units", header_with("params", strange=1), "parameters .'strange'"),
        ("units", header_without("params", "delta"), "lacks the parameters .'delta'"),
        ("units", header_without("params", "engine"), "lacks the parameters .'engine'"),
        ("units", header_with("params", n_hidden="4"), "n_hidden = '4' is not of type int"),
        ("units", header_with("params", p=float("nan")), "header holds NaN"),
        ("units", header_with("params", p={"object": []}), "cannot be stored"),
        ("units", header_with("values", n_features_in_=7), "components_ has shape"),
        ("units", header_with("values", n_features_in_=-8), "at least 0"),
        ("units", header_with("values", evil=1), "it counts"),
        ("units", header_with("", kind="Pipeline"), "kind must be one of"),
        ("units", header_with("", left_out=["n_hidden"]), "n_hidden"),
        ("units", header_with("dtypes", wins_="<U100000000"), "said to be"),
        ("units", header_with("dtypes", components_="|O"), "said to be"),
        ("units", arrays_with(components_=np.full((4, 8), np.nan)), "NaN"),
        ("units", arrays_with(components_=np.ones((4, 8), complex)), "components_ has dtype complex"),
        ("units", arrays_with(components_=np.ones((0, 8)), wins_=np.ones(0, int)), "an axis is empty"),
        ("units", arrays_with(wins_=np.ones(5, int)), "wins_ has shape .5,"),
        ("units", arrays_with(evil_=np.ones(5)), "no array 'evil_'"),
        ("units", arrays_with(components_=np.array([{}])), "no file here holds"),
        ("readout", header_with("params", loss="none"), "loss must be one of"),
        ("readout", header_with("params", units=None), "parameters .'units'"),
        ("readout", arrays_with(classes_=[0, 2, 1]), "sorted and distinct"),
        ("readout", arrays_with(classes_=[0, 1]), "classes"),
        ("readout", arrays_with(coef_=np.ones((3, 5))), "coef_ has shape"),
        ("readout", arrays_with(loss_history_=[np.inf]), "infinity"),
        ("backprop", header_with("params", activation="none"), "activation must be one of"),
        ("backprop", arrays_with(coefs_1=np.ones((3, 5))), "coefs_1 has shape"),
        ("backprop", arrays_with(coefs_3=np.ones((3, 5))), "does not consist of"),
    ],
)
def test_only_what_fits_is_taken(tmp_path, kind, change, reason):
    path = saved(tmp_path, kind)
    header, arrays = content_of(path)
    rewrite(path, header, arrays)
    persistence.load(path)  # the file was in order
    change(header, arrays)
    rewrite(path, header, arrays)
    with pytest.raises(ValueError, match=rf"(?s){path.name} is not an estimator .*{reason}.*save it again"):
        persistence.load(path)


@pytest.mark.parametrize("name", ["checkpoint", "strange"])
def test_old_files_bring_no_other_parameters_either(tmp_path, name):
    header, arrays = content_of(FIXTURES / "format1-ranked.npz")
    header["params"][name] = "here.npz"
    rewrite(tmp_path / "net.npz", header, arrays)
    with pytest.raises(ValueError, match=rf"parameters \['{name}'\], which this version does not take"):
        persistence.load(tmp_path / "net.npz")


def test_nets_with_nan_or_of_two_minds_are_not_saved(tmp_path):
    units = RankedUnits(5, k=2, n_epochs=1).fit(X)
    units.components_[2, 3] = np.nan
    with pytest.raises(ValueError, match="components_"):
        persistence.save(units, tmp_path / "units")
    net = BackpropClassifier((4, 3), n_epochs=1).fit(X, y)
    net.coefs_[1] = net.coefs_[1].T
    with pytest.raises(ValueError, match="coefs_1 has shape"):
        persistence.save(net, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def npy(shape, content=b"", descr="<f8"):
    """A ``.npy`` with any shape in its header, whatever it holds."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def with_member(path, name, content, method=zipfile.ZIP_DEFLATED):
    """Write one member anew."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", method) as new:
        for member, kept in {**members, name: content}.items():
            new.writestr(member, kept)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy((10**9, 10**9)), "more than the limit"),
        (npy((2**28, 8)), "more than the limit"),
        (npy((10**6, 8)), "not the size that the file says"),
        (npy((4, -8)), "shape"),
        (npy((4, 8), b"x" * 257), "not the size that the file says"),
        (npy((4, 10**30)), "more than the limit"),
        (npy((4, 8), descr="|O"), "no file here holds"),
        (npy((4, 8), descr="<U0"), "no file here holds"),
        (npy((4, 8), descr=[("a", "<f8")]), "no file here holds"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "version"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, ""),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(tmp_path, monkeypatch, content, reason):
    path = saved(tmp_path, "units")
    with_member(path, "components_.npy", content)
    monkeypatch.setattr(files.ArrayFile, "read", only_the_header(files.ArrayFile.read))
    with pytest.raises(ValueError, match=rf"(?s)units\.npz is not .*{reason}"):
        persistence.load(path)


def only_the_header(read):
    def checked(self, name):
        assert name == "header", f"{name} was read before all was checked"
        return read(self, name)

    return checked


def test_a_bomb_in_the_directory_is_refused(tmp_path):
    """A directory that promises a thousand times what its bytes can hold."""
    path = saved(tmp_path, "units")
    with_member(path, "components_.npy", npy((4, 2**24)))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02", content.rindex(b"components_.npy") - 50)
    size = len(npy((4, 2**24))) + 4 * 2**24 * 8
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="not the size that the file says"):
        persistence.load(path)


def test_members_twice_or_by_another_method_are_refused(tmp_path):
    path = saved(tmp_path, "units")
    with zipfile.ZipFile(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("wins_.npy", npy((4,), bytes(32), "<i8"))
    with pytest.raises(ValueError, match="members twice"):
        persistence.load(path)
    path = saved(tmp_path, "units")
    with_member(path, "wins_.npy", npy((4,), bytes(32), "<i8"), zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="method that is not used"):
        persistence.load(path)
    path = saved(tmp_path, "units")
    with_member(path, "run.py", b"print()")
    with pytest.raises(ValueError, match="others than arrays"):
        persistence.load(path)


def state(net):
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in (vars(net) | net.get_params(deep=False)).items()
        if name not in ("units", "coefs_", "intercepts_")
    } | {f"{name}{i}": a.tolist() for name in formats.LISTS for i, a in enumerate(getattr(net, name, []))}


def damaged(content, chance):
    """One of: bits flipped, cut, a piece lost, a piece doubled, zeros over a piece."""
    content = bytearray(content)
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(1, 40))
    match chance.randrange(5):
        case 0:
            for _ in range(chance.randrange(1, 4)):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case 1:
            del content[start:]
        case 2:
            del content[start:end]
        case 3:
            content[start:start] = content[start:end]
        case 4:
            content[start:end] = bytes(end - start)
    return bytes(content)


def loads_equal_or_is_refused(path, wanted):
    try:
        net = persistence.load(path)
    except ValueError as error:
        said = str(error)
    else:
        assert wanted is None or state(net) == wanted
        return True
    assert str(path) in said
    assert "train and save it again" in said or "update this one" in said
    return False


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["readout", "backprop", "units"])
def test_damaged_bytes_load_equal_or_are_refused(tmp_path, kind):
    path, chance = saved(tmp_path, kind), random.Random(0)
    content, wanted = path.read_bytes(), state(persistence.load(path))
    loaded = 0
    for _ in range(300):
        path.write_bytes(damaged(content, chance))
        loaded += loads_equal_or_is_refused(path, wanted)
    assert loaded < 60  # a zip holds some bytes that say nothing


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["readout", "backprop", "units"])
def test_damaged_members_in_a_sound_zip_raise_nothing_else(tmp_path, kind):
    """What a checksum cannot find: the zip was made anew around the damage."""
    path, chance = saved(tmp_path, kind), random.Random(1)
    with zipfile.ZipFile(path) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    loaded = 0
    for i in range(300):
        name = "header.npy" if i % 2 else chance.choice(list(members))
        head, rest = members[name][:128], members[name][128:]
        content = damaged(head, chance) + rest if chance.random() < 0.3 else head + damaged(rest, chance)
        with zipfile.ZipFile(path, "w") as file:
            for member, kept in {**members, name: content}.items():
                file.writestr(member, kept)
        loaded += loads_equal_or_is_refused(path, None)
    assert loaded < 200
