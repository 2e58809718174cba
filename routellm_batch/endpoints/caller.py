"""One request: slot, send, settle, and tenacity as the only retry layer.

A failure that was surely not billed is tried again here. One that may have been billed ends the call, as the next
send needs a reservation and an intent of its own; the row comes back with its ``History``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from routellm_batch.budget.pricing import Price, cost_nano
from routellm_batch.core.errors import CallError
from routellm_batch.core.protocols import Endpoint
from routellm_batch.core.types import ErrorKind, Reply, Usage, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.attempts import Attempts, Patience
from routellm_batch.endpoints.calls import NEW, CallResult, History, Request, RetryPolicy
from routellm_batch.endpoints.pacing.gate import DownError, Gate
from routellm_batch.endpoints.pacing.pace import Send
from routellm_batch.endpoints.pacing.retries import RetryBudget
from routellm_batch.endpoints.wallet import Reservation, Wallet


def _nothing() -> None:
    pass


class _StopError(Exception):
    """The run stops; leave the retry loop."""


def headers_of(request: Request, number: int) -> Mapping[str, str]:
    """Return the headers that name a request and the number of this attempt, from 1, to the endpoint and its log."""
    return {"X-Request-Key": request.key, "X-Attempt": str(number)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls one endpoint from one process; lives on the process's event loop."""

    endpoint: Endpoint
    """The client."""
    gate: Gate
    """Lets calls through at the endpoint's pace."""
    policy: RetryPolicy
    """When a row is given up."""
    retries: RetryBudget
    """What all rows may retry together."""
    price: Price
    """What an answer costs."""
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
    ) -> CallResult:
        """Send a request until it is answered, can't be, may have been billed, or the run stops.

        Args:
            request: what is sent.
            wallet: what pays for it.
            stopping: whether the run stops.
            history: of the row's earlier calls.
            sending: called right before each request is written to its socket; what it raises goes through, unsent.

        Returns:
            What the call came to; failures are in it, and raise nothing.

        """
        if not history.attempts:
            self.retries.earn()
        self.gate.open += 1
        try:
            return await _OneCall(self, request, wallet, stopping, history, sending).run()
        finally:
            self.gate.open -= 1

    def may_retry(self, now_s: float) -> bool:
        """Whether a row that is due may be sent again now; if so, this takes one retry from the budget.

        While the endpoint is down this waits for a probe to be due, until the row would be failed for it.
        """
        breaker = self.gate.pace.breaker
        if breaker.given_up(now_s):
            return True
        return breaker.wait_s(now_s) <= 0 and self.retries.allow(now_s)

    def presumes(self, error: CallError) -> bool:
        """Whether a failed attempt is booked as billed, at its worst."""
        return error.maybe_billed and (self.presume_5xx or error.kind is not ErrorKind.SERVER_ERROR)

    def spends(self, error: CallError) -> bool:
        """Whether a failed attempt costs something: what the endpoint counted, or its worst case."""
        return error.usage is not None or self.presumes(error)


