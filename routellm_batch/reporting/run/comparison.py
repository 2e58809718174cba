"""What a run's answers cost, and what they would have cost with every row on one model. Pure."""

from __future__ import annotations

from routellm_batch.budget.pricing import cost_nano
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route, Usage
from routellm_batch.reporting.run.facts import RunFacts


def counterfactual_nano(facts: RunFacts, route: Route) -> int:
    """Return about what all answers would have cost with every one of them on ``route``.

    What that endpoint's answers did cost, plus, for the other one's: their input tokens (cached ones too) as counted
    there, and as many output tokens as an answer of this endpoint had on average (as the plan expects, if none was
    seen), at this endpoint's prices::

        spent(r) + price_in(r)·input(o) + price_out(r)·calls(o)·output(r)/calls(r)

    An estimate: tokenizers differ, and a prompt that both endpoints answered is counted twice. Answers taken over from a
    pilot count as much as the others of their route had on average.
    """
    other: Route = WEAK if route == STRONG else STRONG
    here, there = facts.calls.routes[route], facts.calls.routes[other]
    end = facts.endpoints[route]
    output = _answer_tokens(here, end.expected_output_tokens, there.sent)
    usage = Usage(there.usage.input_tokens, there.usage.cached_input_tokens, output)
    moved = cost_nano(end.price, usage)
    total = _answers_nano(facts, route) + moved
    if there.taken:
        cost, calls = (moved, there.sent) if there.sent else _known(facts, route)
        total += _scaled(cost, there.taken, calls)
    return total


def _answer_tokens(seen: RouteTotals, expected: int, answers: int) -> int:
    """Return the output tokens of so many answers, rounded half up."""
    if not seen.usage.output_tokens or not seen.sent:
        return expected * answers
    return (2 * answers * seen.usage.output_tokens + seen.sent) // (2 * seen.sent)


def answers_nano(facts: RunFacts) -> int:
    """Return about what all answers cost: a pilot's count as the mean of their route's others, as planned without any."""
    return sum(_answers_nano(facts, route) for route in ROUTES)


def _answers_nano(facts: RunFacts, route: Route) -> int:
    seen = facts.calls.routes[route]
    cost, calls = _known(facts, route)
    return seen.spent_nano + _scaled(cost, seen.taken, calls)


def _known(facts: RunFacts, route: Route) -> tuple[int, int]:
    """Return what some calls of a route cost, and their number: those that were made, or else those planned."""
    seen, planned = facts.calls.routes[route], facts.plan.endpoints[route]
    return (seen.spent_nano, seen.sent) if seen.sent else (planned.planned_nano, planned.calls)


def _scaled(nano: int, part: int, whole: int) -> int:
    return round(nano * part / whole) if whole else 0


def compared_nano(facts: RunFacts) -> int:
    """Return about what answers and embeddings cost, a pilot's answers as above: what other routings are compared with."""
    return facts.routed_nano - facts.calls.spent_nano + answers_nano(facts)
