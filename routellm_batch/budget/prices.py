"""What calls are expected to cost, by row or by sums of tokens, and the totals of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import AnswerCost
from routellm_batch.budget.pricing import MILLION, Price
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.core.types import Route


class PricedEndpoint(Protocol):
    """What the expected cost of a call needs to know of an endpoint."""

    @property
    def nano_price(self) -> Price:
        """Nano-dollars per million tokens."""
        ...

    @property
    def expected_output_tokens(self) -> int:
        """Tokens that planning expects of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Prices:
    """Expected cost of a call in nano-dollars: a line in its input tokens, or what a pilot's answers say."""

    input_nano: dict[Route, int]
    answer_nano: dict[Route, int]
    """Of the expected output, times a million."""
    output_tokens: dict[Route, int]
    """Expected output tokens of one answer."""
    ranker: Ranker = BY_SCORE
    """How rows are ordered, and what is known of their answers' lengths."""

    @classmethod
    def of(cls, endpoints: Mapping[Route, PricedEndpoint], ranker: Ranker = BY_SCORE) -> Prices:
        """Expect of each endpoint its price and its configured length of an answer."""
        lengths = {route: endpoint.expected_output_tokens for route, endpoint in endpoints.items()}
        return cls(
            {route: endpoint.nano_price.input_nano for route, endpoint in endpoints.items()},
            {
                route: endpoint.nano_price.output_nano * lengths[route]
                for route, endpoint in endpoints.items()
            },
            lengths,
            ranker,
        )

    @classmethod
    def evenly(cls, costs: Mapping[Route, AnswerCost], planned: Mapping[str, Totals]) -> Prices:
        """Spread each route's plan evenly over its calls.

        Lengths are known row by row while planning; on the way sums of calls and tokens must say what was expected.
        """
        inputs, answers, lengths = dict[Route, int](), dict[Route, int](), dict[Route, int]()
        for route, cost in costs.items():
            totals, middle = planned[route], cost.by_tokens.value[len(cost.by_tokens.value) // 2]
            inputs[route] = round(cost.input_nano * cost.input_ratio)
            answers[route], lengths[route] = round(middle * cost.output_nano), round(middle)
            if totals.calls:
                rest = totals.planned_nano * MILLION - totals.input_tokens * inputs[route]
                answers[route], lengths[route] = (
                    max(0, rest // totals.calls),
                    totals.output_tokens // totals.calls,
                )
        return cls(inputs, answers, lengths)

    def cost(self, route: Route, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls with these input tokens, int64 [B]."""
        total = tokens * self.input_nano[route] + self.answer_nano[route]
        return np.asarray((2 * total + MILLION) // (2 * MILLION), dtype=np.int64)

    def row_cost(self, route: Route, rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the expected nano-dollars of calls for rows [B] (``ROW``)."""
        tokens = rows["tokens"].astype(np.int64)
        if self.ranker.costs is None:
            return self.cost(route, tokens)
        return self.ranker.costs[route].nano(tokens, _scores(rows))

    def row_answers(self, route: Route, rows: NDArray[np.void]) -> int:
        """Return the output tokens that calls for rows [B] (``ROW``) should bring."""
        if self.ranker.costs is None:
            return self.output_tokens[route] * len(rows)
        tokens = rows["tokens"].astype(np.int64)
        return round(float(self.ranker.costs[route].output_tokens(tokens, _scores(rows)).sum()))

    def keys(self, rows: NDArray[np.void]) -> NDArray[np.uint32]:
        """Return what rows [B] (``ROW``) are ordered by."""
        return self.ranker.keys(_scores(rows), rows["tokens"])


def _scores(rows: NDArray[np.void]) -> NDArray[np.float32]:
    """Return the scores that the records' keys are the bits of."""
    return np.ascontiguousarray(rows["key"]).view(np.float32)


@dataclass(frozen=True, slots=True)
class Totals:
    """Distinct requests to one endpoint, as planned."""

    calls: int = 0
    rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    planned_nano: int = 0

    def plus(self, calls: int, rows: int, input_tokens: int, output_tokens: int, nano: int) -> Totals:
        """Add some requests."""
        return Totals(
            self.calls + calls,
            self.rows + rows,
            self.input_tokens + input_tokens,
            self.output_tokens + output_tokens,
            self.planned_nano + nano,
        )
