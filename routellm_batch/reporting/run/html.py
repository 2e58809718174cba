"""``report.html``: what a run was asked for, did and cost, as one self-contained page. Pure.

The template is ``templates/report.html.j2``; the tables and bars of costs come from ``cost_table``.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.spend.observed_lengths import HIGH, LOW
from routellm_batch.budget.spend.summary import latency_quantile
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route
from routellm_batch.reporting import quality_words
from routellm_batch.reporting.charts import run as charts
from routellm_batch.reporting.charts.quality import plane, predicted_points, quality_chart
from routellm_batch.reporting.page import render
from routellm_batch.reporting.plan.budgets import chosen_point, few_budgets
from routellm_batch.reporting.run import wording
from routellm_batch.reporting.run.comparison import answers_nano, counterfactual_nano
from routellm_batch.reporting.run.cost_table import cost_table, routing_bars, spend_bars, spent_percent
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.run.failures import (
    failures_of,
    halts_of,
    refused_key,
    truncated_text,
    uncounted_text,
)
from routellm_batch.reporting.run.promises import missed_promises
from routellm_batch.reporting.run.saving_words import saved, saving_text
from routellm_batch.reporting.text import count, percent, rows, usd

QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """Latency of the answered calls of one endpoint."""

    route: Route
    calls: int
    quantiles_s: tuple[float, ...]
    """At ``QUANTILES``."""
    chart: Markup


def render_report(facts: RunFacts) -> str:
    """Return the page. Of the rows it shows at most a few ids, never a prompt or an answer."""
    counterfactuals = {route: counterfactual_nano(facts, route) for route in ROUTES}
    return render(
        "report.html.j2",
        facts=facts,
        details=wording.run_details(facts),
        cost_table=cost_table(facts),
        banners=_banners(facts),
        plan=facts.plan,
        planned_text=_planned_text(facts.plan),
        calls=facts.calls,
        words=wording,
        tone=_tone(facts),
        saved=saved(facts),
        saving_text=saving_text(facts),
        simulated=wording.simulated_text(facts.endpoints),
        spend_bars=spend_bars(facts),
        routing_bars=routing_bars(facts, counterfactuals),
        strong_part=spent_percent(facts, STRONG),
        weak_part=spent_percent(facts, WEAK),
        score_chart=_score_chart(facts),
        by_gain=facts.plan.ranker.order == "gain_per_dollar",
        frontier_chart=_frontier_chart(facts),
        quality_chart=_quality_chart(facts.plan),
        budgets=few_budgets(facts.plan) if facts.plan.frontier else [],
        latencies=latencies(facts),
        lengths=_length_table(facts),
        errors=_errors(facts),
        label_bars=_label_bars(facts),
        quality_words=quality_words,
        quality_table=_quality_table(facts),
        met=quality_words.met_text(facts.quality) if facts.quality else None,
        problems=quality_words.problem_rows(facts.quality.problems if facts.quality else {}),
    )


def _quality_table(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Return name, predicted and achieved value of each figure of quality; empty without grades."""
    quality, plan = facts.quality, facts.plan
    if quality is None or (quality.predicted is None and quality.achieved is None):
        return []
    words, predicted, achieved = quality_words, quality.predicted, quality.achieved
    first_and_last = [plan.frontier[0], plan.frontier[-1]] if plan.frontier else []
    weak, strong = [p.outlook.quality for p in first_and_last if p.outlook is not None] or (None, None)
    graded = "–" if achieved is None else f"{words.graded(achieved)} on {rows(achieved.rows)}"
    unseen = quality.unseen
    apart = "… without the rows graded in the pilot"
    return [
        ("Mean grade", words.graded(predicted) if predicted else "–", graded),
        *([(apart, "–", f"{words.graded(unseen)} on {rows(unseen.rows)}")] if unseen else []),
        (
            "Of the strong model’s gain",
            words.recovered(predicted) if predicted else "–",
            words.part(quality.pgr) or "–",
        ),
        *(
            [(apart, "–", words.part(quality.unseen_pgr) or "–")]
            if unseen and quality.pgr is not None
            else []
        ),
        ("All strong", words.graded(strong) if strong else "–", words.known(quality.strong_mean)),
        ("All weak", words.graded(weak) if weak else "–", words.known(quality.weak_mean)),
    ]


def _planned_text(plan: Plan) -> str:
    """Return the planned cost, with its interval where a pilot gives one."""
    planned = usd(plan.planned_nano)
    if plan.outlook is None or plan.outlook.low_nano is None:
        return planned
    return f"{planned} ({quality_words.cost_interval(plan.outlook)}, P10 – P90)"


def _tone(facts: RunFacts) -> str:
    if facts.state != "finished":
        return "bad"
    return "warn" if facts.calls.failed else "good"


