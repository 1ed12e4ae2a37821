"""The ledger: its rules, its record, and whether the record still supports every verdict."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionet_reproduction import claims, ledger

ROOT = Path(__file__).resolve().parents[2]

RULED = {
    "id": "h-at-rest",
    "source": "talk",
    "place": "A slide",
    "statement": "h rests.",
    "says": "at rest",
    "chapter": "02-h-part",
    "quantity": "distance from rest",
    "unit": "%",
    "digits": 1,
    "between": (0.0, 1.0),
    "inside": "reproduced",
    "outside": "corrected",
    "expect": 7.0,
    "tolerance": 2.0,
    "verdict": "corrected",
    "finding": "It is {measured} away.",
}
ARGUED = {
    "id": "labels",
    "source": "paper",
    "place": "Abstract",
    "statement": "No labels.",
    "says": "none",
    "chapter": "01-motivation",
    "verdict": "explained",
    "argument": "There are none.",
}


def claim(**changes):
    """The ruled claim above with some entries changed; None takes an entry out."""
    entries = {**RULED, **changes}
    return claims.Claim(**{name: value for name, value in entries.items() if value is not None})


def judged(a_claim, value):
    return a_claim.judge(claims.Measurement.of(value, a_claim.digits))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty results folder that chapters record into."""
    monkeypatch.setenv("BIONET_RESULTS", str(tmp_path))
    monkeypatch.setenv("BIONET_RECORD", "1")
    return tmp_path


@pytest.fixture
def small_ledger(results, tmp_path_factory, monkeypatch):
    """A ledger of two claims, a ruled one and an argued one."""
    path = tmp_path_factory.mktemp("claims") / "claims.toml"
    path.write_text(toml(RULED) + toml(ARGUED), encoding="utf-8")
    loaded = claims.load(path)
    monkeypatch.setattr(claims, "_package", lambda: loaded)
    return results


def toml(entries):
    """Write one claim as TOML; JSON's strings, numbers and lists are TOML's too."""
    return "[[claim]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in entries.items())


# Measurements


def test_number_is_rounded_for_good():
    assert claims.Measurement.of(np.float32(7.1499), 1).measured == 7.1


def test_minus_zero_does_not_exist():
    assert math.copysign(1.0, claims.Measurement.of(-0.01, 1).measured) == 1.0


def test_seeds_give_mean_and_student_interval():
    measurement = claims.Measurement.of([1.0, 2.0, 3.0, 4.0], 3)
    # 2.5 -+ 3.18245 * 1.29099 / 2, the 97.5 % point of Student's t with 3 degrees of freedom
    assert (measurement.measured, measurement.low, measurement.high) == (2.5, 0.446, 4.554)
    assert measurement.n == 4
    assert measurement.text(1, "%") == "2.5 % (0.4 to 4.6, 4 seeds)"


def test_one_seed_has_no_interval():
    measurement = claims.Measurement.of([2.0], 1)
    assert (measurement.low, measurement.high, measurement.n) == (None, None, 1)
    assert measurement.text(1) == "2.0 (1 seed)"


@pytest.mark.parametrize("value", [True, np.True_, [True, True]])
def test_statement_that_holds_for_all_seeds_holds(value):
    assert claims.Measurement.of(value, 1).measured is True


def test_statement_that_fails_for_one_seed_fails():
    assert claims.Measurement.of([True, False, True], 1).measured is False


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, math.nan], []])
def test_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"finite|at least one"):
        claims.Measurement.of(value, 1)


@pytest.mark.parametrize("value", ["7", None, [[1.0]], {"a": 1}, 1j])
def test_value_that_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="expected a number"):
        claims.Measurement.of(value, 1)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(48000.0, 0, "48 000"), (1234.0, 0, "1234"), (7.0, 2, "7.00"), (1234.0, -2, "1200"), (-0.5, 1, "-0.5")],
)
def test_numbers_are_printed_with_fixed_decimals(value, digits, text):
    assert claims.Measurement.of(value, digits).text(digits) == text


# Rules


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.0, "reproduced"),
        (1.0, "reproduced"),
        (1.04, "reproduced"),
        (1.06, "corrected"),
        (-0.06, "corrected"),
    ],
)
def test_range_is_closed_and_judges_the_rounded_value(value, verdict):
    assert judged(claim(), value) == verdict


