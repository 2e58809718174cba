"""What a pilot's answers cost, as counted and as its model of lengths expects it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_lengths import Lengths, Slopes
from routellm_batch.budget.pricing import MILLION, Price
from routellm_batch.budget.selection.ranking import AnswerCost, Table
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import ROUTES, Route

Floats = NDArray[np.float64]

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
    above, more = ranking.curve(costs["strong"] - costs["weak"], weight)
    found: Floats = (weight @ costs["weak"] + np.interp(shares * above[-1], above, more)) / above[-1]
    return found


def plain(values: NDArray[Any]) -> tuple[float, ...]:
    """Return numbers as a plan keeps them."""
    return tuple(np.asarray(values, dtype=np.float64).tolist())
