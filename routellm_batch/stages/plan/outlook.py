"""What a pilot says of a run's plan: which cut holds a target, what the plan brings, and how sure its cost is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import Ends
from routellm_batch.budget.frontier import FrontierPoint, Outlook
from routellm_batch.budget.quality.forecast import Foresight, foresee
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.ranking import Order
from routellm_batch.config.job import BudgetConfig, Config
from routellm_batch.core.errors import BudgetError
from routellm_batch.core.types import ROUTES
from routellm_batch.stages.plan.gather import Gathered

SAMPLE_ROWS = 65_536
"""As many rows as this say how a job's scores are spread; all of them, if there are no more."""
CONFIDENCE = Decimal("0.9")


def refuse_unmeasured(budget: BudgetConfig, pilot: PilotFacts | None) -> None:
    """Refuse a budget that needs what there is not: a pilot's calibration, or its token counts.

    Raises:
        BudgetError: saying what to do.

    """
    if pilot is None and budget.recover is not None:
        message = (
            "budget.recover needs a pilot with enough labels to measure the gain on; raise pilot.rows, mend what leaves "
            "its rows without a grade, or give strong_share or usd"
        )
        raise BudgetError(message)
    if budget.order == "gain_per_dollar" and (pilot is None or pilot.lengths is None):
        message = "budget.order=gain_per_dollar needs a pilot whose answers' tokens were counted; or use order=score"
        raise BudgetError(message)


def look_ahead(config: Config, gathered: Gathered, pilot: PilotFacts | None) -> Foresight | None:
    """Return the pilot as seen from this job; None without one.

    Raises:
        BudgetError: the budget needs what there is not: a pilot, or its token counts.

    """
    budget = config.budget
    refuse_unmeasured(budget, pilot)
    if pilot is None:
        return None
    ends = {
        route: Ends(end.nano_price, end.max_output_tokens)
        for route in ROUTES
        for end in [config.endpoints.of(route)]
    }
    order, scores = _order(budget, counted=pilot.lengths is not None), sample_scores(gathered)
    prove = budget.order == "auto"
    return foresee(pilot.calibration, pilot.lengths, ends, order, scores, rows=gathered.valid, prove=prove)


def _order(budget: BudgetConfig, *, counted: bool) -> Order:
    if budget.order == "auto":
        return "gain_per_dollar" if budget.usd is not None and counted else "score"
    return budget.order


def sample_scores(gathered: Gathered) -> NDArray[np.float32]:
    """Return the scores of all rows, or of those with the 65,536 lowest hashes, which is a fair sample."""
    ties, keys = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32)
    for bucket in gathered.content.buckets():
        ties = np.concatenate([ties, bucket.rows["tie"]])
        keys = np.concatenate([keys, bucket.rows["key"]])
        if len(ties) > SAMPLE_ROWS:
            lowest = np.argpartition(ties, SAMPLE_ROWS)[:SAMPLE_ROWS]
            ties, keys = ties[lowest], keys[lowest]
    return keys.view(np.float32)


def pilot_words(pilot: PilotFacts) -> dict[str, Any]:
    """Return what a plan says of its pilot."""
    calibration = pilot.calibration
    return {"uri": pilot.uri, "rows": len(calibration), "kind": calibration.kind, "note": calibration.note}


def choose_recover(budget: BudgetConfig, seen: Foresight) -> RecoverChoice:
    """Return the least strong share that holds ``budget.recover``.

    Raises:
        BudgetError: none does; the text says the best that any can.

    """
    confidence = budget.confidence or CONFIDENCE
    found = seen.recover(float(budget.recover or 0), float(confidence))
    if found.share is not None:
        return found
    gap, rows = seen.calibration.gap, len(seen.calibration)
    best = (
        f"the best that a cut can hold is {found.best:.2f}" if found.best > 0 else "no cut can hold any part"
    )
    message = (
        f"budget.recover={budget.recover} can't be held with confidence {confidence}: on the pilot's {rows} labelled "
        f"rows the strong model is better by {gap:.4f} on average, for certain only by {found.gap_lo:.4f}, and {best}; "
        "label more rows, lower recover or confidence, or give strong_share or usd"
    )
    raise BudgetError(message)


def outlooks(
    seen: Foresight, points: Sequence[FrontierPoint], weak_nano: int, strong_nano: int
) -> list[FrontierPoint]:
    """Return points of the frontier, or the plan as one, with what the pilot says of them.

    Args:
        seen: the pilot.
        points: share and expected cost.
        weak_nano: expected cost of the run, all weak.
        strong_nano: the same, all strong.

    """
    shares = [point.share for point in points]
    bands: Sequence[tuple[float, float] | None] = seen.cost_band(shares) or [None] * len(points)
    lines = zip(points, seen.quality(shares), seen.random(shares), bands, strict=True)
    return [
        replace(
            point,
            outlook=Outlook(
                quality,
                chance,
                None if band is None else round(band[0] * point.planned_nano),
                None if band is None else round(band[1] * point.planned_nano),
                weak_nano + round(point.share * (strong_nano - weak_nano)),
            ),
        )
        for point, quality, chance, band in lines
    ]
