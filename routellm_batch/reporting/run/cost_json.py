"""``report/cost.json``: the figures of a run for programs. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from routellm_batch.budget.frontier import Prediction
from routellm_batch.budget.plan import Degrade
from routellm_batch.budget.pricing import usd_text
from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.budget.spend.observed_lengths import HIGH, LOW, ObservedLengths
from routellm_batch.budget.spend.projection import WHOLE
from routellm_batch.core.types import ROUTES, STRONG, Route
from routellm_batch.reporting.quality_view import PilotView, QualityView
from routellm_batch.reporting.run.comparison import counterfactual_nano, saving
from routellm_batch.reporting.run.facts import LabelFacts, RunFacts
from routellm_batch.reporting.run.failures import failures_json
from routellm_batch.reporting.text import public_uri


def cost_json(facts: RunFacts) -> dict[str, Any]:
    """Return the content of ``report/cost.json``, whose keys docs/contract.md lists.

    Dollars are decimal strings with nine decimals; shares and seconds are numbers. ``share.asked`` is null where dollars
    were asked for, ``share.achieved`` where no row is done, ``cap_usd`` where there is no cap. The keys ``embedding`` and
    ``pilot`` exist where a paid embedder or a pilot is used. ``spent_usd`` and ``presumed_usd`` of the run include the
    embeddings, and the pilot where its key ``here`` says that the run made it. ``quality`` holds the grades that the pilot
    predicted and those of the run's own answers. ``saved_usd`` is all strong less all that was spent and is presumed; null
    where no row was answered. ``labels`` is there for a label job.
    """
    plan, calls = facts.plan, facts.calls
    embedding = {} if facts.embedding is None else {"embedding": _embedding_json(facts.embedding)}
    pilot = {} if facts.pilot is None else {"pilot": _pilot_json(facts.pilot)}
    quality = {} if facts.quality is None else {"quality": _quality_json(facts.quality)}
    made = saving(facts)
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
            STRONG: calls.strong_rows,
            "copies": calls.copies,
            "truncated": sum(calls.truncated.values()),
        },
        "asked": dict(plan.asked),
        "share": {"asked": facts.asked_share, "achieved": facts.achieved_share},
        "endpoints": {route: _endpoint_json(facts, route) for route in ROUTES},
        "planned_usd": usd_text(plan.planned_nano),
        **_planned_interval_json(plan.outlook),
        **embedding,
        **pilot,
        "spent_usd": usd_text(facts.spent_nano),
        "presumed_usd": usd_text(facts.presumed_nano),
        "cap_usd": None if plan.cap_nano is None else usd_text(plan.cap_nano),
        "counterfactual_usd": {
            f"all_{route}": usd_text(counterfactual_nano(facts, route)) for route in ROUTES
        },
        "saved_usd": None if made is None else usd_text(made.nano),
        "degraded": None if plan.degraded is None else dict(plan.degraded),
        "degraded_running": [_degrade_json(one) for one in facts.degrades],
        "errors": dict(sorted(calls.errors.items())),
        "invalid_rows": dict(plan.invalid_kinds),
        **quality,
        **({} if facts.labels is None else {"labels": _labels_json(facts.labels)}),
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
        "truncated": facts.calls.truncated.get(route, 0),
        "uncounted": totals.uncounted,
        **failures_json(facts, route),
        "estimates": _estimates_json(totals.heard),
    }


def _labels_json(labels: LabelFacts) -> dict[str, Any]:
    """Return how often each label was given, and how many answers were asked for again or gave none."""
    return {
        "column": labels.column,
        "labelled": labels.labelled,
        "given": dict(labels.given),
        "others": labels.others,
        "reasked": labels.reasked,
        "invalid": dict(labels.invalid),
    }


def _degrade_json(one: Degrade) -> dict[str, Any]:
    """Return a lower plan that was made while the run was under way."""
    return {
        "at": one.at,
        "reason": one.reason,
        "rows": one.moved,
        "kept_strong": one.kept,
        "threshold": one.cut.threshold,
        "cost_ratio": {route: one.ratio_ppm[route] / WHOLE for route in ROUTES},
        "spent_usd": usd_text(one.spent_nano),
        "projected_usd": usd_text(one.projected_nano),
        "lowered_usd": usd_text(one.lowered_nano),
    }


def _embedding_json(use: EmbeddingUse) -> dict[str, Any]:
    """Return what embeddings used and cost."""
    return {
        "model": use.model,
        "requests": use.requests,
        "attempts": use.attempts,
        "tokens": use.tokens,
        "spent_usd": usd_text(use.spent_nano),
        "presumed_usd": usd_text(use.presumed_nano),
    }


def _planned_interval_json(outlook: Prediction | None) -> dict[str, Any]:
    """Return P10 and P90 of the planned cost, where a pilot has the token counts for them."""
    if outlook is None or outlook.low_nano is None or outlook.high_nano is None:
        return {}
    return {"planned_p10_usd": usd_text(outlook.low_nano), "planned_p90_usd": usd_text(outlook.high_nano)}


def _estimates_json(observed: ObservedLengths) -> dict[str, Any]:
    """Return the lengths of an endpoint's answers, as observed while the run was under way."""
    return {
        "tokens_per_char": observed.tokens_per_char,
        **{f"output_p{round(100 * q)}": observed.output_tokens(q) for q in (LOW, 0.5, HIGH)},
        "p10_p90_coverage": observed.coverage,
        "judged": observed.judged,
    }


def _pilot_json(pilot: PilotView) -> dict[str, Any]:
    """Return the pilot that the run used."""
    return {
        "uri": public_uri(pilot.uri),
        "here": pilot.here,
        "made": pilot.made,
        "rows": pilot.rows,
        "labelled": pilot.labelled,
        "grader": pilot.grader,
        "chosen": pilot.chosen,
        "reason": pilot.reason,
        "note": pilot.note,
        "spent_usd": usd_text(pilot.spent_nano),
        "presumed_usd": usd_text(pilot.presumed_nano),
    }


def _quality_json(quality: QualityView) -> dict[str, Any]:
    """Return the predicted and the achieved grades."""
    predicted, achieved = quality.predicted, quality.achieved
    return {
        "predicted": None if predicted is None else asdict(predicted),
        "achieved": None if achieved is None else asdict(achieved),
        "strong_mean": quality.strong_mean,
        "weak_mean": quality.weak_mean,
        "pgr": quality.pgr,
        "unseen": None if quality.unseen is None else asdict(quality.unseen),
        "unseen_pgr": quality.unseen_pgr,
        "problems": dict(sorted(quality.problems.items())),
    }
