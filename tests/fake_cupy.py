"""A stand-in for CuPy, just large enough for ``DeviceRule``: arrays of NumPy, kernels on threads of the host.

Not covered: graph capture, cuBLAS, and the order of streams. There is no cuBLAS of version 0, so that the
rule takes its plain path, kernel by kernel, with a matrix product of NumPy; streams run everything at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cuda_host
import numpy as np


class ndarray(np.ndarray):  # noqa: N801
    """An array that says where it is taken to the host."""

    def get(self) -> np.ndarray:
        return np.array(self)

    def _refuse(self, *args: Any) -> Any:
        raise AssertionError("a device array was converted to a Python scalar inside a step")

    __bool__ = __float__ = __int__ = __index__ = _refuse


class Stream(contextlib.AbstractContextManager):
    def __init__(self, non_blocking: bool = False) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass

    def record(self) -> None:
        pass

    def wait_event(self, event: None) -> None:
        pass


def _filled(shape: Any, dtype: Any) -> np.ndarray:
    """Memory that nothing has been written to: no number, or an index far outside."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 2**30, dtype=dtype).view(ndarray)


def stand_in(library: Callable[[str], Path], threads: int) -> types.ModuleType:
    """The module: `library` compiles the kernels' text; a block has at most `threads` threads."""

    class RawModule:
        def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
            self.library = ctypes.CDLL(str(library(code)))
            self.parameters = cuda_host.parameters(code)
            single = "#define REAL float\n" in code
            self.types = {"REAL": np.dtype(np.float32 if single else np.float64), "int": np.dtype(np.int32)}

        def get_function(self, name: str) -> Callable[..., None]:
            function, parameters = getattr(self.library, f"launch_{name}"), self.parameters[name]

            def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
                passed = [
                    self._passed(f"{name}: {word}", kind, argument)
                    for (kind, word), argument in zip(parameters, arguments, strict=True)
                ]
                function(grid[0], min(block[0], threads), *passed)

            return launch

        def _passed(self, what: str, kind: str, argument: Any) -> Any:
            """An argument as C takes it; a GPU would take one of another type without a word."""
            declared = self.types[kind.removeprefix("const ").rstrip("*").strip()]
            assert argument.dtype == declared, f"{what} is {kind}, got {argument.dtype}"
            if kind.endswith("*"):
                assert isinstance(argument, ndarray), what
                assert argument.flags.c_contiguous, what
                return ctypes.c_void_p(argument.ctypes.data)
            assert isinstance(argument, np.generic), what
            return np.ctypeslib.as_ctypes_type(declared)(argument)

    cupy = types.ModuleType("cupy")
    cupy.__dict__.update(
        RawModule=RawModule,
        ndarray=ndarray,
        int32=np.int32,
        uint8=np.uint8,
        asarray=lambda a, dtype=None: np.array(a, dtype=dtype, order="C").view(ndarray),
        ascontiguousarray=lambda a: np.ascontiguousarray(a).view(ndarray),
        empty=_filled,
        empty_like=lambda a: _filled(a.shape, a.dtype),
        zeros=lambda shape, dtype: np.zeros(shape, dtype=dtype).view(ndarray),
        matmul=lambda a, b, out: np.matmul(a, b, out=out),
        cuda=types.SimpleNamespace(
            Stream=Stream,
            get_current_stream=Stream,
            runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 0),
        ),
    )
    return cupy
