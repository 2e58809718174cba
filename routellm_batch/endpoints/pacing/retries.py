"""How many retries there may be, and how many rows may fail. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FIRST_RETRIES = 10.0
"""Retries that are free before any traffic has earned one."""
MAX_SAVED_RETRIES = 100.0
RETRIES_PER_S = 1.0
"""Retries earned by waiting, so that a tail without traffic still ends."""


@dataclass(slots=True)
class RetryBudget:
    """Retries as a share of traffic: each first send earns a part of one; the clock is an argument."""

    share: float
    """What part of a retry each first send earns."""
    saved: float = FIRST_RETRIES
    """Retries that may be made now."""
    at_s: float | None = None
    """When waiting last earned some; None before the first retry."""

    def earn(self) -> None:
        """Count a first send."""
        self.saved = min(MAX_SAVED_RETRIES, self.saved + self.share)

    def allow(self, now_s: float) -> bool:
        """Take one retry, if one is to be had."""
        if self.at_s is not None:
            self.saved = min(MAX_SAVED_RETRIES, self.saved + (now_s - self.at_s) * RETRIES_PER_S)
        self.at_s = now_s
        if self.saved < 1:
            return False
        self.saved -= 1
        return True


@dataclass(slots=True)
class ErrorWindow:
    """The last rows that ended, and how many of them failed."""

    size: int
    """Rows that it remembers."""
    outcomes: deque[bool] = field(default_factory=deque)
    """Of each row, oldest first, whether it failed."""

    def add(self, *, failed: bool) -> None:
        """Count one row that ended."""
        self.outcomes.append(failed)
        if len(self.outcomes) > self.size:
            self.outcomes.popleft()

    def rate(self, least: int) -> float:
        """Return the share that failed; 0 with fewer than ``least`` rows."""
        return sum(self.outcomes) / len(self.outcomes) if len(self.outcomes) >= max(1, least) else 0.0
