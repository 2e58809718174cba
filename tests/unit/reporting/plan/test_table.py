"""plan.html, the frontier in a terminal and as a table."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pyarrow as pa
import pytest
from helpers.pages import Page
from helpers.report_facts import ENDPOINTS, huge, outlook, plan, plan_with_pilot
from rich.console import Console

from routellm_batch.budget.marginal import Step
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import NONE_STRONG
from routellm_batch.budget.selection.ranking import Ranker
from routellm_batch.reporting.plan.budgets import all_budgets, point_at, round_budgets
from routellm_batch.reporting.plan.html import PlanFacts, render_plan
from routellm_batch.reporting.plan.table import frontier_table, plan_table

STEPS = (
    Step(42_000_000, 142_000_000, 0.0, 0.0828, 0.0475, 0.031, 0.064),
    Step(142_000_000, 242_000_000, 0.0828, 0.1656, 0.041, -0.002, 0.083),
)


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
        "26%, $0.356",
        "all strong $1.25",
        "all weak $0.042",
        "budget.strong_share=0.3",
        "budget.strong_share=null budget.usd=",
    ):
        assert part in html


@pytest.mark.parametrize(
    "of",
    [
        plan(frontier=[], histogram=[]),
        plan(valid=0, strong=0),
        plan(strong=0, cut=NONE_STRONG),
        huge().plan,
        plan_with_pilot(frontier=[]),
        plan_with_pilot(frontier=plan().frontier),
        plan_with_pilot(
            frontier=[
                replace(p, planned_nano=0, outlook=replace(outlook(p.share), random_nano=0))
                for p in plan().frontier
            ]
        ),
    ],
)
def test_page_of_odd_plans(of: Plan) -> None:
    """Empty, one-sided and huge plans have a page too."""
    assert "</html>" in render_plan(made(of))


def test_budgets_to_choose_from() -> None:
    """Eleven round shares are offered, and the chosen one stands in its place among them."""
    offered = round_budgets(plan())
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
    offered = round_budgets(plan(strong=300))
    assert [budget.strong for budget in offered].count(300) == 1


def test_budgets_lie_on_the_frontier() -> None:
    """A cost between two points is on the line between them, and what is offered in dollars covers it."""
    tenth = round_budgets(plan())[1]
    # 0.1 lies at 4.9 steps of 1/49.
    assert tenth.nano == 42_000_000 + round(4.9 * 24_653_061)
    assert tenth.threshold == pytest.approx(0.9)
    offered = Decimal(tenth.lines[1].rpartition("=")[2])
    assert 0 <= offered * 10**9 - tenth.nano < 100_000


def test_dollar_plans_offer_dollars_first() -> None:
    """Where dollars were asked for, a share has to take their place."""
    lines = round_budgets(plan(asked={"mode": "usd", "value": "0.36"}))[-1].lines
    assert lines == ("budget.usd=1.250", "budget.usd=null budget.strong_share=1")


def test_a_degraded_choice_has_no_setting() -> None:
    """A plan that the cap lowered can't be asked for by what was asked."""
    lowered = {"reason": "…", "planned_usd": "2.000000000", "strong_rows": "900"}
    offered = round_budgets(plan(degraded=lowered, cap_nano=10**9))
    assert [budget.lines for budget in offered if budget.chosen] == [()]


@pytest.mark.parametrize("width", [60, 120])
def test_terminal_table(width: int) -> None:
    """Every point has one line that fits, the chosen one marked in its place."""
    lines = printed(plan(), width)
    marked = [number for number, line in enumerate(lines) if "▶" in line]
    assert len(lines) == 1 + 50 + 1
    assert max(map(len, lines)) <= width
    assert marked == [1 + 13]
    assert lines[marked[0]].split()[:4] == ["▶", "26.00%", "0.6250", "$0.356"]
    assert lines[1].split()[:3] == ["0.00%", "none", "$0.042"]


def test_terminal_table_of_a_huge_plan() -> None:
    """Millions of dollars fit 60 columns without a cut figure."""
    lines = printed(huge().plan, 60)
    assert max(map(len, lines)) <= 60
    assert "$3,990,000" in lines[-1]


def test_frontier_table() -> None:
    """The frontier has its dollars exact, no threshold where nothing goes strong, and nothing of an absent pilot."""
    table = frontier_table(plan())
    money = pa.decimal128(18, 9)
    kinds = {"planned_usd": money, "planned_p10_usd": money, "planned_p90_usd": money, "random_usd": money}
    assert {field.name: field.type for field in table.schema} == dict.fromkeys(FRONTIER, pa.float64()) | kinds
    assert table.num_rows == 50
    assert table.column("threshold")[0].as_py() is None
    assert table.column("planned_usd")[1].as_py() == Decimal("0.066653061")
    assert {table.column(name).null_count for name in FRONTIER[3:]} == {50}


