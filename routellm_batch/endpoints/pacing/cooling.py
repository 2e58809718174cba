"""The pause that an endpoint asks for with a 429, shared by all calls of a process. Pure: the clock is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_COOL_S = 120.0
"""No server is obeyed for longer; some send nonsense."""
DEFAULT_COOL_S = 1.0
"""Mean pause where a 429 names none."""


def clamped_s(asked_s: float | None) -> float | None:
    """Return a wait that was asked for within [0, 120] s; None if none was, or not a number."""
    if asked_s is None or math.isnan(asked_s):
        return None
    return min(MAX_COOL_S, max(0.0, asked_s))


@dataclass(slots=True)
class Cooldown:
    """Until when nothing is sent, and how carefully it goes on after that."""

    until_s: float = 0.0
    """When the pause ends, on the monotonic clock."""
    begun_s: float = -math.inf
    """When the last pause was asked for."""
    rounds: int = 0
    """Pauses since the last answer: sends begun before a pause don't make another."""

    def limited(self, asked_s: float | None, sent_s: float, now_s: float, jitter: float) -> None:
        """Note a 429 to a send of ``sent_s``; ``jitter`` in [0, 1) spreads a pause whose length nobody named."""
        wait_s = clamped_s(asked_s)
        self.until_s = max(
            self.until_s, now_s + (DEFAULT_COOL_S * (0.5 + jitter) if wait_s is None else wait_s)
        )
        if sent_s > self.begun_s:
            self.rounds += 1
            self.begun_s = now_s

    def answered(self) -> None:
        """Note an answer: the storm is over, or was none."""
        self.rounds = 0

    def wait_s(self, now_s: float) -> float:
        """Return how long the pause still lasts."""
        return max(0.0, self.until_s - now_s)

    @property
    def narrow(self) -> bool:
        """Whether to send one call at a time: all that were sent after the last pause were refused again."""
        return self.rounds > 1
