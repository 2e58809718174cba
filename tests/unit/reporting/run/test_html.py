"""report.html."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.pages import Page
from helpers.report_facts import NO_CALLS, calls, cut_at, facts, huge, plan

from routellm_batch.budget.selection.cut import ALL_STRONG, NONE_STRONG
from routellm_batch.budget.spend.summary import CallSummary, FailedRow, RouteTotals, SlowRow
from routellm_batch.core.types import Usage
from routellm_batch.reporting.run.facts import LabelFacts, RunFacts
from routellm_batch.reporting.run.html import render_report

HOSTILE = (
    "<script>alert(1)</script>",
    "=1+1",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}",
    "x" * 5000,
    "a\u202eb",
)


LABELS = LabelFacts("tone", 5, {"good": 3, "<b>": 2, "bad": 0}, 1, 4, {"several_labels": 2})


def page(facts_: RunFacts) -> Page:
    """Render and parse."""
    return Page(render_report(facts_))


def nothing_strong() -> RunFacts:
    """Every row went weak, one of them slowly."""
    routes = {"strong": RouteTotals(), "weak": RouteTotals(1000, 1000, Usage(9, 0, 9), 5, 0, {30: 1000})}
    done = CallSummary(ok=1000, routes=routes)
    return facts(
        plan=plan(strong=0, cut=NONE_STRONG, asked={"mode": "strong_share", "value": "0"}), calls=done
    )


CASES = {
    "usual": facts(),
    "huge": huge(),
    "labels": facts(labels=LABELS),
    "nothing called": facts(state="interrupted", stop_reason="SIGTERM", calls=NO_CALLS, wall_s=0.0),
    "nothing strong": nothing_strong(),
    "all strong": facts(plan=plan(strong=1000, cut=ALL_STRONG)),
    "one row": facts(plan=plan(valid=1, strong=1, cut=cut_at(1.0), histogram=[0, 0, 1])),
    "free": facts(plan=plan(all_strong_nano=0, all_weak_nano=0, histogram=[0])),
    "a bare plan": facts(plan=plan(frontier=[], histogram=[])),
    "no valid row": facts(plan=plan(valid=0, strong=0), calls=NO_CALLS),
}


@pytest.mark.parametrize("name", CASES)
def test_well_formed_and_self_contained(name: str) -> None:
    """Every page is well formed, runs no script and names no address to load from."""
    html = render_report(CASES[name])
    parsed = Page(html)
    loading = [(key, value) for key, value in parsed.attributes if key in {"src", "href", "srcset", "action"}]
    linked = [("href", "plan.html")] if CASES[name].plan.frontier else []
    assert loading == [("href", "data:,"), *linked]
    assert [key for key, _ in parsed.attributes if key.startswith("on")] == []
    assert "script" not in parsed.tags
    assert re.findall(r"url\(|@import|https?://", html) == []
    assert "default-src 'none'" in html
    assert re.findall(r"\b(nan|inf|None|Undefined)\b", parsed.text) == []


@pytest.mark.parametrize("name", CASES)
def test_drawings_stay_inside(name: str) -> None:
    """No bar or width is negative or beyond its plot."""
    html = render_report(CASES[name])
    widths = [float(number) for number in re.findall(r'style="width:(-?[\d.]+)%"', html)]
    sizes = [float(n) for n in re.findall(r'<rect[^>]* (?:x|y|width|height)="(-?[\d.]+)%"', html)]
    assert [number for number in [*widths, *sizes] if not -0.001 <= number <= 100.001] == []


def test_headline_figures() -> None:
    """The page tells state, spent and planned, share, rows, saving and where the responses are."""
    text = page(facts()).text
    for part in (
        "Finished, 3 rows failed",
        "$0.303",
        "of $0.356 planned",
        "asked for 26% of the rows strong",
        "997",
        "Saved against all strong $0.74",
        "cut at 0.6250",
        "26%, $0.356",
        "s3://bucket/runs/nightly-2026-11-23/responses/",
        "big-model",
        "p99",
    ):
        assert part in text


def test_errors_and_rows_by_id() -> None:
    """Errors are counted and explained by kind; failed and slow rows are named."""
    text = page(facts()).text
    for part in ("timeout – – no whole reply within timeout_s 2", "r0003", "bad_reply", "r0007", "2.05 s"):
        assert part in text


@pytest.mark.parametrize("hostile", ["</style><script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_hostile_names(hostile: str) -> None:
    """Error kinds, notices and reasons are text too, and the page's policy lets nothing run or load."""
    failures = [FailedRow("r1", "weak", hostile)]
    html = render_report(
        facts(calls=calls(failures=failures, errors={hostile: 2}), notices=[hostile], stop_reason=hostile)
    )
    assert set() == {"script", "img", "iframe", "object"} & set(Page(html).tags)
    assert hostile in Page(html).text
    assert "default-src 'none'" in html


