"""Token buckets: so many requests, or tokens, a minute. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass

BURST_S = 0.25
"""A bucket holds this many seconds of its rate: a quarter of what servers commonly let through at once, so that
requests that bunch up on their way still find a place in the server's own bucket."""


@dataclass(slots=True)
class Bucket:
    """A token bucket; the clock is an argument."""

    rate_per_s: float
    """How fast it fills."""
    level: float
    """What may be taken at ``at_s``; below zero after a send of more than was in it."""
    at_s: float
    """When the level was last brought up to date."""

    @classmethod
    def full(cls, per_minute: float, now_s: float, share: float = 1.0) -> Bucket:
        """Return the bucket of a share of a rate; full only as far as the share goes, or many would make a burst."""
        rate = per_minute * share / 60
        return cls(rate, max(share, rate * BURST_S), now_s)

    def wait_s(self, now_s: float, amount: float) -> float:
        """Return how long until ``amount`` may be taken; an amount above the capacity waits for a full bucket."""
        capacity = max(1.0, self.rate_per_s * BURST_S)
        self.level = min(capacity, self.level + (now_s - self.at_s) * self.rate_per_s)
        self.at_s = now_s
        return max(0.0, (min(amount, capacity) - self.level) / self.rate_per_s)

    def take(self, amount: float) -> None:
        """Take an amount, or give a negative one back; the level may fall below zero."""
        self.level -= amount

    def set_rate(self, per_minute: float, now_s: float) -> None:
        """Change the rate from now on; what has been saved stays."""
        self.wait_s(now_s, 0)
        self.rate_per_s = per_minute / 60
