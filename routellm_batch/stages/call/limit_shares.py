"""Each process's part of the endpoints' limits: what all may have open together is never more than an endpoint takes.

The driver allots calls to processes by what they have in hand. A process begins with none, uses what it was last
allotted, and reports what it has applied and what it has open. So the driver knows at every moment the most that each
may have open: the largest allotment that it may still use, or what it reported where that is more. Only what is left
of the limit then is allotted to others; a smaller allotment counts once the process says that it has it, and that as
many calls have ended.

A call is open until its answer is there, it has failed, or its timeout is over. Calls of a process that is known to be
dead are not: its system has closed their connections. A process that falls silent may use its last allotment for
``VALID_S`` of its own clock after the report that this answered, and its calls are open for their timeout after that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from routellm_batch.config.job import EndpointsConfig
from routellm_batch.core.events import CallProgress, Event, Sink
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.storage.ledger.liveness import is_dead

FLOOR = 0.1
"""Part of the rates that is split evenly, so that a process that was idle can begin."""
SPLIT_S = 5.0
"""Time between two splits."""
QUIET_S = 10.0
"""A process that has called and then reports nothing for so long has no calls, or has died."""
CLOSING_S = 1.0
"""A dead process's connections are closed so long after it was seen to be dead: its threads end one by one."""
VALID_S = 30.0
"""How long an allotment may be used after the report that it answers; a process that hears nothing more sends nothing."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Part:
    """A process's part of one endpoint's limits."""

    calls: int = 0
    """Calls that it may have open."""
    share: float = 0.0
    """Its part of the rates, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What a process may use from now on."""

    number: int
    """Of this among the start's allotments for the process."""
    said_s: float
    """When the process said what this answers, on its own monotonic clock."""
    period: int
    """Of the process's busy periods, the one that it was in then; void in any other."""
    parts: Mapping[Route, Part]
    """Route → its part."""


Allotments = Mapping[str, Allotment]
"""Process → what it may use."""


@dataclass
class _Process:
    """A process as the driver knows it."""

    report: CallProgress
    """What it last said."""
    heard_s: float
    """When it did, on the driver's clock."""
    dead_s: float | None = None
    """When it was first seen to be dead, on the driver's clock."""
    given: list[tuple[Allotment, float]] = field(default_factory=list)
    """Allotments that it may use now or yet take, each with the driver's time after which it is void."""
    number: int = 0
    """Of the newest allotment."""

    def hear(self, report: CallProgress, now_s: float) -> None:
        """Take a report: allotments before the one that it has applied are over, and all where it is, or was, idle."""
        over = report.idle or report.period != self.report.period
        self.report, self.heard_s = report, now_s
        if over:
            self.given = []
        else:
            self.given = [one for one in self.given if one[0].number >= report.allotment]

    def part(self, route: Route) -> Part:
        """Return its newest part."""
        return self.given[-1][0].parts[route] if self.given else Part()

    def held(self, route: Route, now_s: float, timeout_s: float) -> int:
        """Return the most calls that it may have open."""
        until_s = max((valid_s for _, valid_s in self.given), default=self.heard_s) + timeout_s
        if now_s > until_s:
            return 0
        most = max((one.parts[route].calls for one, _ in self.given), default=0)
        return max(most, self.report.sent.get(route, 0))


