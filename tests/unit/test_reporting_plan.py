"""plan.html, the frontier in a terminal and as a table."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

import pyarrow as pa
import pytest
from helpers.report_facts import ENDPOINTS, huge, plan
from rich.console import Console

from routellm_batch.planning import NONE_STRONG
from routellm_batch.reporting.plan_html import (
    PlanFacts,
    budgets,
    frontier_table,
    plan_table,
    render_plan,
)
from routellm_batch.stages.planned import Plan


def made(of: Plan) -> PlanFacts:
    """Return the facts of a plan."""
    return PlanFacts("nightly", "out/runs/nightly", of, "outcome", ENDPOINTS, {"Seed": "0"})


def printed(of: Plan, width: int) -> list[str]:
    """Return the lines that a terminal of that width shows."""
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(plan_table(of))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_page() -> None:
    """The page tells what was chosen, both extremes and how to ask for another budget."""
    html = render_plan(made(plan()))
    for part in (
        "260 of 1,000 valid rows go strong",
        "26%, $0.3561",
        "all strong $1.25",
        "all weak $0.0420",
        "budget.strong_share=0.3",
        "budget.strong_share=null budget.usd=",
    ):
        assert part in html
    assert "<script" not in html


@pytest.mark.parametrize(
    "of",
    [plan(frontier=[], histogram=[]), plan(valid=0, strong=0), plan(strong=0, cut=NONE_STRONG), huge().plan],
)
def test_page_of_odd_plans(of: Plan) -> None:
    """Empty, one-sided and huge plans have a page too."""
    assert "</html>" in render_plan(made(of))


def test_budgets_to_choose_from() -> None:
    """Eleven round shares are offered, and the chosen one stands in its place among them."""
    offered = budgets(plan())
    assert [budget.strong for budget in offered] == [
        0,
        100,
        200,
        260,
        300,
        400,
        500,
        600,
        700,
        800,
        900,
        1000,
    ]
    assert [budget.lines for budget in offered if budget.chosen] == [("budget.strong_share=0.26",)]


def test_a_chosen_budget_is_not_offered_twice() -> None:
    """Where the choice is a round share, it takes that share's line."""
    offered = budgets(plan(strong=300))
    assert [budget.strong for budget in offered].count(300) == 1


def test_budgets_lie_on_the_frontier() -> None:
    """A cost between two points is on the line between them, and what is offered in dollars covers it."""
    tenth = budgets(plan())[1]
    # 0.1 lies at 4.9 steps of 1/49.
    assert tenth.nano == 42_000_000 + round(4.9 * 24_653_061)
    assert tenth.threshold == pytest.approx(0.9)
    offered = Decimal(tenth.lines[1].rpartition("=")[2])
    assert 0 <= offered * 10**9 - tenth.nano < 100_000


def test_dollar_plans_offer_dollars_first() -> None:
    """Where dollars were asked for, a share has to take their place."""
    lines = budgets(plan(asked={"mode": "usd", "value": "0.36"}))[-1].lines
    assert lines == ("budget.usd=1.250", "budget.usd=null budget.strong_share=1")


def test_a_degraded_choice_has_no_setting() -> None:
    """A plan that the cap lowered can't be asked for by what was asked."""
    lowered = {"reason": "…", "planned_usd": "2.000000000", "strong_rows": "900"}
    offered = budgets(plan(degraded=lowered, cap_nano=10**9))
    assert [budget.lines for budget in offered if budget.chosen] == [()]


@pytest.mark.parametrize("width", [60, 120])
def test_terminal_table(width: int) -> None:
    """Every point has one line that fits, the chosen one marked in its place."""
    lines = printed(plan(), width)
    marked = [number for number, line in enumerate(lines) if "▶" in line]
    assert len(lines) == 1 + 50 + 1
    assert max(map(len, lines)) <= width
    assert marked == [1 + 13]
    assert lines[marked[0]].split()[:4] == ["▶", "26.00%", "0.6250", "$0.3561"]
    assert lines[1].split()[:3] == ["0.00%", "none", "$0.0420"]


def test_terminal_table_of_a_huge_plan() -> None:
    """Millions of dollars fit 60 columns without a cut figure."""
    lines = printed(huge().plan, 60)
    assert max(map(len, lines)) <= 60
    assert "$3,991,000" in lines[-1]


def test_frontier_table() -> None:
    """The frontier has its dollars exact, and no threshold where nothing goes strong."""
    table = frontier_table(plan())
    assert table.schema == pa.schema(
        [("share", pa.float64()), ("threshold", pa.float64()), ("planned_usd", pa.decimal128(18, 9))]
    )
    assert table.num_rows == 50
    assert table.column("threshold")[0].as_py() is None
    assert table.column("planned_usd")[1].as_py() == Decimal("0.066653061")
