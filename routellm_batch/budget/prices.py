"""Expected cost of a plan's calls, by row or by sums of tokens, and the totals of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import AnswerCost, LinearCost
from routellm_batch.budget.pricing import MILLION, CallPrice
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.core.types import Route


@dataclass(frozen=True, slots=True)
class Prices:
    """What calls are expected to cost: by the lengths that the ranker knows, else a line in their input tokens."""

    lines: Mapping[Route, LinearCost]
    """Route → expected cost where all answers are expected to have one length."""
    ranker: Ranker = BY_SCORE
    """How rows are ordered, and what is known of their answers' lengths."""

    @classmethod
    def of(cls, calls: Mapping[Route, CallPrice], ranker: Ranker = BY_SCORE) -> Prices:
        """Expect of each endpoint its price and its configured length of an answer."""
        return cls({route: LinearCost.of(call) for route, call in calls.items()}, ranker)

    @classmethod
    def evenly(cls, costs: Mapping[Route, AnswerCost], planned: Mapping[str, Totals]) -> Prices:
        """Spread each route's plan evenly over its calls.

        Planning knows lengths row by row; while the run goes on, sums of calls and tokens must say what was expected.
        """
        return cls({route: _even_line(cost, planned[route]) for route, cost in costs.items()})

    def cost(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expected nano-dollars [B] of calls with these estimated input tokens [B]."""
        return self.lines[route].nano(tokens)

    def row_cost(self, route: Route, rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the expected nano-dollars [B] of calls for rows [B] (``ROW``)."""
        tokens = rows["tokens"].astype(np.int64)
        if self.ranker.costs is None:
            return self.cost(route, tokens)
        return self.ranker.costs[route].nano(tokens, _scores(rows))

    def row_answers(self, route: Route, rows: NDArray[np.void]) -> int:
        """Return the output tokens that calls for rows [B] (``ROW``) are expected to bring together."""
        if self.ranker.costs is None:
            return self.lines[route].output_tokens * len(rows)
        tokens = rows["tokens"].astype(np.int64)
        return round(float(self.ranker.costs[route].output_tokens(tokens, _scores(rows)).sum()))

    def keys(self, rows: NDArray[np.void]) -> NDArray[np.uint32]:
        """Return the keys [B] that rows [B] (``ROW``) are ordered by."""
        return self.ranker.keys(_scores(rows), rows["tokens"])


def _even_line(cost: AnswerCost, planned: Totals) -> LinearCost:
    """Return the line on which ``planned.calls`` calls sum to the planned cost, to within a nano-dollar a call."""
    input_nano = round(cost.input_nano * cost.input_ratio)
    if not planned.calls:
        middle = cost.by_tokens.value[len(cost.by_tokens.value) // 2]
        return LinearCost(input_nano, round(middle * cost.output_nano), round(middle))
    rest = planned.planned_nano * MILLION - planned.input_tokens * input_nano
    return LinearCost(input_nano, max(0, rest // planned.calls), planned.output_tokens // planned.calls)


def _scores(rows: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the scores that the records' keys are the bits of."""
    return np.ascontiguousarray(rows["key"]).view(np.float32)


@dataclass(frozen=True, slots=True)
class Totals:
    """Distinct requests to one endpoint, as planned."""

    calls: int = 0
    """Requests that are paid for."""
    rows: int = 0
    """Rows that these answer, copies included."""
    input_tokens: int = 0
    """Estimated, of all calls together."""
    output_tokens: int = 0
    """Expected, of all calls together."""
    planned_nano: int = 0
    """Expected cost of the calls."""

    def plus(self, calls: int, rows: int, input_tokens: int, output_tokens: int, nano: int) -> Totals:
        """Return the totals with some more requests."""
        return Totals(
            self.calls + calls,
            self.rows + rows,
            self.input_tokens + input_tokens,
            self.output_tokens + output_tokens,
            self.planned_nano + nano,
        )
