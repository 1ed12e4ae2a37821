"""The house: commands, environments, licences, style. One promise of the README a test."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def name_of(requirement: str) -> str:
    """The normalised name of the package a requirement or a pin is about."""
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement)[0]).lower()


@pytest.mark.parametrize(
    ("file", "extras"),
    [("environment.yml", {"book", "test"}), ("environment-gpu.yml", {"book", "test", "cuda12"})],
)
def test_environment_files_install_what_pyproject_declares(file, extras):
    """The conda environments add nothing of their own: a Python, pip, and the package with its extras."""
    environment = yaml.safe_load(read(file))
    assert environment["channels"] == ["conda-forge"]
    python, pip, last = environment["dependencies"]
    version = tuple(map(int, re.fullmatch(r"python=(3\.\d+)", python)[1].split(".")))
    assert version >= tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    assert f"Programming Language :: Python :: {python.removeprefix('python=')}" in PROJECT["classifiers"]
    assert pip == "pip"
    assert last["pip"][0] == "-c constraints.txt"
    named = re.fullmatch(r"-e \.\[([a-z0-9,]+)\]", last["pip"][-1])[1].split(",")
    assert set(named) == extras <= PROJECT["optional-dependencies"].keys()


def test_every_dependency_is_pinned_once_for_each_python():
    """constraints.txt gives every declared dependency one exact version, or one for each Python."""
    pins: dict[str, list[str]] = {}
    for line in read("constraints.txt").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+( ; python_version (<|>=) '3\.12')?", line), line
            pins.setdefault(name_of(line), []).append(line)
    for name, lines in pins.items():
        assert len(lines) == 1 or len({line.split(" ; ")[1] for line in lines}) == 2, name
    declared = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    assert {name_of(requirement) for requirement in declared} <= pins.keys()


def test_jupyter_book_stays_below_two():
    """Jupyter Book 2 does not read _config.yml and writes no page."""
    (book,) = [r for r in PROJECT["optional-dependencies"]["book"] if name_of(r) == "jupyter-book"]
    assert book == "jupyter-book>=1.0.4.post1,<2"


def test_workflow_and_classifiers_name_the_same_pythons():
    """CI runs .ci/run on every Python that the project claims."""
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    job = workflow["jobs"]["test"]
    claimed = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert job["strategy"]["matrix"]["python"] == claimed
    assert job["steps"][-1]["run"] == ".ci/run"


MAKE = """\
#!/bin/sh
echo "make $* $VENV ${BIONET_DATA:-nothing} ${BIONET_OFFLINE:-online}" >>"$CALLS"
if [ "${BIONET_OFFLINE:-}" ]; then echo "$SECOND"; else echo "$FIRST"; fi
case "$FIRST$SECOND" in *failed*|*error*) exit 2;; esac
"""


@pytest.mark.parametrize(
    ("first", "second", "closing", "code"),
    [
        (
            "= 100 passed, 5 skipped in 9.1s (0:00:09) =",
            "= 90 passed in 1.0s =",
            "190 passed, 0 failed, 5",
            0,
        ),
        ("== 1 failed, 7 passed in 9.1s ==", "= 8 passed, 2 warnings in 1.0s =", "15 passed, 1 failed, 0", 1),
        ("= 8 passed in 1.0s =", "== 2 failed, 3 passed, 1 error in 9.1s ==", "11 passed, 3 failed, 0", 1),
        ("= 8 passed in 1.0s =", "out of memory", "8 passed, 1 failed, 0", 1),
    ],
)
def test_ci_runs_the_readme_command_twice_and_ends_with_the_sums(first, second, closing, code, tmp_path):
    """With data, then without any, in one environment that is not the user's."""
    make = tmp_path / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    (tmp_path / "data").mkdir()
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BIONET")},
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "BIONET_DATA": str(tmp_path / "data"),
        "CALLS": str(tmp_path / "calls"),
        "FIRST": first,
        "SECOND": second,
    }
    done = subprocess.run(
        ["bash", ROOT / ".ci/run"], env=settings, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == f"tests: {closing} skipped"
    assert done.returncode == code
    (one, other) = ((tmp_path / "calls").read_text()).splitlines()
    command, target, environment, where, network = one.split()
    assert f"{command} {target}" in read("README.md")
    assert not Path(environment).is_relative_to(ROOT)
    assert (where, network) == (str(tmp_path / "data"), "online")
    assert other.split() == [command, target, environment, "nothing", "1"]


def test_readme_names_existing_targets():
    """Every `make x` in README and on the run page is a target."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", read("README.md") + read("book/how-to-run.md")))
    assert {"book", "test", "reproduce", "bench", "clean"} <= named <= targets


def test_readme_and_run_page_give_the_same_pip_lines():
    """The commands for those without make are written twice and must agree with each other."""
    blocks = [
        re.search(r"```sh\n(python3 -m venv.*?)```", read(n), flags=re.DOTALL)[1]
        for n in ("README.md", "book/how-to-run.md")
    ]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize("file", ["LICENSE", "LICENSE-TEXT", "CITATION.cff", "CHANGELOG.md", "README.md"])
def test_papers_are_in_order(file):
    """Licences of code and text apart, a citation, a changelog."""
    assert len(read(file)) > 300


def test_citation_agrees_with_project():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert f"({PROJECT['version']})" in read("CHANGELOG.md") or f"[{PROJECT['version']}]" in read(
        "CHANGELOG.md"
    )


def committed_texts() -> list[tuple[str, str]]:
    """Name and text of every committed file that people write or read."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    written = {"", ".py", ".md", ".ipynb", ".yml", ".toml", ".json", ".cfg", ".cff", ".txt"}
    names = [name for name in filter(None, listed.stdout.split("\0")) if Path(name).suffix in written]
    return [(name, read(name)) for name in names if (ROOT / name).exists()]


def test_no_machine_paths_in_the_project():
    """Nothing committed names a folder of one machine."""
    private = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|work|Users)/\w")
    for name, text in committed_texts():
        found = private.search(text)
        assert not found, f"{name}: {found[0]}"


