"""One request through to its end: slot, send, settle, and tenacity as the only retry layer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from routellm_batch.endpoints.gate import Gate, RetryBudget
from routellm_batch.errors import CallError
from routellm_batch.pricing import Price, cost_nano
from routellm_batch.protocols import Endpoint
from routellm_batch.types import ErrorKind, Reply, Usage, Verdict
from routellm_batch.wallet import Wallet

BASE_WAIT_S = 0.5
MAX_WAIT_S = 30.0
MAX_DOUBLINGS = 16
POLL_S = 0.25
"""How often a row that waits looks whether it should give up."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again."""

    attempts: int
    """Failed attempts before a row is failed; 429s are not counted."""
    deadline_s: float
    """Seconds from a row's first attempt after which it is not tried again."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, built once and never changed between attempts."""

    content: bytes
    """The body, as it is sent."""
    key: str
    """Digest of endpoint and body."""
    tokens: int
    """Expected tokens, input and output, for the token rate."""
    worst_nano: int
    """The most one send can cost."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request."""

    reply: Reply | None = None
    error: CallError | None = None
    unsent: bool = False
    """Given up before an answer because the run stops or nothing is left to pay with; to be called later."""
    attempts: int = 0
    usage: Usage = Usage()
    cost_nano: int = 0
    presumed_nano: int = 0
    latency_s: float | None = None
    over_reserve: bool = False
    """The endpoint counted more than the worst case: it ignores the limit it was sent."""


class _StopError(Exception):
    """The run stops; leave the retry loop."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls one endpoint from one process; lives on the process's event loop."""

    endpoint: Endpoint
    gate: Gate
    policy: RetryPolicy
    retries: RetryBudget
    price: Price
    timeout_s: float
    """Of one attempt, from connect to last byte."""
    presume_5xx: bool
    """Book a 5xx at its worst cost."""

    async def call(self, request: Request, wallet: Wallet, stopping: Callable[[], bool]) -> Outcome:
        """Send a request until it is answered, can't be, or the run stops. Raises nothing of its own."""
        tries = _Tries(self, request, wallet, stopping)
        retrying = AsyncRetrying(
            retry=retry_if_exception(_again),
            stop=tries.out,
            wait=tries.wait_s,
            sleep=tries.pause,
            reraise=True,
        )
        self.retries.earn()
        try:
            await retrying(tries.once)
        except _StopError:
            tries.outcome = replace(tries.outcome, unsent=True)
        except CallError as error:
            tries.outcome = replace(tries.outcome, error=error, unsent=error.verdict is Verdict.FATAL)
        return tries.outcome


def _again(error: BaseException) -> bool:
    return isinstance(error, CallError) and error.verdict in {Verdict.RETRY, Verdict.WAIT}


class _Tries:
    """The attempts at one request, and what they have cost so far."""

    def __init__(
        self, caller: Caller, request: Request, wallet: Wallet, stopping: Callable[[], bool]
    ) -> None:
        self.outcome = Outcome()
        self._caller = caller
        self._request = request
        self._wallet = wallet
        self._stopping = stopping
        self._failures = 0
        self._limited = 0
        self._first_s: float | None = None
        """When the first attempt was sent; what a row waits before that is the pace's doing."""

    async def once(self) -> None:
        """Make one attempt; raises CallError, or _StopError where nothing was sent."""
        caller, request = self._caller, self._request
        async with caller.gate.slot(request.tokens, self._stopping):
            if self._stopping() or not await self._wallet.reserve(request.worst_nano):
                raise _StopError
            if self._stopping():  # it may have waited long for its money
                self._wallet.release(request.worst_nano)
                raise _StopError
            self.outcome = replace(self.outcome, attempts=self.outcome.attempts + 1)
            headers = {"X-Request-Key": request.key, "X-Attempt": str(self.outcome.attempts)}
            begun = time.monotonic()
            self._first_s = begun if self._first_s is None else self._first_s
            try:
                reply = await caller.endpoint.send(request.content, headers, caller.timeout_s)
            except CallError as error:
                self._book_failure(error)
                raise
            except asyncio.CancelledError:
                self._presume()
                raise
            self._settle(reply, time.monotonic() - begun)

    def out(self, state: RetryCallState) -> bool:
        """Say whether to give up: attempts or seconds are used up."""
        since_s = 0.0 if self._first_s is None else time.monotonic() - self._first_s
        late = since_s + state.upcoming_sleep > self._caller.policy.deadline_s
        return late or self._failures >= self._caller.policy.attempts

    def wait_s(self, state: RetryCallState) -> float:
        """Return how long to wait: what the endpoint asked for plus jitter, else full jitter over a doubling span."""
        error = state.outcome.exception() if state.outcome else None
        doublings = min(MAX_DOUBLINGS, self._failures + self._limited - 1)
        span = min(MAX_WAIT_S, BASE_WAIT_S * 2**doublings)
        if isinstance(error, CallError) and error.retry_after_s is not None:
            return error.retry_after_s + random.uniform(0, min(1.0, span))
        return random.uniform(0, span)

    async def pause(self, seconds: float) -> None:
        """Wait outside the slot, and for the retry budget; leave as soon as the run stops."""
        until = time.monotonic() + seconds
        limited = self._limited and not self._failures
        while True:
            if self._stopping():
                raise _StopError
            left = until - time.monotonic()
            if left <= 0 and (limited or self._caller.retries.allow(time.monotonic())):
                return
            await asyncio.sleep(min(POLL_S, left) if left > 0 else POLL_S)

    def _book_failure(self, error: CallError) -> None:
        if error.verdict is Verdict.WAIT:
            self._limited += 1
        else:
            self._failures += 1
        if error.maybe_billed and (self._caller.presume_5xx or error.kind is not ErrorKind.SERVER_ERROR):
            self._presume()
        else:
            self._wallet.release(self._request.worst_nano)

    def _presume(self) -> None:
        worst = self._request.worst_nano
        self._wallet.presume(worst)
        self.outcome = replace(self.outcome, presumed_nano=self.outcome.presumed_nano + worst)

    def _settle(self, reply: Reply, latency_s: float) -> None:
        cost = cost_nano(self._caller.price, reply.usage)
        self._wallet.settle(self._request.worst_nano, cost)
        self.outcome = replace(
            self.outcome,
            reply=reply,
            usage=self.outcome.usage + reply.usage,
            cost_nano=self.outcome.cost_nano + cost,
            latency_s=latency_s,
            over_reserve=cost > self._request.worst_nano,
        )