def test_mean_over_seeds_is_judged():
    assert judged(claim(), [-5.0, 6.0]) == "reproduced"


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.4, 0.5, 0.6], "reproduced"), ([0.0, 0.5, 1.0], "corrected")]
)
def test_whole_interval_has_to_lie_in_the_range(values, verdict):
    assert judged(claim(rule="interval"), values) == verdict


@pytest.mark.parametrize(("values", "verdict"), [([1.0, 3.0], "reproduced"), ([1.0, 1.1, 1.2], "corrected")])
def test_interval_contains_a_value_or_not(values, verdict):
    assert judged(claim(rule="interval", between=None, value=5.0), values) == verdict


def test_interval_needs_seeds():
    with pytest.raises(ValueError, match="at least two seeds"):
        judged(claim(rule="interval"), 0.5)


@pytest.mark.parametrize(("measured", "verdict"), [(True, "reproduced"), (False, "corrected")])
def test_statement_is_judged_by_its_truth(measured, verdict):
    assert judged(claim(between=None, holds=True, expect=False, tolerance=None), measured) == verdict


def test_statement_cannot_be_judged_by_a_number():
    with pytest.raises(TypeError, match="judged by a bool"):
        judged(claim(between=None, holds=True, expect=False, tolerance=None), 1.0)


def test_range_cannot_judge_a_statement():
    with pytest.raises(TypeError, match="judged by a number"):
        judged(claim(), True)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3))
def test_expected_value_is_within_its_own_tolerance(expect, tolerance):
    """Rounding to the printed digits never pushes the expected value out by itself."""
    expect = round(expect, 1)
    verdict = "reproduced" if 0 <= expect <= 1 else "corrected"
    a_claim = claim(expect=expect, tolerance=tolerance, verdict=verdict)
    assert a_claim.is_expected(claims.Measurement.of(expect, 1))


def test_value_out_of_tolerance_is_not_expected():
    assert claim().is_expected(claims.Measurement(measured=9.0))
    assert not claim().is_expected(claims.Measurement(measured=9.1))


# Validation


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": "Not_Kebab"}, "kebab-case"),
        ({"id": "double--hyphen"}, "kebab-case"),
        ({"source": "rumour"}, "unknown source"),
        ({"chapter": "09-nowhere"}, "unknown chapter"),
        ({"verdict": "true"}, "unknown verdict"),
        ({"verdict": "open"}, "can never give"),
        ({"verdict": "reproduced"}, "expect gives 'corrected'"),
        ({"inside": "fine"}, "inside is 'fine'"),
        ({"inside": "corrected"}, "no rule"),
        ({"between": (1.0, 0.0)}, "low <= high"),
        ({"between": (0.0,)}, "low <= high"),
        ({"between": (0.0, math.nan)}, "low <= high"),
        ({"holds": True}, "give one of"),
        ({"between": None, "value": 1.0}, "say rule = 'interval'"),
        ({"rule": "median"}, "unknown rule"),
        ({"expect": None, "tolerance": None}, "needs the value we expect"),
        ({"tolerance": None}, "needs a tolerance"),
        ({"tolerance": -1.0}, "needs a tolerance"),
        ({"quantity": ""}, "needs the quantity"),
        ({"finding": ""}, "needs a finding"),
        ({"finding": "It is {seven}."}, "unknown placeholders"),
        ({"statement": " "}, "statement is empty"),
        ({"digits": 30}, "digits"),
        ({"between": None}, "inside and outside need a rule"),
    ],
)
def test_malformed_claim_is_refused(changes, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        claim(**changes)


def test_argued_claim_needs_its_argument():
    with pytest.raises(ValueError, match="needs an argument"):
        claims.Claim(**{**ARGUED, "argument": ""})


def test_claims_are_frozen():
    with pytest.raises(AttributeError):
        claim().verdict = "reproduced"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (toml(ARGUED) * 2, "twice"),
        (toml({**ARGUED, "mood": "good"}), "mood"),
        (toml({"id": "alone"}), "alone"),
        ("[[claims]]\n", "unknown tables"),
        (
            '[[erratum]]\nnumber = 2\ntitle = ""\nslides = ""\nnotebook = ""\npaper = ""\nshown = ""\n'
            'chapter = "02-h-part"\n',
            "numbered 1, 2, 3",
        ),
    ],
)
def test_malformed_file_is_refused(tmp_path, text, problem):
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        claims.load(path)


# Verdicts and the record


def test_verdict_prints_four_plain_lines(small_ledger):
    assert repr(ledger.verdict("h-at-rest", 7.13)).splitlines() == [
        "claim      h rests.",
        "talk says  at rest",
        "measured   7.1 %: distance from rest",
        "verdict    corrected",
    ]


