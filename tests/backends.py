"""The array libraries that every rule is tested with, and a guard against hidden synchronisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import array_api_strict
import numpy as np
import pytest

from bionet import backend

STRICT_DEVICE = array_api_strict.Device("device1")


def _read_only(values: Any, dtype: Any) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _strict(values: Any, dtype: Any) -> Any:
    return array_api_strict.asarray(np.array(values, dtype=dtype), device=STRICT_DEVICE)


def _cupy(values: Any, dtype: Any) -> Any:
    return backend.get("cupy").asarray(np.array(values, dtype=dtype))


needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not backend.gpu_available(), reason="no GPU that CuPy can use on this machine"),
]

# A read-only NumPy array refuses any write to an argument. array-api-strict offers nothing beyond
# the array API standard, and its second device refuses to mix with the host, as a GPU would.
MAKERS = [
    pytest.param(_read_only, id="numpy-read-only"),
    pytest.param(_strict, id="strict-device"),
    pytest.param(_cupy, id="cupy", marks=needs_gpu),
]


def host(array: Any) -> np.ndarray:
    return backend.to_host(array)


@contextlib.contextmanager
def no_synchronisation(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every conversion of a strict array to a Python scalar raise."""

    def refuse(self: Any, *args: Any) -> Any:
        raise AssertionError("a device array was converted to a Python scalar inside a step")

    with monkeypatch.context() as patch:
        for name in ("__bool__", "__float__", "__int__", "__index__"):
            patch.setattr(type(_strict([0.0], np.float64)), name, refuse)
        yield
