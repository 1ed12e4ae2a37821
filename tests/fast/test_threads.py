"""How many threads work, and how they wait: small products on one, and none in a loop beside other work."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from bionet.backend import SMALL_PRODUCT, blas_threads_for
from bionet.fast.ranked import HostRule
from bionet.mlp import BackpropClassifier
from bionet.units import RankedUnits


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    """BLAS of two threads, whatever the machine; skips where it has but one."""
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("this BLAS keeps to one thread")
        yield


@pytest.mark.parametrize(("multiplications", "expected"), [(SMALL_PRODUCT - 1, 1), (SMALL_PRODUCT, 2)])
def test_small_products_run_on_one_thread(multiplications, expected):
    with blas_threads_for(multiplications):
        assert blas_threads() == {expected}
    assert blas_threads() == {2}


def test_the_threads_come_back_after_an_error():
    with pytest.raises(ZeroDivisionError), blas_threads_for(1):
        raise ZeroDivisionError
    assert blas_threads() == {2}


@pytest.mark.parametrize(
    ("owner", "step", "model"),
    [
        (HostRule, "step", RankedUnits(6, k=2, n_epochs=2, batch_size=10, random_state=0, engine="numpy")),
        (BackpropClassifier, "_step", BackpropClassifier(6, n_epochs=2, batch_size=10, random_state=0)),
    ],
)
def test_learning_from_small_minibatches_keeps_to_one_thread(owner, step, model, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 12)), np.arange(40) % 3
    seen, real = [], getattr(owner, step)

    def watched(*arguments):
        seen.append(blas_threads())
        return real(*arguments)

    monkeypatch.setattr(owner, step, watched)
    model.fit(X, y)
    assert seen == [{1}] * 8
    assert blas_threads() == {2}


@pytest.mark.parametrize(("asked", "expected"), [(None, "passive"), ("active", "active")])
def test_compiled_threads_sleep_while_they_wait(asked, expected):
    """The policy of GNU OpenMP is set before Numba starts its threads; the user's own is kept."""
    pytest.importorskip("numba", reason="Numba is not installed")
    settings = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if asked:
        settings["OMP_WAIT_POLICY"] = asked
    code = "import os\nfrom bionet import units\nprint(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
