"""What calls are expected to cost, row by row: prices of ``pricing`` times the lengths of ``expected_lengths``. Pure.

Two values answer the same question. ``LinearCost`` is for answers that are expected to have one length: a line in the input
tokens, in whole numbers. ``AnswerCost`` is for lengths that were learned: it reads them by the row's size and score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_lengths import Lengths, PastLengths, Slopes
from routellm_batch.budget.costs.tables import Table
from routellm_batch.budget.pricing import MILLION, CallPrice, Price, round_nano
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route

if TYPE_CHECKING:
    from routellm_batch.budget.pricing import Whole

SAME = Table.constant(1.0)
"""The factor of a score that says nothing of an answer's length."""


@dataclass(frozen=True, slots=True)
class LinearCost:
    """Expected cost of calls of one endpoint, all of whose answers are expected to have one length."""

    input_nano: int
    """Nano-dollars per million estimated input tokens."""
    answer_millionths: int
    """Expected cost of one answer, in millionths of a nano-dollar."""
    output_tokens: int
    """Expected output tokens of one answer."""

    @classmethod
    def of(cls, call: CallPrice) -> LinearCost:
        """Expect the endpoint's price and its configured length of an answer."""
        length = call.expected_output_tokens
        return cls(call.price.input_nano, call.price.millionths(0, length), length)

    def nano(self, tokens: Whole, calls: int = 1) -> Whole:
        """Return the expected cost in nano-dollars, rounded half up.

        Args:
            tokens: estimated input tokens: of one call each [B], or of some calls together.
            calls: how many calls each of these counts stands for.

        """
        return round_nano(tokens * self.input_nano + calls * self.answer_millionths)


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Expected cost of a call of one endpoint, by the row's size and score; kept in ``plan.json``."""

    input_nano: int
    """Nano-dollars per million input tokens."""
    output_nano: int
    """Nano-dollars per million output tokens."""
    input_ratio: float
    """Input tokens as the endpoint counts them, over those estimated."""
    by_tokens: Table
    """Estimated input tokens → output tokens."""
    by_score: Table
    """Score → factor on these."""
    most: int | None
    """Output tokens that the endpoint is asked for at most."""

    @classmethod
    def of(cls, call: CallPrice, input_ratio: float, by_tokens: Table, by_score: Table = SAME) -> AnswerCost:
        """Put the lengths that were learned beside the endpoint's price and limit."""
        price = call.price
        return cls(
            price.input_nano, price.output_nano, input_ratio, by_tokens, by_score, call.max_output_tokens
        )

    def output_tokens(self, tokens: NDArray[np.int64], scores: NDArray[np.floating]) -> Floats:
        """Return the expected output tokens [B] of rows by estimated input tokens [B] and score [B]."""
        predicted = self.by_tokens.read(tokens) * self.by_score.read(scores)
        return predicted if self.most is None else np.minimum(predicted, float(self.most))

    def nano(self, tokens: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the expected nano-dollars [B] of rows by estimated input tokens [B] and score [B].

        Lengths are fractions here, so sums are floats; ties go to the even number, as every stored plan was made.
        """
        price = Price(self.input_nano, self.input_nano, self.output_nano)
        read = tokens.astype(np.float64) * self.input_ratio
        millionths = price.millionths(read, self.output_tokens(tokens, scores))
        return np.rint(millionths / MILLION).astype(np.int64)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> AnswerCost:
        """Read an expected cost back from plain data."""
        tables = {name: Table.from_fields(fields[name]) for name in ("by_tokens", "by_score")}
        return cls(**{**fields, **tables})


def expected_costs(
    lengths: Lengths,
    slopes: Mapping[Route, Slopes],
    prices: Mapping[Route, CallPrice],
    at: Floats,
    where: Floats,
) -> dict[Route, AnswerCost]:
    """Return what calls are expected to cost by a pilot's model of lengths, tabled by size and by score.

    Args:
        lengths: the pilot's counts.
        slopes: route → the model fitted to them.
        prices: route → what a call is priced by.
        at: [P], scores at which the lengths are tabled, rising.
        where: [P], the positions of these scores.

    """
    sizes, least = lengths.table_sizes, min(lengths.estimated)
    by_size = lengths.sizes_design(sizes)
    by_position = lengths.design(np.full(len(where), least), where)[:, 2]
    costs: dict[Route, AnswerCost] = {}
    for route in ROUTES:
        model = slopes[route]
        by_tokens = Table.of(sizes, model.output_tokens(by_size))
        by_score = Table.of(at, np.exp(model.by_position * by_position))
        costs[route] = AnswerCost.of(prices[route], model.input_ratio, by_tokens, by_score)
    return costs


def past_cost(past: PastLengths | None, call: CallPrice) -> AnswerCost:
    """Return the expected cost of an endpoint's calls by an earlier run's lengths; by the configured one without a run."""
    if past is None:
        return AnswerCost.of(call, 1.0, Table.constant(float(call.expected_output_tokens)))
    return AnswerCost.of(call, past.input_ratio, past.by_tokens)


def billed_costs(lengths: Lengths, prices: Mapping[Route, CallPrice]) -> dict[Route, Floats]:
    """Return what a pilot's rows cost by their counted tokens, route → [N] in nano-dollars, not rounded."""
    counts = {
        route: [np.array(part[route], dtype=np.float64) for part in (lengths.inputs, lengths.outputs)]
        for route in prices
    }
    return {route: call.price.millionths(*counts[route]) / MILLION for route, call in prices.items()}


def mean_costs(ranking: Ranking, costs: Mapping[Route, Floats], weight: Floats, shares: Floats) -> Floats:
    """Return the mean cost of a row at some strong shares.

    Args:
        ranking: of N rows.
        costs: route → cost of each row, [N].
        weight: [N], sampling weights.
        shares: [S], each in [0, 1].

    Returns:
        [S], in the unit of ``costs``.

    """
    above, more = ranking.curve(costs[STRONG] - costs[WEAK], weight)
    mean: Floats = (weight @ costs[WEAK] + np.interp(shares * above[-1], above, more)) / above[-1]
    return mean
