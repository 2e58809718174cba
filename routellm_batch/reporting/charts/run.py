"""The charts of the reports: score distribution, frontier, latency. Pure; plain values in, markup out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from routellm_batch.budget.frontier import FrontierPoint
from routellm_batch.budget.pricing import NANO
from routellm_batch.budget.spend.summary import BINS_PER_OCTAVE
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.reporting.charts import svg
from routellm_batch.reporting.charts.svg import Tick
from routellm_batch.reporting.text import axis_usd, compact, count, percent, rows, seconds, usd

HEADROOM, LABEL_HEADROOM = 1.06, 1.16
"""Top of a plot, as a multiple of its highest mark; the second leaves room for a label above that."""
BARS = 60
"""The most bars of a score distribution."""
TICK_GAP = 15
"""Percent of an axis that there must be between the labels of two latencies."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that is marked on the chart of the frontier."""

    share: float
    """Strong share, 0 to 1."""
    nano: int
    """Nano-dollars."""
    text: str
    """Its label."""


def _side(at: float) -> tuple[str, float]:
    """Return anchor and offset that keep a label at ``at`` percent inside the plot."""
    return ("end", -6) if at > 50 else ("start", 6)


def score_chart(histogram: Sequence[int], threshold: float | None, by: str = "score") -> Markup:
    """Return the distribution of the values that rows are ranked by, coloured by route, with the cut marked.

    Args:
        histogram: rows in equal steps of the value from 0 to 1; not empty.
        threshold: the value at the cut; None where nothing goes strong.
        by: the name of the value.

    """
    bars = _score_bars(histogram)
    low, high = bars[0][0], bars[-1][1]
    most = max(height for _, _, height in bars)
    top = max(1.0, most * HEADROOM)
    cut = math.inf if threshold is None else threshold

    def place(score: float) -> float:
        return 100 * (score - low) / (high - low)

    marks: list[str] = []
    for start, end, height in bars:
        gap = 0.1 * (end - start)
        edges = [start + gap, *([cut] if start + gap < cut < end - gap else []), end - gap]
        text = f"{by} {start:.4g} to {end:.4g}: {rows(height)}"
        for left, right in pairwise(edges if height else []):
            look = STRONG if (left + right) / 2 > cut else WEAK
            marks.append(svg.bar(place(left), place(right) - place(left), 100 * height / top, look, text))
    if low <= cut <= high:
        anchor, offset = _side(place(cut))
        marks.append(svg.line((place(cut), 0), (place(cut), 106), "mark"))
        marks.append(svg.label((place(cut), 106), f"cut at {cut:.4f}", anchor, offset, 4, "strongly"))
    where = "nothing goes strong" if threshold is None else f"the cut is at {threshold:.4f}"
    described = f"Rows by {by}, from {low:.4g} to {high:.4g}; {where}; the highest bar is {rows(most)}."
    x_ticks = [Tick(place(score), f"{score:.4g}") for score in svg.round_steps(low, high)]
    y_ticks = [Tick(100 * n / top, compact(n)) for n in svg.round_steps(0, top, 4) if n == int(n)]
    return svg.plot(220, described, x_ticks, y_ticks, *marks)


