"""The chapters as they are committed: executed in order, paired, captioned; and the tool that writes them."""

import base64
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import inputs
import matplotlib as mpl
import nbformat
import pytest
import run_notebooks
import yaml
from kernels import LocalKernelManager
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
NAMES = [
    "01-motivation",
    "02-h-part",
    "03-w-part",
    "04-convergence",
    "05-supervised",
    "06-bp-comparison",
    "07-cifar-10",
    "08-adversarial-question",
    "09-dynamics-at-scale",
]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def notebook(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def test_toc_names_exactly_the_chapters():
    """The book, the notebooks and the texts are the same: the talk's eight and one beyond."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert [file.removeprefix("notebooks/") for file in files if file.startswith("notebooks/")] == NAMES
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == NAMES
    assert sorted(path.stem for path in (ROOT / "book" / "chapters").glob("*.md")) == NAMES


def test_executed_in_order_without_errors(notebook):
    """Execution counts run 1..n and no output is an error or a message on stderr."""
    cells = code_cells(notebook)
    assert cells
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


def test_text_and_notebook_are_a_pair(name):
    """Every cell, its metadata and its id follow from the text."""
    assert run_notebooks.unpaired(run_notebooks.CHAPTERS / f"{name}.md") is None


def test_notebook_is_not_older_than_what_it_ran(name):
    """Its code, the modules and records behind it, and the source that it prints are today's."""
    old = run_notebooks.outdated(run_notebooks.CHAPTERS / f"{name}.md")
    assert not old, "\n".join([f"{name} is out of date; run `make reproduce`:", *old])


def test_glued_numbers_are_the_numbers_shown(name, notebook):
    """No digit is kept that no reader sees: the last ones differ from one processor to the next."""
    text = (run_notebooks.CHAPTERS / f"{name}.md").read_text(encoding="utf-8")
    formats = re.findall(r"\{glue:text\}`([\w-]+):([^`]+)`", text)
    for cell in code_cells(notebook):
        for output in cell.outputs:
            glued = output.get("metadata", {}).get("scrapbook", {}).get("name")
            value = output.get("data", {}).get("application/papermill.record/text/plain", "")
            if glued is None or not re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", value):
                continue
            assert "e" not in value, glued
            digits = [int(given[1:-1]) for label, given in formats if label == glued] or [2]
            assert float(value) == round(float(value), max(digits)), glued


def test_every_figure_has_caption_and_alternative_text(notebook):
    """A cell that shows a picture names it, captions it and describes it, as a plain PNG."""
    for cell in code_cells(notebook):
        pictures = [o for o in cell.outputs if any(key.startswith("image/") for key in o.get("data", {}))]
        if not pictures:
            continue
        options = cell.metadata.get("mystnb", {})
        assert len(pictures) == 1, cell.source
        assert set(pictures[0].data) <= {"image/png", "text/plain"}, cell.source
        assert options.get("figure", {}).get("name", "").startswith("fig-"), cell.source
        assert len(options["figure"].get("caption", "")) > 20, cell.source
        assert len(options.get("image", {}).get("alt", "")) > 20, cell.source


def test_every_figure_is_referred_to(name):
    """A numbered figure that no sentence mentions has no place in the text."""
    text = (run_notebooks.CHAPTERS / f"{name}.md").read_text(encoding="utf-8")
    for label in re.findall(r"^ +name: (fig-[\w-]+)", text, flags=re.MULTILINE):
        assert f"{{numref}}`{label}`" in text or f"<{label}>`" in text, label


def test_each_chapter_teaches(name):
    """Goals first, a recap, exercises with solutions, and what a run takes."""
    text = (run_notebooks.CHAPTERS / f"{name}.md").read_text(encoding="utf-8")
    assert re.search(r"\{admonition\} Goals", text)
    assert re.search(r"^#+ .*Verdict", text, flags=re.MULTILINE | re.IGNORECASE)
    assert re.search(r"Recap", text)
    assert text.count("{exercise}") >= 1
    assert text.count("{exercise}") == text.count("{solution}")
    assert "Run time and hardware" in text


def test_checked_outputs_exist(notebook):
    """nbval has something to compare in every chapter, and never a picture."""
    checked = [c for c in code_cells(notebook) if "nbval-check-output" in c.metadata.get("tags", [])]
    assert checked
    for cell in checked:
        assert cell.outputs
        assert not any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


def test_no_foreign_markup(notebook):
    """No cell leaves HTML or script behind, such as an estimator's diagram: text and PNG only."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            kinds = {
                key for key in output.get("data", {}) if not key.startswith("application/papermill.record/")
            }
            assert kinds <= {"text/plain", "image/png"}, cell.source


def test_no_cell_prints_a_clock(notebook):
    """Timings live in results/, with their machine."""
    clock = re.compile(r"%%?time|perf_counter|time\.time\(|timeit")
    for cell in code_cells(notebook):
        assert not clock.search(cell.source), cell.source


# The tool

TEXT = """\
# One

```{code-cell} ipython3
:tags: [nbval-check-output]

print(1 + 1)
```

```{code-cell} ipython3
1 / 4
```
"""


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A book of one small chapter, in a folder of its own."""
    for attribute, folder in (("CHAPTERS", "book/chapters"), ("NOTEBOOKS", "notebooks")):
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setattr(run_notebooks, attribute, tmp_path / folder)
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(run_notebooks, "TIMINGS", tmp_path / "results" / "chapters.json")
    monkeypatch.setattr(run_notebooks, "RAN", tmp_path / "results" / "notebooks.json")
    path = tmp_path / "book" / "chapters" / "01-one.md"
    path.write_text(TEXT)
    return path


def test_second_run_leaves_no_diff(chapter, capsys):
    """Running twice gives the same bytes; --check and --sync agree; --timings writes its table."""
    written = run_notebooks.NOTEBOOKS / "01-one.ipynb"
    assert run_notebooks.main(["01", "--timings"]) == 0
    first, text = written.read_bytes(), chapter.read_bytes()
    assert run_notebooks.main([]) == 0
    assert (written.read_bytes(), chapter.read_bytes()) == (first, text)
    assert run_notebooks.main(["--sync"]) == run_notebooks.main(["--check"]) == 0
    assert "01-one: unchanged" in capsys.readouterr().out
    assert set(json.loads(run_notebooks.TIMINGS.read_text())["chapters"]) == {"01-one"}
    chapter.write_text(chapter.read_text().replace("1 + 1", "1 + 2"))
    assert run_notebooks.main(["--sync"]) == run_notebooks.main(["--check"]) == 1
    assert written.read_bytes() == first


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import sys; print('oh', file=sys.stderr)", "stderr"),
        ("object()", "memory address"),
        ("raise ValueError('no')", "ValueError"),
    ],
)
def test_refuses_what_does_not_belong_in_a_page(chapter, capsys, source, problem):
    """Messages on stderr, addresses and errors never become part of the record."""
    chapter.write_text(TEXT.replace("1 / 4", source))
    assert run_notebooks.main([]) == 1
    assert problem in capsys.readouterr().err
    assert not (run_notebooks.NOTEBOOKS / "01-one.ipynb").exists()


