"""Whether an endpoint may be called now: all that limits one process's calls to it, put together. Pure.

Buckets of requests and tokens, a limit on calls at once that follows what the endpoint can take, the pause that a
429 asks for, what the endpoint says is left, and the breaker. The clock is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, RateHint, Reply, Verdict
from routellm_batch.endpoints.pacing.allowance import Allowance
from routellm_batch.endpoints.pacing.breaker import Breaker, is_down
from routellm_batch.endpoints.pacing.buckets import Bucket
from routellm_batch.endpoints.pacing.cooling import Cooldown
from routellm_batch.endpoints.pacing.limiter import GENTLE, Limiter
from routellm_batch.endpoints.pacing.pressure import LatencyWatch


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint allows, over all processes."""

    concurrency: int
    """Calls at once."""
    rpm: float | None = None
    """Requests a minute."""
    tpm: float | None = None
    """Tokens a minute, input and output."""


@dataclass(frozen=True, slots=True)
class Send:
    """One call that was let through."""

    begun_s: float
    """When it began, on the monotonic clock."""
    tokens: int
    """Taken from the token rate."""
    in_flight: int
    """Calls on their way, this one included."""
    probe: bool
    """It asks whether the endpoint is back."""


class Pace:
    """One process's part of an endpoint's limits, and what it learns of them.

    Args:
        limits: of all processes together.
        now_s: monotonic time.
        share: this process's part of them, 0 to 1.
        patience_s: an endpoint that is down for longer fails the rows that wait for it.

    """

    def __init__(
        self, limits: Limits, now_s: float, *, share: float = 1.0, patience_s: float = math.inf
    ) -> None:
        self.limits = limits
        self.in_flight = 0
        self.limiter = Limiter(_slots(limits, share))
        self.breaker = Breaker(patience_s)
        self.cooldown = Cooldown()
        self.latency = LatencyWatch()
        self._most: int | None = None
        self._valid_s = math.inf
        self._tokens_out = 0
        self._requests = None if limits.rpm is None else Bucket.full(limits.rpm, now_s, share)
        self._tokens = None if limits.tpm is None else Bucket.full(limits.tpm, now_s, share)
        self._left_requests = Allowance()
        self._left_tokens = Allowance()

    def set_share(self, share: float, now_s: float) -> None:
        """Change this process's part of the limits, 0 to 1; it can always make one call at a time, however slowly."""
        part = min(1.0, max(1e-3, share))
        self.limiter.set_most(_slots(self.limits, part))
        for bucket, whole in ((self._requests, self.limits.rpm), (self._tokens, self.limits.tpm)):
            if bucket is not None and whole is not None:
                bucket.set_rate(whole * part, now_s)

    def allot(self, calls: int, share: float, valid_s: float, now_s: float) -> None:
        """Set what this process may use from now on, of the limits of all processes.

        Args:
            calls: calls that it may have open at once; those that are open already stay.
            share: its part of the rates, 0 to 1.
            valid_s: monotonic time from which it may send nothing more.
            now_s: monotonic time.

        """
        self.set_share(share, now_s)
        self.limiter.set_most(max(1, calls))
        self._most, self._valid_s = calls, valid_s

    def wait_s(self, now_s: float, tokens: int) -> float:
        """Return how long until a call may be sent: 0 now, infinite if that depends on the calls on their way.

        It is infinite, too, where this process was allotted no call for now.
        """
        if self._most is not None and (self.in_flight >= self._most or now_s >= self._valid_s):
            return math.inf
        if self.in_flight >= (1 if self.cooldown.narrow else self.limiter.slots):
            return math.inf
        wait_s = max(
            self.cooldown.wait_s(now_s),
            self.breaker.wait_s(now_s),
            self._left_requests.wait_s(now_s, 1),
            self._left_tokens.wait_s(now_s, tokens),
        )
        if self._requests is not None:
            wait_s = max(wait_s, self._requests.wait_s(now_s, 1))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(now_s, tokens))
        return wait_s

    def begin(self, now_s: float, tokens: int) -> Send:
        """Let a call through."""
        self._take(1, tokens)
        self.in_flight += 1
        self._tokens_out += tokens
        return Send(now_s, tokens, self.in_flight, self.breaker.begin())

    def unsent(self, send: Send) -> None:
        """Take a call back that was let through and never sent."""
        self._take(-1, -send.tokens)
        self.cut_off(send)

    def cut_off(self, send: Send) -> None:
        """Note a call that ended without a reply or a failure: it was cancelled."""
        self._end(send)
        if send.probe:
            self.breaker.unknown()

    def answered(self, send: Send, reply: Reply, now_s: float) -> None:
        """Note a reply: settle the tokens, and learn from how long it took."""
        self._end(send)
        self.breaker.up()
        self.cooldown.answered()
        self.limiter.succeeded()
        self._note(reply.rate_hint, now_s)
        if reply.usage is None:  # what the call took from the token rate stands, and its length is unknown
            return
        if self._tokens is not None:
            self._tokens.take(reply.usage.input_tokens + reply.usage.output_tokens - send.tokens)
        if self.latency.add(send.begun_s, now_s, reply.usage.output_tokens, send.in_flight):
            self.limiter.lower(send.begun_s, now_s, GENTLE)

    def failed(self, send: Send, error: CallError, now_s: float, jitter: float) -> None:
        """Note a failure; ``jitter`` in [0, 1) spreads a pause whose length the endpoint didn't name."""
        self._end(send)
        self._note(error.rate_hint, now_s)
        if error.verdict is Verdict.WAIT or (error.status == 503 and error.retry_after_s is not None):
            self.cooldown.limited(error.retry_after_s, send.begun_s, now_s, jitter)
        if (
            error.verdict is Verdict.WAIT or error.status == 503 or error.kind is ErrorKind.TIMEOUT
        ) and self.limiter.lower(send.begun_s, now_s):
            self.latency.restart(now_s)
        if is_down(error):
            self.breaker.down(error.kind, now_s, probe=send.probe)
        elif error.status is not None and error.status >= 300:
            self.breaker.up()
        elif send.probe:
            self.breaker.unknown()

    def _end(self, send: Send) -> None:
        self.in_flight -= 1
        self._tokens_out -= send.tokens

    def _take(self, requests: int, tokens: int) -> None:
        self._left_requests.take(requests)
        self._left_tokens.take(tokens)
        if self._requests is not None:
            self._requests.take(requests)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _note(self, hint: RateHint | None, now_s: float) -> None:
        if hint is None:
            return
        self._left_requests.note(
            hint.limit_requests, hint.remaining_requests, hint.reset_requests_s, self.in_flight, now_s
        )
        self._left_tokens.note(
            hint.limit_tokens, hint.remaining_tokens, hint.reset_tokens_s, self._tokens_out, now_s
        )


def _slots(limits: Limits, share: float) -> int:
    return max(1, int(limits.concurrency * share + 1e-9))
