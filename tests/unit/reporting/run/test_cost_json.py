"""cost.json: its keys, its sums and its exit codes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from helpers.report_facts import NO_CALLS, calls, facts, huge, plan

from routellm_batch.budget.pricing import NANO
from routellm_batch.budget.spend.summary import CallSummary
from routellm_batch.reporting.run.cost_json import cost_json


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
        "counterfactual_usd": {"all_strong": "1.046280000", "all_weak": "0.049934000"},
        "saved_usd": "0.742530000",
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
