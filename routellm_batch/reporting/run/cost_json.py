"""``report/cost.json`` (design §4). Pure."""

from __future__ import annotations

from typing import Any

from routellm_batch.budget.pricing import usd_text
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.reporting.comparison import counterfactual_nano
from routellm_batch.reporting.cost_parts import (
    band_json,
    degrade_json,
    embedding_json,
    estimates_json,
    pilot_json,
    quality_json,
)
from routellm_batch.reporting.run.facts import RunFacts


def cost_json(facts: RunFacts) -> dict[str, Any]:
    """Return ``report/cost.json`` (design §4) and a few keys more.

    Dollars are decimal strings with nine decimals, shares and seconds JSON numbers; ``share.asked`` is null where
    dollars were asked for, ``share.achieved`` where no row is done, ``cap_usd`` where there is no cap. ``embedding``
    is there where a paid embedder is used, ``pilot`` where there is a pilot; ``spent_usd`` and ``presumed_usd`` of the
    run include the first, and the second where ``here`` says that the run made it. ``quality`` holds grades: what the
    pilot foretold, and what the run's own answers were given.
    """
    plan, calls = facts.plan, facts.calls
    embedding = {} if facts.embedding is None else {"embedding": embedding_json(facts.embedding)}
    pilot = {} if facts.pilot is None else {"pilot": pilot_json(facts.pilot)}
    quality = {} if facts.quality is None else {"quality": quality_json(facts.quality)}
    return {
        "format": 1,
        "run_id": facts.run_id,
        "run_uri": facts.run_uri,
        "state": facts.state,
        "exit_code": facts.exit_code,
        "stop_reason": facts.stop_reason,
        "rows": {
            "valid": plan.valid,
            "invalid": plan.invalid,
            "ok": calls.ok,
            "failed": calls.failed,
            "unfunded": calls.unfunded,
            "pending": facts.pending,
            "strong": calls.strong_rows,
            "copies": calls.copies,
        },
        "asked": dict(plan.asked),
        "share": {"asked": facts.asked_share, "achieved": facts.achieved_share},
        "endpoints": {route: _endpoint_json(facts, route) for route in ROUTES},
        "planned_usd": usd_text(plan.planned_nano),
        **band_json(plan.outlook),
        **embedding,
        **pilot,
        "spent_usd": usd_text(facts.spent_nano),
        "presumed_usd": usd_text(facts.presumed_nano),
        "cap_usd": None if plan.cap_nano is None else usd_text(plan.cap_nano),
        "counterfactual_usd": {
            f"all_{route}": usd_text(counterfactual_nano(facts, route)) for route in ROUTES
        },
        "degraded": None if plan.degraded is None else dict(plan.degraded),
        "degraded_running": [degrade_json(one) for one in facts.degrades],
        "errors": dict(sorted(calls.errors.items())),
        **quality,
        "wall_s": round(facts.wall_s, 3),
    }


def _endpoint_json(facts: RunFacts, route: Route) -> dict[str, Any]:
    totals = facts.calls.routes[route]
    return {
        "model": facts.endpoints[route].model,
        "calls": totals.calls,
        "taken_over": totals.taken,
        "attempts": totals.attempts,
        "input_tokens": totals.usage.input_tokens,
        "cached_input_tokens": totals.usage.cached_input_tokens,
        "output_tokens": totals.usage.output_tokens,
        "planned_usd": usd_text(facts.plan.endpoints[route].planned_nano),
        "spent_usd": usd_text(totals.spent_nano),
        "presumed_usd": usd_text(totals.presumed_nano),
        "estimates": estimates_json(totals.heard),
    }
