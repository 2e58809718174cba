"""How a run's spending compares with its plan, and which pending rows still may go strong. Pure.

Money is planned on expected cost. What answers really cost is learned while they come: each route has a *ratio*,
settled cost over expected cost of the calls that were answered, and the run's cost is projected as what is spent
plus each route's pending expected cost times its ratio. Ratios are integers, in parts per million.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WHOLE = 1_000_000
"""A ratio of one."""
PRIOR_CALLS = 8
"""A ratio counts as many made-up calls that cost what was expected, so that a few answers don't decide it."""
LEARNED_CALLS = 50
"""With as many answers a ratio is known well enough to follow it at large."""
SLACK = 50
"""A projection may pass what is left by this part of the pending cost before anything is done about it."""
MARGIN = 25
"""A new cut leaves this part of what is left alone, so that the next answers don't ask for another one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Calls of one route that are answered or failed, beside what was expected of them; these add."""

    calls: int = 0
    input_tokens: int = 0
    """Expected ones, of all these calls."""
    answered: int = 0
    """Those of them that cost something."""
    answered_tokens: int = 0
    """Expected input tokens of those."""
    settled_nano: int = 0
    """What those cost."""

    def __add__(self, other: Ended) -> Ended:
        """Add field by field."""
        return Ended(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.answered + other.answered,
            self.answered_tokens + other.answered_tokens,
            self.settled_nano + other.settled_nano,
        )

    def minus(self, other: Ended) -> Ended:
        """Take away what was counted before."""
        return Ended(
            self.calls - other.calls,
            self.input_tokens - other.input_tokens,
            self.answered - other.answered,
            self.answered_tokens - other.answered_tokens,
            self.settled_nano - other.settled_nano,
        )


@dataclass(frozen=True, slots=True)
class RouteBurn:
    """How one route stands."""

    answered: int
    """Calls answered."""
    expected_nano: int
    """What these were expected to cost."""
    settled_nano: int
    """What they did cost."""
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
        """What the calls to come should cost by what was learned, rounded up."""
        return -(-self.pending_nano * self.ratio_ppm // WHOLE)


def projected_nano(spent_nano: int, burns: Iterable[RouteBurn]) -> int:
    """Return what the whole run should cost."""
    return spent_nano + sum(burn.projected_nano for burn in burns)


def too_dear(spent_nano: int, burns: Iterable[RouteBurn], cap_nano: int) -> bool:
    """Say whether the projection is above the cap by more than its slack, which ends with the pending calls."""
    total = projected_nano(spent_nano, burns)
    return total > cap_nano + (total - spent_nano) // SLACK


def room_nano(left_nano: int, worst_weak_nano: int) -> int:
    """Return what the pending rows may be projected to cost: a margin and two weak calls' worst case less than left."""
    return max(0, left_nano - left_nano // MARGIN - 2 * worst_weak_nano)
