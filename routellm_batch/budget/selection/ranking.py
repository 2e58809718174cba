"""What a plan ranks rows by: their score, or their expected gain by dollar of extra cost. Pure.

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

from routellm_batch.budget.pricing import MILLION
from routellm_batch.budget.selection.cut import score_key
from routellm_batch.core.types import ROUTES, Route

Floats = NDArray[np.float64]
Order = Literal["score", "gain_per_dollar"]

LAST = 2.0**-30
"""Rows without gain keep the order of their scores, below all others."""


@dataclass(frozen=True, slots=True)
class Table:
    """A function in straight lines between points; level before the first and after the last."""

    at: tuple[float, ...]
    """Rising."""
    value: tuple[float, ...]

    def read(self, x: NDArray[Any]) -> Floats:
        """Return the values [B] at ``x`` [B]; NaN reads as the first."""
        at, value = np.array(self.at), np.array(self.value)
        if len(at) == 1:
            return np.full(len(x), value[0])
        inside = np.clip(np.nan_to_num(np.asarray(x, dtype=np.float64), nan=at[0]), at[0], at[-1])
        low = np.clip(np.searchsorted(at, inside, side="right") - 1, 0, len(at) - 2)
        part = (inside - at[low]) / (at[low + 1] - at[low])
        rise = (value[low + 1] - value[low]) * part
        found: Floats = value[low] + rise
        return found

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Table:
        """Read it back."""
        return cls(tuple(fields["at"]), tuple(fields["value"]))


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Expected cost of a call of one endpoint, by the row's size and score."""

    input_nano: int
    """Nano-dollars per million input tokens."""
    output_nano: int
    """The same of output tokens."""
    input_ratio: float
    """Input tokens as the endpoint counts them, over those estimated."""
    by_tokens: Table
    """Estimated input tokens → output tokens."""
    by_score: Table
    """Score → factor on these."""
    most: int | None
    """Output tokens that the endpoint is asked for at most."""

    def output_tokens(self, tokens: NDArray[np.int64], scores: NDArray[np.floating]) -> Floats:
        """Return the expected output tokens [B] of rows by estimated input tokens [B] and score [B]."""
        found = self.by_tokens.read(tokens) * self.by_score.read(scores)
        return found if self.most is None else np.minimum(found, float(self.most))

    def nano(self, tokens: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the expected nano-dollars [B]."""
        read = tokens.astype(np.float64) * self.input_ratio * float(self.input_nano)
        written = self.output_tokens(tokens, scores) * float(self.output_nano)
        return np.rint((read + written) / MILLION).astype(np.int64)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> AnswerCost:
        """Read it back."""
        tables = {name: Table.from_fields(fields[name]) for name in ("by_tokens", "by_score")}
        return cls(**{**fields, **tables})


@dataclass(frozen=True, slots=True)
class Ranker:
    """How a plan orders rows, and what it knows of their cost; all of it is in ``plan.json``."""

    order: Order = "score"
    gain: Table | None = None
    """Score → expected gain, strong − weak; None where rows are ordered by score."""
    more: Table | None = None
    """Estimated input tokens → what a row's size adds to that gain."""
    rate_nano: float = 0.0
    """Nano-dollars for a whole unit of gain at which a row has the key of one half."""
    costs: Mapping[Route, AnswerCost] | None = None
    """Route → expected cost; None where answers are expected to have one length."""

    def values(self, scores: NDArray[np.floating], tokens: NDArray[Any]) -> NDArray[np.float32]:
        """Return what rows are ordered by, float32 [B] in [0, 1], by score [B] and estimated input tokens [B].

        By gain and dollar it is gain·rate / (gain·rate + extra cost): it rises with gain by extra cost, is one
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
        """Return the order-preserving bits of ``values``: what a cut is compared with."""
        return score_key(self.values(scores, tokens))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any] | None) -> Ranker:
        """Read it back; a plan of a version that had none ranks by score."""
        if fields is None:
            return BY_SCORE
        gain, more = (
            None if fields[name] is None else Table.from_fields(fields[name]) for name in ("gain", "more")
        )
        costs = fields["costs"]
        known = None if costs is None else {route: AnswerCost.from_fields(costs[route]) for route in ROUTES}
        return cls(fields["order"], gain, more, fields["rate_nano"], known)


BY_SCORE = Ranker()
