"""The chart of quality by dollars, as a pilot predicts it. Pure; plain values in, markup out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.pricing import NANO
from routellm_batch.reporting.charts import svg
from routellm_batch.reporting.charts.svg import Point, Tick
from routellm_batch.reporting.quality_words import grade, grades
from routellm_batch.reporting.text import axis_usd, percent, usd

ROOM = 0.05
"""Part of an axis that stays free at both ends."""


@dataclass(frozen=True, slots=True)
class PredictedPoint:
    """One budget with what a pilot predicts of it."""

    share: float
    """Strong share, 0 to 1."""
    nano: int
    """Expected cost in nano-dollars."""
    outlook: Prediction
    """Quality, cost interval, and the same for rows sent strong at random."""


@dataclass(frozen=True, slots=True)
class Plane:
    """The range of dollars and grades that a chart shows."""

    left: float
    """Nano-dollars at the left edge."""
    right: float
    """Nano-dollars at the right edge."""
    bottom: float
    """Grade at the bottom."""
    top: float
    """Grade at the top."""

    def place(self, nano: float, mean: float) -> Point:
        """Return where a budget and its grade lie, in percent from the lower left."""
        x = 100 * (nano - self.left) / (self.right - self.left)
        return x, 100 * (mean - self.bottom) / (self.top - self.bottom)


def predicted_points(points: Sequence[FrontierPoint]) -> list[PredictedPoint]:
    """Return the points of a frontier that have a prediction."""
    return [PredictedPoint(p.share, p.planned_nano, p.outlook) for p in points if p.outlook is not None]


def plane(points: Sequence[PredictedPoint]) -> Plane | None:
    """Return the range that holds all points; None where there is nothing to draw, as they all cost the same."""
    costs = [nano for point in points for nano in (point.nano, point.outlook.random_nano)]
    if not costs or max(costs) == min(costs):
        return None
    predictions = [point.outlook for point in points]
    means = [mean for one in predictions for mean in (one.quality.lo, one.quality.hi, one.random.mean)]
    wide, high = ROOM * (max(costs) - min(costs)), ROOM * (max(means) - min(means)) or 0.01
    return Plane(max(0, min(costs) - wide), max(costs) + wide, min(means) - high, max(means) + high)


def quality_chart(
    on: Plane, points: Sequence[PredictedPoint], chosen: PredictedPoint | None, *, cursor: bool
) -> Markup:
    """Return the predicted mean grade by expected cost with its interval, beside that of equally many rows at random.

    Args:
        on: the range to show, from ``plane``.
        points: from all weak to all strong.
        chosen: the plan; None where there is none.
        cursor: whether to add a cursor, for a slider to move.

    """
    curve = [on.place(point.nano, point.outlook.quality.mean) for point in points]
    low = [on.place(point.nano, point.outlook.quality.lo) for point in points]
    high = [on.place(point.nano, point.outlook.quality.hi) for point in points]
    random = [on.place(point.outlook.random_nano, point.outlook.random.mean) for point in points]
    weak, strong = points[0], points[-1]
    at = None if chosen is None else on.place(chosen.nano, chosen.outlook.quality.mean)
    # On the far side of the plan, whose line would cross it on a narrow page.
    edge, anchor, offset = (100, "end", -6) if at is not None and at[0] < 50 else (0, "start", 6)
    marks = [
        svg.area(low, high, "area"),
        svg.line((0, curve[-1][1]), (100, curve[-1][1]), "reference strongline"),
        svg.line((0, curve[0][1]), (100, curve[0][1]), "reference weakline"),
        *([] if at is None else [svg.line((at[0], 0), (at[0], 105), "mark")]),
        svg.curve(random, "random"),
        svg.curve(curve, "frontier"),
        svg.label((edge, curve[-1][1]), f"all strong {_text(strong)}", anchor, offset, -7),
        svg.label((100, curve[0][1]), f"all weak {_text(weak)}", "end", -6, 16),
        svg.dot(curve[0], "end weak", f"all weak: {_text(weak)}"),
        svg.dot(curve[-1], "end strong", f"all strong: {_text(strong)}"),
        *([] if at is None or chosen is None else _chosen(at, f"plan {_text(chosen)}")),
        *([svg.cursor(curve[0])] if cursor else []),
    ]
    ends = f"from all weak, {_in_words(weak)}, to all strong, {_in_words(strong)}"
    described = f"Predicted mean grade by expected cost, {ends}"
    if chosen is not None:
        described += f"; the plan: {percent(chosen.share)} strong, {_in_words(chosen)}"
    return svg.plot(300, f"{described}.", _dollars(on), _grades(on), *marks, look="wide")


def _text(point: PredictedPoint) -> str:
    return f"{grade(point.outlook.quality.mean)}, {usd(point.nano)}"


def _in_words(point: PredictedPoint) -> str:
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
