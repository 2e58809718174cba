"""What a run's answers cost, and what they would have cost with every row on one model. Pure."""

from __future__ import annotations

from routellm_batch.budget.pricing import cost_nano
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route, Usage
from routellm_batch.reporting.run.facts import RunFacts


def counterfactual_nano(facts: RunFacts, route: Route) -> int:
    """Return about what all answers would have cost on ``route``, in nano-dollars.

    That is what the answers of this endpoint did cost, plus a price for each answer of the other one: its input tokens
    (cached ones too) as counted there, and the mean output tokens of this endpoint's answers (or what the plan expects,
    if there are none), at this endpoint's prices::

        spent(r) + price_in(r)·input(o) + price_out(r)·calls(o)·output(r)/calls(r)

    This is an estimate: tokenizers differ, and a prompt that both endpoints answered is counted twice. An answer that was
    taken over from a pilot counts as much as the mean of the others of its route.
    """
    other: Route = WEAK if route == STRONG else STRONG
    own, others = facts.calls.routes[route], facts.calls.routes[other]
    endpoint = facts.endpoints[route]
    output = _answer_tokens(own, endpoint.expected_output_tokens, others.sent)
    usage = Usage(others.usage.input_tokens, others.usage.cached_input_tokens, output)
    moved = cost_nano(endpoint.price, usage)
    total = _answers_nano(facts, route) + moved
    if others.taken:
        cost, calls = (moved, others.sent) if others.sent else _known(facts, route)
        total += _scaled(cost, others.taken, calls)
    return total


def _answer_tokens(seen: RouteTotals, expected: int, answers: int) -> int:
    """Return the output tokens of a number of answers, as long as those seen (or expected) on average, rounded half up."""
    if not seen.usage.output_tokens or not seen.sent:
        return expected * answers
    return (2 * answers * seen.usage.output_tokens + seen.sent) // (2 * seen.sent)


def answers_nano(facts: RunFacts) -> int:
    """Return about what all answers cost, in nano-dollars.

    An answer that was taken over from a pilot counts as much as the mean of the others of its route, or as planned where
    there are no others.
    """
    return sum(_answers_nano(facts, route) for route in ROUTES)


def _answers_nano(facts: RunFacts, route: Route) -> int:
    seen = facts.calls.routes[route]
    cost, calls = _known(facts, route)
    return seen.spent_nano + _scaled(cost, seen.taken, calls)


def _known(facts: RunFacts, route: Route) -> tuple[int, int]:
    """Return nano-dollars and number of the calls of a route: of those made, or of those planned if none was."""
    seen, planned = facts.calls.routes[route], facts.plan.endpoints[route]
    return (seen.spent_nano, seen.sent) if seen.sent else (planned.planned_nano, planned.calls)


def _scaled(nano: int, part: int, whole: int) -> int:
    return round(nano * part / whole) if whole else 0


def compared_nano(facts: RunFacts) -> int:
    """Return about what answers (as ``answers_nano``) and embeddings cost, to compare other routings with."""
    return facts.routed_nano - facts.calls.spent_nano + answers_nano(facts)
