"""What a run's answers cost, and what they would have cost with every row on one model. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from routellm_batch.budget.pricing import cost_nano
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route, Usage
from routellm_batch.reporting.run.facts import RunFacts

LARGE = 20
"""What is presumed matters to a saving from one in so many parts of what all strong would have cost."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What a run saved against sending every row that it answered to the strong model."""

    all_strong_nano: int
    """About what those answers would have cost."""
    spent_nano: int
    """Everything that the run settled: calls, failed ones too, embeddings, its own pilot and a judge."""
    presumed_nano: int
    """Everything that may have been billed as well."""

    @property
    def nano(self) -> int:
        """What was saved if all that is presumed was billed; below 0 where the run cost more."""
        return self.all_strong_nano - self.spent_nano - self.presumed_nano

    @property
    def most_nano(self) -> int:
        """What was saved if nothing of that was billed."""
        return self.all_strong_nano - self.spent_nano

    @property
    def is_loose(self) -> bool:
        """Whether so much is presumed that the saving is between two sums rather than one."""
        return self.presumed_nano * LARGE > self.all_strong_nano


def saving(facts: RunFacts) -> Saving | None:
    """Return what a run saved against all strong; None where it answered nothing, as there is nothing to compare."""
    if not facts.calls.ok:
        return None
    return Saving(counterfactual_nano(facts, STRONG), facts.spent_nano, facts.presumed_nano)


def counterfactual_nano(facts: RunFacts, route: Route) -> int:
    """Return about what the rows that were answered would have cost on ``route``, in nano-dollars; 0 before the first.

    That is what the calls of this endpoint did cost, plus a price for each answer of the other one: its input tokens
    (cached ones too) as counted there, and the mean output tokens of this endpoint's answers (or what the plan expects,
    if there are none), at this endpoint's prices::

        spent(r) + price_in(r)·input(o) + price_out(r)·answers(o)·output(r)/answers(r)

    This is an estimate: tokenizers differ, and a prompt that both endpoints answered is counted twice. An answer that was
    taken over from a pilot counts as much as the mean of the others of its route.
    """
    if not facts.calls.ok:
        return 0
    other: Route = WEAK if route == STRONG else STRONG
    own, others = facts.calls.routes[route], facts.calls.routes[other]
    endpoint = facts.endpoints[route]
    total, moved = _answers_nano(facts, route), 0
    if others.answered_here:
        output = _answer_tokens(own, endpoint.expected_output_tokens, others.answered_here)
        usage = Usage(others.usage.input_tokens, others.usage.cached_input_tokens, output)
        moved = cost_nano(endpoint.price, usage)
        total += moved
    if others.taken:
        cost, calls = (moved, others.answered_here) if others.answered_here else _known(facts, route)
        total += _scaled(cost, others.taken, calls)
    return total


def _answer_tokens(seen: RouteTotals, expected: int, answers: int) -> int:
    """Return the output tokens of a number of answers, as long as those seen (or expected) on average, rounded half up."""
    if not seen.usage.output_tokens or not seen.answered_here:
        return expected * answers
    return (2 * answers * seen.usage.output_tokens + seen.answered_here) // (2 * seen.answered_here)


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
    """Return nano-dollars and number of the answers of a route: of those made here, or of those planned without any."""
    seen, planned = facts.calls.routes[route], facts.plan.endpoints[route]
    return (
        (seen.spent_nano, seen.answered_here) if seen.answered_here else (planned.planned_nano, planned.calls)
    )


def _scaled(nano: int, part: int, whole: int) -> int:
    return round(nano * part / whole) if whole else 0
