"""NumPy or CuPy, decided by the arrays themselves.

There is no global backend, dtype or seed. A function looks at the arrays it is given,
computes where they are, and returns arrays of the same kind. Random numbers are always
drawn on the host, so the library that computes cannot change a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np

Array = Any  # numpy.ndarray, cupy.ndarray, or any array that follows the array API standard


def namespace(*arrays: Array) -> Any:
    """Return the array library that all `arrays` belong to.

    Parameters
    ----------
    *arrays : array or None
        ``None`` and Python numbers are passed over.

    Returns
    -------
    module
        The library's array API namespace (:mod:`array_api_compat` for NumPy and CuPy).

    Raises
    ------
    TypeError
        If the arrays come from different libraries, or one is no array at all.
    """
    real = [a for a in arrays if a is not None and not isinstance(a, (bool, int, float))]
    try:
        return array_api_compat.array_namespace(*real)
    except TypeError as error:
        kinds = sorted({f"{type(a).__module__}.{type(a).__name__}" for a in real})
        raise TypeError(
            f"the arrays must all belong to one array library, got {', '.join(kinds) or 'none'}; "
            "convert them with bionet.backend.asarray_like"
        ) from error


def floating(*arrays: Any) -> tuple[Any, ...]:
    """Return the namespace, then `arrays` in one common real floating dtype.

    Python sequences become NumPy arrays; integers become float64; float32 stays float32.

    Raises
    ------
    TypeError
        If the arrays come from different libraries, or one is neither numeric nor an array.
    """
    converted = [a if array_api_compat.is_array_api_obj(a) else np.asarray(a) for a in arrays]
    if any(isinstance(a, np.generic) for a in converted):
        converted = [np.asarray(a) if isinstance(a, np.generic) else a for a in converted]
    xp = namespace(*converted)
    for a in converted:
        if not xp.isdtype(a.dtype, ("bool", "integral", "real floating")):
            raise TypeError(f"expected real numbers, got an array of dtype {a.dtype}")
    kinds = [a.dtype for a in converted if xp.isdtype(a.dtype, "real floating")]
    dtype = xp.result_type(*kinds) if kinds else xp.float64
    return (xp, *(xp.astype(a, dtype, copy=False) for a in converted))


def device(array: Array) -> Any:
    """Return the device on which `array` lives."""
    return array_api_compat.device(array)


def asarray_like(values: Any, like: Array, dtype: Any = None) -> Array:
    """Return `values` as an array of the library, device and (unless given) dtype of `like`."""
    xp = namespace(like)
    return xp.asarray(values, dtype=like.dtype if dtype is None else dtype, device=device(like))


def indices_like(indices: Any, like: Array) -> Array:
    """Upload host `indices` to the library and device of `like`."""
    xp = namespace(like)
    return xp.asarray(np.asarray(indices, dtype=np.intp), device=device(like))


def to_host(array: Array) -> np.ndarray:
    """Copy `array` to host memory as a NumPy array (NumPy arrays pass through uncopied)."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return array.get()
    if array_api_compat.is_array_api_obj(array):
        try:
            return np.from_dlpack(array)
        except (AttributeError, TypeError, RuntimeError, ValueError, BufferError):
            xp = namespace(array)
            cpu = xp.__array_namespace_info__().default_device()
            return np.asarray(array_api_compat.to_device(array, cpu))
    return np.asarray(array)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``range(count)`` into slices of at most `size`, none of them out of bounds."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


SMALL_PRODUCT = 1 << 24  # multiplications, a fraction of a millisecond on one thread


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas_threads_for(multiplications: int) -> AbstractContextManager[Any]:
    """Context for many matrix products of that many `multiplications` each: small ones run on one thread.

    OpenBLAS's threads wait for one another in a loop. Beside other work on the same cores each product then
    lasts until both have had their turn, for small ones a hundred times as long as on one thread.
    """
    return nullcontext() if multiplications >= SMALL_PRODUCT else _blas().limit(limits=1)


def is_numpy(array: Array) -> bool:
    """Whether `array` is a NumPy array."""
    return isinstance(array, np.ndarray)


def gpu_available() -> bool:
    """Whether CuPy can allocate memory on a GPU (importing it proves nothing)."""
    try:
        import cupy

        cupy.zeros(1)
    except Exception:  # no cupy, no driver, no device: each fails with its own exception
        return False
    return True


def get(name: str) -> ModuleType:
    """Return the array module called `name`: ``"numpy"`` or ``"cupy"``.

    Raises
    ------
    ValueError
        For another name.
    RuntimeError
        If CuPy is asked for where no GPU can be used.
    """
    if name == "numpy":
        return np
    if name == "cupy":
        if not gpu_available():
            raise RuntimeError(
                "no GPU can be used here: on a machine with an NVIDIA GPU pip install 'cupy-cuda12x[ctk]' "
                "(cupy-cuda13x for CUDA 13), or compute with 'numpy'"
            )
        import cupy

        return cupy
    raise ValueError(f"unknown array library {name!r}; choose 'numpy' or 'cupy'")


def generators(random_state: Any, count: int) -> list[np.random.Generator]:
    """Return `count` independent host generators, one per purpose.

    Parameters
    ----------
    random_state : None, int, numpy.random.RandomState, numpy.random.Generator or SeedSequence
        As in scikit-learn. An int gives the same generators at every call.
    count : int
        How many.

    Raises
    ------
    ValueError
        For anything else.
    """
    if random_state is None:
        seed = np.random.SeedSequence()
    elif isinstance(random_state, np.random.SeedSequence):
        seed = random_state
    elif isinstance(random_state, np.random.RandomState):
        seed = np.random.SeedSequence(int(random_state.randint(2**31)))
    elif isinstance(random_state, np.random.Generator):
        seed = np.random.SeedSequence(int(random_state.integers(2**63)))
    elif isinstance(random_state, (int, np.integer)) and random_state >= 0:
        seed = np.random.SeedSequence(int(random_state))
    else:
        raise ValueError(
            f"random_state must be None, an int >= 0 or a NumPy random generator, got {random_state!r}"
        )
    return [np.random.default_rng(child) for child in seed.spawn(count)]


def out_of_range_unwarned() -> np.errstate:
    """Context in which NumPy does not warn of overflow; for code that looks at its result and raises."""
    return np.errstate(over="ignore", invalid="ignore")
