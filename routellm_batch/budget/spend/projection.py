"""How a run's spending compares with its plan, and what the pending rows may cost. Pure.

A plan is made of expected costs. What answers really cost is learned while they come: each route has a *ratio*, the
settled over the expected cost of the calls that were answered. The run's cost is projected as the sum that is spent, plus
each route's pending expected cost times its ratio. Ratios are integers, in parts per million.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WHOLE = 1_000_000
"""A ratio of one."""
PRIOR_CALLS = 8
"""Made-up calls at the expected cost that a ratio counts in, so that a few answers don't decide it."""
LEARNED_CALLS = 50
"""Answers after which a ratio is known well enough to follow it at large."""
SLACK = 50
"""A projection may exceed the cap by one in so many parts of the pending cost before anything is done about it."""
GOAL_BAND = 50
"""A projection may exceed ``budget.usd`` by one in so many parts of it, as a plan does by chance."""
GOAL_SLACK = 20
"""It may exceed ``budget.usd`` by one in so many parts of the pending cost besides: that shrinks as answers come."""
MARGIN = 25
"""A new cut leaves one in so many parts of the remaining budget unplanned, lest the next answers ask for another."""


@dataclass(frozen=True, slots=True)
class FinishedCalls:
    """Calls of one route that are answered or failed, beside what was expected of them; these add."""

    calls: int = 0
    """Calls that were answered or failed for good."""
    input_tokens: int = 0
    """Estimated input tokens of all of them."""
    answered: int = 0
    """Calls that cost something."""
    answered_tokens: int = 0
    """Estimated input tokens of those that cost something."""
    settled_nano: int = 0
    """Settled cost."""

    def __add__(self, other: FinishedCalls) -> FinishedCalls:
        """Return the sum, field by field."""
        return FinishedCalls(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.answered + other.answered,
            self.answered_tokens + other.answered_tokens,
            self.settled_nano + other.settled_nano,
        )

    def minus(self, other: FinishedCalls) -> FinishedCalls:
        """Return what came since ``other`` was counted."""
        return FinishedCalls(
            self.calls - other.calls,
            self.input_tokens - other.input_tokens,
            self.answered - other.answered,
            self.answered_tokens - other.answered_tokens,
            self.settled_nano - other.settled_nano,
        )


@dataclass(frozen=True, slots=True)
class RouteSpending:
    """What one route's calls cost so far, beside what was expected, and what is to come."""

    answered: int
    """Calls that were answered."""
    expected_nano: int
    """Expected cost of the answered calls."""
    settled_nano: int
    """Settled cost of the answered calls."""
    pending_nano: int
    """Expected cost of the calls to come."""

    @property
    def ratio_ppm(self) -> int:
        """Settled over expected cost, in parts per million, rounded up; a little nearer to one than measured.

        With n answers and a prior of p calls: (settled·n + p·expected) / (expected·(n + p)).
        """
        if not self.answered or not self.expected_nano:
            return WHOLE
        above = self.settled_nano * self.answered + PRIOR_CALLS * self.expected_nano
        return -(-WHOLE * above // (self.expected_nano * (self.answered + PRIOR_CALLS)))

    @property
    def projected_nano(self) -> int:
        """Projected cost of the calls to come, by the ratio that was learned, rounded up."""
        return -(-self.pending_nano * self.ratio_ppm // WHOLE)


def projected_nano(spent_nano: int, routes: Iterable[RouteSpending]) -> int:
    """Return the projected cost of the whole run, in nano-dollars."""
    return spent_nano + sum(route.projected_nano for route in routes)


def too_dear(spent_nano: int, routes: Iterable[RouteSpending], cap_nano: int) -> bool:
    """Whether the projection exceeds the cap by more than its slack, which shrinks to nothing with the pending calls."""
    total = projected_nano(spent_nano, routes)
    return total > cap_nano + (total - spent_nano) // SLACK


def over_goal(spent_nano: int, routes: Iterable[RouteSpending], goal_nano: int) -> bool:
    """Whether the projection exceeds a sum that is asked for and no cap, by more than answers' lengths vary by chance."""
    total = projected_nano(spent_nano, routes)
    return total > goal_nano + goal_nano // GOAL_BAND + (total - spent_nano) // GOAL_SLACK


def room_nano(left_nano: int, worst_weak_nano: int) -> int:
    """Return the highest projected cost that pending rows may have, in nano-dollars.

    Args:
        left_nano: what the cap leaves; a margin is taken off.
        worst_weak_nano: worst case of a weak call; two of them are taken off, for the reservations of the last calls.

    """
    return max(0, left_nano - left_nano // MARGIN - 2 * worst_weak_nano)
