"""The frontier as a table that fits the terminal, and as columns for Parquet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
from rich.bar import Bar
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.core.types import STRONG
from routellm_batch.reporting.plan.budgets import chosen_point
from routellm_batch.reporting.quality_words import cost_interval, grade, grades
from routellm_batch.reporting.run import wording
from routellm_batch.reporting.text import usd

BAR_CELLS = 16
MONEY = pa.decimal128(18, 9)

Cell = Callable[[FrontierPoint], str]


@dataclass(frozen=True, slots=True)
class PlanTable:
    """The frontier with the chosen point marked; it needs a terminal of 44 columns, 56 with a pilot."""

    plan: Plan

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Return the fullest table that fits the terminal's width."""
        by = wording.ranked_by(self.plan).replace(" per dollar", "/$")
        *fuller, least = (
            self._table(_cells(wanted, by), barred="bar" in wanted) for wanted in self._offered()
        )
        endless = options.update(max_width=1000)
        fitting = (t for t in fuller if t.__rich_measure__(console, endless).maximum <= options.max_width)
        yield next(fitting, least)

    def _offered(self) -> list[str]:
        """Return sets of columns, the fullest first."""
        if self.plan.outlook is None:
            return ["strong cut planned bar"]
        least = "strong planned grade interval gain"
        full = "strong cut planned p10_p90 grade interval gain random"
        return [f"{full} bar", full, f"{least} cut", least]

    def _table(self, cells: Mapping[str, Cell], *, barred: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", width=1)
        for name in cells:
            table.add_column(name, justify="right", no_wrap=True)
        if barred:
            table.add_column("")
        chosen = chosen_point(self.plan)
        points = self.plan.frontier
        top = max([point.planned_nano for point in points] + [chosen.planned_nano, 1])
        others = [point for point in points if abs(point.share - chosen.share) > 1e-9]
        for point in sorted([*others, chosen], key=lambda point: point.share):
            here = point is chosen
            bar = Bar(top, 0, point.planned_nano, width=BAR_CELLS, color="green" if here else "blue")
            row = ["▶" if here else "", *(form(point) for form in cells.values())]
            table.add_row(*row, *([bar] if barred else []), style="bold green" if here else None)
        return table


def plan_table(plan: Plan) -> PlanTable:
    """Return the frontier as a renderable for rich, which fits itself to the terminal."""
    return PlanTable(plan)


def _of(form: Callable[[Prediction], str]) -> Cell:
    return lambda point: "–" if point.outlook is None else form(point.outlook)


COLUMNS: Mapping[str, tuple[str, Cell]] = {
    STRONG: (STRONG, lambda point: f"{100 * point.share:.2f}%"),
    "cut": ("{by} cut", lambda point: "none" if point.threshold is None else f"{point.threshold:.4f}"),
    "planned": ("planned", lambda point: usd(point.planned_nano)),
    "p10_p90": ("P10 – P90", _of(cost_interval)),
    "grade": ("grade", _of(lambda look: grade(look.quality.mean))),
    "interval": ("90% interval", _of(lambda look: grades(look.quality.lo, look.quality.hi))),
    "gain": ("gain", _of(lambda look: "–" if look.quality.pgr is None else f"{100 * look.quality.pgr:.1f}%")),
    "random": ("random", _of(lambda look: grade(look.random.mean))),
}
"""Name → heading, and the text of a point; the table has this order."""


def _cells(wanted: str, by: str) -> Mapping[str, Cell]:
    """Return heading → text of a point for the columns wanted; ``by`` is what rows are ranked by."""
    return {head.format(by=by): cell for name, (head, cell) in COLUMNS.items() if name in wanted.split()}


def frontier_table(plan: Plan) -> pa.Table:
    """Return the frontier as columns, a row for each point; those that need a pilot are null without one.

    ``share``, ``threshold`` (in what the plan ranks rows by; null where nothing goes strong) and ``planned_usd``; its P10
    and P90; the predicted mean grade and recovered part of the gain (PGR) with their 90 % intervals; and grade and cost
    where equally many rows are chosen at random.
    """
    points = plan.frontier

    def predicted(read: Callable[[Prediction], Any], kind: pa.DataType) -> pa.Array:
        return pa.array([None if p.outlook is None else read(p.outlook) for p in points], kind)

    return pa.table(
        {
            "share": pa.array([point.share for point in points], pa.float64()),
            "threshold": pa.array([point.threshold for point in points], pa.float64()),
            "planned_usd": pa.array([nano_to_usd(point.planned_nano) for point in points], MONEY),
            "planned_p10_usd": predicted(lambda look: _dollars(look.low_nano), MONEY),
            "planned_p90_usd": predicted(lambda look: _dollars(look.high_nano), MONEY),
            "grade": predicted(lambda look: look.quality.mean, pa.float64()),
            "grade_lo": predicted(lambda look: look.quality.lo, pa.float64()),
            "grade_hi": predicted(lambda look: look.quality.hi, pa.float64()),
            "pgr": predicted(lambda look: look.quality.pgr, pa.float64()),
            "pgr_lo": predicted(lambda look: look.quality.pgr_lo, pa.float64()),
            "pgr_hi": predicted(lambda look: look.quality.pgr_hi, pa.float64()),
            "random_grade": predicted(lambda look: look.random.mean, pa.float64()),
            "random_usd": predicted(lambda look: _dollars(look.random_nano), MONEY),
        }
    )


def _dollars(nano: int | None) -> Decimal | None:
    return None if nano is None else nano_to_usd(nano)
