"""The parts of ``report/cost.json`` that are not there in every run, as plain data. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from routellm_batch.budget.pricing import usd_text
from routellm_batch.budget.selection.cut import Outlook
from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.budget.spend.observed_lengths import HIGH, LOW, Heard
from routellm_batch.budget.spend.projection import WHOLE
from routellm_batch.core.types import ROUTES
from routellm_batch.reporting.text import public_uri
from routellm_batch.reporting.views import DegradeView, PilotView, QualityView


def degrade_json(one: DegradeView) -> dict[str, Any]:
    """Return a further plan."""
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


def embedding_json(use: EmbeddingUse) -> dict[str, Any]:
    """Return what embeddings took."""
    return {
        "model": use.model,
        "requests": use.requests,
        "attempts": use.attempts,
        "tokens": use.tokens,
        "spent_usd": usd_text(use.spent_nano),
        "presumed_usd": usd_text(use.presumed_nano),
    }


def band_json(outlook: Outlook | None) -> dict[str, Any]:
    """Return P10 and P90 of the planned cost, where a pilot's token counts tell them."""
    if outlook is None or outlook.low_nano is None or outlook.high_nano is None:
        return {}
    return {"planned_p10_usd": usd_text(outlook.low_nano), "planned_p90_usd": usd_text(outlook.high_nano)}


def estimates_json(heard: Heard) -> dict[str, Any]:
    """Return what an endpoint's answers taught."""
    return {
        "tokens_per_char": heard.tokens_per_char,
        **{f"output_p{round(100 * q)}": heard.output_tokens(q) for q in (LOW, 0.5, HIGH)},
        "p10_p90_coverage": heard.coverage,
        "judged": heard.judged,
    }


def pilot_json(pilot: PilotView) -> dict[str, Any]:
    """Return the pilot that a run took."""
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


def quality_json(quality: QualityView) -> dict[str, Any]:
    """Return predicted beside achieved grades."""
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
