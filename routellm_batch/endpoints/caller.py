"""One request: slot, send, settle, and tenacity as the only retry layer.

A failure that was surely not billed is tried again here. One that may have been billed ends the call, as the next
send needs a reservation and an intent of its own; the row comes back with its ``History``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from routellm_batch.budget.pricing import Price, cost_nano
from routellm_batch.core.errors import CallError
from routellm_batch.core.protocols import Endpoint
from routellm_batch.core.types import ErrorKind, Reply, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.calls import NEW, History, Outcome, Request, RetryPolicy
from routellm_batch.endpoints.pacing.breaker import is_down
from routellm_batch.endpoints.pacing.gate import DownError, Gate
from routellm_batch.endpoints.pacing.pace import Send
from routellm_batch.endpoints.pacing.retries import RetryBudget
from routellm_batch.endpoints.wallet import Wallet

__all__ = ["Caller", "History", "Outcome", "Request", "RetryPolicy"]

MAX_DOUBLINGS = 16


def _nothing() -> None:
    pass


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
    worker: Worker
    """The process that calls."""

    async def call(
        self,
        request: Request,
        wallet: Wallet,
        stopping: Callable[[], bool],
        history: History = NEW,
        sending: Callable[[], None] = _nothing,
    ) -> Outcome:
        """Send a request until it is answered, can't be, may have been billed, or the run stops.

        Args:
            request: what is sent.
            wallet: what pays for it.
            stopping: says whether the run stops.
            history: of the row's earlier calls.
            sending: called right before each request is written to its socket; what it raises goes through, unsent.

        """
        if not history.attempts:
            self.retries.earn()
        self.gate.open += 1
        try:
            return await _Tries(self, request, wallet, stopping, history, sending).run()
        finally:
            self.gate.open -= 1

    def may_retry(self, now_s: float) -> bool:
        """Say whether a row that is due may be sent again now, and take one from the retry budget if so.

        While the endpoint is down this waits for a probe to be due, until the row would be failed for it.
        """
        breaker = self.gate.pace.breaker
        if breaker.given_up(now_s):
            return True
        return breaker.wait_s(now_s) <= 0 and self.retries.allow(now_s)


class _Tries:
    """The attempts at one request in one call, and what they have cost."""

    def __init__(
        self,
        caller: Caller,
        request: Request,
        wallet: Wallet,
        stopping: Callable[[], bool],
        history: History,
        sending: Callable[[], None],
    ) -> None:
        self._caller = caller
        self._now_s, self._settings = caller.worker.clock.monotonic, caller.worker.settings
        self._request = request
        self._wallet = wallet
        self._stopping = stopping
        self._sending = sending
        self._before = history
        self._attempts = 0
        self._presumed_nano = 0
        self._failures = history.failures
        self._limited = 0
        self._free = False
        """The last failure was a 429: the next attempt is no retry that a share is kept of."""
        self._first_s = history.first_s
        """When the row was first sent; what it waits before that is the pace's doing."""
        self._error: CallError | None = None
        """What the first attempt of this call ended in, until it is retried."""

    async def run(self) -> Outcome:
        """Try once plainly, as most rows need no more; leave what comes after a failure to tenacity."""
        try:
            try:
                return await self.once()
            except CallError as error:
                if not self._here(error):
                    raise
                self._error = error
                return await AsyncRetrying(
                    retry=retry_if_exception(self._here),
                    stop=self.out,
                    wait=self.wait_s,
                    sleep=self.pause,
                    reraise=True,
                )(self._once_more)
        except _StopError:
            return self._ended(unsent=True)
        except DownError as down:
            return self._ended(error=down.error)
        except CallError as error:
            if error.verdict is Verdict.RETRY:
                wait_s = self._wait_s(error)
                if self._presumes(error) and not self._spent(wait_s):
                    return self._ended(again_at_s=self._now_s() + wait_s)
            return self._ended(error=error, unsent=error.verdict is Verdict.FATAL)

    def _ended(self, **fields: Any) -> Outcome:
        attempts = self._before.attempts + self._attempts
        return Outcome(
            attempts=self._attempts,
            presumed_nano=self._presumed_nano,
            history=History(self._failures, attempts, self._first_s),
            **fields,
        )

    async def _once_more(self) -> Outcome:
        """Make an attempt; the first is the one that failed already, so that its wait comes first."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return await self.once()

    def _here(self, error: BaseException) -> bool:
        """Say whether to try again in this call."""
        if not isinstance(error, CallError) or error.verdict not in {Verdict.RETRY, Verdict.WAIT}:
            return False
        return not self._presumes(error)

    def _presumes(self, error: CallError) -> bool:
        """Say whether a failed attempt is booked as billed."""
        return error.maybe_billed and (self._caller.presume_5xx or error.kind is not ErrorKind.SERVER_ERROR)

    def _spent(self, wait_s: float) -> bool:
        """Say whether attempts or seconds are used up."""
        since_s = 0.0 if self._first_s is None else self._now_s() - self._first_s
        late = since_s + wait_s > self._caller.policy.deadline_s
        return late or self._failures >= self._caller.policy.attempts

    def _wait_s(self, error: BaseException | None) -> float:
        doublings = min(MAX_DOUBLINGS, max(0, self._failures + self._limited - 1))
        span = min(self._settings.max_wait_s, self._settings.base_wait_s * 2**doublings)
        if isinstance(error, CallError) and error.retry_after_s is not None:
            return error.retry_after_s + random.uniform(0, min(1.0, span))
        return random.uniform(0, span)

    async def once(self) -> Outcome:
        """Make one attempt; raises CallError, or _StopError where nothing was sent."""
        gate = self._caller.gate
        again = self._before.attempts + self._attempts > 0
        send = await gate.enter(self._request.tokens, self._stopping, again=again)
        if send is None:
            raise _StopError
        came: Reply | CallError | None = None
        sent = False
        try:
            await self._reserve()
            send, sent = replace(send, begun_s=self._now_s()), True
            came = reply = await self._send(send)
            return self._settle(reply, self._now_s() - send.begun_s)
        except CallError as error:
            came = error
            raise
        finally:
            gate.leave(send, came, sent=sent)

    async def _reserve(self) -> None:
        """Set the worst cost aside and say that a request is about to be sent."""
        worst = self._request.worst_nano
        if not await self._wallet.reserve(worst):
            raise _StopError
        try:
            stop = self._stopping()  # it may have waited long for its money
            if not stop:
                self._sending()
        except BaseException:
            self._wallet.release(worst)
            raise
        if stop:
            self._wallet.release(worst)
            raise _StopError

    async def _send(self, send: Send) -> Reply:
        caller, self._attempts = self._caller, self._attempts + 1
        number = str(self._before.attempts + self._attempts)
        self._first_s = send.begun_s if self._first_s is None else self._first_s
        headers = {"X-Request-Key": self._request.key, "X-Attempt": number}
        try:
            return await caller.endpoint.send(self._request.content, headers, caller.timeout_s)
        except CallError as error:
            self._book_failure(error, probe=send.probe)
            raise
        except asyncio.CancelledError:
            self._presume()
            raise

    def out(self, state: RetryCallState) -> bool:
        """Say whether to give up: attempts or seconds are used up."""
        return self._spent(state.upcoming_sleep)

    def wait_s(self, state: RetryCallState) -> float:
        """Return how long to wait: what the endpoint asked for plus jitter, else full jitter over a doubling span."""
        return self._wait_s(state.outcome.exception() if state.outcome else None)

    async def pause(self, seconds: float) -> None:
        """Wait outside the slot, and for the retry budget; leave as soon as the run stops."""
        until, look_s = self._now_s() + seconds, self._settings.look_s
        while True:
            if self._stopping():
                raise _StopError
            left = until - self._now_s()
            if left <= 0 and (self._free or self._caller.retries.allow(self._now_s())):
                return
            await asyncio.sleep(min(look_s, left) if left > 0 else look_s)

    def _book_failure(self, error: CallError, *, probe: bool) -> None:
        self._free = error.verdict is Verdict.WAIT
        if self._free or (probe and is_down(error)):
            self._limited += 1  # a probe tells of the endpoint, not of its row
        else:
            self._failures += 1
        if self._presumes(error):
            self._presume()
        else:
            self._wallet.release(self._request.worst_nano)

    def _presume(self) -> None:
        worst = self._request.worst_nano
        self._wallet.presume(worst)
        self._presumed_nano += worst

    def _settle(self, reply: Reply, latency_s: float) -> Outcome:
        worst, cost = self._request.worst_nano, cost_nano(self._caller.price, reply.usage)
        self._wallet.settle(worst, cost)
        return self._ended(
            reply=reply, usage=reply.usage, cost_nano=cost, latency_s=latency_s, over_reserve=cost > worst
        )