def test_stand_in_does_not_overwrite_the_record(chapter, capsys, monkeypatch):
    """Without the data that a chapter loads nothing is written, and --check says it compared nothing."""
    from bionet import data

    def unavailable(name, split="train", *, stand_in=False):
        raise data.DataUnavailable(name)

    monkeypatch.setattr(data, "load", unavailable)
    chapter.write_text(TEXT.replace("1 / 4", "str('data.load(\"mnist\")')"))
    assert run_notebooks.main([]) == 1
    assert "stand-in may not overwrite" in capsys.readouterr().err
    assert run_notebooks.main(["--check"]) == 0
    assert "not compared" in capsys.readouterr().out


def test_pictures_lose_their_text_chunks():
    """The same figure saved by another version of matplotlib gives the same bytes."""
    encoded = []
    for program in ("one", "two"):
        buffer = io.BytesIO()
        with mpl.rc_context({"savefig.dpi": 20}):
            Figure(figsize=(1, 1)).savefig(buffer, format="png", metadata={"Software": program})
        encoded.append(base64.b64encode(buffer.getvalue()).decode())
    assert encoded[0] != encoded[1]
    first, second = map(run_notebooks.stable_png, encoded)
    assert first == second
    assert base64.b64decode(first).endswith(b"IEND\xaeB`\x82")


