"""Caveats for the readers of an evaluation, and scores that can't be evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.figures import Measured
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.routers.outcome.blend.fit import PilotFit


def check_scores(scores: NDArray[np.floating], data: Outcomes) -> None:
    """Check that all scores are finite.

    Raises:
        DataError: a score is not finite; the error names its row.

    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError("the router gave a score that is not a number", file=data.uri, row=int(bad[0]))


def fallbacks(fits: Sequence[PilotFit | None]) -> list[str]:
    """Return a clause that says in how many seeds a pilot fitted no router of its own, and why; none where all did.

    Args:
        fits: one for each seed; None where the pilot trains no such router.

    """
    fell = [(seed, fit) for seed, fit in enumerate(fits) if fit is not None and fit.chosen != "fitted"]
    if not fell:
        return []
    reasons = [fit.reason.removeprefix("Not fitted: ").rstrip(".") for _, fit in fell]
    why = reasons[0]
    if len(set(reasons)) > 1:
        why = f"seed {fell[0][0]}: {why}; see reason in per_seed"
    of = f"{len(fell)} of {len(fits)} seeds" if len(fits) > 1 else "its one seed"
    return [f"the pilot fell back in {of}, so these are not figures of a fitted router ({why})"]


def notes(
    figures: Mapping[str, Any], data: Outcomes, mine: Sequence[Measured], disputed: Mapping[str, int]
) -> list[str]:
    """Return the caveats to the figures of one router, each a clause.

    Args:
        figures: of the router.
        data: the outcomes.
        mine: the router as measured on each test set.
        disputed: from ``contradictions``.

    """
    clauses: list[str] = []
    weak, strong = figures[WEAK], figures[STRONG]
    if not strong > weak:
        how = "the same" if strong == weak else "worse"
        clauses.append(
            f"the strong model is not better than the weak one on these rows ({how}: {strong:.4f} against "
            f"{weak:.4f}): there is no gap to recover"
        )
    elif np.ptp(data.gain) == 0:
        clauses.append("every row gains the same, so no order of the rows is better than another")
    if all(measured.constant for measured in mine):
        clauses.append("the router gives every prompt the same score, so its order is chance")
    oracle = figures["baselines"]["oracle"]
    if oracle["apgr"] < figures["apgr"]:
        clauses.append(
            f"by deciles the oracle has less than this router (APGR {oracle['apgr']:.3f}), because most rows gain the same "
            f"and RouteLLM's deciles drop tied edges; by the full curve it has {oracle['apgr_full']:.3f}: compare by full"
        )
    if disputed["prompts"]:
        many = disputed["prompts"] > 1
        clauses.append(
            f"{disputed['prompts']:,} prompt{'s occur' if many else ' occurs'} more than once with different grades "
            f"({disputed['rows']:,} rows): no router can satisfy all of them"
        )
    return clauses
