"""The package as a wheel, away from any checkout: it works there, and what needs the repository says so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")


def run(
    *command: str | Path, where: Path, code: int = 0, **settings: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BIONET", "PYTHON"))}
    done = subprocess.run(
        command, cwd=where, env={**kept, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, which was built from a copy of the sources."""
    pytest.importorskip("setuptools", reason="building a wheel needs setuptools")
    work = tmp_path_factory.mktemp("wheel")
    source, site = work / "source", work / "site"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source)
    for package in sorted(ROOT.glob("bionet*/__init__.py")):
        shutil.copytree(
            package.parent, source / package.parent.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    run(*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", work, source, where=work)
    (wheel,) = work.glob("*.whl")
    assert re.match(r"bionet_reproduction-", wheel.name)
    run(*PIP, "install", "--no-index", "--no-deps", "--no-compile", "--target", site, wheel, where=work)
    return site


@pytest.fixture
def bionet(site: Path, tmp_path: Path):
    """A function that runs the installed command, or Python code, in an empty folder, and finds no data."""

    def call(*arguments: str, code: int = 0, python: str = "") -> subprocess.CompletedProcess[str]:
        start = f"import bionet; assert bionet.__file__.startswith({str(site)!r}), bionet.__file__\n"
        start += python or f"from bionet.cli import app; app({list(arguments)!r}, prog_name='bionet')"
        empty = tmp_path / "empty"
        empty.mkdir(exist_ok=True)
        settings = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "BIONET_OFFLINE": "1"}
        settings |= {
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NUMBA_CACHE_DIR": str(tmp_path),
        }
        # -c puts the empty folder first on the path, PYTHONPATH comes before an editable install
        return run(sys.executable, "-c", start, where=empty, code=code, **settings)

    return call


def files(site: Path) -> set[str]:
    return {str(path.relative_to(site)) for path in site.rglob("*")}


def test_everything_that_the_package_needs_is_in_the_wheel(site: Path):
    """Every module and every file beside them that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "bionet*/"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    expected = {name for name in listed.stdout.split() if (ROOT / name).exists()}
    packaged = {name for name in files(site) if name.startswith("bionet") and "dist-info" not in name}
    assert expected <= packaged


@pytest.mark.parametrize(
    "arguments", [("list",), ("reproduce", "talk"), ("reproduce", "mnist", "--jobs", "2")]
)
def test_what_needs_the_repository_says_so_and_writes_nothing(bionet, site: Path, arguments, tmp_path: Path):
    before = files(site)
    done = bionet(*arguments, code=1)
    assert "repository" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(site) == before
    assert list((tmp_path / "empty").iterdir()) == []


def test_data_status_and_demo(bionet, site: Path, tmp_path: Path):
    before = files(site)
    assert re.search(r"^digits +embedded", bionet("data", "status").stdout, flags=re.MULTILINE)
    assert float(re.search(r"test accuracy ([\d.]+) %", bionet("demo").stdout)[1]) > 90
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["bionet-demo.png"]
    assert files(site) == before


def test_the_readme_example_learns_saves_and_loads(bionet, site: Path):
    """README's lines as they stand, but for fewer units and images, on stand-ins for MNIST."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    small = example.replace('load("mnist"', 'load("digits"').replace(
        "n_hidden=400", "n_hidden=30, n_epochs=3"
    )
    assert small.count("digits") == 2
    assert "n_hidden=30" in small
    rest = """
import numpy as np
from bionet import persistence
path = persistence.save(net, "net.npz")
assert np.array_equal(persistence.load(path).predict(test.images), net.predict(test.images))
print("loaded")
"""
    assert bionet(python=small + rest).stdout.split()[-1] == "loaded"