@dataclass
class Sharing:
    """Allots the endpoints' limits to the processes of one start of a run; the clock is an argument."""

    limits: Mapping[Route, int]
    """Route → calls at once that its endpoint takes."""
    timeouts_s: Mapping[Route, float]
    """Route → how long a call may stay open."""
    start: str = ""
    """Names the start; reports of others are not listened to."""
    expected: int = 1
    """Processes that are likely to call; in the first seconds some is kept for those that have not reported yet."""
    _earlier: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Processes that may still call for an earlier start, and have not reported to this one."""
    _earlier_until_s: float = -math.inf
    """When nothing of them can be open any more."""
    _processes: dict[str, _Process] = field(default_factory=dict)
    _wanted: dict[str, Mapping[Route, Part]] = field(default_factory=dict)
    """Process → what it is to have as soon as others have let go of it."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Reports are heard in another thread."""
    _begun_s: float = math.inf
    _next_s: float = -math.inf

    @classmethod
    def of(cls, endpoints: EndpointsConfig) -> Sharing:
        """Return what allots the limits of some endpoints."""
        return cls(
            {route: endpoints.of(route).limits.concurrency for route in ROUTES},
            {route: endpoints.of(route).timeout_s for route in ROUTES},
        )

    def wait_for(self, earlier: Mapping[str, Mapping[str, Any]], now_s: float) -> None:
        """Allot nothing while processes of an earlier start, which is over, may have calls open.

        That is until each is dead, or reports to this start what it has open; or until its last allotment is void, and
        its calls have come to their timeout.

        Args:
            earlier: process → who it is.
            now_s: the driver's time, after the end of that start.

        """
        self._earlier = dict(earlier)
        self._earlier_until_s = now_s + VALID_S + max(self.timeouts_s.values())

    def listening(self, sink: Sink, clock: Clock) -> Sink:
        """Return a sink that notes each event and passes it on."""

        def observe(event: Event) -> None:
            self.note(event, clock())
            sink(event)

        return observe

    def note(self, event: Event, now_s: float) -> None:
        """Take what a process reported; called in whichever thread hears it."""
        if not isinstance(event, CallProgress) or not event.process or event.start != self.start:
            return
        with self._lock:
            known = self._processes.get(event.process)
            if known is None:
                self._begun_s = min(self._begun_s, now_s)
                self._processes[event.process] = _Process(event, now_s)
            elif event.said_s >= known.report.said_s:
                known.hear(event, now_s)

    def due(self, now_s: float) -> Allotments | None:
        """Return what processes are to be told now, if anything."""
        with self._lock:
            return self._due(now_s)

    def _due(self, now_s: float) -> Allotments | None:
        self._bury(now_s)
        active = {
            name: one
            for name, one in self._processes.items()
            if now_s - one.heard_s <= QUIET_S and not one.report.idle and one.dead_s is None
        }
        timely = now_s >= self._next_s
        if timely or active.keys() != self._wanted.keys() or self._starves(active):
            self._wanted = self._split(active, now_s)
        parts = self._reachable(active, now_s)
        if not active or not (timely or any(parts[name] != self._latest(active[name]) for name in active)):
            return None
        if timely:
            self._next_s = now_s + SPLIT_S
        return {name: self._allot(one, parts[name]) for name, one in active.items()}

    def held(self, route: Route, now_s: float) -> int:
        """Return the most calls that all processes may have open at an endpoint."""
        timeout_s = self.timeouts_s[route]
        return sum(one.held(route, now_s, timeout_s) for one in self._processes.values())

    def _bury(self, now_s: float) -> None:
        """Forget processes that are dead, and those that were silent for so long that nothing of them is open."""
        for name, one in list(self._processes.items()):
            silent = now_s - one.heard_s > QUIET_S
            over = silent and not any(one.held(route, now_s, self.timeouts_s[route]) for route in ROUTES)
            if one.dead_s is None and is_dead(one.report.who):
                one.dead_s = now_s
            if over or (one.dead_s is not None and now_s - one.dead_s >= CLOSING_S):
                del self._processes[name]

    def _starves(self, active: Mapping[str, _Process]) -> bool:
        """Whether a process has calls in hand of an endpoint of which it is to have none."""
        return any(
            one.report.demand.get(route, 0) > 0 and not self._wanted[name][route].calls
            for name, one in active.items()
            for route in ROUTES
            if self.limits[route] >= len(active)
        )

    def _split(self, active: Mapping[str, _Process], now_s: float) -> dict[str, Mapping[Route, Part]]:
        absent = self.expected - len(active) if now_s < self._begun_s + SPLIT_S else 0
        names = [*active, *(f"absent {n}" for n in range(absent))]
        split: dict[Route, dict[str, Part]] = {}
        for route in ROUTES:
            demands = {name: one.report.demand.get(route, 0) for name, one in active.items()}
            most = max(demands.values(), default=0)
            demands |= {name: most for name in names if name not in demands}
            shares = split_shares(demands)
            calls = split_calls(self.limits[route], demands)
            split[route] = {name: Part(calls[name], shares[name]) for name in names}
        return {name: {route: split[route][name] for route in ROUTES} for name in active}

    def _reachable(self, active: Mapping[str, _Process], now_s: float) -> dict[str, dict[Route, Part]]:
        """Return what processes can have now: what is wanted, but no more than all others have let go of."""
        parts: dict[str, dict[Route, Part]] = {name: {} for name in active}
        waits = self._waits_for_earlier(now_s)
        for route in ROUTES:
            free = 0 if waits else max(0, self.limits[route] - self.held(route, now_s))
            for name, one in active.items():
                has, wanted = one.part(route).calls, self._wanted[name][route]
                more = min(free, max(0, wanted.calls - has))
                free -= more
                parts[name][route] = replace(wanted, calls=min(wanted.calls, has + more))
        return parts

    def _waits_for_earlier(self, now_s: float) -> bool:
        left = self._earlier.items() if now_s < self._earlier_until_s else ()
        self._earlier = {n: who for n, who in left if n not in self._processes and not is_dead(who)}
        return bool(self._earlier)

    def _latest(self, one: _Process) -> Mapping[Route, Part]:
        return {route: one.part(route) for route in ROUTES}

    def _allot(self, one: _Process, parts: Mapping[Route, Part]) -> Allotment:
        one.number += 1
        allotment = Allotment(one.number, one.report.said_s, one.report.period, parts)
        one.given.append((allotment, one.heard_s + VALID_S))
        return allotment


def split_shares(demands: Mapping[str, int]) -> Mapping[str, float]:
    """Split an endpoint's rates by demand.

    Args:
        demands: worker → its calls open and waiting.

    Returns:
        worker → its part of the rates; together 1, or nothing without workers. Without demand all get the same.

    """
    total = sum(max(0, demand) for demand in demands.values())
    if total == 0:
        return dict.fromkeys(demands, 1 / len(demands)) if demands else {}
    even = FLOOR / len(demands)
    return {worker: even + (1 - FLOOR) * max(0, demand) / total for worker, demand in demands.items()}


def split_calls(limit: int, demands: Mapping[str, int]) -> Mapping[str, int]:
    """Split the calls that an endpoint takes at once by demand.

    Args:
        limit: calls at once, of all together.
        demands: worker → its calls open and waiting.

    Returns:
        worker → its calls at once; together ``limit``, or nothing without workers. Who has any demand gets one at
        least, as far as the limit goes; without demand all get the same.

    """
    if not demands:
        return {}
    weights = {name: max(0, demand) for name, demand in demands.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(demands, 1)
    order = sorted(weights, key=lambda name: -weights[name])
    calls = {name: int(place < limit and weights[name] > 0) for place, name in enumerate(order)}
    left, total = limit - sum(calls.values()), sum(weights.values())
    exact = {name: left * weight / total for name, weight in weights.items()}
    for name in weights:
        calls[name] += int(exact[name])
    rest = limit - sum(calls.values())
    for name in sorted(weights, key=lambda name: int(exact[name]) - exact[name])[:rest]:
        calls[name] += 1
    return calls
