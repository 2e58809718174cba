"""The attempts at one request: what counts, how long to wait, when to give up, and the wait itself."""

from __future__ import annotations

import pytest
from helpers.sim.loop import LoneLoop

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, Verdict
from routellm_batch.core.worker import Worker, WorkerSettings
from routellm_batch.endpoints.attempts import Attempts, Patience
from routellm_batch.endpoints.calls import NEW, History, RetryPolicy
from routellm_batch.endpoints.pacing.retries import RetryBudget

LIMITED = CallError(ErrorKind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=7.0)
BROKEN = CallError(ErrorKind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True)
SETTINGS = WorkerSettings(base_wait_s=0.5, max_wait_s=30.0)


def attempts(before: History = NEW, *, most: int = 3, deadline_s: float = 60.0) -> Attempts:
    return Attempts(RetryPolicy(most, deadline_s), SETTINGS, before)


def test_requests_and_failures_add_up_over_a_row_s_calls() -> None:
    """Its history goes on from where it stood; the first send is the first of them all."""
    count = attempts(History(failures=1, attempts=2, first_s=5.0))
    count.begin(9.0)
    count.fail(BROKEN, probe=False)
    assert (1, 3, History(2, 3, 5.0)) == (count.sent, count.total, count.history)
    fresh = attempts()
    fresh.begin(9.0)
    fresh.begin(11.0)
    assert History(0, 2, 9.0) == fresh.history


@pytest.mark.parametrize(
    ("error", "probe", "failures", "free"),
    [(LIMITED, False, 0, True), (BROKEN, True, 0, False), (BROKEN, False, 1, False)],
)
def test_only_what_tells_of_the_row_counts(
    error: CallError, failures: int, *, probe: bool, free: bool
) -> None:
    """A 429 and a probe of an endpoint that is down use up no attempt; after a 429 the next send is no retry."""
    count = attempts()
    count.fail(error, probe=probe)
    assert (failures, 1 - failures, free) == (count.history.failures, count.limited, count.free)


@pytest.mark.parametrize(
    ("failures", "now_s", "wait_s", "used_up"),
    [(2, 10.0, 1.0, False), (3, 10.0, 1.0, True), (0, 59.0, 1.0, False), (0, 59.0, 1.1, True)],
)
def test_attempts_or_seconds_run_out(failures: int, now_s: float, wait_s: float, *, used_up: bool) -> None:
    """The deadline counts from the row's first send, and the wait before the next one counts with it."""
    assert used_up == attempts(History(failures, failures, first_s=0.0)).used_up(now_s, wait_s)


def test_what_the_endpoint_asks_for_is_the_least_wait() -> None:
    """Jitter of at most a second comes on top; without a wish the span doubles from its base to its limit."""
    count = attempts()
    assert all(7.0 <= count.wait_s(LIMITED) <= 8.0 for _ in range(100))
    assert all(0.0 <= count.wait_s(BROKEN) <= SETTINGS.base_wait_s for _ in range(100))
    count.limited = 5
    longest = max(count.wait_s(None) for _ in range(500))
    assert SETTINGS.base_wait_s * 2**3 < longest <= SETTINGS.base_wait_s * 2**4


@pytest.mark.parametrize(
    ("saved", "free", "waited_s"), [(1.0, False, 3.0), (0.0, True, 3.0), (-2.0, False, 6.0)]
)
def test_a_wait_ends_once_a_retry_may_be_taken(saved: float, waited_s: float, *, free: bool) -> None:
    """With an empty budget a retry waits until it has earned one; a free one never does."""
    lone = LoneLoop()
    patience = Patience(RetryBudget(0.0, saved), Worker(clock=lone.clock), lambda: False)
    begun_s = lone.now_s
    assert lone.run(patience.wait(3.0, free=free))
    assert waited_s == pytest.approx(lone.now_s - begun_s, abs=0.3)


def test_a_wait_ends_when_the_run_stops() -> None:
    """That is noticed at the next look, however long the wait is."""
    lone = LoneLoop()
    until_s = lone.now_s + 2.0
    patience = Patience(RetryBudget(1.0), Worker(clock=lone.clock), lambda: lone.now_s >= until_s)
    assert not lone.run(patience.wait(600.0, free=True))
    assert 2.0 == pytest.approx(lone.now_s - until_s + 2.0, abs=0.3)
