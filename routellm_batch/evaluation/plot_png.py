"""The curves as PNG, drawn with matplotlib, which is the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from routellm_batch.budget.pricing import NANO
from routellm_batch.core.arrays import Floats
from routellm_batch.evaluation import plot_style as style
from routellm_batch.evaluation.curves import Drawing, Line
from routellm_batch.evaluation.plot_style import FLOOR, GRID, INK, SOFT, Look

SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
}


def plot_png(drawings: Sequence[Drawing]) -> bytes:
    """Return a PNG: a row for each set of outcomes, dollars on the right where they are known."""
    dollars = any(style.knows_costs(drawing) for drawing in drawings)
    columns = 2 if dollars else 1
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(6.6 * columns, 4.9 * len(drawings)), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(drawings), columns, squeeze=False)
        for row, drawing in zip(axes, drawings, strict=True):
            _by_share(row[0], drawing)
            if dollars:
                _by_dollars(row[1], drawing)
        sink = BytesIO()
        figure.savefig(sink, format="png", dpi=150)
        return sink.getvalue()


def _by_share(axes: Axes, drawing: Drawing) -> None:
    axes.set_xlabel(style.SHARE_AXIS)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)
    for line, look in style.looks(drawing):
        _draw(axes, line, line.points.share, look)
    _finish(axes, drawing)


def _by_dollars(axes: Axes, drawing: Drawing) -> None:
    if not style.knows_costs(drawing):
        axes.set_axis_off()
        axes.text(0.5, 0.5, style.NO_COSTS, ha="center", color=SOFT, transform=axes.transAxes)
        return
    axes.set_xlabel(style.dollar_axis(drawing))
    for line, look in style.looks(drawing):
        if line.points.nano is not None:
            _draw(axes, line, line.points.nano / NANO, look)
    axes.xaxis.set_major_formatter("${x:,.4g}")
    _finish(axes, drawing)


def _draw(axes: Axes, line: Line, across: Floats, look: Look) -> None:
    dashes: Any = (0, look.dashes) if look.dashes else "-"
    axes.plot(
        across, line.points.pgr, label=line.name, color=look.colour, linewidth=look.width, linestyle=dashes
    )
    if line.router:
        ends = line.points.pgr_lo, line.points.pgr_hi
        axes.fill_between(across, *ends, color=look.colour, alpha=0.12, linewidth=0)


def _finish(axes: Axes, drawing: Drawing) -> None:
    """Add title, grid, always weak and always strong, the mean quality on the right, and a legend below."""
    axes.set_title(style.title(drawing), loc="left", fontsize=10, color=INK)
    axes.set_ylabel(style.GAP_AXIS)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    if not style.has_gap(drawing):
        axes.set_yticks([])
        axes.text(0.5, 0.5, style.NO_GAP, ha="center", transform=axes.transAxes)
        return
    axes.set_ylim(FLOOR, style.top(drawing))
    left, right = axes.get_xlim()
    for level, text in style.levels(drawing):
        axes.axhline(level, color=INK, linewidth=0.7, zorder=1)
        weak = level == 0
        axes.annotate(
            text,
            (right if weak else left, level),
            xytext=(-4, -11) if weak else (4, 3),
            textcoords="offset points",
            ha="right" if weak else "left",
            fontsize=8,
            color=SOFT,
        )
    gap = drawing.strong - drawing.weak
    scale = (lambda part: drawing.weak + part * gap, lambda quality: (quality - drawing.weak) / gap)
    axes.secondary_yaxis("right", functions=scale).set_ylabel(style.QUALITY_AXIS)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, fontsize=8, frameon=False)
