"""How long one endpoint's answers will be, as those of an earlier run were. Pure.

The model is a pilot's (``lengths_model``), by the size of the row alone: each row of a run went to one endpoint, so the rows
of two endpoints can't be ranked against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from routellm_batch.budget.costs.expected_lengths import measure_lengths
from routellm_batch.budget.pricing import Price
from routellm_batch.budget.selection.ranking import AnswerCost, Table
from routellm_batch.core.types import ROUTES

SIZES = 48
"""Sizes of a prompt at which the lengths are tabled."""
QUANTILES = (0.1, 0.9)
SAME = Table((0.0,), (1.0,))


@dataclass(frozen=True, slots=True)
class PastLengths:
    """What one endpoint's answers in an earlier run taught."""

    run: str
    """Its id."""
    answers: int
    """As many were read."""
    mean: float
    """Output tokens."""
    p10: int
    p90: int
    input_ratio: float
    """Input tokens as the endpoint counted them, over those estimated."""
    by_tokens: Table
    """Estimated input tokens → output tokens."""

    def to_fields(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> PastLengths:
        """Read it back."""
        return cls(**{**fields, "by_tokens": Table.from_fields(fields["by_tokens"])})


def fit_past(
    run: str, estimated: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]
) -> PastLengths:
    """Learn from N answers, each of a single request.

    Args:
        run: id of the run that they are from.
        estimated: N input tokens as estimated before the call.
        inputs: N input tokens as counted.
        outputs: N output tokens.

    Raises:
        DataError: fewer than ``lengths_model.LEAST_ROWS`` answers.

    """
    both = measure_lengths(estimated, dict.fromkeys(ROUTES, inputs), dict.fromkeys(ROUTES, outputs))
    middle = np.full(len(both), 0.5)
    slopes = both.fit(middle, np.ones(len(both)))[ROUTES[0]]
    steps = np.geomspace(min(estimated) + 1, max(estimated) + 1, SIZES).round().astype(np.int64) - 1
    sizes = np.unique(steps)
    tokens = np.exp(slopes.level + slopes.by_size * both.design(sizes, np.full(len(sizes), 0.5))[:, 1])
    low, high = (int(q) for q in np.quantile(outputs, QUANTILES, method="nearest"))
    table = Table(tuple(map(float, sizes)), tuple(map(float, tokens)))
    return PastLengths(run, len(both), float(np.mean(outputs)), low, high, slopes.input_ratio, table)


def answer_cost(past: PastLengths | None, price: Price, expected: int, most: int | None) -> AnswerCost:
    """Return the expected cost of an endpoint's calls, with ``expected`` output tokens where there is no earlier run."""
    ratio, by_tokens = (
        (past.input_ratio, past.by_tokens) if past else (1.0, Table((0.0,), (float(expected),)))
    )
    return AnswerCost(price.input_nano, price.output_nano, ratio, by_tokens, SAME, most)
