"""``plan.json``: what a run will do, as planning writes it and every later stage reads it."""

from __future__ import annotations

from itertools import count
from typing import Any

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.prices import Totals
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.selection.cut import NONE_STRONG
from routellm_batch.config.job import Config
from routellm_batch.core.types import ROUTES
from routellm_batch.storage.run import Run


def empty_plan(config: Config) -> Plan:
    """Return a plan of no rows: what is known of a run before its scores are."""
    mode = next(
        name for name in ("strong_share", "usd", "recover") if getattr(config.budget, name) is not None
    )
    cap = config.budget.hard_cap_usd
    return Plan(
        cut=NONE_STRONG,
        valid=0,
        invalid=0,
        strong=0,
        asked={"mode": mode, "value": str(getattr(config.budget, mode))},
        endpoints={route: Totals() for route in ROUTES},
        all_strong_nano=0,
        all_weak_nano=0,
        cap_nano=None if cap is None else usd_to_nano(cap),
        degraded=None,
        frontier=[],
        histogram=[],
        copy_shards=[],
        copies=0,
    )


def plan_path(number: int) -> str:
    """Path of a plan: 0 is the first, others were made anew under a lower cap, before any call."""
    return "plan.json" if number == 0 else f"plan.r{number}.json"


def load_plan(run: Run) -> Plan | None:
    """Return the run's newest plan, or None if it has none yet."""
    fields = newest_plan(run)[1]
    return None if fields is None else Plan.from_json(fields)


def newest_plan(run: Run) -> tuple[int, dict[str, Any] | None]:
    """Return the number of the plan to come, and the fields of the newest that is there."""
    newest: dict[str, Any] | None = None
    for number in count():
        fields = run.read_json(plan_path(number))
        if fields is None:
            return number, newest
        newest = fields
    raise AssertionError  # numbers don't end
