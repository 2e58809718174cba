"""Inline SVG by hand: elements, axis ticks and the frame of a plot. Pure; every text is escaped.

Positions are percentages of the plot, so that a chart fills whatever width it is given while texts and lines keep their
size. Only curves need an inner drawing that is stretched (``curve``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from markupsafe import Markup, escape

Point = tuple[float, float]
"""Percent of the plot's width from the left, and of its height from the bottom."""
Size = tuple[float, float]
"""Width and height in pixels."""
Attributes = Mapping[str, str | float]
"""Name of an attribute of an element, as ``tag`` takes it → its value."""
NONE: Attributes = MappingProxyType({})
STRETCHED: Size = (100, 100)
"""Of a plot that fills whatever width it is given."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark of an axis."""

    at: float
    """Percent of the axis."""
    label: str


def tag(name: str, *inside: str, **attributes: str | float) -> Markup:
    """Return one element; of attributes, ``class_`` becomes ``class`` and ``stroke_width`` becomes ``stroke-width``."""
    pairs = (
        f' {key.strip("_").replace("_", "-")}="{escape(_text(value))}"' for key, value in attributes.items()
    )
    body = Markup("").join(inside)
    return Markup(f"<{name}{''.join(pairs)}>{body}</{name}>")  # noqa: S704 - made of escaped parts


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def tip(text: str) -> Markup:
    """Return the text that is shown while the pointer is over the element."""
    return tag("title", text)


def bar(x: float, width: float, height: float, look: str, text: str) -> Markup:
    """Return an upright bar on the plot's floor; ``x``, ``width`` and ``height`` are percentages, ``text`` its tip."""
    size = {
        "x": f"{x:.3f}%",
        "y": f"{100 - height:.3f}%",
        "width": f"{width:.3f}%",
        "height": f"{height:.3f}%",
    }
    return tag("rect", tip(text), **size, class_=look)


def line(start: Point, end: Point, look: str) -> Markup:
    """Return a straight line between two points; ``look`` is its class in the style sheet."""
    ends = {"x1": start[0], "y1": 100 - start[1], "x2": end[0], "y2": 100 - end[1]}
    return tag("line", **{name: f"{at:.3f}%" for name, at in ends.items()}, class_=look)


def dot(at: Point, look: str, text: str, radius: float = 5) -> Markup:
    """Return a round mark with a tip; its radius is in pixels."""
    return tag("circle", tip(text), cx=f"{at[0]:.3f}%", cy=f"{100 - at[1]:.3f}%", r=radius, class_=look)


def cursor(at: Point) -> Markup:
    """Return an upright line and a ring for a slider to move; they are hidden until it does."""
    look = {"class_": "cursor", "visibility": "hidden"}
    x, y = f"{at[0]:.3f}%", f"{100 - at[1]:.3f}%"
    upright = tag("line", x1=x, y1="0%", x2=x, y2="100%")
    return tag("g", upright, tag("circle", cx=x, cy=y, r=6), **look)


def label(
    at: Point, text: str, anchor: str = "middle", dx: float = 0, dy: float = 0, look: str = ""
) -> Markup:
    """Return a text beside a point; ``anchor`` is start, middle or end, ``dx`` and ``dy`` are pixels."""
    x, y = f"{at[0]:.3f}%", f"{100 - at[1]:.3f}%"
    return tag("text", text, x=x, y=y, dx=dx, dy=dy, text_anchor=anchor, class_=look)


def curve(
    points: Sequence[Point],
    look: str,
    *,
    filled: bool = False,
    size: Size = STRETCHED,
    attributes: Attributes = NONE,
) -> Markup:
    """Return a line through the points, or the area below it.

    Args:
        points: in percent of the plot; what lies outside of it is cut off.
        look: classes of the style sheet.
        filled: whether to return the area.
        size: of the plot, in pixels, where it is fixed.
        attributes: further ones of the shape, e.g. its colour.

    """
    ends = [(points[-1][0], 0.0), (points[0][0], 0.0)] if filled else []
    return _shape("polygon" if filled else "polyline", [*points, *ends], look, size, attributes)


def area(
    lower: Sequence[Point],
    upper: Sequence[Point],
    look: str,
    *,
    size: Size = STRETCHED,
    attributes: Attributes = NONE,
) -> Markup:
    """Return the area between two lines; the arguments are those of ``curve``."""
    return _shape("polygon", [*upper, *reversed(lower)], look, size, attributes)


def _shape(name: str, points: Sequence[Point], look: str, size: Size, attributes: Attributes) -> Markup:
    width, height = size
    path = " ".join(f"{x * width / 100:.3f},{(100 - y) * height / 100:.3f}" for x, y in points)
    shape = tag(name, points=path, class_=look, vector_effect="non-scaling-stroke", **attributes)
    stretch = {"viewBox": f"0 0 {width:g} {height:g}", "preserveAspectRatio": "none"}
    return tag("svg", shape, width="100%", height="100%", **stretch)


def round_steps(low: float, high: float, most: int = 5) -> list[float]:
    """Return about ``most`` round values from ``low`` to ``high``, in steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def plot(
    height: int, described: str, x_ticks: Iterable[Tick], y_ticks: Iterable[Tick], *marks: str, look: str = ""
) -> Markup:
    """Return a whole chart with grid, ticks and the marks above them.

    Args:
        height: in pixels.
        described: the chart in words, for those who can't see it.
        x_ticks: marks of the horizontal axis.
        y_ticks: marks of the vertical axis.
        marks: elements, lowest first.
        look: further classes of the style sheet.

    """
    y_marks = [
        (line((0, t.at), (100, t.at), "grid"), label((0, t.at), t.label, "end", -8, 4)) for t in y_ticks
    ]
    x_marks = [label((t.at, 0), t.label, dy=18) for t in x_ticks]
    parts = [*(part for pair in y_marks for part in pair), *x_marks, line((0, 0), (100, 0), "axis"), *marks]
    drawing = tag("svg", *parts, width="100%", height=height, role="img", aria_label=described)
    return tag("div", drawing, class_=f"plot {look}".strip())
