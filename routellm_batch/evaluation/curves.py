"""The curves of every contender: quality by strong share and by dollars, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routellm_batch.core.arrays import Floats
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.figures import CurvePoints, Measured
from routellm_batch.evaluation.outcomes import Outcomes

STEPS = 1000
"""The most steps of a curve; of fewer rows each has its own."""
FIELDS = ("quality", "pgr", "pgr_lo", "pgr_hi")
"""Fields of ``CurvePoints`` that are averaged over test sets."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One contender's curve."""

    name: str
    """Name of the router or baseline."""
    router: bool
    """Whether it is a router under test."""
    points: CurvePoints
    """The curve; with pilots, the mean over their seeds."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """All curves of one set of outcomes."""

    outcomes: str
    """Path or URI of the outcomes."""
    rows: int
    """Number of prompts in a test set."""
    weak: float
    """Mean quality of always weak."""
    strong: float
    """Mean quality of always strong."""
    estimated: bool
    """Whether dollars rest on estimated token counts."""
    lines: Sequence[Line]
    """The curves, those of routers first."""


def share_grid(rows: int) -> Floats:
    """Return strong shares from 0 to 1, length min(rows, ``STEPS``) + 1."""
    return np.linspace(0, 1, min(rows, STEPS) + 1)


def draw(data: Outcomes, trials: Sequence[Sequence[Measured]], routers: int) -> Drawing:
    """Return the curves of all contenders, as means over the test sets.

    Args:
        data: the outcomes.
        trials: for each test set, every contender as measured on it, in the same order.
        routers: number of contenders that are routers under test; they come first.

    """
    lines: list[Line] = []
    for number, same in enumerate(zip(*trials, strict=True)):
        points = _mean([measured.curve for measured in same if measured.curve is not None])
        lines.append(Line(same[0].figures["router"], number < routers, points))
    figures = [measured[0].figures for measured in trials]
    weak, strong, rows = (float(np.mean([one[key] for one in figures])) for key in (WEAK, STRONG, "n"))
    return Drawing(data.uri, round(rows), weak, strong, bool(data.costs and data.costs.estimated), lines)


def _mean(curves: Sequence[CurvePoints]) -> CurvePoints:
    means = {name: np.mean([getattr(curve, name) for curve in curves], axis=0) for name in FIELDS}
    nano = [curve.nano for curve in curves if curve.nano is not None]
    mean = np.rint(np.mean(nano, axis=0)).astype(np.int64) if nano else None
    return replace(curves[0], **means, nano=mean)
