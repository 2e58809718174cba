"""What all answers would have cost on one endpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.report_facts import ENDPOINTS, NO_CALLS, facts

from routellm_batch.budget.spend.summary import CallSummary, RouteTotals
from routellm_batch.core.types import Usage
from routellm_batch.reporting.run.comparison import compared_nano, counterfactual_nano


def test_counterfactual_by_hand() -> None:
    """All strong costs what strong did cost, plus weak's tokens and strong's answers at strong's prices."""
    # 0.2655 spent; 74,000 in at 2.50 = 0.185; 740 answers of 80 tokens at 10 = 0.592.
    assert counterfactual_nano(facts(), "strong") == 265_500_000 + 185_000_000 + 592_000_000
    # 0.037 spent; 26,000 in at 0.10 = 0.0026; 260 answers of 100 tokens at 0.40 = 0.0104.
    assert counterfactual_nano(facts(), "weak") == 37_000_000 + 2_600_000 + 10_400_000


def test_answers_taken_over_count_as_those_made_here() -> None:
    """As many answers again, taken over from a pilot, and all on one endpoint would have cost twice as much."""
    routes = facts().calls.routes
    taken = {
        route: replace(totals, calls=2 * totals.calls, taken=totals.calls) for route, totals in routes.items()
    }
    seen = facts(calls=replace(facts().calls, routes=taken))
    for route in ("strong", "weak"):
        assert 2 * counterfactual_nano(facts(), route) == pytest.approx(
            counterfactual_nano(seen, route), abs=2
        )
    assert 2 * compared_nano(facts()) == pytest.approx(compared_nano(seen), abs=2)


def test_without_a_call_of_an_endpoint_its_answers_taken_over_count_as_planned() -> None:
    """All strong answers were the pilot's: with every answer on the weak one, each of them costs as the others there did."""
    routes = facts().calls.routes
    strong = replace(routes["strong"], taken=routes["strong"].calls, usage=Usage(), spent_nano=0)
    seen = facts(calls=replace(facts().calls, routes={**routes, "strong": strong}))
    weak = routes["weak"]
    assert counterfactual_nano(seen, "weak") == weak.spent_nano + round(
        weak.spent_nano * strong.calls / weak.calls
    )


def test_counterfactual_of_an_endpoint_never_heard() -> None:
    """Where no answer was seen, the length that the plan expects counts."""
    routes = {"strong": RouteTotals(), "weak": RouteTotals(10, 10, Usage(1000, 0, 500), 300_000)}
    only_weak = facts(calls=CallSummary(ok=10, routes=routes))
    expected = 1000 * 2_500 + 10 * ENDPOINTS["strong"].expected_output_tokens * 10_000
    assert counterfactual_nano(only_weak, "strong") == expected


def test_counterfactual_of_nothing() -> None:
    """Before the first call there is nothing to compare."""
    assert [counterfactual_nano(facts(calls=NO_CALLS), route) for route in ("strong", "weak")] == [0, 0]


def test_cached_tokens_stay_cached() -> None:
    """Input that one endpoint read from its cache counts at the other's price for cached input."""
    routes = {"strong": RouteTotals(), "weak": RouteTotals(1, 1, Usage(1000, 1000, 0), 0)}
    only_weak = facts(calls=CallSummary(ok=1, routes=routes))
    assert counterfactual_nano(only_weak, "strong") == 1000 * 1_250 + 100 * 10_000
