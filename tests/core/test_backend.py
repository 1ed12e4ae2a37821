"""Arrays decide who computes; nothing synchronises inside a step."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
from backends import MAKERS, STRICT_DEVICE, host, no_synchronisation

from bionet import backend, dynamics, losses, optim, plasticity, ranking


def test_mixed_libraries_raise_and_say_what_to_do():
    with pytest.raises(TypeError, match=r"one array library.*asarray_like"):
        backend.namespace(np.ones(2), array_api_strict.ones(2))
    with pytest.raises(TypeError, match="one array library"):
        dynamics.residual(np.ones(2), array_api_strict.ones(2), 0.5)


def test_sequences_and_integers_become_float64_and_float32_stays():
    assert backend.floating([1, 2])[1].dtype == np.float64
    assert backend.floating(np.ones(2, np.float32), np.arange(2))[2].dtype == np.float32
    with pytest.raises(TypeError, match="complex"):
        backend.floating(np.ones(2, complex))


def test_a_float32_array_survives_numpy_scalars():
    """A NumPy scalar beside a float32 array silently makes float64; Python numbers do not."""
    h = dynamics.steady_state(np.ones(3, np.float32), np.float64(0.5))
    assert h.dtype == np.float32


@pytest.mark.parametrize("make", MAKERS)
def test_to_host_and_back(make):
    values = np.arange(6.0).reshape(2, 3)
    array = make(values, np.float32)
    np.testing.assert_array_equal(host(array), values)
    assert host(array).dtype == np.float32
    again = backend.asarray_like(values, array)
    assert again.dtype == array.dtype
    assert backend.device(again) == backend.device(array)


def test_random_numbers_do_not_depend_on_the_library():
    one, two = backend.generators(7, 2)
    again, _ = backend.generators(7, 2)
    assert one.random() == again.random()
    assert one.random() != two.random()
    for bad in (-1, 1.5, "seed"):
        with pytest.raises(ValueError, match="random_state"):
            backend.generators(bad, 1)


def test_an_unknown_library_and_an_absent_gpu_are_named():
    with pytest.raises(ValueError, match="'torch'"):
        backend.get("torch")
    assert backend.get("numpy") is np
    if not backend.gpu_available():
        with pytest.raises(RuntimeError, match=r"pip install .cupy-cuda12x"):
            backend.get("cupy")


def strict(values):
    return array_api_strict.asarray(values, device=STRICT_DEVICE)


def test_the_guard_catches_a_synchronisation(monkeypatch):
    with no_synchronisation(monkeypatch), pytest.raises(AssertionError, match="Python scalar"):
        float(strict(np.ones(1))[0])


def test_no_step_synchronises(monkeypatch):
    """Every inner kernel runs on a device whose arrays refuse to become Python numbers."""
    rng = np.random.default_rng(0)
    W, X = strict(rng.standard_normal((6, 5))), strict(rng.random((4, 5)))
    S, y = strict(rng.standard_normal((4, 3))), strict(np.array([0, 2, 1, 1]))
    xp = backend.namespace(W)
    adam = optim.Adam()
    with no_synchronisation(monkeypatch):
        h = dynamics.steady_state_unchecked(xp, X @ W.T, 0.8)
        g = plasticity.learning_activation_unchecked(xp, h[0, :], 0.5 * xp.max(h[0, :]), 0.4)
        a, u = plasticity.unit_vector(xp, X[0, :])
        new, D = plasticity.boost(xp, W, u, W @ u, g * (a * 0.1))
        ranked, _ = ranking.ranked_step_unchecked(xp, new, X, 3.0, 2, 0.4, 0.02)
        for function in (losses.cross_entropy, losses.sigmoid_cross_entropy, losses.margin, losses.dlr):
            value, gradient = function(S, y)
        value, gradient = losses.power(S, y, m=6.0, beta=1.0)
        adam.step([S], [gradient], 1e-3)
    assert np.isfinite(host(ranked)).all()
    assert (host(D) > 0).all()
    assert np.isfinite(host(value)).all()
