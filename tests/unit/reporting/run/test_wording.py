"""The sentences that say how a run went."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.report_facts import ENDPOINTS, NO_CALLS, calls, facts, huge, plan

from routellm_batch.budget.pricing import NANO
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import ErrorKind
from routellm_batch.reporting.run import wording
from routellm_batch.reporting.run.wording import closing_lines, failing_words

INVALID = "What is wrong with each invalid row is in s3://bucket/runs/nightly-2026-11-23/failed/."
PRESUMED = (
    "Up to $0.00125 more may have been billed: some requests got no usable reply or no count of tokens, and only "
    "the provider's bill shows whether they were charged. Against a cap, each counts at its worst case."
)


def test_closing_lines() -> None:
    """A run ends with its outcome, rows, share, cost, what to do next and where the report is."""
    assert closing_lines(facts(), "out/report.html") == [
        "Finished, 3 rows failed in 12.5 s (80 rows/s)",
        "  rows    997 of 1,000 rows answered, 3 failed, 2 invalid",
        "  share   26% strong (260 of 1,000); asked for 26% of the rows strong",
        "  cost    spent $0.303 of $0.356 planned",
        "          all strong about $1.05, all weak about $0.0499",
        "          saved about $0.743 (71%) against all strong",
        "  errors  timeout: 2 rows failed",
        "          bad_reply: 1 row failed",
        f"  note    {INVALID}",
        f"  note    {PRESUMED}",
        "  next    Run the same command with --retry-failed to call the failed rows again.",
        "  report  out/report.html",
    ]


def test_invalid_rows_are_counted_by_kind() -> None:
    """Beside their number stands why they are invalid, most first, where the plan has it."""
    sorted_out = facts(plan=plan(invalid=12, invalid_kinds={"bad_messages": 10, "empty_prompt": 2}))
    assert (
        "  rows    997 of 1,000 rows answered, 3 failed, 12 invalid (10 bad_messages, 2 empty_prompt)"
        in closing_lines(sorted_out, "x")
    )
    assert ("Invalid rows", "12 (10 bad_messages, 2 empty_prompt)") in wording.run_details(sorted_out)


@pytest.mark.parametrize(
    ("changes", "first", "following"),
    [
        ({"state": "finished", "calls": calls(failed=0)}, "Finished in", None),
        ({"state": "finished", "calls": calls(failed=1)}, "Finished, 1 row failed in", "--retry-failed"),
        ({"state": "budget"}, "Stopped by the budget in", "budget.hard_cap_usd"),
        ({"state": "errors"}, "Stopped by endpoint errors in", "Fix the endpoint"),
        ({"state": "interrupted"}, "Interrupted in", "Run the same command again"),
    ],
)
def test_every_ending_says_what_to_do(changes: dict[str, Any], first: str, following: str | None) -> None:
    """Each way to end has its headline, and its next step where there is one."""
    lines = closing_lines(facts(**changes), "x")
    said = [line for line in lines if line.startswith("  next")]
    assert lines[0].startswith(first)
    assert len(said) == (0 if following is None else 1)
    assert all(str(following) in line for line in said)


def test_stop_reason_comes_first() -> None:
    """Why a run stopped stands in the first line."""
    lines = closing_lines(facts(state="errors", stop_reason="strong refused the key"), "x")
    assert lines[0] == "Stopped by endpoint errors in 12.5 s (80 rows/s): strong refused the key"


def test_nothing_called() -> None:
    """A run that was stopped before its first call says so and compares nothing."""
    lines = closing_lines(facts(state="interrupted", calls=NO_CALLS, wall_s=0.2), "x")
    assert lines == [
        "Interrupted in 200 ms",
        "  rows    0 of 1,000 rows answered, 1,000 still to do, 2 invalid",
        "  share   No row has been called yet; asked for 26% of the rows strong",
        "  cost    spent $0 of $0.356 planned",
        "  next    Run the same command again: it resumes.",
        "  report  x",
    ]


def test_degraded_plan_and_notices() -> None:
    """What the hard cap took away, and every notice, is reported."""
    lowered = {"reason": "…", "planned_usd": "2.000000000", "strong_rows": "900"}
    lowered_facts = facts(
        plan=plan(cap_nano=NANO // 2, degraded=lowered), notices=("12 rows were moved to weak.",)
    )
    lines = closing_lines(lowered_facts, "x")
    assert "  cost    spent $0.303 of $0.356 planned, hard cap $0.50" in lines
    assert (
        "  note    The plan was lowered to fit the hard cap of $0.50: the 900 strong rows that were asked for "
        "would have cost about $2.00; 260 fit."
    ) in lines
    assert "  note    12 rows were moved to weak." in lines


def test_dollars_asked_for() -> None:
    """A budget in dollars is named as one."""
    asked = plan(asked={"mode": "usd", "value": "12.5"})
    assert wording.asked_text(asked) == "the best routing for $12.50"


def test_huge_run() -> None:
    """Millions of rows and of dollars are read with separators."""
    lines = closing_lines(huge(), "x")
    assert lines[0] == "Finished in 1d03h (101 rows/s)"
    assert lines[3] == "  cost    spent $1,230,000 of $1,230,000 planned, hard cap $1,300,000.00"


def test_every_error_kind_is_explained() -> None:
    """Each error kind has a meaning to print."""
    assert set(wording.KIND_TEXTS) == set(ErrorKind)


def test_prices_are_told() -> None:
    """Prices are told, the cached one where it differs."""
    assert wording.endpoint_details(ENDPOINTS) == [
        ("Strong model", "big-model"),
        ("Strong price per million tokens", "$2.50 input, $1.25 cached input, $10.00 output"),
        ("Weak model", "small-model"),
        ("Weak price per million tokens", "$0.10 input, $0.40 output"),
    ]


def test_report_uri_without_secrets() -> None:
    """The last line shows no credentials."""
    assert (
        closing_lines(replace(facts(), wall_s=0), "ftp://me:pw@host/r.html")[-1]
        == "  report  ftp://host/r.html"
    )


@pytest.mark.parametrize(
    ("calls", "answered", "words"),
    [
        (1, 0, "the weak endpoint failed its only row and has answered none, so its base_url"),
        (50, 0, "the weak endpoint failed all its 50 rows and has answered none, so its base_url"),
        (50, 3, "the weak endpoint failed all its 50 rows: it answers, but no answer is of use"),
    ],
)
def test_an_endpoint_that_failed_every_row_is_named(calls: int, answered: int, words: str) -> None:
    """With how many rows that were, and what to do where it has answered none."""
    assert failing_words("weak endpoint", RouteTotals(calls, answered=answered)).startswith(words)
