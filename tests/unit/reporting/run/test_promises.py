"""Promises that a run missed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.report_facts import calls, facts, plan, plan_with_pilot

from routellm_batch.budget.plan import Plan
from routellm_batch.reporting.run.html import render_report
from routellm_batch.reporting.run.promises import missed_promises
from routellm_batch.reporting.run.wording import closing_lines


def spent(times: float, **changes: Any) -> Any:
    """Return the usual calls at a multiple of the planned cost."""
    routes = {
        route: replace(totals, spent_nano=round(times * plan().endpoints[route].planned_nano))
        for route, totals in calls().routes.items()
    }
    return calls(routes=routes, **changes)


@pytest.mark.parametrize(
    ("made", "times", "missed"),
    [
        (plan(), 1.0, False),
        (plan(), 1.19, False),
        (plan(), 1.21, True),
        (plan(), 0.3, False),
        (plan_with_pilot(), 1.09, False),  # its P90 is a tenth above
        (plan_with_pilot(), 1.11, True),
    ],
)
def test_a_plan_overspent_by_more_than_its_band(made: Plan, times: float, *, missed: bool) -> None:
    """A plan's band is its pilot's P90, or a fifth without a pilot; what lies above is said first, on page and terminal."""
    run = facts(plan=made, calls=spent(times))
    said = missed_promises(run)
    assert missed == bool(said)
    assert said == [
        line.removeprefix("  missed  ") for line in closing_lines(run, "x") if "  missed  " in line
    ]
    if said:
        page = render_report(run)
        assert page.index('<p class="banner bad">') < page.index('<dl class="tiles">')
        assert "that were planned" in page


def test_a_dollar_budget_that_was_passed_is_named() -> None:
    """The sentence has both sums, the setting, and what to do."""
    run = facts(plan=plan(asked={"mode": "usd", "value": "0.36"}), calls=spent(3.1))
    assert "\n".join(missed_promises(run)) == (
        "The answers cost $1.10, 3.1 times the $0.356 that were planned for budget.usd=0.36. For the next run, put "
        "estimate.lengths_from: latest below both endpoints, and set budget.hard_cap_usd, which is never exceeded."
    )


def test_nothing_is_promised_before_the_first_answer() -> None:
    """A run that answered nothing has overspent no plan."""
    assert missed_promises(facts(calls=calls(ok=0))) == []
