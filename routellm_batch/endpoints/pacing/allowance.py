"""What an endpoint says is left of its limits (``x-ratelimit-*``). Pure: the clock is an argument.

Two kinds of server send these headers: some count down a period and start it anew, some keep a token bucket and
name the time until it is full. Both refill (limit − remaining) in reset seconds, so that is taken as the rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from routellm_batch.endpoints.pacing.cooling import clamped_s


@dataclass(slots=True)
class Allowance:
    """What is left of one limit: requests, or tokens."""

    level: float = math.inf
    """What was left at ``at_s``, less what was sent since."""
    rate_per_s: float = 0.0
    """How fast it comes back."""
    at_s: float = 0.0
    """When the endpoint last said what is left."""
    reset_s: float = 0.0
    """From ``at_s``; all is back then."""

    def note(
        self, limit: int | None, remaining: int | None, reset_s: float | None, in_flight: float, now_s: float
    ) -> None:
        """Take over what a reply said; what is in flight may not have been counted yet, and is taken off."""
        wait_s = clamped_s(reset_s)
        if remaining is None or wait_s is None or remaining < 0:
            return
        self.level, self.at_s, self.reset_s = remaining - in_flight, now_s, wait_s
        gone = 0.0 if limit is None else float(limit - remaining)
        self.rate_per_s = gone / wait_s if gone > 0 and wait_s > 0 else 0.0

    def wait_s(self, now_s: float, amount: float) -> float:
        """Return how long until ``amount`` is there; never longer than until the reset."""
        passed_s = now_s - self.at_s
        missing = amount - self.level - passed_s * self.rate_per_s
        if missing <= 0 or passed_s >= self.reset_s:
            return 0.0
        refill_s = missing / self.rate_per_s if self.rate_per_s > 0 else math.inf
        return min(refill_s, self.reset_s - passed_s)

    def take(self, amount: float) -> None:
        """Count a send."""
        self.level -= amount
