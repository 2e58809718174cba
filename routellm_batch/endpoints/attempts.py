"""The attempts at one request: how many there were, how long to wait before the next one, and when to give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import Verdict
from routellm_batch.core.worker import Worker, WorkerSettings
from routellm_batch.endpoints.calls import History, RetryPolicy
from routellm_batch.endpoints.pacing.breaker import is_down
from routellm_batch.endpoints.pacing.retries import RetryBudget

MAX_DOUBLINGS = 16


class Attempts:
    """Counts the attempts of one call, beside those of the row's earlier calls. The clock is an argument.

    Args:
        policy: when to give up.
        settings: how long waits are.
        history: of the row's earlier calls.

    """

    __slots__ = ("_before", "_failures", "_first_s", "_policy", "_settings", "free", "limited", "sent")

    def __init__(self, policy: RetryPolicy, settings: WorkerSettings, history: History) -> None:
        self.sent = 0
        """Requests of this call."""
        self.limited = 0
        """Attempts of this call that tell nothing of their row: 429s, and probes of an endpoint that is down."""
        self.free = False
        """The last failure was a 429: the next attempt is no retry that a share is kept of."""
        self._policy = policy
        self._settings = settings
        self._before = history.attempts
        self._failures = history.failures
        self._first_s = history.first_s

    @property
    def total(self) -> int:
        """Requests for the row so far, of all its calls."""
        return self._before + self.sent

    @property
    def history(self) -> History:
        """What the row's sends came to so far, those of this call included."""
        return History(self._failures, self.total, self._first_s)

    def begin(self, now_s: float) -> None:
        """Count a request that is sent now; what the row waited before its first one is the pace's doing."""
        self.sent += 1
        self._first_s = now_s if self._first_s is None else self._first_s

    def fail(self, error: CallError, *, probe: bool) -> None:
        """Count a failure; ``probe`` is of a request that asked whether the endpoint is back."""
        self.free = error.verdict is Verdict.WAIT
        if self.free or (probe and is_down(error)):
            self.limited += 1
        else:
            self._failures += 1

    def used_up(self, now_s: float, wait_s: float) -> bool:
        """Whether no attempt may follow after a further wait: attempts or seconds are used up."""
        since_s = 0.0 if self._first_s is None else now_s - self._first_s
        late = since_s + wait_s > self._policy.deadline_s
        return late or self._failures >= self._policy.attempts

    def wait_s(self, error: BaseException | None) -> float:
        """Return how long to wait after a failure, in seconds, drawn at random.

        That is what the endpoint asked for plus jitter, else full jitter over a doubling span, as in "Exponential
        Backoff And Jitter" (AWS Architecture Blog, 2015).
        """
        doublings = min(MAX_DOUBLINGS, max(0, self._failures + self.limited - 1))
        span = min(self._settings.max_wait_s, self._settings.base_wait_s * 2**doublings)
        if isinstance(error, CallError) and error.retry_after_s is not None:
            return error.retry_after_s + random.uniform(0, min(1.0, span))
        return random.uniform(0, span)


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits between two attempts, and for the retry budget, outside the slot of a call."""

    retries: RetryBudget
    """Of the endpoint."""
    worker: Worker
    """The process that calls."""
    stopping: Callable[[], bool]
    """Whether the run stops."""

    async def wait(self, seconds: float, *, free: bool) -> bool:
        """Wait for some seconds, and until a retry may be taken from the budget, unless the next one is ``free``.

        Returns:
            Whether to go on; False as soon as the run stops.

        """
        now_s, look_s = self.worker.clock.monotonic, self.worker.settings.look_s
        until_s = now_s() + seconds
        while True:
            if self.stopping():
                return False
            left_s = until_s - now_s()
            if left_s <= 0 and (free or self.retries.allow(now_s())):
                return True
            await asyncio.sleep(min(look_s, left_s) if left_s > 0 else look_s)