def test_argued_verdict_takes_no_value(small_ledger):
    assert ledger.verdict("labels").verdict == "explained"
    with pytest.raises(TypeError, match="nothing to measure"):
        ledger.verdict("labels", 1.0)


def test_measured_verdict_needs_a_value(small_ledger):
    with pytest.raises(TypeError, match="distance from rest"):
        ledger.verdict("h-at-rest")


def test_unknown_claim_is_named():
    with pytest.raises(KeyError, match="no-such-claim"):
        ledger.verdict("no-such-claim", 1.0)


def test_stand_in_data_give_no_verdict_and_no_record(small_ledger):
    verdict = ledger.verdict("h-at-rest", 7.0, stand_in=True)
    assert verdict.verdict == "no verdict: stand-in data"
    assert list(small_ledger.iterdir()) == []


def test_refused_value_leaves_no_record(small_ledger):
    with pytest.raises(ValueError, match="finite"):
        ledger.verdict("h-at-rest", math.nan)
    assert list(small_ledger.iterdir()) == []


def test_nothing_is_recorded_unless_asked(small_ledger, monkeypatch):
    monkeypatch.delenv("BIONET_RECORD")
    ledger.verdict("h-at-rest", 7.0)
    assert list(small_ledger.iterdir()) == []


def test_value_that_rounds_to_the_same_leaves_the_record_alone(small_ledger):
    ledger.verdict("h-at-rest", 7.13)
    path = small_ledger / "ledger" / "02-h-part.json"
    before, inode = path.read_bytes(), path.stat().st_ino
    ledger.verdict("h-at-rest", 7.1 + 1e-9)
    assert path.read_bytes() == before == b'{\n "h-at-rest": {\n  "measured": 7.1\n }\n}\n'
    assert path.stat().st_ino == inode  # not even rewritten
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_record_does_not_depend_on_the_order_of_recording(small_ledger, monkeypatch):
    other = claims.Claim(**{**RULED, "id": "a-second"})
    both = {**claims.claims(), "a-second": other}
    monkeypatch.setattr(claims, "_package", lambda: (both, ()))
    path = small_ledger / "ledger" / "02-h-part.json"
    ledger.verdict("h-at-rest", [7.0, 7.2])
    ledger.verdict("a-second", 7.0)
    first = path.read_bytes()
    path.unlink()
    ledger.verdict("a-second", 7.0)
    ledger.verdict("h-at-rest", [7.0, 7.2])
    assert path.read_bytes() == first


def test_recorded_value_is_read_back(small_ledger):
    ledger.verdict("h-at-rest", [6.9, 7.1])
    assert ledger.measured("h-at-rest") == claims.Measurement.of([6.9, 7.1], 1)
    assert ledger.check() == []


def test_chapters_do_not_share_a_file(results):
    """So that those that run side by side lose nothing, without a lock."""
    for name in ("tau-timescale", "start-normal"):
        ledger.verdict(name, claims.claims()[name].expect)
    found = {path.stem: list(json.loads(path.read_text())) for path in (results / "ledger").iterdir()}
    assert found == {claims.claims()[name].chapter: [name] for name in ("tau-timescale", "start-normal")}


# What the check finds


def test_missing_measurement_is_a_problem(small_ledger):
    assert ledger.check() == ["h-at-rest: not measured yet (02-h-part)"]


def test_value_that_leaves_its_tolerance_is_a_problem(small_ledger):
    ledger.verdict("h-at-rest", 9.5)
    assert ledger.check() == ["h-at-rest: measured 9.5 %, expected 7.0 within 2.0"]


def test_verdict_that_no_longer_follows_is_a_problem(small_ledger):
    ledger.verdict("h-at-rest", 0.5)
    assert any(
        "gives 'reproduced', the claims file says 'corrected'" in problem for problem in ledger.check()
    )


def test_record_of_no_claim_is_a_problem(small_ledger):
    ledger.verdict("h-at-rest", 7.0)
    path = small_ledger / "ledger" / "02-h-part.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "gone": {"measured": 1.0}}))
    assert ledger.check() == ["gone: recorded, but no such claim"]


def test_table_shows_every_claim_by_chapter(small_ledger):
    rows = ledger.table()
    assert [row.claim.id for row in rows] == ["labels", "h-at-rest"]
    assert [row.measured_text for row in rows] == ["argued, not measured", "not measured yet"]
    assert [row.claim.id for row in ledger.table(source="paper")] == ["labels"]