def test_nobody_is_told_to_install_a_stranger_of_our_name():
    """`bionet` on the package index is another project: no text installs it, and ours is called otherwise."""
    assert name_of(PROJECT["name"]) != "bionet"
    stranger = re.compile(r"""\binstall\b[^\n`]*?[\s'"\\]bionet(?![\w.-])|(?<![\w.-])bionet\[[a-z]""")
    ours = PROJECT["name"]
    name = ours.partition("-")[0]  # not written out: this file is no exception
    for told in (
        f"pip install '{name}[fast]'",
        f"install -U {name}",
        rf"install \"{name}[x]\"",
        f"{name}[x]",
    ):
        assert stranger.search(told)
    for fine in ("pip install numba", f"pip install {ours}", "pip install -e '.[fast]'"):
        assert not stranger.search(fine)
    for path, text in committed_texts():
        found = stranger.search(text)
        assert not found, f"{path}: {found[0]}"


def test_ruff():
    """Lint and format are clean."""
    for command in (["ruff", "check"], ["ruff", "format", "--check"]):
        result = run(*command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_mypy():
    """The package type-checks."""
    result = run("mypy")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_public_module_is_in_the_reference():
    """The API pages document each module of the core once, and each wing by its face or its modules.

    The command line has its own help; fast paths say the same as the readable ones.
    """
    shown = {"units", "data", "attacks", "persistence"}  # wings with a face; of the others every module
    modules = {f"bionet.{path.stem}" for path in (ROOT / "bionet").glob("[!_]*.py")} - {
        f"bionet.{name}" for name in ("cli", "checks")
    }
    modules |= {f"bionet.{name}" for name in shown}
    modules |= {f"bionet.measures.{path.stem}" for path in (ROOT / "bionet" / "measures").glob("[!_]*.py")}
    pages = "".join(path.read_text() for path in sorted((ROOT / "book/api").glob("*.md")))
    documented = re.findall(r"automodule:: (bionet\.[\w.]+)", pages)
    assert sorted(documented) == sorted(modules | {"bionet.attacks.independent"})


def test_repository_address_comes_from_one_place(monkeypatch, tmp_path):
    """The environment variable first, then pyproject's URLs table; else nothing is linked."""
    import bionet_book

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    monkeypatch.delenv("BIONET_REPOSITORY_URL", raising=False)
    assert bionet_book.repository_url(tmp_path) == ""
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://example.org/a/b.git"\n')
    assert bionet_book.repository_url(tmp_path) == "https://example.org/a/b"
    monkeypatch.setenv("BIONET_REPOSITORY_URL", "https://example.org/c/d/")
    assert bionet_book.repository_url(tmp_path) == "https://example.org/c/d"