def _banners(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the notes at the top of the page, as tone and text."""
    ending = " ".join(part for part in (facts.stop_reason, wording.next_step(facts)) if part)
    banners = [
        *(("bad", text) for text in missed_promises(facts)),
        (_tone(facts), ending),
        ("warn", wording.degraded_text(facts.plan)),
        *(("warn", wording.degrade_text(one)) for one in facts.degrades),
        ("warn", wording.beyond_text(facts)),
        ("warn", wording.unfunded_text(facts)),
        ("warn", truncated_text(facts)),
        ("warn", uncounted_text(facts)),
        *(("warn", notice) for notice in facts.notices),
    ]
    return [(tone, text) for tone, text in banners if text]


def _score_chart(facts: RunFacts) -> Markup | None:
    plan = facts.plan
    by = wording.ranked_by(plan)
    return charts.score_chart(plan.histogram, plan.cut.threshold, by) if plan.histogram else None


def _frontier_chart(facts: RunFacts) -> Markup | None:
    plan, spent = facts.plan, None
    if not plan.frontier or not plan.valid:
        return None
    share = plan.strong / plan.valid
    chosen = charts.Mark(share, plan.planned_nano, f"{percent(share)}, {usd(plan.planned_nano)}")
    if facts.achieved_share is not None and facts.done == plan.valid:
        nano = answers_nano(facts)
        spent = charts.Mark(facts.achieved_share, nano, f"{percent(facts.achieved_share)}, {usd(nano)}")
    return charts.frontier_chart(plan.frontier, plan.all_weak_nano, plan.all_strong_nano, chosen, spent)


def _quality_chart(plan: Plan) -> Markup | None:
    """Return predicted quality by cost, with the plan on it; None without a pilot."""
    points, chosen = predicted_points(plan.frontier), predicted_points([chosen_point(plan)])
    on = plane([*points, *chosen]) if points and chosen else None
    return None if on is None else quality_chart(on, points, chosen[0], cursor=False)


def latencies(facts: RunFacts) -> list[LatencyRow]:
    """Return the latencies of each endpoint that answered, drawn on one axis."""
    answered = {route: bins for route in ROUTES if (bins := facts.calls.routes[route].latency_bins)}
    if not answered:
        return []
    span = charts.latency_span(list(answered.values()))
    rows = []
    for route, bins in answered.items():
        quantiles = tuple(latency_quantile(bins, quantile) or 0.0 for quantile in QUANTILES)
        chart = charts.latency_chart(bins, span, route, quantiles[0], axis=route == list(answered)[-1])
        rows.append(LatencyRow(route, sum(bins.values()), quantiles, chart))
    return rows


def _length_table(facts: RunFacts) -> list[tuple[Route, tuple[str, ...]]]:
    """Return what was observed of each endpoint's answers: P10, P50, P90, coverage and tokens per character, as text."""
    table: list[tuple[Route, tuple[str, ...]]] = []
    for route in ROUTES:
        observed = facts.calls.routes[route].heard
        if observed.bins:
            lengths = [count(observed.output_tokens(q) or 0) for q in (LOW, 0.5, HIGH)]
            covered = (
                "–"
                if observed.coverage is None
                else f"{percent(observed.coverage)} of {count(observed.judged)}"
            )
            table.append((route, (*lengths, covered, f"{observed.tokens_per_char or 0:.3f}")))
    return table


def _label_bars(facts: RunFacts) -> list[tuple[str, str, float]]:
    """Return each label with its rows, and these in percent of the commonest one's."""
    if facts.labels is None:
        return []
    given = dict(facts.labels.given)
    if facts.labels.others:
        given["others"] = facts.labels.others
    most = max([*given.values(), 1])
    return [(name, count(number), 100 * number / most) for name, number in given.items()]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Rows of one endpoint that failed for one reason, or the error that stopped its calls."""

    route: str
    """Empty where it is not known."""
    kind: str
    meaning: str
    said: str
    """What the endpoint said for programs."""
    rows: str
    percent: float
    """Its rows, in percent of the commonest reason's."""


def _errors(facts: RunFacts) -> list[ErrorRow]:
    """Return what stopped the run, if errors did, and then why rows failed, the commonest reason first."""
    failed = failures_of(facts)
    most = max([one.rows for one in failed] + [1])
    texts = wording.KIND_TEXTS
    stopped = [
        ErrorRow(
            one.route, one.kind, refused_key(facts, one) or texts.get(one.kind, ""), str(one.detail), "–", 0
        )
        for one in halts_of(facts)
    ]
    return stopped + [
        ErrorRow(
            *(one.route, one.kind, texts.get(one.kind, ""), str(one.detail), count(one.rows)),
            100 * one.rows / most,
        )
        for one in failed
    ]
