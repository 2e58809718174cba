"""Lets one process's calls to an endpoint through: those that are made again first, else in the order of arrival.

The decisions are ``Pace``'s.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, Reply, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.pacing.pace import Limits, Pace, Send


class DownError(Exception):
    """The endpoint has been down for longer than rows wait; ``error`` is what it failed with last."""

    def __init__(self, kind: ErrorKind) -> None:
        self.error = CallError(kind, Verdict.RETRY)
        super().__init__(str(kind))


@dataclass(slots=True, eq=False)
class _Waiter:
    tokens: int
    """What the call may use."""
    stopping: Callable[[], bool]
    """Whether the run stops."""
    turn: asyncio.Future[Send | None]
    """Done once it is let through, or given up."""


class Gate:
    """Lets calls through at an endpoint's pace; lives on one event loop.

    Args:
        limits: what the endpoint allows all processes together.
        worker: this process.
        share: its part of the limits, 0 to 1.
        patience_s: an endpoint that is down for longer fails the calls that wait for it.

    """

    def __init__(
        self, limits: Limits, worker: Worker, *, share: float = 1.0, patience_s: float = math.inf
    ) -> None:
        self._now_s, self._look_s = worker.clock.monotonic, worker.settings.look_s
        self.pace = Pace(limits, self._now_s(), share=share, patience_s=patience_s)
        self.open = 0
        """Calls in hand, sent or waiting."""
        self._again: deque[_Waiter] = deque()
        self._fresh: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def concurrency(self) -> int:
        """Calls at once that this process's share allows; the endpoint may take fewer for now."""
        return self.pace.limiter.most

    @property
    def in_flight(self) -> int:
        """Calls on their way."""
        return self.pace.in_flight

    def set_share(self, share: float) -> None:
        """Change this process's part of the endpoint's limits."""
        self.pace.set_share(share, self._now_s())
        self._look()

    def allot(self, calls: int, share: float, valid_s: float) -> None:
        """Set what this process may use of the endpoint's limits (see ``Pace.allot``)."""
        self.pace.allot(calls, share, valid_s, self._now_s())
        self._look()

    async def enter(
        self, tokens: int, stopping: Callable[[], bool] = lambda: False, *, again: bool = False
    ) -> Send | None:
        """Wait for a turn; None if the run stops first. ``leave`` must be called for what is returned.

        Args:
            tokens: that the call may use.
            stopping: whether the run stops.
            again: this call was made before; it has waited once, and goes before those that were not.

        Raises:
            DownError: the endpoint has been down for too long; nothing was sent.

        """
        now_s = self._now_s()
        if (down := self._down(now_s)) is not None:
            raise down
        if self._queue is None and self.pace.wait_s(now_s, tokens) <= 0:
            return None if stopping() else self.pace.begin(now_s, tokens)
        waiter = _Waiter(tokens, stopping, asyncio.get_running_loop().create_future())
        (self._again if again else self._fresh).append(waiter)
        self._look()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def leave(self, send: Send, ending: Reply | CallError | None = None, *, sent: bool = True) -> None:
        """End a call: with a reply, a failure, or neither if it was cut off or never ``sent``."""
        now_s = self._now_s()
        if isinstance(ending, Reply):
            self.pace.answered(send, ending, now_s)
        elif ending is not None:
            self.pace.failed(send, ending, now_s, random.random())
        elif sent:
            self.pace.cut_off(send)
        else:
            self.pace.unsent(send)
        if self._queue is not None:
            self._look()

    @property
    def _queue(self) -> deque[_Waiter] | None:
        """The waiters whose turn is next; None where nobody waits."""
        return self._again or self._fresh or None

    def _withdraw(self, waiter: _Waiter) -> None:
        """Take a cancelled call out; its turn, if it had come already, is the next one's."""
        if not waiter.turn.done() or waiter.turn.cancelled():
            for queue in (self._again, self._fresh):
                if waiter in queue:
                    queue.remove(waiter)
        elif waiter.turn.exception() is None and (send := waiter.turn.result()) is not None:
            self.leave(send, sent=False)

    def _look(self) -> None:
        """Let through the calls whose turn it is, and look again when the next one's may come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self._now_s()
        wait_s = math.inf
        while (queue := self._queue) is not None:
            waiter = queue[0]
            if not waiter.turn.done():
                wait_s = self.pace.wait_s(now_s, waiter.tokens)
                if wait_s > 0:
                    break
                stop = waiter.stopping()
                waiter.turn.set_result(None if stop else self.pace.begin(now_s, waiter.tokens))
            queue.popleft()
        if self._queue is not None:
            self._timer = asyncio.get_running_loop().call_later(min(wait_s, self._look_s), self._tick)

    def _tick(self) -> None:
        """End the waits that are in vain by now, then look."""
        for waiter in (*self._again, *self._fresh):
            if waiter.turn.done():
                continue
            if waiter.stopping():
                waiter.turn.set_result(None)
            elif (down := self._down(self._now_s())) is not None:
                waiter.turn.set_exception(down)
        self._look()

    def _down(self, now_s: float) -> DownError | None:
        """Return why waiting is in vain; None where it is not, or a probe is due, which always may be sent."""
        breaker = self.pace.breaker
        if not breaker.given_up(now_s) or breaker.wait_s(now_s) <= 0:
            return None
        return DownError(breaker.kind or ErrorKind.UNREACHABLE)
