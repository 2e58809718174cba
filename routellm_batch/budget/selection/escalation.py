"""The order in which rows of a cascade go to the strong model where nothing was learned: pure.

Rows whose cheap answer can't be used come first, then those where more of the other cheap answers differ, then those with
the higher score of the prompt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats

UNUSABLE = 2.0
"""Tier of a row whose answer can't be used: above every share of answers that differ."""


def tiers(usable: NDArray[np.bool_], disagreement: Floats, unknown: float | None = None) -> Floats:
    """Return the tier of each row, float64 [N]: ``UNUSABLE``, or the share of other answers that differ.

    Args:
        usable: [N], whether the cheap answer can be used.
        disagreement: [N], share of the other answers that differ; NaN where there is none.
        unknown: tier of usable rows without another answer; None: the mean of those that have one (0 where none has).

    """
    known = np.isfinite(disagreement) & usable
    if unknown is None:
        unknown = float(disagreement[known].mean()) if known.any() else 0.0
    return np.where(usable, np.where(known, disagreement, unknown), UNUSABLE)


def ranks(tier: Floats, score: NDArray[np.floating]) -> Floats:
    """Return float64 [N] in [0, 1] that grows with tier, then score; equal pairs have equal ranks."""
    if not len(tier):
        return np.empty(0)
    order = np.lexsort((score, tier))
    new = (np.diff(tier[order]) != 0) | (np.diff(score[order]) != 0)
    place = np.concatenate([[0], np.cumsum(new)])
    rank = np.empty(len(tier))
    rank[order] = place / max(int(place[-1]), 1)
    return rank
