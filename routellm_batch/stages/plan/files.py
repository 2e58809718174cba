"""Where a run's plans lie, ``plan.json`` and those made anew, and how the newest is read."""

from __future__ import annotations

from itertools import count
from typing import Any

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.prices import Totals
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.selection.cut import NONE_STRONG
from routellm_batch.config.job import BudgetConfig
from routellm_batch.core.types import ROUTES
from routellm_batch.storage.run import Run


def empty_plan(budget: BudgetConfig) -> Plan:
    """Return a plan of no rows: all that is known of a run before its rows are scored."""
    asked = {"strong_share": budget.strong_share, "usd": budget.usd, "recover": budget.recover}
    mode, value = next((name, value) for name, value in asked.items() if value is not None)
    cap = budget.hard_cap_usd
    return Plan(
        cut=NONE_STRONG,
        valid=0,
        invalid=0,
        strong=0,
        asked={"mode": mode, "value": str(value)},
        endpoints={route: Totals() for route in ROUTES},
        all_strong_nano=0,
        all_weak_nano=0,
        cap_nano=None if cap is None else usd_to_nano(cap),
        degraded=None,
        frontier=[],
        histogram=[],
        copy_shards=[],
        copies=0,
        goal_nano=None if budget.usd is None else usd_to_nano(budget.usd),
    )


def plan_path(number: int) -> str:
    """Return the path of a plan: 0 is the first, others were made anew under a lower cap, before any call."""
    return "plan.json" if number == 0 else f"plan.r{number}.json"


def load_plan(run: Run) -> Plan | None:
    """Return the run's newest plan; None if it has none yet."""
    fields = newest_plan(run)[1]
    return None if fields is None else Plan.from_json(fields)


def newest_plan(run: Run) -> tuple[int, dict[str, Any] | None]:
    """Return the number of the next plan, and the fields of the newest; None if there is none yet."""
    newest: dict[str, Any] | None = None
    for number in count():
        fields = run.read_json(plan_path(number))
        if fields is None:
            return number, newest
        newest = fields
    raise AssertionError  # ``count`` has no end.
