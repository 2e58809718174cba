"""How fast an endpoint may be called: request and token buckets, slots, a retry budget. The decisions are pure."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LOOK_S = 0.25
"""A call that waits for the pace looks this often whether the run stops."""
BURST_S = 1.0
"""A bucket holds this many seconds of its rate."""
FIRST_RETRIES = 10.0
"""Retries that are free before any traffic has earned one."""
MAX_SAVED_RETRIES = 100.0
RETRIES_PER_S = 1.0
"""Retries earned by waiting, so that a tail without traffic still ends."""


@dataclass(slots=True)
class Bucket:
    """A token bucket; the clock is an argument."""

    rate_per_s: float
    level: float
    at_s: float

    @classmethod
    def full(cls, per_minute: float, now_s: float) -> Bucket:
        """Return a full bucket."""
        rate = per_minute / 60
        return cls(rate, max(1.0, rate * BURST_S), now_s)

    def wait_s(self, now_s: float, amount: float) -> float:
        """Return how long until ``amount`` may be taken; an amount above the capacity waits for a full bucket."""
        capacity = max(1.0, self.rate_per_s * BURST_S)
        self.level = min(capacity, self.level + (now_s - self.at_s) * self.rate_per_s)
        self.at_s = now_s
        return max(0.0, (min(amount, capacity) - self.level) / self.rate_per_s)

    def take(self, amount: float) -> None:
        """Take an amount; the level may fall below zero."""
        self.level -= amount


@dataclass(slots=True)
class RetryBudget:
    """Retries as a share of traffic: each first send earns a part of one; the clock is an argument."""

    share: float
    saved: float = FIRST_RETRIES
    at_s: float | None = None

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
    outcomes: deque[bool] = field(default_factory=deque)

    def add(self, *, failed: bool) -> None:
        """Count one row that ended."""
        self.outcomes.append(failed)
        if len(self.outcomes) > self.size:
            self.outcomes.popleft()

    def rate(self, least: int) -> float:
        """Return the share that failed; 0 with fewer than ``least`` rows."""
        return sum(self.outcomes) / len(self.outcomes) if len(self.outcomes) >= max(1, least) else 0.0


class Gate:
    """Lets calls through at an endpoint's pace, so many at once."""

    def __init__(self, *, concurrency: int, rpm: float | None, tpm: float | None) -> None:
        self.concurrency = concurrency
        self.in_flight = 0
        self._slots = asyncio.Semaphore(concurrency)
        now_s = time.monotonic()
        self._requests = None if rpm is None else Bucket.full(rpm, now_s)
        self._tokens = None if tpm is None else Bucket.full(tpm, now_s)

    @asynccontextmanager
    async def slot(self, tokens: int, stopping: Callable[[], bool] = lambda: False) -> AsyncIterator[None]:
        """Wait for a slot and for the pace, then hold the slot; a stop ends the wait, and nothing may be sent then."""
        async with self._slots:
            while not stopping() and (wait_s := self._wait_s(tokens)) > 0:  # noqa: ASYNC110 - time passes by itself
                await asyncio.sleep(min(wait_s, LOOK_S))
            if not stopping():
                self._take(tokens)
            self.in_flight += 1
            try:
                yield
            finally:
                self.in_flight -= 1

    def _take(self, tokens: int) -> None:
        for bucket, amount in ((self._requests, 1), (self._tokens, tokens)):
            if bucket is not None:
                bucket.take(amount)

    def _wait_s(self, tokens: int) -> float:
        now_s = time.monotonic()
        waits = [
            b.wait_s(now_s, n) for b, n in ((self._requests, 1), (self._tokens, tokens)) if b is not None
        ]
        return max(waits, default=0.0)
