"""How long each endpoint's answers will be: by a row's size and score from a pilot, by its size from an earlier run. Pure.

One log-linear model an endpoint, fitted by quasi-Poisson: output tokens ∝ exp(a·log size + b·position). Its predictions
sum to the counts that it was fitted to, so a plan's cost has no bias by construction. Priors hold the slopes back by as
much as a few rows say, so that a hundred answers suffice. Beyond the sizes that were seen nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.tables import Table
from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import ROUTES, Route

PRIOR_ROWS = 5.0
"""Strength of the Gaussian priors on the slopes, in answers."""
SHIFT = 8.0
"""Added to a size before its logarithm is taken: tiny prompts differ by little."""
STEEPEST = 3.0
"""Slopes beyond this are an accident of few rows."""
LEAST_ROWS = 20
"""Fewer answers are not fitted."""
SIZES = 48
"""Sizes of a prompt at which expected lengths are tabled."""
MIDDLE = 0.5
"""The position of a row in the middle of the scores."""
QUANTILES = (0.1, 0.9)
"""Of an earlier run's lengths: those that a plan states."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """One endpoint's fitted model."""

    input_ratio: float
    """Input tokens counted over those estimated."""
    level: float
    """Log of the output tokens of a row of mean size and middle position."""
    by_size: float
    """On the standardised log size."""
    by_position: float
    """On the standardised position."""

    def output_tokens(self, size: Floats) -> Floats:
        """Return the expected output tokens [B] at the middle position, by standardised log size [B]."""
        tokens: Floats = np.exp(self.level + self.by_size * size)
        return tokens


@dataclass(frozen=True, slots=True)
class Lengths:
    """A pilot's token counts, row by row as its calibration has them."""

    estimated: tuple[int, ...]
    """N input tokens as estimated before any call."""
    inputs: Mapping[Route, tuple[int, ...]]
    """Route → N input tokens as counted."""
    outputs: Mapping[Route, tuple[int, ...]]
    """Route → N output tokens as counted."""

    def __len__(self) -> int:
        return len(self.estimated)

    @property
    def size(self) -> tuple[float, float]:
        """Mean and standard deviation of the log sizes."""
        logs = np.log(np.array(self.estimated) + SHIFT)
        return float(logs.mean()), max(float(logs.std()), 1e-3)

    @property
    def table_sizes(self) -> Ints:
        """Sizes [at most 48], evenly by their logarithms, from the least that was seen to the greatest."""
        least, most = min(self.estimated), max(self.estimated)
        return np.unique(np.geomspace(least + 1, most + 1, SIZES).round().astype(np.int64) - 1)

    def fit(self, where: Floats, weight: Floats) -> dict[Route, Slopes]:
        """Return both endpoints' models.

        Args:
            where: [N], positions of the rows.
            weight: [N], sampling weights.

        """
        design = self.design(np.array(self.estimated), where)
        return {route: self._fit(route, design, weight) for route in ROUTES}

    def _fit(self, route: Route, design: Floats, weight: Floats) -> Slopes:
        read, written = np.array(self.inputs[route]), np.array(self.outputs[route], dtype=np.float64)
        ratio = float(weight @ read) / max(1.0, float(weight @ np.array(self.estimated)))
        return Slopes(ratio, *_poisson(design, written, weight))

    def design(self, estimated: NDArray[np.int64], where: Floats) -> Floats:
        """Return the design matrix [B, 3]: one, standardised log size, standardised position.

        Args:
            estimated: [B], input tokens; those beyond the sizes seen are read as the nearest that was.
            where: [B], positions.

        """
        mean, spread = self.size
        known = np.clip(estimated, min(self.estimated), max(self.estimated))
        size = (np.log(known + SHIFT) - mean) / spread
        return np.column_stack([np.ones(len(size)), size, (where - MIDDLE) * math.sqrt(12)])

    def sizes_design(self, estimated: NDArray[np.int64]) -> Floats:
        """Return the standardised log sizes [B] alone."""
        return self.design(estimated, np.full(len(estimated), MIDDLE))[:, 1]

    def to_fields(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Lengths:
        """Read the counts back from plain data."""
        counts = [{route: tuple(fields[name][route]) for route in ROUTES} for name in ("inputs", "outputs")]
        return cls(tuple(fields["estimated"]), *counts)


def measure_lengths(
    estimated: Sequence[int], inputs: Mapping[Route, Sequence[int]], outputs: Mapping[Route, Sequence[int]]
) -> Lengths:
    """Return a pilot's token counts, checked.

    Args:
        estimated: N input tokens as estimated before any call.
        inputs: route → N input tokens as counted.
        outputs: route → N output tokens as counted.

    Raises:
        DataError: fewer than 20 rows, columns of different lengths, or a count below zero.

    """
    columns = {"estimated": estimated, **{f"{route}_input_tokens": inputs[route] for route in ROUTES}}
    columns |= {f"{route}_output_tokens": outputs[route] for route in ROUTES}
    if len({len(column) for column in columns.values()}) != 1:
        raise DataError("columns of token counts differ in length")
    if len(estimated) < LEAST_ROWS:
        problem = f"{len(estimated)} answers say too little of lengths; at least {LEAST_ROWS} are needed"
        raise DataError(problem)
    for name, column in columns.items():
        bad = [row for row, count in enumerate(column) if count < 0]
        if bad:
            raise DataError("a count of tokens is below zero", column=name, row=bad[0])
    counts = [{route: tuple(map(int, part[route])) for route in ROUTES} for part in (inputs, outputs)]
    return Lengths(tuple(map(int, estimated)), *counts)


def _poisson(design: Floats, counts: Floats, weight: Floats) -> tuple[float, float, float]:
    """Fit log-linear means by Newton's method; the level is free, so that predictions sum to the counts."""
    mean = float(np.average(counts, weights=weight))
    if mean <= 0:
        return -math.inf, 0.0, 0.0
    target, beta, prior = counts / mean, np.zeros(3), np.array([0.0, PRIOR_ROWS, PRIOR_ROWS])
    for _ in range(50):
        predicted = np.exp(np.clip(design @ beta, -20, 20))
        curvature = (design * (weight * predicted)[:, None]).T @ design + np.diag(prior + 1e-9)
        step = np.linalg.solve(curvature, design.T @ (weight * (target - predicted)) - prior * beta)
        beta = np.clip(beta + np.clip(step, -1, 1), -20, 20)
        if float(np.abs(step).max()) < 1e-10:
            break
    size, position = (float(np.clip(slope, -STEEPEST, STEEPEST)) for slope in beta[1:])
    rest = np.exp(design[:, 1:] @ np.array([size, position]))
    level = math.log(float(weight @ counts) / float(weight @ rest))
    return level, size, position


@dataclass(frozen=True, slots=True)
class PastLengths:
    """Lengths learned from one endpoint's answers in an earlier run."""

    run: str
    """Id of that run."""
    answers: int
    """Answers that were read."""
    mean: float
    """Output tokens of an answer."""
    p10: int
    """Output tokens that a tenth of the answers stay below."""
    p90: int
    """Output tokens that a tenth of the answers exceed."""
    input_ratio: float
    """Input tokens as the endpoint counted them, over those estimated."""
    by_tokens: Table
    """Estimated input tokens → output tokens."""

    def to_fields(self) -> dict[str, Any]:
        """Return the lengths as plain data."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> PastLengths:
        """Read the lengths back from plain data."""
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
        DataError: fewer than 20 answers.

    """
    both = measure_lengths(estimated, dict.fromkeys(ROUTES, inputs), dict.fromkeys(ROUTES, outputs))
    slopes = both.fit(np.full(len(both), MIDDLE), np.ones(len(both)))[ROUTES[0]]
    sizes = both.table_sizes
    low, high = (int(q) for q in np.quantile(outputs, QUANTILES, method="nearest"))
    table = Table.of(sizes, slopes.output_tokens(both.sizes_design(sizes)))
    return PastLengths(run, len(both), float(np.mean(outputs)), low, high, slopes.input_ratio, table)
