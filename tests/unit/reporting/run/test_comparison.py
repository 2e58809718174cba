"""What all answers would have cost on one endpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.report_facts import ENDPOINTS, NO_CALLS, calls, facts, pilot_view

from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.budget.spend.summary import CallSummary, RouteTotals
from routellm_batch.core.types import Usage
from routellm_batch.reporting.run.comparison import Saving, counterfactual_nano, saving


def test_counterfactual_by_hand() -> None:
    """All strong costs what strong did cost, plus weak's tokens and strong's answers at strong's prices."""
    # 0.2655 spent; 74,000 in at 2.50 = 0.185; 739 answers of 20,800 / 258 tokens, together 59,578, at 10.
    assert counterfactual_nano(facts(), "strong") == 265_500_000 + 185_000_000 + 595_780_000
    # 0.037 spent; 26,000 in at 0.10 = 0.0026; 258 answers of 74,000 / 739 tokens, together 25,835, at 0.40.
    assert counterfactual_nano(facts(), "weak") == 37_000_000 + 2_600_000 + 10_334_000


def test_answers_taken_over_count_as_those_made_here() -> None:
    """As many answers again, taken over from a pilot, and all on one endpoint would have cost twice as much."""
    routes = facts().calls.routes
    taken = {
        route: replace(totals, calls=2 * totals.calls, taken=totals.calls) for route, totals in routes.items()
    }
    seen = facts(calls=replace(facts().calls, routes=taken))
    for route in ("strong", "weak"):
        assert 2 * counterfactual_nano(facts(), route) == pytest.approx(
            counterfactual_nano(seen, route), rel=2e-3
        )


def test_without_a_call_of_an_endpoint_its_answers_taken_over_count_as_planned() -> None:
    """All strong answers were the pilot's: with every answer on the weak one, each of them costs as the others there did."""
    routes = facts().calls.routes
    strong = replace(
        routes["strong"], taken=routes["strong"].calls, usage=Usage(), spent_nano=0, latency_bins={}
    )
    seen = facts(calls=replace(facts().calls, routes={**routes, "strong": strong}))
    weak = routes["weak"]
    assert counterfactual_nano(seen, "weak") == weak.spent_nano + round(
        weak.spent_nano * strong.calls / weak.answered_here
    )


def test_counterfactual_of_an_endpoint_never_heard() -> None:
    """Where no answer was seen, the length that the plan expects counts."""
    routes = {
        "strong": RouteTotals(),
        "weak": RouteTotals(10, 10, Usage(1000, 0, 500), 300_000, latency_bins={40: 10}),
    }
    only_weak = facts(calls=CallSummary(ok=10, routes=routes))
    expected = 1000 * 2_500 + 10 * ENDPOINTS["strong"].expected_output_tokens * 10_000
    assert counterfactual_nano(only_weak, "strong") == expected


def test_counterfactual_of_nothing() -> None:
    """Before the first call there is nothing to compare."""
    assert [counterfactual_nano(facts(calls=NO_CALLS), route) for route in ("strong", "weak")] == [0, 0]


def test_cached_tokens_stay_cached() -> None:
    """Input that one endpoint read from its cache counts at the other's price for cached input."""
    routes = {
        "strong": RouteTotals(),
        "weak": RouteTotals(1, 1, Usage(1000, 1000, 0), 0, latency_bins={40: 1}),
    }
    only_weak = facts(calls=CallSummary(ok=1, routes=routes))
    assert counterfactual_nano(only_weak, "strong") == 1000 * 1_250 + 100 * 10_000


def test_a_saving_counts_everything_that_was_spent_and_is_presumed() -> None:
    """From what all strong would have cost, calls, embeddings, the run's own pilot and what is presumed are taken."""
    strong = counterfactual_nano(facts(), "strong")
    pilot = replace(pilot_view(), here=True, spent_nano=70_000_000, presumed_nano=3_000_000)
    paid = facts(pilot=pilot, embedding=EmbeddingUse("e", spent_nano=5_000_000, presumed_nano=1_000_000))
    assert saving(facts()) == Saving(strong, 302_500_000, 1_250_000)
    assert saving(paid) == Saving(strong, 302_500_000 + 75_000_000, 1_250_000 + 4_000_000)
    assert saving(facts(pilot=replace(pilot, here=False))) == saving(facts()), (
        "another run paid for that pilot"
    )


def test_a_saving_is_never_more_than_its_parts() -> None:
    """What may have been billed goes off; where that is much, the saving is between two sums."""
    assert Saving(1000, 300, 50).nano == 650
    assert not Saving(1000, 300, 50).is_loose
    assert Saving(1000, 300, 51).is_loose
    assert (Saving(1000, 900, 200).nano, Saving(1000, 900, 200).most_nano) == (-100, 100)


def test_a_run_that_answered_nothing_saved_nothing() -> None:
    """Every row failed: all strong has no cost to compare with, so nothing is saved."""
    lost = {
        route: replace(totals, usage=Usage(), spent_nano=0, latency_bins={})
        for route, totals in calls().routes.items()
    }
    none = facts(calls=calls(ok=0, failed=1000, routes=lost))
    assert saving(none) is None
    assert [counterfactual_nano(none, route) for route in ("strong", "weak")] == [0, 0]


def test_rows_that_failed_are_not_compared() -> None:
    """Half of the weak calls failed: all strong counts the other half's answers."""
    routes = dict(calls().routes)
    weak = routes["weak"]
    half = replace(weak, usage=Usage(37_000, 0, 37_000), latency_bins={30: 370})
    made = counterfactual_nano(
        facts(calls=calls(ok=630, failed=370, routes={**routes, "weak": half})), "strong"
    )
    assert made == 265_500_000 + 92_500_000 + 10_000 * 29_829  # 370 answers of 20,800 / 258 tokens
