"""Quality against dollars, as a pilot foretells it. Pure; plain values in, markup out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from routellm_batch.budget.frontier import FrontierPoint, Outlook
from routellm_batch.budget.pricing import NANO
from routellm_batch.reporting.charts import svg
from routellm_batch.reporting.charts.svg import Point, Tick
from routellm_batch.reporting.quality_words import grade, grades
from routellm_batch.reporting.text import axis_usd, percent, usd

ROOM = 0.05
"""Part of the axis that stays free at both ends."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """One budget with its outlook."""

    share: float
    nano: int
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Plane:
    """Which dollars and grades a chart shows."""

    left: float
    """Nano-dollars."""
    right: float
    bottom: float
    """Grades."""
    top: float

    def place(self, nano: float, mean: float) -> Point:
        """Return where a budget and its grade lie."""
        x = 100 * (nano - self.left) / (self.right - self.left)
        return x, 100 * (mean - self.bottom) / (self.top - self.bottom)


def foretold(points: Sequence[FrontierPoint]) -> list[Foretold]:
    """Return the points that a pilot says something of."""
    return [Foretold(p.share, p.planned_nano, p.outlook) for p in points if p.outlook is not None]


def plane(points: Sequence[Foretold]) -> Plane | None:
    """Return what a chart of the points has to show; None where there is nothing to draw: all cost the same."""
    sums = [nano for point in points for nano in (point.nano, point.outlook.random_nano)]
    if not sums or max(sums) == min(sums):
        return None
    looks = [point.outlook for point in points]
    means = [mean for look in looks for mean in (look.quality.lo, look.quality.hi, look.random.mean)]
    wide, high = ROOM * (max(sums) - min(sums)), ROOM * (max(means) - min(means)) or 0.01
    return Plane(max(0, min(sums) - wide), max(sums) + wide, min(means) - high, max(means) + high)


def quality_chart(on: Plane, points: Sequence[Foretold], chosen: Foretold | None, *, cursor: bool) -> Markup:
    """Return the predicted mean grade by expected cost, with its interval, and as many rows at random.

    Args:
        on: as ``plane`` has it.
        points: from all weak to all strong.
        chosen: the plan, if there is one.
        cursor: whether a slider will move one.

    """
    curve = [on.place(point.nano, point.outlook.quality.mean) for point in points]
    low = [on.place(point.nano, point.outlook.quality.lo) for point in points]
    high = [on.place(point.nano, point.outlook.quality.hi) for point in points]
    random = [on.place(point.outlook.random_nano, point.outlook.random.mean) for point in points]
    weak, strong = points[0], points[-1]
    at = None if chosen is None else on.place(chosen.nano, chosen.outlook.quality.mean)
    marks = [
        svg.area(low, high, "area"),
        svg.line((0, curve[-1][1]), (100, curve[-1][1]), "reference strongline"),
        svg.line((0, curve[0][1]), (100, curve[0][1]), "reference weakline"),
        *([] if at is None else [svg.line((at[0], 0), (at[0], 105), "mark")]),
        svg.curve(random, "random"),
        svg.curve(curve, "frontier"),
        svg.label((0, curve[-1][1]), f"all strong {_text(strong)}", "start", 6, -7),
        svg.label((100, curve[0][1]), f"all weak {_text(weak)}", "end", -6, 16),
        svg.dot(curve[0], "end weak", f"all weak: {_text(weak)}"),
        svg.dot(curve[-1], "end strong", f"all strong: {_text(strong)}"),
        *([] if at is None or chosen is None else _chosen(at, f"plan {_text(chosen)}")),
        *([svg.cursor(curve[0])] if cursor else []),
    ]
    described = (
        f"Predicted mean grade by expected cost, from all weak, {_told(weak)}, to all strong, {_told(strong)}"
    )
    if chosen is not None:
        described += f"; the plan: {percent(chosen.share)} strong, {_told(chosen)}"
    return svg.plot(300, f"{described}.", _dollars(on), _grades(on), *marks, look="wide")


def _text(point: Foretold) -> str:
    return f"{grade(point.outlook.quality.mean)}, {usd(point.nano)}"


def _told(point: Foretold) -> str:
    quality = point.outlook.quality
    return f"{grade(quality.mean)} ({grades(quality.lo, quality.hi)}) for {usd(point.nano)}"


def _chosen(at: Point, text: str) -> list[Markup]:
    anchor, offset = ("end", -6) if at[0] > 50 else ("start", 6)
    return [svg.label((at[0], 105), text, anchor, offset, 4, "strongly"), svg.dot(at, "chosen", text)]


def _dollars(on: Plane) -> list[Tick]:
    values = svg.round_steps(on.left / NANO, on.right / NANO)
    step = values[1] - values[0] if len(values) > 1 else 1
    return [Tick(on.place(value * NANO, on.bottom)[0], axis_usd(value, step)) for value in values]


def _grades(on: Plane) -> list[Tick]:
    return [Tick(on.place(on.left, value)[1], f"{value:.4g}") for value in svg.round_steps(on.bottom, on.top)]
