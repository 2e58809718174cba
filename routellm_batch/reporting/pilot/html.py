"""``report/pilot.html``: what a pilot sampled, cost and found, and its closing lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.quality.calibration import Calibration
from routellm_batch.budget.quality.prediction import predict, predict_random
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import STRONG, WEAK, Route
from routellm_batch.reporting import quality_words
from routellm_batch.reporting.charts.quality import plane, predicted_points, quality_chart
from routellm_batch.reporting.page import render
from routellm_batch.reporting.quality_view import PilotView
from routellm_batch.reporting.text import count, price, public_uri, rows, usd

POINTS = 50
"""Points of the frontier."""
PER_ROWS = 1000
"""The dollars on the page are for this number of rows."""


@dataclass(frozen=True, slots=True)
class PilotSpending:
    """What the calls of one endpoint cost."""

    name: str
    """strong, weak or judge."""
    model: str
    calls: int
    spent_nano: int
    presumed_nano: int = 0


@dataclass(frozen=True, slots=True)
class RouterFigure:
    """How much of the gain one way to rank the labelled rows recovers."""

    name: str
    apgr: float
    """Over all strong shares, on labels that the ranking did not see; 0.5 for a random one."""
    lo: float | None = None
    """Lower end of the 90 % interval; None where it is unknown."""
    hi: float | None = None
    """Upper end of it."""


@dataclass(frozen=True, slots=True)
class PilotPageFacts:
    """Everything that the page shows of a pilot; no prompt, no answer."""

    pilot_id: str
    view: PilotView
    problems: Mapping[str, int]
    """Why answers have no grade, or 0 for their form → number of answers."""
    spending: Sequence[PilotSpending]
    cap_nano: int
    """The most that it may spend, in nano-dollars."""
    routers: Sequence[RouterFigure] = ()
    """The chosen router first, then those that it is compared with."""
    frontier: Sequence[FrontierPoint] = ()
    """From ``sample_frontier``; empty with too few labels."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further facts: label → text."""


def sample_frontier(
    calibration: Calibration, costs: Mapping[Route, Sequence[int]] | None
) -> list[FrontierPoint]:
    """Return quality, and cost for a thousand rows, at 50 strong shares of the labelled rows.

    Args:
        calibration: from the labelled rows.
        costs: route → nano-dollars of the answer to each labelled row; None where answers cost nothing.

    """
    shares = [step / (POINTS - 1) for step in range(POINTS)]
    weight, none = np.array(calibration.weight), np.zeros(len(calibration))
    strong, weak = (np.array(costs[route], dtype=np.float64) if costs else none for route in (STRONG, WEAK))
    above, more = Ranking(np.array(calibration.scores)).curve(strong - weak, weight)
    scale = PER_ROWS / above[-1]
    base, whole = scale * float(weight @ weak), scale * float(more[-1])
    planned = base + scale * np.interp(np.array(shares) * above[-1], above, more)
    lines = zip(
        shares, planned, predict(calibration, shares), predict_random(calibration, shares), strict=True
    )
    return [
        FrontierPoint(
            share, None, round(nano), Prediction(quality, chance, None, None, round(base + share * whole))
        )
        for share, nano, quality, chance in lines
    ]


def render_pilot(facts: PilotPageFacts) -> str:
    """Return one self-contained page."""
    points = predicted_points(facts.frontier)
    on = plane(points)
    return render(
        "pilot.html.j2",
        facts=facts,
        pilot=facts.view,
        words=quality_words,
        weak=points[0].outlook.quality if points else None,
        strong=points[-1].outlook.quality if points else None,
        problems=quality_words.problem_rows(facts.problems),
        spending=[*facts.spending, *_sum(facts)],
        chart=None if on is None else quality_chart(on, points, None, cursor=False),
        details=_details(facts),
    )


def _sum(facts: PilotPageFacts) -> list[PilotSpending]:
    calls = sum(one.calls for one in facts.spending)
    return [PilotSpending("all", "", calls, facts.view.spent_nano, facts.view.presumed_nano)]


def _details(facts: PilotPageFacts) -> list[tuple[str, str]]:
    return [
        ("Pilot", facts.pilot_id),
        ("Folder", public_uri(facts.view.uri)),
        ("Made", facts.view.made),
        ("Grader", facts.view.grader),
        ("Router", facts.view.chosen),
        ("Spending limit", price(facts.cap_nano)),
        *facts.settings.items(),
    ]


def pilot_lines(facts: PilotPageFacts, report_uri: str) -> list[str]:
    """Return the last lines that a pilot prints; the very last one says where the report is."""
    view = facts.view
    lines = [
        f"Pilot {facts.pilot_id}: {count(view.labelled)} of {rows(view.rows)} labelled by the grader {view.grader}",
        f"  cost    spent {usd(view.spent_nano)} of at most {price(facts.cap_nano)}",
    ]
    left_out = quality_words.ungradable_text(view)
    if left_out:
        lines.append(f"  rows    {left_out}")
    points = predicted_points(facts.frontier)
    if points:
        weak, strong = points[0].outlook.quality, points[-1].outlook.quality
        lines.append(f"  grades  strong {quality_words.graded(strong)}, weak {quality_words.graded(weak)}")
    lines.append(f"  router  {view.chosen}. {view.reason}")
    if view.note:
        lines.append(f"  note    {view.note}")
    return [*lines, f"  report  {public_uri(report_uri)}"]
