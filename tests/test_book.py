"""The chapters as they are committed: executed in order, paired, captioned; and the tool that writes them."""

import base64
import io
import json
import re
from pathlib import Path

import matplotlib as mpl
import nbformat
import pytest
import run_notebooks
import yaml
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
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
    monkeypatch.setattr(run_notebooks, "TIMINGS", tmp_path / "results" / "chapters.json")
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