# What may differ between machines


def with_outputs(text: str, *outputs):
    notebook = run_notebooks.as_notebook(text)
    notebook.cells[-1].outputs = [nbformat.from_dict(output) for output in outputs]
    return notebook


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def picture(width, compression=6):
    figure = Figure(figsize=(1, 1), dpi=20)
    figure.gca().axhline(0.5, lw=width)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": compression})
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return {"output_type": "display_data", "data": {"image/png": encoded}, "metadata": {}}


DRAWN = """\
```{code-cell} ipython3
---
mystnb:
  figure:
    name: fig-one
---
draw()
```
"""


def test_other_text_is_a_difference_everywhere():
    """What a cell prints, and whether it prints, may not depend on the machine."""
    one, two, none = (with_outputs(DRAWN, *map(stream, text)) for text in (["1"], ["2"], []))
    assert not list(run_notebooks.differences(one, one))
    ((name, what),) = run_notebooks.differences(one, two)
    assert name is None
    assert {"-1", "+2"} <= set(what.splitlines())
    ((name, what),) = run_notebooks.differences(one, none)
    assert name is None
    assert "shows nothing" in what


def test_other_pixels_are_a_difference_unless_named(monkeypatch):
    """A picture compressed otherwise is the same picture; one drawn otherwise is not."""
    one, same, other = (with_outputs(DRAWN, picture(*how)) for how in ((1,), (1, 1), (4,)))
    assert one != same
    assert not list(run_notebooks.differences(one, same))
    ((name, what),) = run_notebooks.differences(one, other)
    assert name is None
    assert "cell 1 (fig-one)" in what
    monkeypatch.setitem(run_notebooks.VARIES, "fig-one", "a trajectory")
    assert [name for name, _ in run_notebooks.differences(one, other)] == ["fig-one"]


def test_what_varies_is_there():
    """No name outlives its figure."""
    text = "".join(path.read_text("utf-8") for path in run_notebooks.CHAPTERS.glob("*.md"))
    assert [name for name in run_notebooks.VARIES if f"name: {name}\n" not in text] == []


# What a notebook ran

MODULE = '''\
"""A module."""


def double(x):
    """Twice x."""
    return 2 * x  # a comment
'''
RUNS = """\
```{code-cell} ipython3
import inspect
import json
import sys
from pathlib import Path

sys.path.insert(0, "..")
import small_module

json.loads(Path("../results/one.json").read_text())
```

```{code-cell} ipython3
print(inspect.getsource(small_module.double))
```
"""


@pytest.fixture
def project(chapter, monkeypatch):
    """The small book with a module and a record of its own."""
    root = chapter.parents[2]
    monkeypatch.syspath_prepend(root)
    (root / "small_module.py").write_text(MODULE)
    (root / "results").mkdir()
    (root / "results" / "one.json").write_text('{"a": 1, "b": 2}')
    chapter.write_text(RUNS)
    yield root
    sys.modules.pop("small_module", None)


