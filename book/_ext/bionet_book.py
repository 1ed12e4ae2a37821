"""What makes the pages self-contained and the book complete, as one Sphinx extension.

- MathJax is copied from an installed package when the book is built: no page asks another host for it.
- Launch buttons and repository links appear once the public address is known (BIONET_REPOSITORY_URL, or
  Repository in the URLs table of pyproject.toml) and are left out before.
- Thebe, which Jupyter Book loads even when told not to, is taken out of the pages.
- ``{chapter-times}`` shows the recorded run time of every chapter, from results/chapters.json.
"""

import json
import os
import shutil
import tomllib
from importlib.metadata import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

MATHJAX_PACKAGE = "sphinx-mathjax-offline"
MATHJAX_PARTS = ("tex-svg.js", "input/tex/extensions/")  # the bundle, and what \cancel and friends load
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"


# MathJax


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax beside the pages."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static" / "mathjax"
    for file in files(MATHJAX_PACKAGE) or []:
        _, found, name = file.as_posix().partition("/static/mathjax/")
        if found and name.startswith(MATHJAX_PARTS):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target / name)


# Nothing from another host


def silence_thebe(app: Sphinx, config: Config) -> None:
    """Jupyter Book always loads sphinx_thebe, which writes a foreign address into every page, twice."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    app.registry.css_files[:] = [entry for entry in app.registry.css_files if "thebe" not in entry[0]]


# The public address


def repository_url(root: Path) -> str:
    """The public address of the repository; empty while none is set."""
    given = os.environ.get("BIONET_REPOSITORY_URL", "")
    if not given:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        given = project.get("urls", {}).get("Repository", "")
    return given.strip().rstrip("/").removesuffix(".git")


def add_repository(app: Sphinx, config: Config) -> None:
    """Turn on the launch buttons and repository links where there is somewhere to point to."""
    url = repository_url(Path(app.srcdir))
    if not url:
        return
    config.html_theme_options = {
        **config.html_theme_options,
        "repository_url": url,
        "repository_branch": "main",
        "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": {"binderhub_url": BINDER, "colab_url": COLAB, "notebook_interface": "jupyterlab"},
    }


# Run times


def row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


class ChapterTimes(SphinxDirective):
    """A table of the chapters' recorded run times and the machine they were recorded on."""

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "results" / "chapters.json"
        self.env.note_dependency(str(path))
        if not path.exists():
            return [nodes.paragraph("", "No run times are recorded yet: make timings writes them.")]
        recorded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["chapters"]
        heads = ("Chapter", "Seconds", "Processor", "Cores", "BLAS threads", "Python")
        keys = ("processor", "cores", "blas_threads", "python")
        rows = [
            row(
                [
                    self.link(name),
                    nodes.Text(f"{run['seconds']:.0f}"),
                    *(nodes.Text(str(run[key])) for key in keys),
                ]
            )
            for name, run in sorted(recorded.items())
        ]
        total = sum(run["seconds"] for run in recorded.values())
        rows.append(
            row([nodes.Text("Together"), nodes.Text(f"{total:.0f}"), *(nodes.Text("") for _ in keys)])
        )
        group = nodes.tgroup("", cols=len(heads))
        group += [nodes.colspec(colwidth=width) for width in (4, 1, 3, 1, 1, 1)]
        group += nodes.thead("", row([nodes.Text(head) for head in heads]))
        group += nodes.tbody("", *rows)
        table = nodes.table("", group)
        self.set_source_info(table)
        return [table]

    def link(self, name: str) -> nodes.Node:
        target = f"/notebooks/{name}"
        reference = addnodes.pending_xref(
            "", nodes.inline("", name), refdomain="std", reftype="doc", reftarget=target, refexplicit=False
        )
        reference["refdoc"] = self.env.docname
        reference["refwarn"] = True
        return reference


# The API page


def skip_generated(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the set_..._request methods that scikit-learn writes into every estimator."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapter-times", ChapterTimes)
    app.connect("config-inited", silence_thebe, priority=100)
    app.connect("config-inited", add_repository, priority=100)
    app.connect("autodoc-skip-member", skip_generated)
    app.connect("build-finished", copy_mathjax)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
