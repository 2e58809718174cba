"""The curves as one SVG file, drawn with the reports' own charts; it needs no library and no style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from routellm_batch.budget.pricing import NANO
from routellm_batch.core.arrays import Floats
from routellm_batch.evaluation import plot_style as style
from routellm_batch.evaluation.curves import Drawing, Line
from routellm_batch.evaluation.plot_style import FLOOR, GRID, INK, SOFT, Look
from routellm_batch.reporting.charts import svg
from routellm_batch.reporting.charts.svg import Point, Tick
from routellm_batch.reporting.text import axis_usd

WIDTH, HEIGHT = 480, 300
"""Of one plot, in pixels, without its axes."""
LEFT, RIGHT, ABOVE, BELOW = 76, 76, 44, 52
"""Room around a plot for title, ticks and captions."""
LEGEND_LINE, CHAR_WIDTH, SWATCH = 20, 6.6, 26
"""Height of a line of the legend, width of a character at most, and of the sample of a line, with its gap."""
EDGE = 0.02
"""Part of the axis of dollars that stays free at both ends."""
FONT = 'Inter, system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
STYLE = (
    f"text {{ font: 12px {FONT}; fill: {SOFT}; }} text.title {{ font-size: 14px; font-weight: 600; fill: {INK}; }} "
    f"text.caption {{ fill: {INK}; }} .grid {{ stroke: {GRID}; }} .axis {{ stroke: {SOFT}; }} "
    f".level {{ stroke: {INK}; stroke-width: 0.7; }} "
    ".curve { fill: none; stroke-linejoin: round; } .interval { fill-opacity: 0.12; stroke: none; } "
    ".over { stroke: white; stroke-width: 3px; paint-order: stroke; }"
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """The horizontal axis of a plot."""

    caption: str
    ticks: Sequence[Tick]
    curves: Sequence[tuple[Line, Look, Floats]]
    """Each line with its look and its places on the axis, [K] in percent."""


def plot_svg(drawings: Sequence[Drawing]) -> bytes:
    """Return the file: a row for each set of outcomes, dollars on the right where they are known."""
    columns = 2 if any(style.knows_costs(drawing) for drawing in drawings) else 1
    width = columns * (LEFT + WIDTH + RIGHT)
    y, parts = 0.0, [svg.tag("style", Markup(STYLE))]  # noqa: S704 - a constant of this module
    parts.append(svg.tag("rect", width="100%", height="100%", fill="white"))
    for drawing in drawings:
        axes = [_shares(drawing), *([_dollars(drawing)] if columns == 2 else [])]
        parts += [
            _panel(drawing, axis, number * (LEFT + WIDTH + RIGHT) + LEFT, y + ABOVE)
            for number, axis in enumerate(axes)
        ]
        legend, height = _legend(drawing, width, y + ABOVE + HEIGHT + BELOW)
        parts.append(legend)
        y += ABOVE + HEIGHT + BELOW + height
    text = "; ".join(map(style.title, drawings))
    size: dict[str, str | float] = {"width": width, "height": y, "viewBox": f"0 0 {width} {y:.0f}"}
    described = f"{style.GAP_AXIS.capitalize()} by {style.SHARE_AXIS}: {text}"
    whole = svg.tag(
        "svg", *parts, xmlns="http://www.w3.org/2000/svg", **size, role="img", aria_label=described
    )
    return f"{whole}\n".encode()


def _shares(drawing: Drawing) -> _Axis:
    ticks = [Tick(percent, f"{percent}%") for percent in range(0, 101, 20)]
    return _Axis(
        style.SHARE_AXIS,
        ticks,
        [(line, look, 100 * line.points.share) for line, look in style.looks(drawing)],
    )


def _dollars(drawing: Drawing) -> _Axis | None:
    """Return the axis of dollars; None where no line knows its costs."""
    known = [
        (line, look, line.points.nano / NANO)
        for line, look in style.looks(drawing)
        if line.points.nano is not None
    ]
    if not known:
        return None
    least, most = min(float(usd.min()) for *_, usd in known), max(float(usd.max()) for *_, usd in known)
    room = EDGE * (most - least) or 0.01 * most or 1.0
    low, high = least - room, most + room
    values = [value for value in svg.round_steps(low, high, most=7) if value >= 0]
    step = values[1] - values[0] if len(values) > 1 else 10.0 ** np.floor(np.log10(high - low))
    ticks = [Tick(100 * (value - low) / (high - low), axis_usd(value, step)) for value in values]
    curves = [(line, look, 100 * (usd - low) / (high - low)) for line, look, usd in known]
    return _Axis(style.dollar_axis(drawing), ticks, curves)


def _panel(drawing: Drawing, axis: _Axis | None, x: float, y: float) -> Markup:
    """Return one plot with its axes, whose upper left corner is at ``x`` and ``y`` in pixels."""
    if axis is None:
        marks = [svg.label((50, 50), style.NO_COSTS)]
    elif not style.has_gap(drawing):
        marks = [*_frame(drawing, axis, []), svg.label((50, 50), style.NO_GAP, look="caption")]
    else:
        low, high = FLOOR, style.top(drawing)
        ticks = [
            Tick(_place(part, low, high), f"{100 * part:.0f}%")
            for part in (0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4)
        ]
        marks = [
            *_frame(drawing, axis, [tick for tick in ticks if tick.at <= 100]),
            *_quality_axis(drawing, low, high),
            *(mark for curve in axis.curves for mark in _curve(*curve, low, high)),
            *_levels(drawing, low, high),
        ]
    return svg.tag("svg", *marks, x=x, y=y, width=WIDTH, height=HEIGHT, overflow="visible")


def _place(part: float, low: float, high: float) -> float:
    return 100 * (part - low) / (high - low)


def _frame(drawing: Drawing, axis: _Axis, y_ticks: Sequence[Tick]) -> list[Markup]:
    """Return grid, ticks, captions and title."""
    y_marks = [
        mark
        for tick in y_ticks
        for mark in (
            svg.line((0, tick.at), (100, tick.at), "grid"),
            svg.label((0, tick.at), tick.label, "end", -8, 4),
        )
    ]
    x_marks = [
        mark
        for tick in axis.ticks
        for mark in (
            svg.line((tick.at, 0), (tick.at, 100), "grid"),
            svg.label((tick.at, 0), tick.label, dy=18),
        )
    ]
    return [
        *y_marks,
        *x_marks,
        svg.line((0, 0), (100, 0), "axis"),
        svg.line((0, 0), (0, 100), "axis"),
        svg.label((0, 100), style.title(drawing), "start", 0, -16, "title"),
        svg.label((50, 0), axis.caption, dy=40, look="caption"),
        _upright(style.GAP_AXIS, -52, -90),
    ]


def _upright(text: str, x: float, turn: int) -> Markup:
    """Return the caption of a vertical axis; ``x`` is in pixels from the plot's left."""
    middle = HEIGHT / 2
    return svg.tag(
        "text",
        text,
        transform=f"translate({x:g} {middle:g}) rotate({turn})",
        text_anchor="middle",
        class_="caption",
    )


