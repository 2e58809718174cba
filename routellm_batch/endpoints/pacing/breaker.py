"""Circuit breaker: while an endpoint is down one call at a time asks whether it is back. Pure: the clock is an argument.

Closed, everything passes. Open, nothing does until the next probe is due. Half-open, one probe is on its way. What
waits for it is neither failed nor counted, until the endpoint has been down for longer than anybody wants to wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind

OPENS_AFTER = 20
"""Failures in a row that open it …"""
OPENS_AFTER_LONG = 5
OPENS_LONG_S = 30.0
"""… or fewer, if they go on for this long."""
PROBE_S = 1.0
MAX_PROBE_S = 30.0
"""Time between probes, from first to last; it doubles."""
NEVER_ANSWERED_S = 60.0
"""The longest wait for an endpoint that has not answered even once: its address is probably wrong."""

_DOWN = frozenset({ErrorKind.TIMEOUT, ErrorKind.CONNECTION, ErrorKind.UNREACHABLE})


def is_down(error: CallError) -> bool:
    """Whether a failure speaks of the endpoint's health rather than of the row: no reply, or a 5xx."""
    return error.kind in _DOWN or (error.status is not None and error.status >= 500)


@dataclass(slots=True)
class Breaker:
    """Whether an endpoint is thought to be up."""

    patience_s: float
    """An endpoint that is down for longer fails the rows that wait for it."""
    kind: ErrorKind | None = None
    """What it failed with last."""
    failures: int = 0
    """In a row."""
    down_s: float | None = None
    """When the first of them was."""
    probe_at_s: float | None = None
    """When the next probe is due; None while closed."""
    probing: bool = False
    """A probe is on its way."""
    answered: bool = False
    """It has answered at least once."""
    _wait_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is thought to be down."""
        return self.probe_at_s is not None

    def wait_s(self, now_s: float) -> float:
        """Return how long until a send may pass; infinite while a probe is on its way."""
        if self.probe_at_s is None:
            return 0.0
        return float("inf") if self.probing else max(0.0, self.probe_at_s - now_s)

    def begin(self) -> bool:
        """Note a send that passes; return whether it is the probe."""
        self.probing = self.probing or self.probe_at_s is not None
        return self.probe_at_s is not None

    def up(self) -> None:
        """Note any reply that shows the endpoint at work: an answer, a 429, a 4xx."""
        self.answered = True
        self.failures, self.down_s, self.probe_at_s, self.probing = 0, None, None, False

    def down(self, kind: ErrorKind, now_s: float, *, probe: bool) -> None:
        """Note a failure that says the endpoint is down."""
        self.kind = kind
        self.failures += 1
        self.down_s = now_s if self.down_s is None else self.down_s
        if probe:
            self.probing = False
            self._wait_s = min(MAX_PROBE_S, 2 * self._wait_s)
            self.probe_at_s = now_s + self._wait_s
        elif self.probe_at_s is None and self._opens(now_s - self.down_s):
            self._wait_s = PROBE_S
            self.probe_at_s = now_s + PROBE_S

    def unknown(self) -> None:
        """Note a probe that has no result: it was cancelled, or never sent."""
        self.probing = False

    def given_up(self, now_s: float) -> bool:
        """Whether it has been open for longer than rows wait for it."""
        patience_s = self.patience_s if self.answered else min(self.patience_s, NEVER_ANSWERED_S)
        return self.probe_at_s is not None and self.down_s is not None and now_s - self.down_s > patience_s

    def _opens(self, lasted_s: float) -> bool:
        return self.failures >= OPENS_AFTER or (
            self.failures >= OPENS_AFTER_LONG and lasted_s >= OPENS_LONG_S
        )