def test_a_notebook_knows_what_it_ran(project, chapter, capsys):
    """Code, module or record that changed is named, with the remedy; layout and prose do not count."""
    assert run_notebooks.main([]) == 0
    ran = json.loads((project / "results" / "notebooks.json").read_text())["01-one"]
    assert set(ran) == {"book/chapters/01-one.md", "small_module.py", "results/one.json"}
    assert run_notebooks.outdated(chapter) == []
    (project / "results" / "one.json").write_text('{\n"b": 2, "a": 1}\n')
    (project / "small_module.py").write_text(MODULE.replace('"""A module."""', "# no docstring"))
    chapter.write_text(chapter.read_text() + "\nProse.\n")
    assert run_notebooks.outdated(chapter) == []

    (project / "results" / "one.json").write_text('{"a": 1, "b": 3}')
    (project / "small_module.py").unlink()
    chapter.write_text(chapter.read_text().replace("import json", "import json, math"))
    assert run_notebooks.outdated(chapter) == [
        "book/chapters/01-one.md has changed",
        "results/one.json has changed",
        "small_module.py is gone",
    ]
    chapter.write_text(run_notebooks.with_header(RUNS))
    assert run_notebooks.main(["--sync"]) == 1
    said = capsys.readouterr().err
    assert "results/one.json has changed" in said
    assert "Run `make reproduce`" in said


def test_source_on_a_page_is_the_source_of_today(project):
    """Of what a page prints a comment counts too."""
    printed = MODULE.partition("\n\n\n")[2] + "\n"
    assert inputs.old_listings(with_outputs(RUNS, stream(printed))) == []
    (problem,) = inputs.old_listings(with_outputs(RUNS, stream(printed.replace("a comment", "another"))))
    assert "older source" in problem
    assert "small_module.double" in problem


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (("a comment", "another"), False),
        (("Twice x.", "x, doubled."), False),
        (("2 * x", "(2  *  x)"), False),
        (("2 * x", "x * 2"), True),
        (("2 * x", "2.0 * x"), True),
        (("double(x)", "double(x=0)"), True),
    ],
)
def test_fingerprint_of_a_module(change, counts):
    """What a module does counts, not how it is written down."""
    assert (inputs.meaning(MODULE.replace(*change)) != inputs.meaning(MODULE)) is counts


def test_fingerprint_of_the_claims():
    """A chapter is judged by its own claims alone."""
    text = '[[claim]]\nchapter = "01-one"\nvalue = 1\n[[claim]]\nchapter = "02-two"\nvalue = 1\n'
    changed = text.replace('"02-two"\nvalue = 1', '"02-two"\nvalue = 2')
    assert inputs.own_entries(text, "01-one") == inputs.own_entries(changed, "01-one")
    assert inputs.own_entries(text, "02-two") != inputs.own_entries(changed, "02-two")


# Kernels


def test_kernels_listen_on_local_sockets(monkeypatch, capfd):
    """No TCP port where the system has local sockets, no warning at the start, nothing left behind."""
    text = "```{code-cell} ipython3\nprint(get_ipython().kernel.parent.transport)\n```"
    notebook = run_notebooks.as_notebook(text)
    with tempfile.TemporaryDirectory(prefix="k") as folder, monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        run_notebooks.execute(notebook)
        assert not list(Path(folder).iterdir())
        patch.setattr(tempfile, "tempdir", folder + "/" + 100 * "d")
        assert LocalKernelManager().transport == "tcp"
    expected = "ipc" if os.name == "posix" else "tcp"
    assert notebook.cells[0].outputs[0].text.strip() == expected
    if expected == "ipc":
        assert capfd.readouterr().err == ""


def test_a_kernel_in_the_folder_of_the_notebooks_finds_both_packages():
    """They are installed together; no chapter sets a path."""
    text = """\
```{code-cell} ipython3
import os, bionet, bionet_reproduction
print(os.path.basename(os.getcwd()), bionet.__name__, bionet_reproduction.__name__)
```"""
    notebook = run_notebooks.as_notebook(text)
    run_notebooks.execute(notebook)
    assert notebook.cells[0].outputs[0].text.split() == ["notebooks", "bionet", "bionet_reproduction"]
