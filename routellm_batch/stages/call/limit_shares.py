"""Each process's part of the endpoints' limits: split anew during a run, as processes fall idle, join or die."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from routellm_batch.core.events import CallProgress, Event, Sink
from routellm_batch.core.types import ROUTES, Route

FLOOR = 0.1
"""Part of the limits that is split evenly, so that a process that was idle can begin."""
SPLIT_S = 5.0
"""Time between two splits."""
QUIET_S = 10.0
"""A process that has called and then reports nothing for so long has no calls, or has died."""

Clock = Callable[[], float]
Shares = Mapping[str, Mapping[Route, float]]
"""Process → route → its part of the limits."""


@dataclass
class Sharing:
    """Observes how many calls each process has in hand, and splits the limits by that; the clock is an argument."""

    _observed: dict[str, tuple[float, Mapping[Route, int]]] = field(default_factory=dict)
    """Process → (when it last reported, its calls by route)."""
    _next_s: float = -math.inf

    def listening(self, sink: Sink, clock: Clock) -> Sink:
        """Return a sink that notes each event and passes it on."""

        def observe(event: Event) -> None:
            self.note(event, clock())
            sink(event)

        return observe

    def note(self, event: Event, now_s: float) -> None:
        """Take what a process reported."""
        if isinstance(event, CallProgress) and event.process:
            self._observed[event.process] = (now_s, event.demand)

    def due(self, now_s: float) -> Shares | None:
        """Return a new split, if it is time for one and anybody calls."""
        if now_s < self._next_s:
            return None
        self._next_s = now_s + SPLIT_S
        calling = {
            name: demand for name, (at_s, demand) in list(self._observed.items()) if now_s - at_s <= QUIET_S
        }
        if not calling:
            return None
        split = {r: split_shares({name: demand[r] for name, demand in calling.items()}) for r in ROUTES}
        return {name: {route: split[route][name] for route in ROUTES} for name in calling}


def split_shares(demands: Mapping[str, int]) -> Mapping[str, float]:
    """Split an endpoint's limits by demand.

    Args:
        demands: worker → its calls open and waiting.

    Returns:
        worker → its part of the limits; together 1, or nothing without workers. Without demand all get the same.

    """
    total = sum(max(0, demand) for demand in demands.values())
    if total == 0:
        return dict.fromkeys(demands, 1 / len(demands)) if demands else {}
    even = FLOOR / len(demands)
    return {worker: even + (1 - FLOOR) * max(0, demand) / total for worker, demand in demands.items()}