def _quality_axis(drawing: Drawing, low: float, high: float) -> list[Markup]:
    """Return the axis of mean quality, on the right."""
    gap = drawing.strong - drawing.weak
    ends = drawing.weak + low * gap, drawing.weak + high * gap
    ticks = [
        Tick(_place((v - drawing.weak) / gap, low, high), f"{v:.4g}") for v in svg.round_steps(*ends, most=7)
    ]
    return [
        svg.line((100, 0), (100, 100), "axis"),
        *(svg.label((100, tick.at), tick.label, "start", 8, 4) for tick in ticks),
        _upright(style.QUALITY_AXIS, WIDTH + 58, 90),
    ]


def _curve(line: Line, look: Look, across: Floats, low: float, high: float) -> list[Markup]:
    """Return a line, and a router's interval below it."""
    size, points = (WIDTH, HEIGHT), line.points

    def at(parts: Floats) -> list[Point]:
        places = np.column_stack([across, 100 * (parts - low) / (high - low)])
        return [(float(x), float(y)) for x, y in places[np.isfinite(places).all(axis=1)]]

    mean = svg.curve(at(points.pgr), "curve", size=size, attributes=_stroke(look))
    if not line.router:
        return [mean]
    interval = svg.area(
        at(points.pgr_lo), at(points.pgr_hi), "interval", size=size, attributes={"fill": look.colour}
    )
    return [interval, mean]


def _stroke(look: Look) -> dict[str, str | float]:
    dashes = " ".join(f"{look.width * length:g}" for length in look.dashes)
    return {
        "stroke": look.colour,
        "stroke_width": look.width,
        **({"stroke_dasharray": dashes} if dashes else {}),
    }


def _levels(drawing: Drawing, low: float, high: float) -> list[Markup]:
    """Return the lines of always weak and always strong with their captions, above the curves."""
    (weak, weak_text), (strong, strong_text) = style.levels(drawing)
    below, above = _place(weak, low, high), _place(strong, low, high)
    return [
        svg.line((0, below), (100, below), "level"),
        svg.line((0, above), (100, above), "level"),
        svg.label((100, below), weak_text, "end", -6, 15, "over"),
        svg.label((0, above), strong_text, "start", 6, -6, "over"),
    ]


def _legend(drawing: Drawing, width: float, y: float) -> tuple[Markup, float]:
    """Return a sample and the name of each line, routers first, wrapped to the file's width, and the height in pixels."""
    entries, x, row = [], float(LEFT), 0
    for line, look in _routers_first(drawing):
        wide = SWATCH + CHAR_WIDTH * len(line.name) + 18
        if x > LEFT and x + wide > width:
            x, row = float(LEFT), row + 1
        middle = y + LEGEND_LINE * (row + 0.5)
        sample = svg.tag(
            "line",
            x1=x,
            y1=middle,
            x2=x + SWATCH - 6,
            y2=middle,
            **_stroke(look),
        )
        entries += [sample, svg.tag("text", line.name, x=x + SWATCH, y=middle + 4)]
        x += wide
    return svg.tag("g", *entries), LEGEND_LINE * (row + 1) + 16.0


def _routers_first(drawing: Drawing) -> list[tuple[Line, Look]]:
    return sorted(style.looks(drawing), key=lambda entry: not entry[0].router)
