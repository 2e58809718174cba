"""Reports say by endpoint why rows failed, in the endpoint's own words for programs, and which key was refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.pages import Page
from helpers.report_facts import ENDPOINTS, calls, facts

from routellm_batch.budget.spend.summary import CallSummary, Failures, RouteTotals
from routellm_batch.core.types import ErrorDetail
from routellm_batch.reporting.run.cost_json import cost_json
from routellm_batch.reporting.run.failures import (
    MOST_LINES,
    failure_lines,
    failures_of,
    truncated_text,
    uncounted_text,
)
from routellm_batch.reporting.run.html import render_report
from routellm_batch.reporting.run.wording import closing_lines

PARAM = ErrorDetail(400, "unsupported_parameter", "invalid_request_error", "max_tokens")
REASONS = [Failures("strong", "bad_request", 120, PARAM), Failures("weak", "timeout", 3)]
REFUSED = [Failures("strong", "auth", 1, ErrorDetail(401, "invalid_api_key"))]


def _failed(**changes: Any) -> CallSummary:
    return calls(**({"reasons": REASONS, "errors": {"bad_request": 120, "timeout": 3}} | changes))


def test_each_reason_has_a_line_by_endpoint() -> None:
    """What the endpoint said comes first, then the kind, then how many rows."""
    expected = [
        "strong: 400 unsupported_parameter (max_tokens), bad_request: 120 rows failed",
        "weak: timeout: 3 rows failed",
    ]
    lines = closing_lines(facts(calls=_failed()), "x")
    at = lines.index(f"  errors  {expected[0]}")
    assert (expected, f"          {expected[1]}") == (failure_lines(facts(calls=_failed())), lines[at + 1])


@pytest.mark.parametrize(
    ("key", "clause"),
    [
        ("env:STRONG_API_KEY", "it refused the key of env:STRONG_API_KEY"),
        (None, "it was called without a key, as api_key is not set"),
    ],
)
def test_a_refused_key_is_named_by_its_reference(key: str | None, clause: str) -> None:
    """Which endpoint refused which key is on the terminal, on the page and in cost.json; of other endings it is no part."""
    ends = {**ENDPOINTS, "strong": replace(ENDPOINTS["strong"], api_key=key)}
    made = facts(state="errors", endpoints=ends, calls=calls(errors={}, failures=[], failed=0, halts=REFUSED))
    assert [f"strong: 401 invalid_api_key, auth; {clause}"] == failure_lines(made)
    halt = {
        "kind": "auth",
        "status": 401,
        "code": "invalid_api_key",
        "type": None,
        "param": None,
        "api_key": key,
    }
    assert [halt] == cost_json(made)["endpoints"]["strong"]["halts"]
    text = Page(render_report(made)).text
    assert "401 invalid_api_key" in text
    assert key is None or key in text
    assert [] == failure_lines(replace(made, state="finished"))


def test_cost_json_has_the_same_by_endpoint() -> None:
    """Programs read kind, status, code, type, param and rows of each reason."""
    ends = cost_json(facts(calls=_failed()))["endpoints"]
    said = {
        "status": 400,
        "code": "unsupported_parameter",
        "type": "invalid_request_error",
        "param": "max_tokens",
    }
    assert [{"kind": "bad_request", **said, "rows": 120}] == ends["strong"]["errors"]
    assert [("timeout", None, 3)] == [
        (one["kind"], one["status"], one["rows"]) for one in ends["weak"]["errors"]
    ]


def test_the_page_has_the_same_by_endpoint() -> None:
    """Kind, endpoint, what it said, and the meaning."""
    text = Page(render_report(facts(calls=_failed()))).text
    assert (
        "bad_request Strong 400 unsupported_parameter (max_tokens) the endpoint refused the request 120"
        in text
    )


def test_an_older_run_says_the_kinds_alone() -> None:
    """Its summaries know no endpoint; a run that both versions called says what it knows."""
    made = facts(calls=_failed(errors={"bad_request": 120, "timeout": 5}))
    assert Failures("", "timeout", 2) in failures_of(made)
    assert "timeout: 2 rows failed" in failure_lines(made)


def test_many_reasons_are_cut_short() -> None:
    """The terminal lists a few; cost.json has all."""
    many = [Failures("weak", "bad_request", 1, ErrorDetail(400, f"code_{n}")) for n in range(20)]
    lines = failure_lines(facts(calls=_failed(reasons=many, errors={"bad_request": 20})))
    assert (MOST_LINES, "13 more reasons are in report/cost.json") == (len(lines), lines[-1])


@pytest.mark.parametrize(
    ("truncated", "text"),
    [
        ({}, None),
        ({"weak": 1}, "1 answer was cut off at the limit of tokens (finish_reason length; 1 weak)."),
        (
            {"strong": 2, "weak": 1000},
            "1,002 answers were cut off at the limit of tokens (finish_reason length; 2 strong, 1,000 weak).",
        ),
    ],
)
def test_answers_that_were_cut_off_are_counted(truncated: dict[str, int], text: str | None) -> None:
    """On the terminal, on the page and in cost.json, by endpoint."""
    made = facts(calls=calls(truncated=truncated))
    told = truncated_text(made)
    assert text == (told and told[: told.index(".") + 1])
    cost = cost_json(made)
    assert sum(truncated.values()) == cost["rows"]["truncated"]
    assert truncated.get("weak", 0) == cost["endpoints"]["weak"]["truncated"]
    shown = [told in text for text in (*closing_lines(made, "x"), Page(render_report(made)).text) if told]
    assert sum(shown) == (2 if told else 0)


def test_answers_without_a_count_of_tokens_are_said() -> None:
    """Once on the terminal and once on the page, as their cost is presumed."""
    routes = {"strong": RouteTotals(), "weak": RouteTotals(calls=5, attempts=5, uncounted=5)}
    made = facts(calls=calls(routes=routes))
    told = uncounted_text(made) or ""
    assert told.startswith("Answers came without a count of their tokens: 5 of the weak endpoint.")
    assert [1, 1] == [
        text.count(told) for text in ("\n".join(closing_lines(made, "x")), Page(render_report(made)).text)
    ]
    assert 5 == cost_json(made)["endpoints"]["weak"]["uncounted"]
