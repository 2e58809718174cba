"""pilot.html, and what a run's report says of its pilot and its grades."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.pages import Page
from helpers.report_facts import calls, facts, plan_with_pilot

from routellm_batch.budget.quality.calibration import fit_calibration
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import Usage
from routellm_batch.reporting.pilot.html import (
    PilotPageFacts,
    PilotSpending,
    RouterFigure,
    pilot_lines,
    render_pilot,
    sample_frontier,
)
from routellm_batch.reporting.quality_view import Achieved, PilotView, QualityView
from routellm_batch.reporting.run.comparison import answers_nano
from routellm_batch.reporting.run.cost_json import cost_json
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.run.html import render_report
from routellm_batch.reporting.run.wording import closing_lines

REASON = "Fitted: it won 91% of bootstrap samples."
VIEW = PilotView(
    "s3://user:secret@bucket/pilots/nightly",
    "2026-11-20",
    400,
    300,
    "numeric",
    "fitted",
    REASON,
    "only 300 rows are labelled",
    750_000_000,
    2_000_000,
    here=True,
)
PAGE = PilotPageFacts(
    "nightly",
    VIEW,
    {"bad_reference": 80, "unread": 120, "brand_new": 1},
    [
        PilotSpending("strong", "big-model", 400, 700_000_000, 2_000_000),
        PilotSpending("weak", "small-model", 400, 40_000_000),
        PilotSpending("judge", "wise-model", 600, 10_000_000),
    ],
    2_000_000_000,
    [
        RouterFigure("the fitted router", 0.731, 0.662, 0.793),
        RouterFigure("length", 0.58),
        RouterFigure("random", 0.5),
    ],
    plan_with_pilot().frontier,
)
QUALITY = QualityView(
    plan_with_pilot().outlook.quality,
    Achieved(980, 0.741, 0.72, 0.76),
    0.89,
    0.61,
    0.468,
    Achieved(680, 0.731, 0.7, 0.76),
    0.431,
    {"unread": 12},
)  # type: ignore[union-attr]


def run(**changes: object) -> RunFacts:
    """Return a run with a pilot of its own, graded."""
    return replace(facts(plan=plan_with_pilot(), pilot=VIEW, quality=QUALITY), **changes)  # type: ignore[arg-type]


def test_page_of_a_pilot() -> None:
    """The page tells what was sampled and labelled, why not, what it cost, both grades, the router and why."""
    html = render_pilot(PAGE)
    text = Page(html).text
    for part in (
        "300 of 400 sampled prompts have both grades",
        "$0.75 of at most $2.00",
        "0.850 – 0.950, with 90% confidence",
        "0.550 – 0.650, with 90% confidence",
        REASON,
        "the fitted router 0.731 0.662 – 0.793",
        "length 0.580 –",
        "Strong big-model 400 $0.70 $0.002",
        "Judge wise-model 600 $0.01 $0",
        "All 1,400 $0.75 $0.002",
        "unread the answer holds nothing that can be compared 120",
        "only 300 rows are labelled",
    ):
        assert part in re.sub(r"\s+", " ", text)
    assert "secret" not in html
    assert "<script" not in html
    assert re.findall(r"\b(nan|inf|None|Undefined)\b", text) == []


def test_page_of_a_pilot_with_too_few_labels() -> None:
    """Without a frontier, a router and problems the page is whole, and shows no grade."""
    view = replace(VIEW, labelled=3, chosen="outcome", note=None, spent_nano=0)
    text = Page(render_pilot(PilotPageFacts("nightly", view, {}, [], 10**9))).text
    assert "too few labels" in text
    assert "Every answer has its grade." in text


def test_lines_of_a_pilot() -> None:
    """A pilot ends with what was labelled, cost and graded, the router and why, and where the report is."""
    assert pilot_lines(PAGE, "s3://user:secret@bucket/report/pilot.html") == [
        "Pilot nightly: 300 of 400 rows labelled by the grader numeric",
        "  cost    spent $0.75 of at most $2.00",
        "  grades  strong 0.900 (0.850 – 0.950), weak 0.600 (0.550 – 0.650)",
        f"  router  fitted. {REASON}",
        "  note    only 300 rows are labelled",
        "  report  s3://bucket/report/pilot.html",
    ]


def test_frontier_of_the_sample() -> None:
    """At both ends it has each model's mean grade and its cost of a thousand rows; between, the rows ranked highest."""
    rows = 100
    scores = np.arange(rows) / rows
    strong, weak = (scores >= 0.5).astype(float), np.zeros(rows)
    calibration = fit_calibration(scores, strong, weak, seed=0)
    costs = {"strong": [1_000_000] * 50 + [3_000_000] * 50, "weak": [100_000] * rows}
    points = sample_frontier(calibration, costs)  # type: ignore[arg-type]
    first, last = points[0], points[-1]
    assert len(points) == 50
    assert (first.planned_nano, last.planned_nano) == (100_000_000, 2_000_000_000)
    assert first.outlook is not None
    assert last.outlook is not None
    assert (first.outlook.quality.mean, last.outlook.quality.mean) == (0, pytest.approx(0.5))
    # A 49th of the rows, all dear ones: 1000 / 49 × 2.9 millionths more, and at random 1.9 on average.
    assert points[1].planned_nano == pytest.approx(100_000_000 + 2_900_000 * 1000 / 49, rel=1e-6)
    assert points[1].outlook is not None
    assert points[1].outlook.random_nano == pytest.approx(100_000_000 + 1_900_000 * 1000 / 49, rel=1e-6)


