"""cost.json and the counterfactuals."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from helpers.report_facts import ENDPOINTS, NO_CALLS, calls, facts, huge, plan

from routellm_batch.budget.pricing import NANO
from routellm_batch.budget.spend.summary import CallSummary, RouteTotals
from routellm_batch.config.job import check_config
from routellm_batch.core.types import Usage
from routellm_batch.reporting.run.comparison import compared_nano, counterfactual_nano
from routellm_batch.reporting.run.cost_json import cost_json
from routellm_batch.reporting.run.facts import run_facts


def test_contract() -> None:
    """Every key of the contract is there with its value."""
    written = cost_json(facts())
    wanted = {
        "rows": {"valid": 1000, "invalid": 2, "ok": 997, "failed": 3, "unfunded": 0},
        "share": {"asked": 0.26, "achieved": 0.26},
        "planned_usd": "0.356080000",
        "spent_usd": "0.302500000",
        "presumed_usd": "0.001250000",
        "cap_usd": None,
        "counterfactual_usd": {"all_strong": "1.042500000", "all_weak": "0.050000000"},
        "wall_s": 12.5,
    }
    endpoints = {
        "strong": {
            "calls": 260,
            "attempts": 270,
            "input_tokens": 26_000,
            "cached_input_tokens": 6_000,
            "output_tokens": 20_800,
            "planned_usd": "0.325000000",
            "spent_usd": "0.265500000",
            "presumed_usd": "0.001250000",
        },
        "weak": {
            "calls": 740,
            "attempts": 745,
            "input_tokens": 74_000,
            "cached_input_tokens": 0,
            "output_tokens": 74_000,
            "planned_usd": "0.031080000",
            "spent_usd": "0.037000000",
            "presumed_usd": "0.000000000",
        },
    }
    written["rows"] = {key: written["rows"][key] for key in wanted["rows"]}  # type: ignore[attr-defined]
    found_ends = {r: {key: written["endpoints"][r][key] for key in endpoints[r]} for r in endpoints}
    assert {key: written[key] for key in wanted} == wanted
    assert found_ends == endpoints


def test_sums_add_up() -> None:
    """The endpoints' planned, spent and presumed dollars sum to the run's."""
    for written in (cost_json(facts()), cost_json(huge())):
        for key in ("planned_usd", "spent_usd", "presumed_usd"):
            total = sum(Decimal(end[key]) for end in written["endpoints"].values())
            assert total == Decimal(written[key])


def test_plain_json() -> None:
    """cost.json survives JSON unchanged, huge sums with all their decimals."""
    written = cost_json(huge())
    assert json.loads(json.dumps(written)) == written
    assert written["spent_usd"] == "1234567.000000000"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"plan": plan(asked={"mode": "usd", "value": "5"})}, {"asked": None, "achieved": 0.26}),
        ({"calls": NO_CALLS}, {"asked": 0.26, "achieved": None}),
        ({"calls": CallSummary(ok=3, failed=1, strong_rows=0)}, {"asked": 0.26, "achieved": 0.0}),
    ],
)
def test_share(changes: dict[str, Any], expected: dict[str, float | None]) -> None:
    """No share was asked for in dollars, and none is achieved before the first row."""
    assert cost_json(facts(**changes))["share"] == expected


def test_pending_rows() -> None:
    """Rows that a stopped run left for its resume are pending, those without a budget are not."""
    stopped = facts(state="budget", calls=calls(ok=400, failed=3, unfunded=500))
    rows = cost_json(stopped)["rows"]
    assert (rows["unfunded"], rows["pending"]) == (500, 97)


@pytest.mark.parametrize(
    ("state", "failed", "expected"),
    [
        ("finished", 0, 0),
        ("finished", 1, 3),
        ("budget", 0, 4),
        ("budget", 1, 4),
        ("errors", 9, 5),
        ("interrupted", 0, 75),
    ],
)
def test_exit_code(state: str, failed: int, expected: int) -> None:
    """The exit code follows from how the run ended."""
    assert facts(state=state, calls=calls(failed=failed)).exit_code == expected


def test_cap_and_degraded_are_written() -> None:
    """A hard cap is in dollars, and what it took away is told."""
    lowered = {
        "reason": "planned cost was above hard_cap_usd",
        "planned_usd": "2.000000000",
        "strong_rows": "900",
    }
    written = cost_json(facts(plan=plan(cap_nano=NANO // 2, degraded=lowered)))
    assert (written["cap_usd"], written["degraded"]) == ("0.500000000", lowered)


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


def test_facts_of_a_config() -> None:
    """Facts come from the config without its keys and credentials."""
    ends = {
        name: {
            "kind": "openai",
            "base_url": "https://api.example.com/v1",
            "api_key": "env:SECRET_NAME",
            "model": f"{name}-model",
            "price": {"input": Decimal(1), "output": Decimal(2)},
        }
        for name in ("strong", "weak")
    }
    tree = {
        "run": {"id": "x", "root": "out"},
        "input": {"uri": "ftp://me@host/in.parquet", "columns": {"prompt": "prompt"}},
        "budget": {"strong_share": Decimal("0.5")},
        "endpoints": ends,
    }
    config = check_config(tree, source="test")
    made = run_facts(
        config, run_id="x", run_uri="out/runs/x", plan=plan(), calls=calls(), wall_s=1.0, state="finished"
    )
    assert made.endpoints["weak"].model == "weak-model"
    assert made.settings["Input"] == "ftp://host/in.parquet"
    assert "SECRET_NAME" not in repr(made)
