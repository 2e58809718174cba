"""What a plan ranks rows by: their score, or their expected gain per dollar of extra cost. Pure.

A row's key is a pure function of the row's score and size and of the plan, so every worker finds the same route. Keys
must not differ by a bit between machines either: only sums, products, quotients and comparisons are used here, which
IEEE 754 rounds alike everywhere, one NumPy operation at a time; logarithms and exponentials are tabled in the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import AnswerCost
from routellm_batch.budget.costs.tables import Table
from routellm_batch.budget.selection.cut import score_key
from routellm_batch.core.types import ROUTES, Route

Order = Literal["score", "gain_per_dollar"]

LAST = 2.0**-30
"""Factor on the scores of rows without gain: they keep the order of their scores, below all others."""


@dataclass(frozen=True, slots=True)
class Ranker:
    """How a plan orders rows, and what it knows of their cost; all of it is in ``plan.json``."""

    order: Order = "score"
    """What rows are ordered by."""
    gain: Table | None = None
    """Score → expected gain, strong − weak; None where rows are ordered by score."""
    more: Table | None = None
    """Estimated input tokens → what a row's size adds to that gain; None where it adds nothing."""
    rate_nano: float = 0.0
    """Nano-dollars for a whole unit of gain: a row at that price has the key of one half."""
    costs: Mapping[Route, AnswerCost] | None = None
    """Route → expected cost; None where answers are expected to have one length."""

    def values(self, scores: NDArray[np.floating], tokens: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values that rows are ordered by, float32 [B] in [0, 1], by score [B] and estimated input tokens [B].

        By gain per dollar the value is gain·rate / (gain·rate + extra cost): it rises with gain per extra cost, is one
        where the strong model is not dearer, and next to nothing where no gain is expected.
        """
        single = np.ascontiguousarray(scores, dtype=np.float32)
        if self.gain is None or self.costs is None:
            return single
        size = np.asarray(tokens, dtype=np.int64)
        strong, weak = (self.costs[route].nano(size, single) for route in ROUTES)
        extra = np.maximum(strong - weak, 0).astype(np.float64)
        gain = self.gain.read(single) + (self.more.read(size) if self.more else 0.0)
        worth = np.maximum(gain, 0) * self.rate_nano
        total = worth + extra
        part = worth / np.where(total > 0, total, 1.0)
        last = np.nan_to_num(single.astype(np.float64), nan=0.0) * LAST
        return np.where(worth > 0, np.maximum(part, 2 * LAST), last).astype(np.float32)

    def keys(self, scores: NDArray[np.floating], tokens: NDArray[Any]) -> NDArray[np.uint32]:
        """Return the order-preserving bits [B] of ``values``: what a cut is compared with."""
        return score_key(self.values(scores, tokens))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any] | None) -> Ranker:
        """Read a ranker back from plain data; a plan of a version that had none ranks by score."""
        if fields is None:
            return BY_SCORE
        gain, more = (
            None if fields[name] is None else Table.from_fields(fields[name]) for name in ("gain", "more")
        )
        costs = fields["costs"]
        known = None if costs is None else {route: AnswerCost.from_fields(costs[route]) for route in ROUTES}
        return cls(fields["order"], gain, more, fields["rate_nano"], known)


BY_SCORE = Ranker()
