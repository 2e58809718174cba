"""What a pilot predicts of a run's plan: which cut holds a target, what the plan brings, and how sure its cost is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.pricing import CallPrice
from routellm_batch.budget.quality.forecast import PilotPredictor, build_predictor
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.ranking import Order
from routellm_batch.config.job import BudgetConfig
from routellm_batch.core.errors import BudgetError
from routellm_batch.core.types import Route
from routellm_batch.stages.plan.gather import Gathered

SAMPLE_ROWS = 65_536
"""Rows that show how a job's scores are spread; all of them, if there are no more."""
CONFIDENCE = Decimal("0.9")
"""Of ``budget.recover``, where the config gives none."""


def refuse_unmeasured(budget: BudgetConfig, pilot: PilotFacts | None) -> None:
    """Refuse a budget that needs a measurement which the pilot has not: its calibration, or its token counts.

    Raises:
        BudgetError: there is no such measurement; the message says what to do.

    """
    if pilot is None and budget.recover is not None:
        message = (
            "budget.recover needs a pilot with enough labels to measure the gain on; raise pilot.rows, fix what leaves "
            "its rows without a grade, or give strong_share or usd"
        )
        raise BudgetError(message)
    if budget.order == "gain_per_dollar" and (pilot is None or pilot.lengths is None):
        message = "budget.order=gain_per_dollar needs a pilot whose answers' tokens were counted; or use order=score"
        raise BudgetError(message)


def job_predictor(
    budget: BudgetConfig, prices: Mapping[Route, CallPrice], gathered: Gathered, pilot: PilotFacts | None
) -> PilotPredictor | None:
    """Return what the pilot predicts of this job; None without one.

    Args:
        budget: of the job.
        prices: route → what a call is priced by.
        gathered: the job's scored rows.
        pilot: its calibration and token counts.

    Raises:
        BudgetError: the budget needs a measurement which the pilot has not.

    """
    refuse_unmeasured(budget, pilot)
    if pilot is None:
        return None
    return build_predictor(
        pilot.calibration,
        pilot.lengths,
        prices,
        _order(budget, counted=pilot.lengths is not None),
        sample_scores(gathered),
        rows=gathered.valid,
        prove=budget.order == "auto",
    )


def _order(budget: BudgetConfig, *, counted: bool) -> Order:
    if budget.order == "auto":
        return "gain_per_dollar" if budget.usd is not None and counted else "score"
    return budget.order


def sample_scores(gathered: Gathered) -> NDArray[np.float32]:
    """Return the scores of all rows, float32 [B]; of more than 65,536 those with the lowest hashes, a fair sample."""
    ties, keys = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32)
    for bucket in gathered.content.buckets():
        ties = np.concatenate([ties, bucket.rows["tie"]])
        keys = np.concatenate([keys, bucket.rows["key"]])
        if len(ties) > SAMPLE_ROWS:
            lowest = np.argpartition(ties, SAMPLE_ROWS)[:SAMPLE_ROWS]
            ties, keys = ties[lowest], keys[lowest]
    return keys.view(np.float32)


def pilot_fields(pilot: PilotFacts) -> dict[str, Any]:
    """Return what a plan keeps of its pilot, as plain data."""
    calibration = pilot.calibration
    return {"uri": pilot.uri, "rows": len(calibration), "kind": calibration.kind, "note": calibration.note}


def choose_recover(budget: BudgetConfig, predictor: PilotPredictor) -> RecoverChoice:
    """Return the least strong share that holds ``budget.recover``.

    Raises:
        BudgetError: none does; the message says what the best share can hold.

    """
    confidence = budget.confidence or CONFIDENCE
    choice = predictor.recover(float(budget.recover or 0), float(confidence))
    if choice.share is not None:
        return choice
    gap, rows = predictor.calibration.gap, len(predictor.calibration)
    best = (
        f"the best that a cut can hold is {choice.best:.2f}"
        if choice.best > 0
        else "no cut can hold any part"
    )
    message = (
        f"budget.recover={budget.recover} can't be held with confidence {confidence}: on the pilot's {rows} labelled "
        f"rows the strong model is better by {gap:.4f} on average, for certain only by {choice.gap_lo:.4f}, and {best}; "
        "label more rows, lower recover or confidence, or give strong_share or usd"
    )
    raise BudgetError(message)


def with_predictions(
    predictor: PilotPredictor, points: Sequence[FrontierPoint], weak_nano: int, strong_nano: int
) -> list[FrontierPoint]:
    """Return points of the frontier, or the plan as one, with what the pilot predicts of them.

    Args:
        predictor: what the pilot predicts of the job.
        points: share and expected cost.
        weak_nano: expected cost of the run, all weak.
        strong_nano: expected cost of the run, all strong.

    """
    shares = [point.share for point in points]
    intervals: Sequence[tuple[float, float] | None] = predictor.cost_interval(shares) or [None] * len(points)
    lines = zip(points, predictor.quality(shares), predictor.random(shares), intervals, strict=True)
    return [
        replace(
            point,
            outlook=Prediction(
                quality,
                chance,
                None if interval is None else round(interval[0] * point.planned_nano),
                None if interval is None else round(interval[1] * point.planned_nano),
                weak_nano + round(point.share * (strong_nano - weak_nano)),
            ),
        )
        for point, quality, chance, interval in lines
    ]
