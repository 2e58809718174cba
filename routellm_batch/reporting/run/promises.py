"""What a run promised and did not keep, said at the top of the report and of the closing lines. Pure."""

from __future__ import annotations

from routellm_batch.reporting.quality_words import missed_text
from routellm_batch.reporting.run.comparison import answers_nano
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.text import usd

BAND = 5
"""Without a pilot to say how far costs stray, a plan counts as overspent from one in so many parts more."""


def missed_promises(facts: RunFacts) -> list[str]:
    """Return a sentence for each promise that the run missed, the gravest first; empty where it kept all."""
    found = [missed_text(facts.quality, facts.plan.recover), _dollars_missed(facts)]
    return [text for text in found if text]


def _dollars_missed(facts: RunFacts) -> str | None:
    """Return that the answers cost more than planned by more than the plan's band; None where they did not."""
    plan, cost = facts.plan, answers_nano(facts)
    high = None if plan.outlook is None else plan.outlook.high_nano
    most = plan.planned_nano + plan.planned_nano // BAND if high is None else max(high, plan.planned_nano)
    if not facts.calls.ok or cost <= most or not plan.planned_nano:
        return None
    band = "" if high is None else f", and at most {usd(high)} in nine of ten runs"
    asked = plan.asked["value"] if plan.asked["mode"] == "usd" else None
    budget = "" if asked is None else f" for budget.usd={asked}"
    so_far = "" if facts.done >= plan.valid else " so far"
    return (
        f"The answers cost {usd(cost)}{so_far}, {cost / plan.planned_nano:.2g} times the {usd(plan.planned_nano)} that were "
        f"planned{budget}{band}. {_advice(facts)}"
    )


def _advice(facts: RunFacts) -> str:
    cap = "" if facts.plan.cap_nano is not None else ", and set budget.hard_cap_usd, which is never exceeded"
    return f"For the next run, put estimate.lengths_from: latest below both endpoints{cap}."