FRONTIER = (
    *(
        "share",
        "threshold",
        "planned_usd",
        "planned_p10_usd",
        "planned_p90_usd",
        "grade",
        "grade_lo",
        "grade_hi",
    ),
    *("pgr", "pgr_lo", "pgr_hi", "random_grade", "random_usd"),
)


def test_frontier_table_with_a_pilot() -> None:
    """What the pilot says stands beside each share."""
    last = frontier_table(plan_with_pilot()).to_pylist()[-1]
    assert last == {
        "share": 1.0,
        "threshold": 0.0,
        "planned_usd": Decimal("1.249999989"),
        "planned_p10_usd": Decimal("1.125000000"),
        "planned_p90_usd": Decimal("1.375000000"),
        "grade": pytest.approx(0.9),
        "grade_lo": pytest.approx(0.85),
        "grade_hi": pytest.approx(0.95),
        "pgr": 1.0,
        "pgr_lo": 0.9,
        "pgr_hi": pytest.approx(1.1),
        "random_grade": pytest.approx(0.9),
        "random_usd": Decimal("1.250000000"),
    }


@pytest.mark.parametrize(
    ("width", "wanted", "absent"),
    [
        (60, ["strong", "planned", "grade", "90% interval", "gain"], ["P10", "random"]),
        (80, ["score cut", "planned", "grade", "90% interval", "gain"], ["P10", "random"]),
        (120, ["score cut", "planned", "P10 – P90", "grade", "90% interval", "gain", "random"], []),
    ],
)
def test_terminal_table_with_a_pilot(width: int, wanted: list[str], absent: list[str]) -> None:
    """Grades stand beside costs at every width; the wider the terminal, the more there is, and nothing is cut."""
    for seen in (
        plan_with_pilot(),
        plan_with_pilot(
            frontier=[replace(p, planned_nano=p.planned_nano * 10**6) for p in plan_with_pilot().frontier]
        ),
    ):
        lines = printed(seen, width)
        assert max(map(len, lines)) <= width
        assert "…" not in "".join(lines)
    lines = printed(plan_with_pilot(), width)
    (marked,) = [line for line in lines if "▶" in line]
    assert [name for name in wanted if name not in lines[0]] == []
    assert [name for name in absent if name in lines[0]] == []
    for part in ("26.00%", "$0.356", "0.736", "0.686 – 0.786", "45.2%"):
        assert part in marked


def test_a_pilot_predicts_quality() -> None:
    """The page tells grade and gain of the plan with their intervals, of both extremes, and of a random choice."""
    text = Page(render_plan(replace(made(plan_with_pilot()), steps=STEPS))).text
    for part in (
        "0.736",
        "0.686 – 0.786, with 90% confidence",
        "45.2%",
        "40.7% – 49.8%",
        "a pilot of 300 labelled rows",
        "All weak 0% $0.042 0.600 (0.550 – 0.650) 0%",
        "Random choice of as many rows 26% $0.356 0.678 (0.628 – 0.728) 26%",
        "All strong 100% $1.25 0.900 (0.850 – 0.950) 100%",
        "What the next $0.10 buys",
        "$0.042 $0.142 +83 8.3% +0.048 (+0.031 – +0.064)",
        "+0.041 (−0.002 – +0.083): nothing measurable",
    ):
        assert part in text
    assert re.findall(r"\b(nan|inf|None|Undefined)\b", text) == []
    assert "needs a pilot" not in text


def test_without_a_pilot_the_page_says_how_to_get_one() -> None:
    """Quality isn't guessed: the page names the command that measures it."""
    text = Page(render_plan(made(plan()))).text
    assert "This needs a pilot" in text
    assert "routellm-batch pilot CONFIG" in text
    assert "grade" not in text.replace("grader", "").replace("the predicted grade of every budget", "")


def test_a_held_part_of_the_gain_is_explained() -> None:
    """Where a part of the gain was asked for, the page says which bound holds it and what is lost."""
    choice = RecoverChoice(0.4, 0.9, 0.26, 0.45, 0.41, 0.1, 0.95, 0.031, 0.052)
    text = Page(
        render_plan(made(plan_with_pilot(recover=choice, asked={"mode": "recover", "value": "0.4"})))
    ).text
    assert (
        "At least 41% of the gain is kept with 90% confidence; 40% was asked for; 3.1% of the rows, at most 5.2%,"
        in text
    )
    assert "budget.recover=null budget.confidence=null" in text


