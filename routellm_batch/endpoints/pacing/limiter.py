"""How many calls at once: additive increase, multiplicative decrease. Pure: the clock is an argument.

Chiu and Jain 1989, "Analysis of the increase and decrease algorithms for congestion avoidance"; the start doubles
each round trip, as TCP's slow start does (Jacobson 1988).
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST = 16
"""Calls at once before the endpoint has answered."""
DECREASE = 0.7
GENTLE = 0.9
"""Decrease for a latency that grows, which is a weaker sign than a refusal."""


@dataclass(slots=True)
class Limiter:
    """A limit on calls in flight that follows what the endpoint can take, from 1 to ``most``."""

    most: int
    """The upper limit."""
    limit: float = field(init=False)
    """The limit now; whole calls of it count."""
    decreased_s: float | None = None
    """When it was last lowered; sends begun before that say nothing new."""

    def __post_init__(self) -> None:
        """Start low."""
        self.limit = float(min(self.most, FIRST))

    @property
    def slots(self) -> int:
        """Calls that may be in flight."""
        return int(self.limit)

    def succeeded(self) -> None:
        """Raise the limit: one more a round trip, or twice as many before the first decrease."""
        step = 1.0 if self.decreased_s is None else 1 / self.limit
        self.limit = min(float(self.most), self.limit + step)

    def lower(self, begun_s: float, now_s: float, factor: float = DECREASE) -> bool:
        """Lower the limit for a send begun at ``begun_s``, if it began after the last decrease: once a burst."""
        if self.decreased_s is not None and begun_s <= self.decreased_s:
            return False
        self.limit = max(1.0, self.limit * factor)
        self.decreased_s = now_s
        return True

    def set_most(self, most: int) -> None:
        """Change the upper limit; a limit that stood there moves along."""
        self.limit = float(most) if self.limit >= self.most else min(self.limit, float(most))
        self.most = most
