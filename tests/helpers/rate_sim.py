"""Simulated time: processes with a ``Pace`` each call one server, without a clock or a socket."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, Reply, Usage, Verdict
from routellm_batch.endpoints.pacing.pace import Pace, Send

WAY_S = 0.001
"""Time of a refusal to come back."""


class Server(Protocol):
    """Says when a request ends."""

    def take(self, now_s: float, latency_s: float) -> tuple[float, bool]:
        """Return (time of the reply, whether it is an answer) of a request that arrives now."""
        ...


@dataclass
class Refusing:
    """A token bucket; beyond it 429."""

    rate: float
    burst: float
    level: float = math.nan
    at_s: float = 0.0

    def take(self, now_s: float, latency_s: float) -> tuple[float, bool]:
        """Take a token or refuse."""
        before = self.burst if math.isnan(self.level) else self.level
        self.level = min(self.burst, before + (now_s - self.at_s) * self.rate)
        self.at_s = now_s
        if self.level < 1 - 1e-9:
            return now_s + WAY_S, False
        self.level -= 1
        return now_s + latency_s, True


@dataclass
class Queueing:
    """So many requests at a time; the others wait their turn."""

    parallel: int
    busy: list[float] = field(default_factory=list)

    def take(self, now_s: float, latency_s: float) -> tuple[float, bool]:
        """Queue up."""
        while self.busy and self.busy[0] <= now_s and len(self.busy) < self.parallel:
            heapq.heappop(self.busy)
        begin = now_s
        if len(self.busy) >= self.parallel:
            begin = max(now_s, heapq.heappop(self.busy))
        heapq.heappush(self.busy, begin + latency_s)
        return begin + latency_s, True


@dataclass
class Figures:
    """What came of a simulation."""

    seconds: float = 0.0
    refused: int = 0
    least_limit: int = 10**9
    """Fewest slots after the first decrease or the start's ramp."""
    last_limit: int = 0


def simulate(
    paces: Sequence[Pace],
    server: Server,
    *,
    rows: int,
    latency: Callable[[int], float],
    tokens: Callable[[int], int] = lambda _: 100,
) -> Figures:
    """Call for each row until it is answered; rows are dealt to the processes in turns."""
    figures, order = Figures(), count()
    waiting = [deque(range(worker, rows, len(paces))) for worker in range(len(paces))]
    events: list[tuple[float, int, int, tuple[Send, int, bool] | None]] = []
    for worker in range(len(paces)):
        heapq.heappush(events, (0.0, next(order), worker, None))
    ramped = False
    due = [math.inf] * len(paces)  # when each process looks again
    while events:
        now_s, _, worker, ended = heapq.heappop(events)
        pace = paces[worker]
        due[worker] = math.inf if now_s >= due[worker] else due[worker]
        if ended is not None:
            send, row, answered = ended
            if answered:
                pace.answered(send, Reply("", "stop", "m", Usage(10, 0, tokens(row))), now_s)
                figures.seconds = now_s
            else:
                error = CallError(ErrorKind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=0.01)
                pace.failed(send, error, now_s, 0.5)
                figures.refused += 1
                waiting[worker].append(row)
            ramped = ramped or pace.limiter.slots == pace.limiter.most
            if ramped:
                figures.least_limit = min(figures.least_limit, pace.limiter.slots)
        while waiting[worker]:
            wait_s = pace.wait_s(now_s, 1)
            if wait_s > 1e-9:
                if now_s + wait_s < due[worker]:
                    due[worker] = now_s + wait_s
                    heapq.heappush(events, (due[worker], next(order), worker, None))
                break
            row = waiting[worker].popleft()
            end_s, answered = server.take(now_s, latency(row))
            heapq.heappush(events, (end_s, next(order), worker, (pace.begin(now_s, 1), row, answered)))
    figures.last_limit = paces[0].limiter.slots
    return figures
