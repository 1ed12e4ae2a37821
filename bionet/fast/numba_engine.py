"""Whether the host has Numba (the extra ``fast``), and what an engine's name means there."""

from __future__ import annotations

from functools import cache


@cache
def available() -> bool:
    """Whether Numba can be imported."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def engine_for(engine: str) -> str:
    """Return the engine that `engine` means here, ``"numpy"`` or ``"numba"``.

    Raises
    ------
    RuntimeError
        For ``"numba"`` where it is not installed.
    """
    if engine == "numba" and not available():
        raise RuntimeError("engine='numba' needs Numba: pip install numba, or use engine='numpy'")
    return "numba" if engine != "numpy" and available() else "numpy"
