"""What a pilot's answers cost, as counted and as its model of lengths expects it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_lengths import Lengths, PastLengths, Slopes, Table
from routellm_batch.budget.pricing import MILLION, Price
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route

SIZES = 48
"""Sizes of a prompt at which the length tables are read."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What an endpoint charges, and the most that it is asked for."""

    price: Price
    most: int | None
    """Output tokens; None without a limit."""


def expected_costs(
    lengths: Lengths, slopes: Mapping[Route, Slopes], ends: Mapping[Route, Ends], at: Floats, where: Floats
) -> dict[Route, AnswerCost]:
    """Return what calls are expected to cost, tabled by size, and by score at ``at``, whose positions are ``where``."""
    sizes, least = table_sizes(lengths), min(lengths.estimated)
    by_size = lengths.design(sizes, np.full(len(sizes), 0.5))[:, 1]
    by_position = lengths.design(np.full(len(where), least), where)[:, 2]
    found: dict[Route, AnswerCost] = {}
    for route in ROUTES:
        one, end = slopes[route], ends[route]
        tokens = np.exp(one.level + one.by_size * by_size)
        factor = np.exp(one.by_position * by_position)
        found[route] = AnswerCost(
            end.price.input_nano,
            end.price.output_nano,
            one.input_ratio,
            Table(plain(sizes), plain(tokens)),
            Table(plain(at), plain(factor)),
            end.most,
        )
    return found


def table_sizes(lengths: Lengths) -> NDArray[np.int64]:
    """Return sizes, evenly by their logarithms, from the pilot's least to its most."""
    least, most = min(lengths.estimated), max(lengths.estimated)
    return np.unique(np.geomspace(least + 1, most + 1, SIZES).round().astype(np.int64) - 1)


def billed_costs(lengths: Lengths, ends: Mapping[Route, Ends]) -> dict[Route, Floats]:
    """Return what the pilot's rows cost by their counted tokens, route → [N], in nano-dollars."""
    return {
        route: (
            np.array(lengths.inputs[route]) * float(end.price.input_nano)
            + np.array(lengths.outputs[route]) * float(end.price.output_nano)
        )
        / MILLION
        for route, end in ends.items()
    }


def mean_costs(ranking: Ranking, costs: Mapping[Route, Floats], weight: Floats, shares: Floats) -> Floats:
    """Return the mean cost of a row at strong shares, [S]."""
    above, more = ranking.curve(costs[STRONG] - costs[WEAK], weight)
    found: Floats = (weight @ costs[WEAK] + np.interp(shares * above[-1], above, more)) / above[-1]
    return found


def plain(values: NDArray[Any]) -> tuple[float, ...]:
    """Return numbers as a plan keeps them."""
    return tuple(np.asarray(values, dtype=np.float64).tolist())


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


SAME = Table((0.0,), (1.0,))


def answer_cost(past: PastLengths | None, price: Price, expected: int, most: int | None) -> AnswerCost:
    """Return the expected cost of an endpoint's calls, with ``expected`` output tokens where there is no earlier run."""
    ratio, by_tokens = (
        (past.input_ratio, past.by_tokens) if past else (1.0, Table((0.0,), (float(expected),)))
    )
    return AnswerCost(price.input_nano, price.output_nano, ratio, by_tokens, SAME, most)
