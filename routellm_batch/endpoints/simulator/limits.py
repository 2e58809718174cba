"""Limits that a fake endpoint enforces. Pure: the clock is an argument."""

from __future__ import annotations


class RequestLimit:
    """A token bucket for ``rpm`` requests per minute and ``burst`` at once."""

    def __init__(self, rpm: int, burst: int | None, now_s: float) -> None:
        self.rpm = rpm
        self._burst = float(burst or max(1, rpm // 60))
        self._level = self._burst
        self._at_s = now_s

    def take(self, now_s: float) -> float:
        """Take one request; return 0, or the seconds until one may be taken."""
        rate = self.rpm / 60
        self._level = min(self._burst, self._level + (now_s - self._at_s) * rate)
        self._at_s = now_s
        # A little less than a whole token counts as one: sums of floats seldom reach it exactly.
        if self._level >= 1 - 1e-9:
            self._level -= 1
            return 0.0
        return (1 - self._level) / rate


class Arrivals:
    """Numbers the requests, and the attempts of each, in order of arrival."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def note(self, request_key: str) -> tuple[int, int]:
        """Return the index of the request and the number of earlier attempts at it."""
        index, attempts = self._seen.get(request_key, (len(self._seen), 0))
        self._seen[request_key] = (index, attempts + 1)
        return index, attempts