def _score_bars(histogram: Sequence[int]) -> list[tuple[float, float, int]]:
    """Return lower edge, upper edge and rows of at most ``BARS`` bars, over the steps with rows and one on either side."""
    held = [number for number, height in enumerate(histogram) if height] or [0, len(histogram) - 1]
    first, end = max(0, held[0] - 1), min(len(histogram), held[-1] + 2)
    each, steps = -(-(end - first) // BARS), len(histogram)
    starts = range(first, end, each)
    return [(n / steps, min(n + each, steps) / steps, sum(histogram[n : n + each])) for n in starts]


def frontier_top(
    frontier: Sequence[FrontierPoint],
    all_weak_nano: int,
    all_strong_nano: int,
    chosen: Mark,
    spent: Mark | None = None,
) -> float:
    """Return the nano-dollars at the top of ``frontier_chart``."""
    marked = [chosen.nano, spent.nano if spent else 0, all_weak_nano, all_strong_nano, 1]
    return LABEL_HEADROOM * max([*marked, *(point.planned_nano for point in frontier)])


def frontier_chart(
    frontier: Sequence[FrontierPoint],
    all_weak_nano: int,
    all_strong_nano: int,
    chosen: Mark,
    spent: Mark | None,
    *,
    cursor: bool = False,
) -> Markup:
    """Return planned cost by strong share, with the chosen point, what was spent, and both extremes.

    Args:
        frontier: points in the order of their shares; not empty.
        all_weak_nano: planned cost with every row weak.
        all_strong_nano: planned cost with every row strong.
        chosen: the plan.
        spent: what the run did spend; None before its end.
        cursor: whether to add a cursor, for a slider to move.

    """
    costs = [point.planned_nano for point in frontier]
    top = frontier_top(frontier, all_weak_nano, all_strong_nano, chosen, spent)

    def place(share: float, nano: int) -> svg.Point:
        return 100 * share, 100 * nano / top

    points = [place(point.share, point.planned_nano) for point in frontier]
    at = place(chosen.share, chosen.nano)
    anchor, offset = _side(at[0])
    strong, weak = place(0, all_strong_nano), place(1, all_weak_nano)
    edge, far_side, inwards = (100, "end", -6) if chosen.share < 0.5 else (0, "start", 6)
    marks = [
        svg.curve(points, "area", filled=True),
        svg.line(strong, (100, strong[1]), "reference strongline"),
        svg.line((0, weak[1]), weak, "reference weakline"),
        svg.curve(points, "frontier"),
        svg.line((at[0], 0), (at[0], 106), "mark"),
        svg.label((edge, strong[1]), f"all strong {usd(all_strong_nano)}", far_side, inwards, -7),
        svg.label(weak, f"all weak {usd(all_weak_nano)}", "end", -6, -7),
        svg.label((at[0], 106), chosen.text, anchor, offset, 4, "strongly"),
    ]
    if spent is not None:
        # Wider than the plan's mark, so that it is seen where the two agree.
        marks.append(svg.dot(place(spent.share, spent.nano), "spent", spent.text, 8))
    marks.append(svg.dot(at, "chosen", chosen.text))
    if cursor:
        marks.append(svg.cursor(at))
    described = (
        f"Planned cost by strong share, from {usd(costs[0])} at 0% to {usd(costs[-1])} at 100%; "
        f"chosen: {chosen.text}."
    )
    x_ticks = [Tick(100 * share, percent(share)) for share in (0, 0.25, 0.5, 0.75, 1)]
    return svg.plot(220, described, x_ticks, _dollar_ticks(top), *marks, look="wide")


def _dollar_ticks(top: float) -> list[Tick]:
    """Return the ticks of an axis of dollars from 0 to ``top`` nano-dollars."""
    values = svg.round_steps(0, top / NANO)
    step = values[-1] / max(1, len(values) - 1)
    return [Tick(100 * value * NANO / top, axis_usd(value, step)) for value in values]


def latency_chart(
    bins: Mapping[int, int], span: tuple[int, int], route: str, median_s: float, *, axis: bool
) -> Markup:
    """Return answered calls by latency on a logarithmic axis, with the median marked.

    Args:
        bins: answered calls by bin, as in ``RouteTotals.latency_bins``; not empty.
        span: first and last bin of the axis; charts that are compared share it.
        route: strong or weak, which gives the colour.
        median_s: the median in seconds.
        axis: whether the axis is labelled; of charts below one another only the last is.

    """
    first, steps = span[0], span[1] - span[0] + 1
    most = max(bins.values())
    marks: list[str] = []
    for number, calls in sorted(bins.items()):
        text = f"about {seconds(_bin_s(number))}: {count(calls)} calls"
        left = 100 * (number - first) / steps
        marks.append(svg.bar(left + 8 / steps, 84 / steps, 100 * calls / most, route, text))
    look = "bare" if axis else "bare stacked"
    described = f"Answered calls of the {route} endpoint by latency; median {seconds(median_s)}."
    middle = _log_place(median_s, span)
    marks.append(svg.line((middle, 0), (middle, 108), "mark"))
    return svg.plot(72, described, _latency_ticks(span, median_s) if axis else [], [], *marks, look=look)


def _latency_ticks(span: tuple[int, int], median_s: float) -> list[Tick]:
    """Return as many round latencies as fit on the axis; the median alone if none does."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**power for power in range(-6, 6) for step in steps]
        ticks = [Tick(at, seconds(s)) for s in values if 4 <= (at := _log_place(s, span)) <= 96]
        if all(b.at - a.at >= TICK_GAP for a, b in pairwise(ticks)):
            return ticks or [Tick(_log_place(median_s, span), seconds(median_s))]
    return ticks[::2]


def latency_span(all_bins: Sequence[Mapping[int, int]]) -> tuple[int, int]:
    """Return the first and the last bin of an axis for all bins, with one more on either side; not all may be empty."""
    numbers = [number for bins in all_bins for number in bins]
    return min(numbers) - 1, max(numbers) + 1


def _bin_s(number: int) -> float:
    return float(2 ** (number / BINS_PER_OCTAVE)) / 1000


def _log_place(value_s: float, span: tuple[int, int]) -> float:
    """Return where a latency lies on the axis, in percent; bins are centred on their values."""
    return 100 * (BINS_PER_OCTAVE * math.log2(value_s * 1000) - span[0] + 0.5) / (span[1] - span[0] + 1)