# The book's own ledger


def test_the_talk_has_at_least_twenty_five_claims():
    assert len(ledger.table(source="talk")) >= 25


def test_every_chapter_answers_a_claim_of_the_talk():
    assert {row.claim.chapter for row in ledger.table(source="talk")} == set(claims.CHAPTERS)


def test_every_row_of_the_errata_is_there():
    assert [erratum.number for erratum in claims.errata()] == [*range(1, 17)]


def test_findings_fill_in_their_numbers():
    for a_claim in claims.claims().values():
        text = a_claim.tell(claims.Measurement(measured=1.0, low=0.0, high=2.0, n=3))
        assert text
        assert not set("{}") & set(text)


@pytest.mark.parametrize("chapter", claims.CHAPTERS)
def test_chapter_labels_its_claims_and_errata(chapter):
    """Every claim and erratum points to a cell of its chapter, and no label is left over."""
    path = ROOT / "book" / "chapters" / f"{chapter}.md"
    found = re.findall(r"^\(((?:claim|erratum)-[a-z0-9-]+)\)=$", path.read_text("utf-8"), re.MULTILINE)
    wanted = [row.claim.label for row in ledger.table(chapter=chapter)]
    wanted += [erratum.label for erratum in claims.errata() if erratum.chapter == chapter]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("chapter", claims.CHAPTERS)
def test_chapter_judges_every_measured_claim(chapter):
    text = (ROOT / "book" / "chapters" / f"{chapter}.md").read_text("utf-8")
    judged_here = set(re.findall(r'ledger\.verdict\(\s*"([a-z0-9-]+)"', text))
    rows = {row.claim.id: row.claim for row in ledger.table(chapter=chapter)}
    assert judged_here <= rows.keys()
    assert {name for name, a_claim in rows.items() if a_claim.is_measured} <= judged_here


def test_record_supports_every_verdict():
    """Fails when a measured value leaves its tolerance or a verdict no longer follows from it."""
    assert ledger.check() == []


# Margins


MARGIN = claims.Margin(
    id="m", data="mnist", quantity="test error", unit="points", size=0.1, argument="Ten images."
)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.40, 1.50, "reproduced"),
        (1.36, 1.56, "reproduced"),  # the margin itself is within
        (1.62, 1.71, "not reproduced"),
        (1.20, 1.35, "not reproduced"),
        (1.50, 1.60, "open"),  # part of it within
        (1.00, 2.00, "open"),  # too wide to say
        (None, None, "open"),  # one seed
    ],
)
def test_an_interval_is_judged_by_the_margin(low, high, verdict):
    measured = 1.5 if low is None else (low + high) / 2
    measurement = claims.Measurement(measured=measured, low=low, high=high, n=1 if low is None else 5)
    assert MARGIN.verdict(1.46, measurement) == verdict


def test_a_claim_with_a_margin_takes_its_verdict_from_it(tmp_path):
    """In the file a margin is named; a rule beside it, or a verdict it cannot give, is refused."""
    entries = {
        **{k: v for k, v in RULED.items() if k not in ("between", "inside", "outside", "unit")},
        "value": 1.46,
        "expect": 1.67,
        "tolerance": 0.1,
        "digits": 2,
        "verdict": "not reproduced",
        "margin": "m",
    }
    margin = (
        '[[margin]]\nid = "m"\ndata = "mnist"\nquantity = "q"\nunit = "points"\nsize = 0.1\nargument = "a"\n'
    )
    path = tmp_path / "claims.toml"
    path.write_text(margin + toml(entries), encoding="utf-8")
    (made,) = claims.load(path)[0].values()
    assert made.judge(claims.Measurement(measured=1.67, low=1.62, high=1.71, n=5)) == "not reproduced"
    assert made.judge(claims.Measurement(measured=1.5, low=1.45, high=1.55, n=5)) == "reproduced"
    for change, match in (
        ({"margin": "x"}, "unknown margin 'x'"),
        ({"verdict": "explained"}, "can never give the verdict 'explained'"),
        ({"between": (0.0, 1.0)}, "with no other rule"),
        ({"inside": "reproduced"}, "leave out inside"),
    ):
        path.write_text(margin + toml({**entries, **change}), encoding="utf-8")
        with pytest.raises(ValueError, match=match):
            claims.load(path)


def test_there_is_one_margin_for_each_data_set_and_kind_of_quantity():
    found = claims.margins()
    assert len({(margin.data, margin.quantity) for margin in found}) == len(found) == 3
