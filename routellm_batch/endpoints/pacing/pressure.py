"""Latency that grows with the calls in flight: the sign of a server that queues instead of refusing. Pure.

Answers are compared only with answers of about their own length (bins of an octave of output tokens), so that long
answers are not taken for a slow server. The yardstick of a bin is the lowest mean of a few of its latencies. If
latency stands at twice the yardsticks, with more calls in flight than when they were taken, the endpoint has a
queue, and fewer calls are worth as much. If lowering doesn't help, it was not our queue: then what is seen becomes
the yardstick, and the calls come back.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

GROUP = 8
"""Latencies to one mean of a bin."""
WINDOW = 48
"""Replies that are compared together."""
GROWTH = math.log(2.0)
"""Logarithm of the growth that counts."""
MORE = 1.25
"""Calls in flight, as a multiple of those at the yardstick, that may explain growth."""
TRIALS = 3
"""Decreases without effect before they are given up."""
EFFECT = math.log(1.1)
"""Logarithm of the least improvement that counts as an effect, over all trials."""


@dataclass(slots=True)
class _Bin:
    latencies: list[float] = field(default_factory=list)
    """Logarithms of seconds that make the next mean."""
    flights: list[int] = field(default_factory=list)
    """Calls in flight at each of them."""
    mean: float = math.inf
    """Yardstick: mean logarithm of seconds."""
    in_flight: float = 0.0
    """Calls in flight at the yardstick."""

    def add(self, latency: float, in_flight: int) -> None:
        self.latencies.append(latency)
        self.flights.append(in_flight)
        if len(self.latencies) == GROUP:
            mean = sum(self.latencies) / GROUP
            if mean < self.mean:
                self.mean, self.in_flight = mean, sum(self.flights) / GROUP
            self.latencies.clear()
            self.flights.clear()


@dataclass(slots=True)
class LatencyWatch:
    """Watches one endpoint's latencies."""

    bins: dict[int, _Bin] = field(default_factory=dict)
    """Octave of output tokens → its latencies."""
    recent: deque[tuple[int, float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """(bin, logarithm of the latency, calls in flight) of the last replies."""
    since_s: float = -math.inf
    """Sends begun before this belong to another number of calls."""
    trials: int = 0
    """Decreases so far that had no effect."""
    before: float = math.inf
    """Highest growth since the trials began."""

    def add(self, begun_s: float, now_s: float, output_tokens: int, in_flight: int) -> bool:
        """Note a reply to a send that found ``in_flight`` calls on their way; returns whether fewer should be.

        After a True nothing more is said until replies to later sends are in.
        """
        which = max(1, output_tokens).bit_length()
        latency = math.log(max(1e-3, now_s - begun_s))
        self.bins.setdefault(which, _Bin()).add(latency, in_flight)
        if begun_s < self.since_s:
            return False
        self.recent.append((which, latency, in_flight))
        if len(self.recent) < WINDOW:
            return False
        growth, more = self._growth()
        if growth < GROWTH or not more:
            self.trials, self.before = 0, math.inf
            self._drop_half()
            return False
        return self._crowded(growth, now_s)

    def restart(self, now_s: float) -> None:
        """Note that the number of calls was lowered: judge only what is sent from now on."""
        self.since_s = now_s
        self.recent.clear()

    def _crowded(self, growth: float, now_s: float) -> bool:
        """Judge whether to lower again, or to take what is seen for normal."""
        if self.trials == 0 or growth > self.before:
            self.before = growth  # what the last number of calls had not shown in full when it was judged
        elif self.before - growth >= EFFECT:
            self.trials, self.before = 0, growth
        if self.trials >= TRIALS:
            self._take_for_normal()
            return False
        self.trials += 1
        self.restart(now_s)
        return True

    def _growth(self) -> tuple[float, bool]:
        """Return the mean logarithm of latency over yardstick, and whether more calls are in flight than then."""
        growths = [
            (latency - b.mean, flight, b.in_flight)
            for which, latency, flight in self.recent
            if math.isfinite((b := self.bins[which]).mean)
        ]
        if len(growths) < WINDOW // 2:
            return 0.0, False
        flights, then = sum(f for _, f, _ in growths), sum(f for _, _, f in growths)
        return sum(g for g, _, _ in growths) / len(growths), flights > MORE * then

    def _drop_half(self) -> None:
        """Judge again after half a window: a full one for each reply would cost more than it tells."""
        for _ in range(WINDOW // 2):
            self.recent.popleft()

    def _take_for_normal(self) -> None:
        self.bins.clear()
        self.recent.clear()
        self.trials, self.before = 0, math.inf