class _OneCall:
    """One call: joins its attempts, its money and its waits with the gate and the endpoint."""

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
        self._request = request
        self._stopping = stopping
        self._sending = sending
        self._now_s = caller.worker.clock.monotonic
        self._attempts = Attempts(caller.policy, caller.worker.settings, history)
        self._reservation = Reservation(wallet, request.worst_nano)
        self._usage, self._cost_nano, self._over = Usage(), 0, False
        """What was counted so far, its cost, and whether that was more than was reserved."""
        self._error: CallError | None = None
        """What the first attempt of this call ended in, until it is retried."""

    async def run(self) -> CallResult:
        """Try once plainly, as most rows need no more; leave what comes after a failure to tenacity."""
        try:
            try:
                return await self._attempt()
            except CallError as error:
                if not self._is_tried_here(error):
                    raise
                self._error = error
                return await AsyncRetrying(
                    retry=retry_if_exception(self._is_tried_here),
                    stop=self._stop,
                    wait=self._wait_s,
                    sleep=self._pause,
                    reraise=True,
                )(self._attempt_again)
        except _StopError:
            return self._result(unsent=True)
        except DownError as down:
            return self._result(error=down.error)
        except CallError as error:
            if error.verdict is Verdict.RETRY:
                wait_s = self._attempts.wait_s(error)
                if self._caller.spends(error) and not self._attempts.used_up(self._now_s(), wait_s):
                    return self._result(again_at_s=self._now_s() + wait_s)
            return self._result(error=error, unsent=error.verdict is Verdict.FATAL)

    def _result(self, **fields: Any) -> CallResult:
        return CallResult(
            attempts=self._attempts.sent,
            usage=self._usage,
            cost_nano=self._cost_nano,
            over_reserve=self._over,
            presumed_nano=self._reservation.presumed_nano,
            history=self._attempts.history,
            **fields,
        )

    # What tenacity asks

    async def _attempt_again(self) -> CallResult:
        """Make an attempt; the first is the one that failed already, so that its wait comes first."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        return await self._attempt()

    def _is_tried_here(self, error: BaseException) -> bool:
        """Whether to try again in this call."""
        if not isinstance(error, CallError) or error.verdict not in {Verdict.RETRY, Verdict.WAIT}:
            return False
        return not self._caller.spends(error)

    def _stop(self, state: RetryCallState) -> bool:
        return self._attempts.used_up(self._now_s(), state.upcoming_sleep)

    def _wait_s(self, state: RetryCallState) -> float:
        return self._attempts.wait_s(state.outcome.exception() if state.outcome else None)

    async def _pause(self, seconds: float) -> None:
        patience = Patience(self._caller.retries, self._caller.worker, self._stopping)
        if not await patience.wait(seconds, free=self._attempts.free):
            raise _StopError

    # One attempt

    async def _attempt(self) -> CallResult:
        """Make one attempt; raises CallError, or _StopError where nothing was sent."""
        gate = self._caller.gate
        send = await gate.enter(self._request.tokens, self._stopping, again=self._attempts.total > 0)
        if send is None:
            raise _StopError
        ending: Reply | CallError | None = None
        sent = False
        try:
            await self._reserve()
            send, sent = replace(send, begun_s=self._now_s()), True
            ending = reply = await self._send(send)
            return self._settle(reply, self._now_s() - send.begun_s)
        except CallError as error:
            ending = error
            raise
        finally:
            gate.leave(send, ending, sent=sent)

    async def _reserve(self) -> None:
        """Reserve the worst cost and say that a request is about to be sent."""
        if not await self._reservation.reserve():
            raise _StopError
        try:
            stop = self._stopping()  # it may have waited long for its money
            if not stop:
                self._sending()
        except BaseException:
            self._reservation.release()
            raise
        if stop:
            self._reservation.release()
            raise _StopError

    async def _send(self, send: Send) -> Reply:
        caller = self._caller
        self._attempts.begin(send.begun_s)
        headers = headers_of(self._request, self._attempts.total)
        try:
            return await caller.endpoint.send(self._request.content, headers, caller.timeout_s)
        except CallError as error:
            self._attempts.fail(error, probe=send.probe)
            if error.usage is not None:
                self._book(error.usage)
            elif caller.presumes(error):
                self._reservation.presume()
            else:
                self._reservation.release()
            raise
        except asyncio.CancelledError:
            self._reservation.presume()
            raise

    def _settle(self, reply: Reply, latency_s: float) -> CallResult:
        """Book a reply: what the endpoint counted, or its worst case where it does not say."""
        if reply.usage is None:
            self._reservation.presume()
        else:
            self._book(reply.usage)
        return self._result(reply=reply, latency_s=latency_s)

    def _book(self, usage: Usage) -> None:
        """Put what a send cost in place of its reservation."""
        cost = cost_nano(self._caller.price, usage)
        self._usage += usage
        self._cost_nano += cost
        self._over = self._reservation.settle(cost) or self._over
