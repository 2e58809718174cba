"""What a budget buys, before anything is spent: ``plan.html``, a terminal table and a Parquet-ready table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import pyarrow as pa
from rich.bar import Bar
from rich.table import Table

from routellm_batch.config import Config
from routellm_batch.planning import FrontierPoint
from routellm_batch.pricing import nano_to_usd
from routellm_batch.reporting import charts, cost, wording
from routellm_batch.reporting.page import render
from routellm_batch.reporting.text import count, percent, public_uri, usd
from routellm_batch.reporting.views import PlanView
from routellm_batch.types import ROUTES, Route

BUDGETS = tuple(Decimal(tenth) / 10 for tenth in range(11))
"""Strong shares that the page offers as a budget."""
BAR_CELLS = 16


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """Everything that the page tells of a plan; no prompt."""

    run_id: str
    run_uri: str
    plan: PlanView
    router: str
    endpoints: Mapping[Route, cost.EndpointFacts]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of the page's table."""

    share: float
    strong: int
    """Rows that would go strong."""
    threshold: float | None
    nano: int
    lines: tuple[str, ...]
    """How to ask for it: alternative sets of configuration overrides."""
    chosen: bool = False


def plan_facts(config: Config, *, run_id: str, run_uri: str, plan: PlanView) -> PlanFacts:
    """Join a plan with what its config says."""
    ends, further = cost.endpoint_facts(config), cost.settings(config)
    return PlanFacts(run_id, public_uri(run_uri), plan, cost.router_text(config), ends, further)


def render_plan(facts: PlanFacts) -> str:
    """Return one self-contained page: cost by strong share, drawn and as budgets to choose from."""
    plan = facts.plan
    chosen = _chosen(plan)
    text = f"{percent(chosen.share)}, {usd(chosen.planned_nano)}"
    mark = charts.Mark(chosen.share, chosen.planned_nano, text)
    curve, weak, strong = plan.frontier, plan.all_weak_nano, plan.all_strong_nano
    drawn = charts.frontier_chart(curve, weak, strong, mark, None) if curve else None
    return render(
        "plan.html.j2",
        facts=facts,
        plan=plan,
        chosen=chosen,
        asked=wording.asked_text(plan),
        degraded=wording.degraded_text(plan),
        frontier_chart=drawn,
        score_chart=charts.score_chart(plan.histogram, plan.cut.threshold) if plan.histogram else None,
        budgets=budgets(plan),
        endpoint_rows=_endpoint_rows(facts),
        details=_details(facts),
    )


def budgets(plan: PlanView) -> list[Budget]:
    """Return eleven budgets from all weak to all strong, and the chosen one among them.

    Costs and thresholds between two points of the frontier lie on the line between these.
    """
    offered = [_budget(plan, share) for share in BUDGETS] if plan.frontier else []
    point = _chosen(plan)
    lines = (f"budget.{plan.asked['mode']}={plan.asked['value']}",) if plan.degraded is None else ()
    chosen = Budget(point.share, plan.strong, point.threshold, point.planned_nano, lines, chosen=True)
    others = [budget for budget in offered if budget.strong != plan.strong]
    return sorted([*others, chosen], key=lambda budget: budget.share)


def _budget(plan: PlanView, share: Decimal) -> Budget:
    point = _between(plan.frontier, float(share))
    by_share, by_usd = f"budget.strong_share={share}", f"budget.usd={_round_up(point.planned_nano)}"
    if plan.asked["mode"] == "usd":  # Of the modes exactly one may be set.
        lines = (by_usd, f"budget.usd=null {by_share}")
    else:
        lines = (by_share, f"budget.strong_share=null {by_usd}")
    return Budget(float(share), int(share * plan.valid), point.threshold, point.planned_nano, lines)


def _between(frontier: Sequence[FrontierPoint], share: float) -> FrontierPoint:
    """Return the point of the frontier at a share, interpolated."""
    after = next((n for n, point in enumerate(frontier) if point.share >= share - 1e-9), len(frontier) - 1)
    low, high = frontier[max(0, after - 1)], frontier[after]
    if after == 0 or high.share - share < 1e-9:
        return FrontierPoint(share, high.threshold, high.planned_nano)
    part = (share - low.share) / (high.share - low.share)
    nano = low.planned_nano + round(part * (high.planned_nano - low.planned_nano))
    if low.threshold is None or high.threshold is None:
        return FrontierPoint(share, high.threshold, nano)
    return FrontierPoint(share, low.threshold + part * (high.threshold - low.threshold), nano)


def _round_up(nano: int) -> Decimal:
    """Return dollars with four significant digits, rounded up so that the plan still fits."""
    dollars = nano_to_usd(nano)
    step = max(-9, min(-2, dollars.adjusted() - 3)) if nano else -2
    return dollars.quantize(Decimal(1).scaleb(step), ROUND_CEILING)


def _chosen(plan: PlanView) -> FrontierPoint:
    share = plan.strong / plan.valid if plan.valid else 0.0
    return FrontierPoint(share, plan.cut.threshold, plan.planned_nano)


def _endpoint_rows(facts: PlanFacts) -> list[tuple[str, str, str, str, str]]:
    """Return route, model, rows, distinct requests and planned cost."""
    rows: list[tuple[str, str, str, str, str]] = []
    for route in ROUTES:
        planned = facts.plan.endpoints[route]
        numbers = (count(planned.rows), count(planned.calls), usd(planned.planned_nano))
        rows.append((route, facts.endpoints[route].model, *numbers))
    return rows


def _details(facts: PlanFacts) -> list[tuple[str, str]]:
    plan = facts.plan
    cap = [] if plan.cap_nano is None else [("Hard cap", usd(plan.cap_nano))]
    return [
        ("Run", facts.run_id),
        ("Folder", facts.run_uri),
        *wording.endpoint_details(facts.endpoints),
        ("Router", facts.router),
        *cap,
        *facts.settings.items(),
        ("Rows that share another row's answer", count(plan.copies)),
        ("Invalid rows", count(plan.invalid)),
    ]


def plan_table(plan: PlanView) -> Table:
    """Return the frontier for a terminal, the chosen point marked in its place; 44 columns and more will do."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    for name in ("strong", "score cut", "planned"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    chosen = _chosen(plan)
    top = max([point.planned_nano for point in plan.frontier] + [chosen.planned_nano, 1])
    others = [point for point in plan.frontier if abs(point.share - chosen.share) > 1e-9]
    for point in sorted([*others, chosen], key=lambda point: point.share):
        here = point is chosen
        cut = "none" if point.threshold is None else f"{point.threshold:.4f}"
        bar = Bar(top, 0, point.planned_nano, width=BAR_CELLS, color="green" if here else "blue")
        style = "bold green" if here else None
        table.add_row(
            "▶" if here else "", f"{100 * point.share:.2f}%", cut, usd(point.planned_nano), bar, style=style
        )
    return table


def frontier_table(plan: PlanView) -> pa.Table:
    """Return the frontier as columns share, threshold (null where nothing goes strong) and planned_usd."""
    points = plan.frontier
    planned = pa.array([nano_to_usd(point.planned_nano) for point in points], pa.decimal128(18, 9))
    shares = pa.array([point.share for point in points], pa.float64())
    cuts = pa.array([point.threshold for point in points], pa.float64())
    return pa.table({"share": shares, "threshold": cuts, "planned_usd": planned})
