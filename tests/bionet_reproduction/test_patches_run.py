"""The run on patches: its cells, its choices, and that it goes on where it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import assert_within
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bionet.units import PatchFeatures
from bionet_reproduction import views
from bionet_reproduction.cifar import Rule
from bionet_reproduction.runs import patches
from bionet_reproduction.sweeps import Sweep

TINY = patches.RUN.others["tiny"]
RULE = Rule(p=2.0, k=2, delta=0.1)


def test_the_run_goes_on_where_it_was(made, monkeypatch):
    """A second call computes nothing; the learned rows lie beside the record."""
    record = made("patches")
    chosen = record["selection"]["features"][record["chosen"]["view"]]
    size = chosen["ranked"]["chosen"]["size"]
    with np.load(patches.results_folder() / "patches-seed0.npz") as kept:
        assert sorted(kept) == sorted(patches.LEARNED)
        assert kept["ranked"].shape == (8, 3 * size * size)
        assert kept["ranked"].dtype == np.float16

    def forbidden(*_args, **_kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr(PatchFeatures, "fit", forbidden)
    again = patches.make(TINY, Sweep(progress=False))
    assert again == {name: record[name] for name in again}


@pytest.mark.parametrize("kind", patches.kinds(TINY, RULE, 3))
def test_a_cell_measures_what_its_pipeline_scores(small, kind):
    """The shared features of a cell give the errors of the network as anyone would fit it."""
    layer = patches.kinds(TINY, RULE, 3)[kind]
    cell = patches.MeasurePatches(
        rows=layer,
        windows=patches.windows(TINY, "whitened", 4),
        activations=(patches.Activation(n=1.0), patches.Activation(n=2.0)),
        epochs=(5,),
        batch_size=100,
        seed=3,
        train="cifar-45k",
        evaluate="cifar-5k",
        images=150,
    )
    X, y = (a[:150] for a in views.images("cifar-45k"))
    for n, score in zip((1.0, 2.0), cell.work()["scores"], strict=True):
        features = cell.windows.estimator(layer, 3).set_params(n=n)
        net = make_pipeline(features, StandardScaler(copy=False), patches.linear(5, 100, 3)).fit(X, y)
        for part, images in (("train", (X, y)), ("cifar-5k", views.images("cifar-5k"))):
            # float32 features of one block or of many: an answer that hangs on the last digit may differ
            one = 100 / len(images[1]) + 0.5e-4
            assert_within(score[f"{part}_error"], 100 - 100 * net.score(*images), one)


def test_a_rule_that_diverges_is_noted_and_never_chosen(small):
    plan = replace(TINY, learning_rate=1e9, n_epochs=1)
    with pytest.raises(ValueError, match="did all diverge"):
        patches.choose_rule(plan, Sweep(progress=False))
    broken = {"rows": {"diverged": "unit 1"}, "scores": []}

    def half(cells, label):
        return [cell.work() if cell.rows.delta else broken for cell in cells]

    for found in patches.choose_rule(TINY, half).values():
        assert found["table"][0]["validation_error"] is None
        assert found["table"][0]["diverged"] == "unit 1"
        assert found["chosen"] == {"p": 3.0, "k": 7, "delta": 0.4}


def test_everything_is_chosen_on_validation(made):
    selection = made("patches")["selection"]
    least = {}
    for view, of_view in selection["features"].items():
        for entry in of_view.values():
            best = min(entry["table"], key=lambda row: row["validation_error"])
            assert entry["chosen"].items() <= best.items()
            least[view] = min(least.get(view, 100.0), best["validation_error"])
    chosen = made("patches")["chosen"]
    assert least[chosen["view"]] == min(least.values())
    mean = np.mean(list(selection["epochs"]["validation_error"].values()), axis=0)
    assert selection["epochs"]["epochs"][int(mean.argmin())] == chosen["readout_epochs"]
