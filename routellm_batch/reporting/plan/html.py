"""``plan.html``: what a budget buys, before anything is spent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from routellm_batch.budget.frontier import Prediction
from routellm_batch.budget.marginal import Step, step_nano, steps_ahead
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.quality.forecast import build_predictor
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.config.job import Config, EndpointsConfig
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.reporting import quality_words
from routellm_batch.reporting.charts import run as charts
from routellm_batch.reporting.charts.quality import (
    Plane,
    PredictedPoint,
    plane,
    predicted_points,
    quality_chart,
)
from routellm_batch.reporting.page import render
from routellm_batch.reporting.plan.budgets import (
    Budget,
    all_budgets,
    chosen_point,
    round_budgets,
    unset_words,
)
from routellm_batch.reporting.run import wording
from routellm_batch.reporting.run.facts import EndpointFacts, endpoint_facts, further_settings, router_text
from routellm_batch.reporting.text import by_kind, count, percent, price, public_uri, usd


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """Everything that the page shows of a plan; no prompt."""

    run_id: str
    run_uri: str
    plan: Plan
    router: str
    endpoints: Mapping[Route, EndpointFacts]
    settings: Mapping[str, str]
    steps: Sequence[Step] = ()
    """What each further sum of dollars buys; empty without a pilot."""
    order: str = "auto"
    """``budget.order`` as configured."""


def plan_facts(
    config: Config, *, run_id: str, run_uri: str, plan: Plan, pilot: PilotFacts | None = None
) -> PlanFacts:
    """Return the facts of a plan, with the settings that its page shows and the pilot that it was made with."""
    return PlanFacts(
        run_id=run_id,
        run_uri=public_uri(run_uri),
        plan=plan,
        router=router_text(config.router),
        endpoints=endpoint_facts(config.endpoints),
        settings=further_settings(config),
        steps=_steps_ahead(config.endpoints, plan, pilot),
        order=config.budget.order,
    )


def _steps_ahead(endpoints: EndpointsConfig, plan: Plan, pilot: PilotFacts | None) -> list[Step]:
    """Return what each further sum of dollars buys; empty without a pilot."""
    if pilot is None or plan.outlook is None or not plan.frontier:
        return []
    scores = np.array(pilot.calibration.scores)  # The pilot's own rows, ranked as the job's are.
    calls = endpoints.call_prices()
    predictor = build_predictor(
        pilot.calibration, pilot.lengths, calls, plan.ranker.order, scores, rows=plan.valid
    )
    return steps_ahead(predictor, plan.frontier)


def render_plan(facts: PlanFacts) -> str:
    """Return one self-contained page: what every budget should cost and bring, as a chart with a slider and as a table."""
    plan = facts.plan
    stops = all_budgets(plan, facts.order)
    chart, spots = _main_chart(plan, stops)
    ranked = wording.ranked_by(plan)
    return render(
        "plan.html.j2",
        script="slider.js" if plan.frontier else None,
        facts=facts,
        plan=plan,
        words=quality_words,
        chosen=chosen_point(plan),
        asked=wording.asked_text(plan),
        degraded=wording.degraded_text(plan),
        main_chart=chart,
        cost_chart=_cost_chart(plan, cursor=False) if plan.outlook is not None and plan.frontier else None,
        score_chart=charts.score_chart(plan.histogram, plan.cut.threshold, ranked)
        if plan.histogram
        else None,
        ranked=ranked,
        by_gain=plan.ranker.order == "gain_per_dollar",
        budgets=round_budgets(plan, facts.order),
        stops=list(zip(stops, spots, strict=True)),
        start=next(number for number, stop in enumerate(stops) if stop.chosen),
        references=_references(plan),
        held=quality_words.held_text(plan.recover),
        steps=_steps(facts),
        step=_step_text(facts),
        unset=unset_words(plan.asked["mode"]),
        endpoint_rows=_endpoint_rows(facts),
        details=_details(facts),
    )


def _mark(plan: Plan) -> charts.Mark:
    point = chosen_point(plan)
    return charts.Mark(point.share, point.planned_nano, f"{percent(point.share)}, {usd(point.planned_nano)}")


def _cost_chart(plan: Plan, *, cursor: bool) -> Markup:
    weak, strong = plan.all_weak_nano, plan.all_strong_nano
    return charts.frontier_chart(plan.frontier, weak, strong, _mark(plan), None, cursor=cursor)


def _main_chart(plan: Plan, stops: Sequence[Budget]) -> tuple[Markup | None, list[tuple[float, float]]]:
    """Return the chart with the slider's cursor, and where on it each stop lies, in percent from the upper left."""
    on = _plane(plan)
    if on is not None:
        chosen = predicted_points([chosen_point(plan)])
        chart = quality_chart(on, predicted_points(plan.frontier), chosen[0] if chosen else None, cursor=True)
        places = [on.place(s.nano, s.outlook.quality.mean if s.outlook else on.bottom) for s in stops]
    elif plan.frontier:
        top = charts.frontier_top(plan.frontier, plan.all_weak_nano, plan.all_strong_nano, _mark(plan))
        chart, places = _cost_chart(plan, cursor=True), [(100 * s.share, 100 * s.nano / top) for s in stops]
    else:
        return None, [(0.0, 0.0) for _ in stops]
    return chart, [(x, 100 - y) for x, y in places]


def _plane(plan: Plan) -> Plane | None:
    return plane(predicted_points([*plan.frontier, chosen_point(plan)])) if plan.outlook is not None else None


def _references(plan: Plan) -> list[tuple[str, PredictedPoint, bool]]:
    """Return the plan beside both extremes and a random choice of rows: name, figures and whether it is the plan."""
    points, chosen = predicted_points(plan.frontier), predicted_points([chosen_point(plan)])
    if not points or not chosen:
        return []
    (here,) = chosen
    outlook = here.outlook
    random = PredictedPoint(
        here.share,
        outlook.random_nano,
        Prediction(outlook.random, outlook.random, None, None, outlook.random_nano),
    )
    return [
        ("All weak", points[0], False),
        ("Random choice of as many rows", random, False),
        ("This plan", here, True),
        ("All strong", points[-1], False),
    ]


def _steps(facts: PlanFacts) -> list[tuple[Step, int, bool]]:
    """Return each step with the strong rows that it adds, and whether the plan lies on it."""
    valid, planned = facts.plan.valid, facts.plan.planned_nano
    return [
        (
            step,
            round(step.end_share * valid) - round(step.start_share * valid),
            step.start_nano <= planned < step.end_nano,
        )
        for step in facts.steps
    ]


def _step_text(facts: PlanFacts) -> str:
    span = facts.plan.all_strong_nano - facts.plan.all_weak_nano
    return price(step_nano(span)).removesuffix(".00") if facts.steps else ""


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
    cap = [] if plan.cap_nano is None else [("Hard cap", price(plan.cap_nano))]
    pilot = [("Pilot", public_uri(str(plan.pilot["uri"])))] if plan.pilot else []
    return [
        ("Run", facts.run_id),
        ("Folder", facts.run_uri),
        *wording.endpoint_details(facts.endpoints),
        *wording.length_details(plan),
        ("Router", facts.router),
        *pilot,
        *cap,
        *facts.settings.items(),
        ("Rows that share another row's answer", count(plan.copies)),
        ("Invalid rows", f"{count(plan.invalid)}{by_kind(plan.invalid_kinds)}"),
    ]