def test_what_rows_are_ranked_by_is_said() -> None:
    """A plan by gain per dollar says so on the page, in its chart and in the terminal, and speaks of no score cut."""
    by_gain = plan_with_pilot(ranker=Ranker("gain_per_dollar"))
    for seen, said, heading in (
        (plan_with_pilot(), "score", "score cut"),
        (by_gain, "gain per dollar", "gain/$ cut"),
    ):
        html = render_plan(made(seen))
        assert f"{said.capitalize()} cut" in Page(html).text
        assert f"Rows by {said}, from" in html
        assert heading in printed(seen, 120)[0]
    html = render_plan(made(by_gain))
    assert "Gain per dollar and the cut" in Page(html).text
    assert "score cut" not in "".join([html, *printed(by_gain, 120)]).lower()


def test_the_only_script_is_named_by_its_hash() -> None:
    """The page's policy lets that script run and nothing else, and the script is the same whatever the page says."""
    pages = [render_plan(made(seen)) for seen in (plan(), plan_with_pilot())]
    codes = [re.findall(r"<script>(.*?)</script>", html, re.DOTALL) for html in pages]
    assert codes[0] == codes[1]
    (code,) = codes[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    for html in pages:
        parsed = Page(html)
        assert ("content", policy) in parsed.attributes
        assert parsed.tags.count("script") == 1
        assert [key for key, _ in parsed.attributes if key.startswith("on")] == []


def test_hostile_names_stay_text() -> None:
    """Names from a config or a folder never become markup, in attributes neither."""
    hostile = '"><script>alert(1)</script>'
    known = {"uri": hostile, "rows": 300, "kind": "isotonic", "note": hostile}
    facts = replace(
        made(plan_with_pilot(pilot=known, asked={"mode": "usd", "value": "0.36"})),
        run_id=hostile,
        router=hostile,
    )
    html = render_plan(facts)
    assert Page(html).tags.count("script") == 1
    assert "<script>alert" not in html
    assert hostile in Page(html).text


def test_slider_stops_are_the_rows_of_the_table() -> None:
    """The slider has a stop for each of the 50 budgets and for the plan, where it starts."""
    html = render_plan(made(plan_with_pilot()))
    (rows,) = re.findall(r'<table[^>]*id="budgets">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    said = re.findall(r'data-spoken="([^"]*)"', rows)
    (last,) = re.findall(r'<input id="budget" type="range" min="0" max="(\d+)" step="1" value="13"', html)
    assert (len(said), int(last)) == (51, 50)
    assert said[13] == "26% strong, $0.356, grade 0.736, 0.686 to 0.786, 45.2% of the gain, the plan"
    places = [float(n) for n in re.findall(r'data-[xy]="(-?[\d.]+)%"', rows)]
    assert [place for place in places if not 0 <= place <= 100] == []


@pytest.mark.parametrize(
    ("mode", "order", "expected"),
    [
        ("strong_share", "auto", ("budget.strong_share=0.5", "budget.strong_share=null budget.usd=0.6460")),
        ("usd", "auto", ("budget.usd=0.6460", "budget.usd=null budget.strong_share=0.5")),
        (
            "usd",
            "gain_per_dollar",
            ("budget.usd=0.6460", "budget.usd=null budget.order=auto budget.strong_share=0.5"),
        ),
        (
            "recover",
            "auto",
            (
                "budget.recover=null budget.confidence=null budget.strong_share=0.5",
                "budget.recover=null budget.confidence=null budget.usd=0.6460",
            ),
        ),
    ],
)
def test_lines_take_the_configured_budget_back(mode: str, order: str, expected: tuple[str, str]) -> None:
    """Whatever budget is configured, a line asks for another one alone."""
    offered = round_budgets(plan(asked={"mode": mode, "value": "0.26"}), order)
    assert next(budget.lines for budget in offered if budget.strong == 500) == expected


def test_every_budget_line_is_a_config() -> None:
    """Each line, laid over the config it is meant for, is accepted."""
    from routellm_batch.config.job import BudgetConfig

    configured = {
        "strong_share": {"strong_share": "0.26"},
        "usd": {"usd": "0.36", "order": "gain_per_dollar"},
        "recover": {"recover": "0.9", "confidence": "0.8"},
    }
    for mode, given in configured.items():
        for budget in all_budgets(
            plan(asked={"mode": mode, "value": given[mode]}), given.get("order", "auto")
        ):
            for line in budget.lines:
                words = dict(word.removeprefix("budget.").split("=") for word in line.split())
                over = {key: None if value == "null" else value for key, value in words.items()}
                assert BudgetConfig.model_validate({**given, **over})


def test_outlooks_between_two_points_are_on_the_line() -> None:
    """A share between two points of the frontier has the outlook between theirs."""
    between = point_at(plan_with_pilot().frontier, 0.5 / 49).outlook
    first, second = (outlook(n / 49) for n in (0, 1))
    assert between is not None
    assert between.quality.mean == pytest.approx((first.quality.mean + second.quality.mean) / 2)
    assert between.random_nano == pytest.approx((first.random_nano + second.random_nano) / 2, abs=1)
