"""Quality by strong share and by dollars, of every contender, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routellm_batch.core.arrays import Floats
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.figures import CurvePoints, Measured
from routellm_batch.evaluation.outcomes import Outcomes

STEPS = 1000
"""The most steps of a curve; fewer rows have a point each."""
FIELDS = ("quality", "pgr", "pgr_lo", "pgr_hi")


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One contender's curve."""

    name: str
    """Router or baseline."""
    router: bool
    """Whether it is a router under test."""
    points: CurvePoints
    """The curve, with pilots a mean over the seeds."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """All curves of one set of outcomes."""

    outcomes: str
    """The file."""
    rows: int
    """Prompts in a test set."""
    weak: float
    """Mean quality of always weak."""
    strong: float
    """Mean quality of always strong."""
    estimated: bool
    """Whether dollars rest on estimated token counts."""
    lines: Sequence[Line]
    """Routers first."""


def share_grid(rows: int) -> Floats:
    """Return strong shares from 0 to 1, whole rows where there are at most ``STEPS``."""
    return np.linspace(0, 1, min(rows, STEPS) + 1)


def draw(data: Outcomes, trials: Sequence[Sequence[Measured]], routers: int) -> Drawing:
    """Return the curves of some contenders, the mean over test sets; the first ``routers`` of them are under test."""
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
