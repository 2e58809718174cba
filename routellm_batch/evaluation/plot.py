"""Curves drawn with matplotlib: the routers bold with their intervals, the baselines thin; the reports' light colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from routellm_batch.budget.pricing import NANO
from routellm_batch.core.arrays import Floats
from routellm_batch.evaluation.curves import Drawing, Line

INK, SOFT, GRID = "#161a22", "#5a6372", "#e2e5eb"
ROUTERS = ("#3b4fc4", "#1b7a4b", "#b3261e", "#8a5a00", "#7a3fa0", "#0f7c8a")
"""Colours of the routers under test, in the order of the command line."""
BASELINES = {"random": ":", "length": "--", "knn": "-.", "oracle": "-"}
"""Baseline → how its thin line is broken."""
FLOOR, CEILING = -0.1, 1.5
"""Parts of the gap beyond these are not drawn."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "svg.hashsalt": "routellm-batch",
}


def plot(drawings: Sequence[Drawing]) -> dict[str, bytes]:
    """Return ``curve.svg`` and ``curve.png``: a row for each set of outcomes, dollars on the right where they are known."""
    dollars = any(line.points.nano is not None for drawing in drawings for line in drawing.lines)
    columns = 2 if dollars else 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6 * columns, 4.4 * len(drawings)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(drawings), columns, squeeze=False)
        for row, drawing in zip(axes, drawings, strict=True):
            _by_share(row[0], drawing)
            if dollars:
                _by_dollars(row[1], drawing)
        return {
            "curve.svg": _saved(figure, "svg", metadata={"Date": None}),
            "curve.png": _saved(figure, "png", dpi=150),
        }


def _saved(figure: Figure, kind: str, **settings: Any) -> bytes:
    sink = BytesIO()
    figure.savefig(sink, format=kind, **settings)
    return sink.getvalue()


def _by_share(axes: Axes, drawing: Drawing) -> None:
    axes.set_xlabel("prompts sent to the strong model")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)
    for line, look in _looks(drawing):
        _draw(axes, line, line.points.share, look)
    _finish(axes, drawing)


def _by_dollars(axes: Axes, drawing: Drawing) -> None:
    known = [line for line in drawing.lines if line.points.nano is not None]
    if not known:
        axes.set_axis_off()
        axes.text(
            0.5, 0.5, "no token counts: cost unknown", ha="center", color=SOFT, transform=axes.transAxes
        )
        return
    estimated = ", token counts estimated" if drawing.estimated else ""
    axes.set_xlabel(f"cost of {drawing.rows:,} prompts (USD{estimated})")
    for line, look in _looks(drawing):
        if line.points.nano is not None:
            _draw(axes, line, line.points.nano / NANO, look)
    axes.xaxis.set_major_formatter("${x:,.4g}")
    _finish(axes, drawing)


def _draw(axes: Axes, line: Line, across: Floats, look: Mapping[str, Any]) -> None:
    axes.plot(across, line.points.pgr, label=line.name, **look)
    if line.router:
        ends = line.points.pgr_lo, line.points.pgr_hi
        axes.fill_between(across, *ends, color=look["color"], alpha=0.12, linewidth=0)


def _looks(drawing: Drawing) -> list[tuple[Line, dict[str, Any]]]:
    """Return each line with its colour, width and dashes; the routers are drawn last, above the others."""
    colours = cycle(ROUTERS)
    tested: set[str] = set()
    found: list[tuple[Line, dict[str, Any]]] = []
    for line in drawing.lines:
        if line.router:
            tested.add(line.name)
            found.append((line, {"color": next(colours), "linewidth": 2.2, "zorder": 3}))
        elif line.name not in tested:
            dashes = BASELINES.get(line.name, "-")
            found.append((line, {"color": SOFT, "linewidth": 0.9, "linestyle": dashes, "zorder": 2}))
    return found


def _finish(axes: Axes, drawing: Drawing) -> None:
    """Title, grid, always weak and always strong, and the mean quality on the right."""
    name = drawing.outcomes.rstrip("/").rpartition("/")[2]
    axes.set_title(f"{name}, {drawing.rows:,} prompts", loc="left", fontsize=10, color=INK)
    axes.set_ylabel("quality gap recovered")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    if not drawing.strong > drawing.weak:
        axes.text(0.5, 0.5, "strong is not better than weak: no gap", ha="center", transform=axes.transAxes)
        return
    best = max(float(np.nanmax(line.points.pgr)) for line in drawing.lines)
    axes.set_ylim(FLOOR, min(CEILING, max(1.0, best) + 0.08))
    edges = axes.get_xlim()
    for level, text in (
        (0.0, f"always weak {drawing.weak:.4g}"),
        (1.0, f"always strong {drawing.strong:.4g}"),
    ):
        axes.axhline(level, color=INK, linewidth=0.7, zorder=1)
        axes.annotate(
            text,
            (edges[1] if level == 0 else edges[0], level),
            xytext=(-4, -11) if level == 0 else (4, 3),
            textcoords="offset points",
            ha="right" if level == 0 else "left",
            fontsize=8,
            color=SOFT,
        )
    gap = drawing.strong - drawing.weak
    scale = (lambda part: drawing.weak + part * gap, lambda quality: (quality - drawing.weak) / gap)
    axes.secondary_yaxis("right", functions=scale).set_ylabel("mean quality")
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0.12),
        fontsize=8,
        frameon=True,
        edgecolor=GRID,
        facecolor="white",
    )