def test_cost_json_has_pilot_and_quality() -> None:
    """Both are plain data, money as decimal strings, and the run's own pilot is part of what it spent."""
    written = json.loads(json.dumps(cost_json(run()), allow_nan=False))
    assert (written["spent_usd"], written["presumed_usd"]) == ("1.052500000", "0.003250000")
    assert written["pilot"] == {
        "uri": "s3://bucket/pilots/nightly",
        "here": True,
        "made": "2026-11-20",
        "rows": 400,
        "labelled": 300,
        "grader": "numeric",
        "chosen": "fitted",
        "reason": REASON,
        "note": VIEW.note,
        "spent_usd": "0.750000000",
        "presumed_usd": "0.002000000",
    }
    assert written["quality"]["achieved"] == {"rows": 980, "mean": 0.741, "lo": 0.72, "hi": 0.76}
    assert written["quality"]["predicted"]["mean"] == pytest.approx(0.73572)
    assert (written["quality"]["unseen"]["rows"], written["quality"]["unseen_pgr"]) == (680, 0.431)
    assert written["quality"]["problems"] == {"unread": 12}


def test_an_earlier_runs_pilot_is_not_paid_for_again() -> None:
    """A pilot that another run made is shown and adds nothing to what this one spent."""
    written = cost_json(run(pilot=replace(VIEW, here=False)))
    assert (written["spent_usd"], written["pilot"]["spent_usd"]) == ("0.302500000", "0.750000000")


def test_no_pilot_no_keys() -> None:
    """Without a pilot and grades cost.json has no keys for them."""
    assert {"pilot", "quality"} & set(cost_json(facts())) == set()


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (QUALITY, ["  quality graded 0.741; 0.736 predicted (0.686 – 0.786)"]),
        (replace(QUALITY, predicted=None), ["  quality graded 0.741"]),
        (replace(QUALITY, achieved=None), ["  quality 0.736 predicted (0.686 – 0.786)"]),
        (QualityView(), []),
        (None, []),
    ],
)
def test_closing_line_of_quality(quality: QualityView | None, expected: list[str]) -> None:
    """A run ends with its grade beside the predicted one, as far as they are known."""
    lines = closing_lines(run(quality=quality), "x")
    assert [line for line in lines if line.startswith("  quality")] == expected


def test_closing_line_of_cost_tells_the_pilot_apart() -> None:
    """What the pilot cost is in the sum, and said."""
    assert "  cost    spent $1.05: $0.303 of $0.356 planned, $0.75 on the pilot" in closing_lines(run(), "x")


def test_report_has_predicted_beside_achieved() -> None:
    """The report sets grade, gain, both models and cost against what was predicted, and names the pilot."""
    text = re.sub(r"\s+", " ", Page(render_report(run())).text)
    for part in (
        "Mean grade 0.736 (0.686 – 0.786) 0.741 (0.720 – 0.760) on 980 rows",
        "… without the rows graded in the pilot – 0.731 (0.700 – 0.760) on 680 rows",
        "45.2% (40.7% – 49.8%) 46.8% … without the rows graded in the pilot – 43.1%",
        "All strong 0.900 (0.850 – 0.950) 0.890",
        "All weak 0.600 (0.550 – 0.650) 0.610",
        "Cost of all answers – $0.356 ($0.32 – $0.392, P10 – P90) $0.303",
        "The grade lies within the interval that the pilot predicted.",
        "unread the answer holds nothing that can be compared 12",
        "300 of 400 rows have a grade for both models' answers",
        "This run spent $1.05, pilot included",
        REASON,
    ):
        assert part in text
    assert "secret" not in render_report(run())


def test_answers_of_the_pilot_count_in_the_cost_beside_the_plan() -> None:
    """A plan predicts what all answers cost; those that the pilot had paid for stand beside it at the others' mean."""
    routes = {
        "strong": RouteTotals(
            260, 200, Usage(20_000, 0, 20_000), 200_000_000, latency_bins={40: 200}, taken=60
        ),
        "weak": RouteTotals(740, 740, Usage(74_000, 0, 74_000), 37_000_000, latency_bins={30: 740}),
    }
    seen = run(calls=calls(routes=routes))
    assert answers_nano(seen) == 260_000_000 + 37_000_000
    text = re.sub(r"\s+", " ", Page(render_report(seen)).text)
    assert "about $0.297: $0.237 here, and 60 answers that the pilot had paid for" in text
    taken = RouteTotals(260, 0, taken=260)
    assert answers_nano(run(calls=calls(routes={**routes, "strong": taken}))) == 325_000_000 + 37_000_000
    written = cost_json(seen)
    assert [written["endpoints"][route]["taken_over"] for route in ("strong", "weak")] == [60, 0]
    assert [written["planned_p10_usd"], written["planned_p90_usd"]] == ["0.320472000", "0.391688000"]


@pytest.mark.parametrize(("mean", "side"), [(0.6, "below"), (0.8, "above")])
def test_report_says_where_the_prediction_failed(mean: float, side: str) -> None:
    """A grade outside the interval is called that."""
    quality = replace(QUALITY, achieved=Achieved(980, mean, mean - 0.02, mean + 0.02))
    assert f"The grade lies {side} the interval that the pilot predicted" in render_report(
        run(quality=quality)
    )


def test_report_with_grades_alone() -> None:
    """Grades without a pilot, and a pilot without grades, have their section too."""
    graded = Page(render_report(facts(quality=replace(QUALITY, predicted=None, strong_mean=None)))).text
    assert "0.741 (0.720 – 0.760) on 980 rows" in graded
    assert "All strong – –" in graded
    seen = Page(render_report(facts(pilot=VIEW, calls=calls()))).text
    assert "The pilot" in seen
    assert "Mean grade" not in seen
