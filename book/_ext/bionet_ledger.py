"""The ledger on the pages: claims, measured values, verdicts and errata, as one Sphinx extension.

- ``{ledger}`` shows the claims of a ``:source:`` and, or, a ``:chapter:``, one table a chapter.
- ``{ledger-count}`` says in one line how many of them have which verdict.
- ``{errata}`` shows where the slides, the talk's notebook and the paper disagree.
- ``{measured}`id``` is the measured value with its interval; ``{measured}`id/value``` the value alone
  (``low``, ``high`` and ``n`` likewise).
- ``{claim}`id``` links to the cell that judges a claim and shows the verdict.
- ``{verdict}`open``` is the badge of a verdict.
- ``{record}`talk.json metrics/accuracy .1f``` is one entry of a recorded run, formatted.

A claim without its cell, a value without its record: each is a warning, and the build stops on warnings.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from bionet_reproduction import claims, ledger, paths

logger = logging.getLogger(__name__)

NO_BREAK = "\N{NO-BREAK SPACE}"
SOURCES = {"talk": "The talk", "paper": "The paper", "notebook": "The talk's notebook"}

# Claims are plain text, so that a terminal can print them. On a page the symbols look like symbols.
TOKENS = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|\b(?P<base>[A-Za-z]+)_(?P<sub>[A-Za-z0-9]+|\*)"
    r"|\^(?P<sup>\w+)"
    r"|<(?P<left>\w),(?P<right>\w)>"
    r"|(?P<word>\b(?:Delta|tau|beta|mu)\b|<<|>=|<=|(?<=\d) x (?=\d)| - (?=[\w<])|(?<![\w)])-(?=\d|Delta))"
)
SYMBOLS = {
    "Delta": "Δ",
    "tau": "τ",
    "beta": "β",
    "mu": "μ",
    "inf": "∞",
    "<<": "≪",
    ">=": "≥",
    "<=": "≤",
    " x ": f"{NO_BREAK}×{NO_BREAK}",
    " - ": " − ",
    "-": "−",
}


def typeset(text: str) -> Iterator[nodes.Node]:
    """Turn ``tau_L``, ``w_inh >= 0`` and ``<W,v>`` into symbols, and backticks into code."""
    start = 0
    for match in TOKENS.finditer(text):
        if match.start() > start:
            yield nodes.Text(text[start : match.start()])
        start = match.end()
        part = match.groupdict()
        if part["code"]:
            yield nodes.literal("", part["code"])
        elif part["base"]:
            yield nodes.Text(SYMBOLS.get(part["base"], part["base"]))
            yield nodes.subscript("", SYMBOLS.get(part["sub"], part["sub"]))
        elif part["sup"]:
            yield nodes.superscript("", part["sup"])
        elif part["left"]:
            yield nodes.Text(f"⟨{part['left']},{NO_BREAK}{part['right']}⟩")
        else:
            yield nodes.Text(SYMBOLS[part["word"]])
    if start < len(text):
        yield nodes.Text(text[start:])


def paragraph(text: str, *classes: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *typeset(text), classes=list(classes))


def badge(verdict: str) -> nodes.inline:
    """The verdict in words; colour only repeats what they say."""
    return nodes.inline("", verdict, classes=["verdict", "verdict-" + verdict.replace(" ", "-")])


# Links to cells: like {ref} with a title, but the title keeps its subscripts


def link_to_cell(docname: str, label: str, content: Iterable[nodes.Node]) -> addnodes.pending_xref:
    inner = nodes.inline("", "", *content)
    return addnodes.pending_xref(
        "", inner, refdomain="", reftype="cell", reftarget=label, refdoc=docname, refwarn=True
    )


def resolve_cell(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    if node["reftype"] != "cell":
        return None
    docname, identifier = env.domains["std"].anonlabels.get(node["reftarget"], ("", ""))
    if not docname:
        return None
    return make_refnode(app.builder, node["refdoc"], docname, identifier, content)


# Directives and roles


def note_sources(env: BuildEnvironment) -> None:
    """Read the page again when the claims or the record change."""
    for chapter in claims.CHAPTERS:
        env.note_dependency(str(ledger.file_of(chapter)))
    env.note_dependency(str(paths.claims_file()))


class LedgerDirective(SphinxDirective):
    option_spec = {  # noqa: RUF012
        "source": lambda given: directives.choice(given, tuple(SOURCES)),
        "chapter": lambda given: directives.choice(given, tuple(claims.CHAPTERS)),
    }

    def run(self) -> list[nodes.Node]:
        note_sources(self.env)
        verdicts = ledger.table(self.options.get("source"), self.options.get("chapter"))
        missing = [row.claim.id for row in verdicts if row.claim.is_measured and row.measurement is None]
        if missing:
            logger.warning(
                "claims without a measured value (make reproduce records them): %s",
                ", ".join(missing),
                location=self.get_location(),
                type="bionet",
                subtype="ledger",
            )
        return self.render(verdicts)

    def render(self, verdicts: list[ledger.Verdict]) -> list[nodes.Node]:
        chapters = dict.fromkeys(row.claim.chapter for row in verdicts)
        tables = [self.table([row for row in verdicts if row.claim.chapter == name]) for name in chapters]
        if "chapter" in self.options:
            return [*tables]
        prefix = "-".join(["ledger", *self.options.values()])
        return [
            nodes.section(
                "",
                nodes.title("", f"Chapter {int(name[:2])}: {claims.CHAPTERS[name]}"),
                table,
                ids=[f"{prefix}-{name}"],
            )
            for name, table in zip(chapters, tables, strict=True)
        ]

    def table(self, verdicts: list[ledger.Verdict]) -> nodes.table:
        group = nodes.tgroup("", cols=4)
        group += [nodes.colspec(colwidth=width) for width in (28, 19, 36, 17)]
        heads = ("Claim", "The source says", "Measured here", "Verdict")
        group += nodes.thead("", row(nodes.paragraph("", head) for head in heads))
        group += nodes.tbody("", *(self.row(verdict) for verdict in verdicts))
        table = nodes.table("", group, classes=["ledger"])
        self.set_source_info(table)
        return table

    def row(self, verdict: ledger.Verdict) -> nodes.row:
        claim = verdict.claim
        link = link_to_cell(self.env.docname, claim.label, typeset(claim.statement))
        place = claim.place if self.options.get("source") else f"{SOURCES[claim.source]}, {claim.place}"
        if claim.is_measured:
            measured = [
                paragraph(unbroken(verdict.measured_text), "ledger-value"),
                paragraph(claim.quantity, "ledger-quantity"),
            ]
        else:
            measured = [paragraph(verdict.measured_text, "ledger-quantity")]
        if finding := claim.tell(verdict.measurement):
            measured.append(paragraph(finding, "ledger-finding"))
        return nodes.row(
            "",
            entry(nodes.paragraph("", "", link), paragraph(place, "ledger-place")),
            entry(paragraph(claim.says)),
            entry(*measured),
            entry(nodes.paragraph("", "", badge(verdict.verdict))),
        )


class LedgerCount(LedgerDirective):
    def render(self, verdicts: list[ledger.Verdict]) -> list[nodes.Node]:
        counts = Counter(row.verdict for row in verdicts)
        line = nodes.paragraph("", classes=["ledger-count"])
        line += nodes.Text(f"{len(verdicts)} claims: ")
        for position, name in enumerate(name for name in claims.VERDICTS if counts[name]):
            line += nodes.Text(f"{', ' if position else ''}{counts[name]} ")
            line += badge(name)
        line += nodes.Text(".")
        return [line]


class Errata(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        note_sources(self.env)
        verdicts = {row.claim.id: row for row in ledger.table()}
        return [self.section(erratum, verdicts) for erratum in claims.errata()]

    def section(self, erratum: claims.Erratum, verdicts: dict[str, ledger.Verdict]) -> nodes.section:
        title = nodes.title("", "", *typeset(f"{erratum.number}. {erratum.title}"))
        section = nodes.section("", title, ids=[f"row-{erratum.number}"])
        shown = link_to_cell(self.env.docname, erratum.label, typeset(erratum.shown))
        chapter = nodes.Text(f" (chapter {int(erratum.chapter[:2])})")
        rows: list[tuple[str, list[nodes.Node]]] = [
            ("Slides", [paragraph(erratum.slides)]),
            ("Notebook", [paragraph(erratum.notebook)]),
            ("Paper", [paragraph("nothing to compare" if erratum.paper == "-" else erratum.paper)]),
            ("Shown", [nodes.paragraph("", "", shown, chapter)]),
        ]
        measured: list[nodes.Node] = [self.measured(verdicts[name]) for name in erratum.claims]
        if measured:
            rows.append(("Measured here", measured))
        section += nodes.definition_list(
            "",
            *(
                nodes.definition_list_item("", nodes.term("", head), nodes.definition("", *body))
                for head, body in rows
            ),
            classes=["erratum"],
        )
        return section

    def measured(self, verdict: ledger.Verdict) -> nodes.paragraph:
        claim = verdict.claim
        text = f"{claim.quantity}: {unbroken(verdict.measured_text)} " if claim.is_measured else ""
        link = link_to_cell(self.env.docname, claim.label, [badge(verdict.verdict)])
        return nodes.paragraph("", "", *typeset(text or claim.argument + " "), link)


class LedgerRole(SphinxRole):
    """A role that warns about what is not there instead of failing."""

    def missing(self, problem: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        logger.warning(problem, location=self.get_location(), type="bionet", subtype="ledger")
        return [nodes.Text("(not measured yet)")], []


class MeasuredRole(LedgerRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        note_sources(self.env)
        name, _, part = self.text.partition("/")
        try:
            claim, measurement = claims.claims()[name], ledger.measured(name)
        except KeyError:
            return self.missing(f"no claim {name!r} in the ledger")
        if measurement is None:
            return self.missing(f"claim {name!r} has no measured value yet")
        if part == "":
            text = measurement.text(claim.digits, claim.unit)
        elif part == "n" and measurement.n is not None:
            text = str(measurement.n)
        elif part in ("value", "low", "high"):
            value = getattr(measurement, "measured" if part == "value" else part)
            if value is None:
                return self.missing(f"claim {name!r} has no interval")
            text = claims.Measurement(measured=value).text(claim.digits, claim.unit)
        else:
            return self.missing(f"claim {name!r} has no {part!r}: say value, low, high or n")
        return [*typeset(unbroken(text))], []


class ClaimRole(LedgerRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        note_sources(self.env)
        given = re.fullmatch(r"(?P<title>.+?)\s*<(?P<name>[^<>]+)>", self.text, re.DOTALL)
        name = given["name"] if given else self.text
        if name not in claims.claims():
            return self.missing(f"no claim {name!r} in the ledger")
        verdict = next(row for row in ledger.table() if row.claim.id == name)
        title = given["title"] if given else verdict.claim.statement.rstrip(".?")
        link = link_to_cell(self.env.docname, verdict.claim.label, typeset(title))
        return [link, nodes.Text(NO_BREAK), badge(verdict.verdict)], []


class VerdictRole(LedgerRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if self.text not in claims.VERDICTS:
            return self.missing(f"no such verdict: {self.text!r}")
        return [badge(self.text)], []


class RecordRole(LedgerRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        match self.text.split():
            case [file, path]:
                form = ""
            case [file, path, form]:
                pass
            case _:
                return self.missing(f"expected 'file.json path/to/entry format', got {self.text!r}")
        source = paths.results_folder() / file
        if not source.exists():
            self.env.note_reread()
            return self.missing(f"no recorded run results/{file}")
        self.env.note_dependency(str(source))
        value: Any = json.loads(source.read_text(encoding="utf-8"))
        try:
            for step in path.split("/"):
                value = value[int(step)] if isinstance(value, list) else value[step]
            text = format(value, form)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return self.missing(f"results/{file} has no {path!r} to print as {form!r}: {error!r}")
        return [nodes.Text(text)], []


def name_citations(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the entries of a list of references a role that browsers still know."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def entry(*content: nodes.Node) -> nodes.entry:
    return nodes.entry("", *content)


def row(cells: Iterable[nodes.Node]) -> nodes.row:
    return nodes.row("", *(entry(cell) for cell in cells))


def unbroken(text: str) -> str:
    """Keep a number and its unit on one line."""
    return re.sub(r"(?<=\d) (?=[\d%A-Za-z])", NO_BREAK, text)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("ledger", LedgerDirective)
    app.add_directive("ledger-count", LedgerCount)
    app.add_directive("errata", Errata)
    app.add_role("measured", MeasuredRole())
    app.add_role("claim", ClaimRole())
    app.add_role("verdict", VerdictRole())
    app.add_role("record", RecordRole())
    app.add_css_file("ledger.css")
    app.connect("missing-reference", resolve_cell)
    app.connect("html-page-context", name_citations)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}
