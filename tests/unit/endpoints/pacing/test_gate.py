"""Pace: buckets, retry budget and error window with a clock in hand; the gate on a loop of simulated time."""

from __future__ import annotations

import asyncio

import pytest
from helpers.sim.loop import LoneLoop
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, Reply, Usage, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.pacing.buckets import BURST_S, Bucket
from routellm_batch.endpoints.pacing.gate import Gate
from routellm_batch.endpoints.pacing.pace import Limits
from routellm_batch.endpoints.pacing.retries import ErrorWindow, RetryBudget


@given(st.integers(1, 6000), st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_a_bucket_never_lets_more_through_than_its_rate(per_minute: int, gaps: list[float]) -> None:
    """Over any time T at most rate·T requests and one burst pass, if each waits as long as it is told."""
    bucket, now = Bucket.full(per_minute, 0.0), 0.0
    for taken, gap in enumerate(gaps, start=1):
        now += gap
        now += bucket.wait_s(now, 1)
        assert bucket.wait_s(now, 1) <= 1e-9
        bucket.take(1)
        assert taken <= per_minute / 60 * now + max(1.0, per_minute / 60 * BURST_S) + 1e-6


def test_a_bucket_says_how_long_to_wait() -> None:
    """At 60 a minute the second request waits a second, and half as long after half a second."""
    bucket = Bucket.full(60, 10.0)
    bucket.take(1)
    assert [1.0, 0.5, 0.0] == [bucket.wait_s(at, 1) for at in (10.0, 10.5, 12.0)]


def test_an_amount_above_the_capacity_waits_for_a_full_bucket_and_is_paid_back() -> None:
    """A prompt larger than a burst of tokens passes on a full bucket, and the next one waits for the debt."""
    bucket = Bucket.full(24_000, 0.0)
    assert bucket.wait_s(0.0, 500) == 0
    bucket.take(500)
    assert bucket.wait_s(0.0, 100) == pytest.approx(1.25)


def test_retries_are_a_share_of_the_traffic() -> None:
    """With the free ones used up, a share of 0.5 allows one retry for every two first sends."""
    budget = RetryBudget(0.5, saved=0.0)
    allowed = 0
    for _ in range(10):
        budget.earn()
        allowed += budget.allow(0.0)
    assert allowed == 5


def test_waiting_earns_a_retry_too() -> None:
    """A tail without traffic still ends: a second of waiting earns a retry."""
    budget = RetryBudget(0.0, saved=0.0)
    assert [False, False, True, False] == [budget.allow(at) for at in (0.0, 0.5, 1.1, 1.2)]


def test_the_error_rate_is_judged_on_the_last_rows_only() -> None:
    """Too few rows give no rate, and old rows leave the window."""
    window = ErrorWindow(4)
    rates = []
    for failed in (True, True, True, False, False, False, False):
        window.add(failed=failed)
        rates.append(window.rate(3))
    assert rates == [0.0, 0.0, 1.0, 0.75, 0.5, 0.25, 0.0]


LONE = LoneLoop()
WORKER = Worker(clock=LONE.clock)
"""A process of simulated time."""
REFUSED = CallError(ErrorKind.BAD_REQUEST, Verdict.ROW, status=400)


def _through(
    gate: Gate, calls: int, *, tokens: int = 1, hold_s: float = 0.0, fail: bool = False
) -> tuple[int, float]:
    """Let calls through; return the most at once and the seconds it took."""
    peak = 0

    async def one() -> None:
        nonlocal peak
        send = await gate.enter(tokens)
        assert send is not None
        peak = max(peak, gate.in_flight)
        await asyncio.sleep(hold_s)
        gate.leave(send, REFUSED if fail else Reply("Yes.", "stop", "m", Usage(tokens)))

    async def play() -> None:
        await asyncio.gather(*(one() for _ in range(calls)), return_exceptions=True)

    begun = LONE.now_s
    LONE.run(play())
    return peak, LONE.now_s - begun


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_at_once_as_configured(concurrency: int) -> None:
    """The gate fills its slots, and never opens one more."""
    gate = Gate(Limits(concurrency), WORKER)
    assert (concurrency, 0) == (_through(gate, 12, hold_s=0.005)[0], gate.in_flight)


def test_a_slot_comes_back_from_a_failed_call() -> None:
    """Calls that raise leave their slots, so that all get through."""
    gate = Gate(Limits(1), WORKER)
    assert (1, 0) == (_through(gate, 5, fail=True)[0], gate.in_flight)


def test_requests_keep_to_the_rate() -> None:
    """At 1,200 a minute, beyond a burst of 5, six more take at least 0.25 s."""
    assert _through(Gate(Limits(50, rpm=1200), WORKER), 11)[1] >= 0.25


def test_tokens_keep_to_the_rate() -> None:
    """At 60,000 tokens a minute, beyond a burst of 250, another 300 take at least 0.25 s."""
    assert _through(Gate(Limits(50, tpm=60_000), WORKER), 6, tokens=100)[1] >= 0.25


def test_a_call_that_is_made_again_goes_before_those_that_wait_for_their_first_turn() -> None:
    """Of four that wait, the two that were made before come first, each pair in the order of its coming."""
    turns: list[str] = []

    async def one(gate: Gate, name: str, *, again: bool) -> None:
        send = await gate.enter(1, again=again)
        turns.append(name)
        assert send is not None
        gate.leave(send)

    async def play() -> None:
        gate = Gate(Limits(1), WORKER)
        first = await gate.enter(1)
        names = {"a": False, "b": False, "c": True, "d": True}
        waiting = [asyncio.create_task(one(gate, name, again=again)) for name, again in names.items()]
        await asyncio.sleep(0)
        assert first is not None
        gate.leave(first)
        await asyncio.gather(*waiting)

    LONE.run(play())
    assert ["c", "d", "a", "b"] == turns
