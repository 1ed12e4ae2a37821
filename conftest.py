"""How the tests and the notebooks run: one thread unless told otherwise, real data where it can be had.

Under nbval the notebooks' tagged outputs are compared only where the data they name is at hand; a run on
the stand-in says so in the header and still executes every cell.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "book" / "tools"))

import run_notebooks  # noqa: E402
from kernels import LocalKernelManager  # noqa: E402

STAND_IN = "BIONET_TEST_STAND_IN"  # from the controller to xdist's workers: data sets that cannot be had

asked = {name: os.environ[name] for name in run_notebooks.ONE_THREAD if name in os.environ}
run_notebooks.kernel_environment(record=False)
os.environ.update(asked)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("nbval_lax", False) and not hasattr(config, "workerinput"):
        os.environ[STAND_IN] = " ".join(name for name in ("mnist", "cifar10") if not reachable(name))
    if config.getoption("nbval_lax", False):
        import nbval.kernel

        nbval.kernel.KernelManager = LocalKernelManager  # it offers no option for its kernels' sockets


def reachable(name: str) -> bool:
    """Whether a data set is here or can be downloaded now."""
    from bionet import data

    try:
        data.load(name, split="test")
    except data.DataUnavailable:
        return False
    return True


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = [f"data: {os.environ.get('BIONET_DATA') or 'the cache'}", f"numerics: {numerics()}"]
    if config.getoption("nbval_lax", False):
        missing = " and ".join(os.environ[STAND_IN].split())
        if missing:
            lines.append(
                f"notebooks: {missing} cannot be had; outputs made from the stand-in are NOT compared"
            )
        else:
            lines.append("notebooks: real data, tagged outputs are compared")
    return lines


def numerics() -> str:
    """The arithmetic in force: versions, BLAS kernels and threads, as the libraries themselves tell."""
    import numpy as np
    import scipy.linalg
    from threadpoolctl import threadpool_info

    def threads(count: int) -> str:
        return f"{count} thread{'s' * (count != 1)}"

    names = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
    pools = {
        f"{names.get(pool['internal_api'], pool['internal_api'])} {pool['version']} "
        f"{pool.get('architecture') or ''} {threads(pool['num_threads'])}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    parts = [f"NumPy {np.__version__}", f"SciPy {scipy.__version__}", *sorted(pools)]
    try:
        import numba
    except ImportError:
        return ", ".join([*parts, "no Numba"])
    count = numba.get_num_threads()  # starts them: only then the layer has a name
    return ", ".join([*parts, f"Numba {numba.__version__} {threads(count)} ({numba.threading_layer()})"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Compare no outputs of a notebook that runs on a stand-in."""
    missing = set(os.environ.get(STAND_IN, "").split())
    for item in items:
        if item.path.suffix == ".ipynb" and missing & run_notebooks.data_sets(item.path.read_text("utf-8")):
            item.options["check"] = False  # type: ignore[attr-defined]