def test_hostile_ids() -> None:
    """An id is text, whatever it says, and never markup."""
    failures = [FailedRow(row_id, "weak", "timeout") for row_id in HOSTILE]
    slowest = [SlowRow(row_id, "strong", 1.0) for row_id in HOSTILE]
    html = render_report(facts(calls=calls(failures=failures, slowest=slowest), run_id="<b>x</b>"))
    parsed = Page(html)
    assert {"script", "img", "b"} & set(parsed.tags) <= {"b"}
    assert "<script" not in html
    assert "<script>alert(1)</script>" in parsed.text
    assert "=1+1" in parsed.text
    assert "{{ 7*7 }}" in parsed.text
    assert "\u202e" not in html
    assert "x" * 200 not in html


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"state": "errors", "stop_reason": "strong refused the key."},
            "strong refused the key. Fix the endpoint",
        ),
        (
            {"state": "budget", "calls": calls(ok=500, unfunded=497)},
            "The budget left out 497 rows, which were not called",
        ),
        ({"notices": ("12 rows were moved to weak.",)}, "12 rows were moved to weak."),
        ({}, "Up to $0.00125 more may have been billed"),
        ({"calls": calls(errors={}, failures=[], failed=0)}, "No row failed."),
        ({"calls": NO_CALLS}, "No request was answered."),
        ({"plan": plan(frontier=[], histogram=[])}, "The plan has no frontier."),
        ({"plan": plan(strong=0, cut=NONE_STRONG)}, "No cut: nothing goes strong"),
        ({"calls": calls(errors={"new_kind": 3})}, "new_kind"),
    ],
)
def test_what_applies_is_said(changes: dict[str, Any], expected: str) -> None:
    """Banners and empty states appear where they apply."""
    assert expected in page(facts(**changes)).text


def test_degraded_banner() -> None:
    """A plan that the cap lowered says so, with both sums."""
    lowered = {"reason": "…", "planned_usd": "2.000000000", "strong_rows": "900"}
    text = page(facts(plan=plan(cap_nano=500_000_000, degraded=lowered))).text
    assert "The plan was lowered to fit the hard cap of $0.50" in text


def test_the_cut_divides_the_colours() -> None:
    """Steps below the cut are weak, above it strong, and the step that holds the cut is drawn in two parts."""
    chart = render_report(facts(plan=plan(histogram=[10, 10, 10, 10], cut=cut_at(0.6)))).split(
        "Rows by score"
    )[1]
    looks = re.findall(r'<rect[^>]*class="(strong|weak)"', chart.split("</svg>")[0])
    assert looks == ["weak", "weak", "weak", "strong", "strong"]


def test_same_facts_same_page() -> None:
    """A page is a pure function of its facts."""
    assert render_report(facts()) == render_report(facts())


def test_labels_are_counted_on_the_page() -> None:
    """A label job's page says how often each label came, and why some answers gave none."""
    html = render_report(CASES["labels"])
    assert all(words in html for words in ("several_labels", "more than one is named", "&lt;b&gt;", "others"))
    assert "Labels</h2>" not in render_report(CASES["usual"])
