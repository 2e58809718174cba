"""What the drawn curves look like and say: the routers bold, the baselines thin, in the colours of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from routellm_batch.evaluation.curves import Drawing, Line

INK, SOFT, GRID = "#161a22", "#5a6372", "#e2e5eb"
COLOURS = ("#3b4fc4", "#1b7a4b", "#b3261e", "#8a5a00", "#7a3fa0", "#0f7c8a")
"""Colours of the routers under test, in the order of the command line."""
Dashes = Sequence[float]
DASHES: dict[str, Dashes] = {"random": (1, 2.5), "length": (5, 3), "knn": (7, 3, 1, 3), "oracle": ()}
"""Baseline → lengths of its dashes and gaps, in multiples of the line's width; empty for a solid line."""
FLOOR, CEILING = -0.1, 1.5
"""Parts of the gap beyond these are not drawn."""

SHARE_AXIS = "prompts sent to the strong model"
GAP_AXIS = "quality gap recovered"
QUALITY_AXIS = "mean quality"
NO_GAP = "strong is not better than weak: no gap"
NO_COSTS = "no token counts: cost unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """How one line is drawn."""

    colour: str
    """As ``#rrggbb``."""
    width: float
    """In pixels."""
    dashes: Dashes
    """As in ``DASHES``."""


def looks(drawing: Drawing) -> list[tuple[Line, Look]]:
    """Return each line with its look, in drawing order: baselines first, so that the routers lie above them.

    A baseline that is also under test is drawn once, as a router.
    """
    colours = cycle(COLOURS)
    routers = [(line, Look(next(colours), 2.2, ())) for line in drawing.lines if line.router]
    tested = {line.name for line, _ in routers}
    others = [line for line in drawing.lines if not line.router and line.name not in tested]
    return [*((line, Look(SOFT, 1.2, DASHES.get(line.name, ()))) for line in others), *routers]


def title(drawing: Drawing) -> str:
    """Return the name of the outcomes' file and the number of prompts."""
    name = drawing.outcomes.rstrip("/").rpartition("/")[2]
    return f"{name}, {drawing.rows:,} prompts"


def dollar_axis(drawing: Drawing) -> str:
    """Return the caption of the axis of dollars."""
    estimated = ", token counts estimated" if drawing.estimated else ""
    return f"cost of {drawing.rows:,} prompts (USD{estimated})"


def levels(drawing: Drawing) -> tuple[tuple[float, str], tuple[float, str]]:
    """Return always weak and always strong: the part of the gap that each recovers, and its caption."""
    return (0.0, f"always weak {drawing.weak:.4g}"), (1.0, f"always strong {drawing.strong:.4g}")


def has_gap(drawing: Drawing) -> bool:
    """Whether the strong model is better, so that there are curves to draw."""
    return drawing.strong > drawing.weak


def top(drawing: Drawing) -> float:
    """Return the part of the gap at the top of the plot."""
    best = max(float(np.nanmax(line.points.pgr)) for line in drawing.lines)
    return min(CEILING, max(1.0, best) + 0.08)


def knows_costs(drawing: Drawing) -> bool:
    """Whether any line can be drawn over dollars."""
    return any(line.points.nano is not None for line in drawing.lines)
