"""What limits the calls to an endpoint, each decision with the clock in hand, and all of them in simulated time."""

from __future__ import annotations

import math
import random

import pytest
from helpers.rate_sim import Figures, Queueing, Refusing, simulate

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import RateHint, Reply, Usage, Verdict
from routellm_batch.endpoints.pacing.allowance import Allowance
from routellm_batch.endpoints.pacing.breaker import (
    MAX_PROBE_S,
    NEVER_ANSWERED_S,
    OPENS_AFTER,
    PROBE_S,
    Breaker,
)
from routellm_batch.endpoints.pacing.cooling import Cooldown, clamped_s
from routellm_batch.endpoints.pacing.limiter import Limiter
from routellm_batch.endpoints.pacing.pace import Limits, Pace
from routellm_batch.stages.call.limit_shares import split_shares

LIMITED = CallError(Kind.RATE_LIMITED, Verdict.WAIT, status=429)
BROKEN = CallError(Kind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True)
OK = Reply("Yes.", "stop", "m", Usage(60, 0, 40))


def test_a_burst_of_refusals_is_one_decrease() -> None:
    """Of ten calls begun together and refused, only the first lowers the limit; a later call lowers it again."""
    limiter = Limiter(100)
    limiter.limit = 100.0
    assert [True, *[False] * 9] == [limiter.lower(1.0, 2.0 + n / 10) for n in range(10)]
    assert 70 == limiter.slots
    assert (True, 49) == (limiter.lower(2.5, 3.0), limiter.slots)


def test_the_limit_stays_between_one_and_most() -> None:
    """However often it is lowered or raised, at least one call may be made and no more than allowed."""
    limiter = Limiter(20)
    for at in range(50):
        limiter.lower(at + 0.5, at + 1.0)
    assert 1 == limiter.slots
    for _ in range(2_000):
        limiter.succeeded()
    assert 20 == limiter.slots


def test_a_round_trip_of_answers_raises_the_limit_by_one() -> None:
    """After a decrease as many answers as there are slots make one more slot."""
    limiter = Limiter(100)
    limiter.limit, limiter.decreased_s = 40.0, 0.0
    for _ in range(41):
        limiter.succeeded()
    assert 41 == limiter.slots


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(-1.0, 0.0), (0.0, 0.0), (2.5, 2.5), (9999.0, 120.0), (math.nan, None), (None, None)],
)
def test_what_a_server_asks_for_is_clamped(asked: float | None, expected: float | None) -> None:
    """Waits are kept within two minutes; what is no number counts as not given."""
    assert expected == clamped_s(asked)


@pytest.mark.parametrize(("asked", "expected"), [(-1.0, 0.0), (9999.0, 120.0), (math.nan, 1.0), (None, 1.0)])
def test_a_429_cools_the_endpoint_down(asked: float | None, expected: float) -> None:
    """A pause lasts as long as asked, and a second or so if nothing sensible was asked for."""
    cooldown = Cooldown()
    cooldown.limited(asked, 9.0, 10.0, 0.5)
    assert expected == cooldown.wait_s(10.0)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """The latest end of all pauses counts."""
    cooldown = Cooldown()
    cooldown.limited(10.0, 0.0, 1.0, 0.0)
    cooldown.limited(0.0, 0.0, 2.0, 0.0)
    assert 9.0 == cooldown.wait_s(2.0)


def test_a_storm_is_probed_one_call_at_a_time() -> None:
    """When all calls after a pause were refused again, one at a time goes until one is answered."""
    pace = Pace(Limits(8), 0.0)
    for at in (0.0, 10.0):
        sends = [pace.begin(at, 1) for _ in range(4)]
        for send in sends:
            pace.failed(send, LIMITED, at + 1, 0.5)
    send = pace.begin(20.0, 1)
    assert math.inf == pace.wait_s(20.0, 1)
    pace.answered(send, OK, 21.0)
    pace.begin(21.0, 1)
    assert 0.0 == pace.wait_s(21.0, 1)


def _broken(breaker: Breaker, at_s: float) -> None:
    for _ in range(OPENS_AFTER):
        breaker.down(Kind.SERVER_ERROR, at_s, probe=False)


def test_a_breaker_opens_and_asks_ever_more_seldom() -> None:
    """Open, one probe at a time passes, after a second and then after twice as long each time; any answer closes."""
    breaker = Breaker(600.0)
    breaker.up()
    _broken(breaker, 0.0)
    now, waits = 0.0, []
    for _ in range(8):
        waits.append(breaker.wait_s(now))
        now += waits[-1]
        assert (True, math.inf) == (breaker.begin(), breaker.wait_s(now))
        breaker.down(Kind.TIMEOUT, now, probe=True)
    assert [min(MAX_PROBE_S, PROBE_S * 2**n) for n in range(8)] == waits
    breaker.up()
    assert (0.0, False) == (breaker.wait_s(now), breaker.given_up(now))


def test_a_breaker_stays_closed_under_mixed_failures() -> None:
    """Half of the calls failing is no outage."""
    breaker = Breaker(600.0)
    for at in range(200):
        breaker.down(Kind.SERVER_ERROR, float(at), probe=False)
        breaker.up()
    assert 0.0 == breaker.wait_s(200.0)


def test_a_few_failures_over_a_long_time_open_it_too() -> None:
    """Five timeouts in a row over half a minute are enough where calls are slow."""
    breaker = Breaker(600.0)
    for at in (0.0, 10.0, 20.0, 30.0):
        breaker.down(Kind.TIMEOUT, at, probe=False)
    assert 0.0 == breaker.wait_s(30.0)
    breaker.down(Kind.TIMEOUT, 40.0, probe=False)
    assert PROBE_S == breaker.wait_s(40.0)


@pytest.mark.parametrize(("answered", "patience"), [(True, 600.0), (False, NEVER_ANSWERED_S)])
def test_nobody_waits_for_ever(patience: float, *, answered: bool) -> None:
    """Past the retry deadline rows that wait are failed; sooner if the endpoint never answered."""
    breaker = Breaker(600.0)
    breaker.answered = answered
    _broken(breaker, 0.0)
    assert [False, True] == [breaker.given_up(at) for at in (patience, patience + 1)]


def test_what_is_left_is_respected() -> None:
    """With nothing left calls wait for the refill that the reset time implies, and never beyond the reset."""
    left = Allowance()
    assert 0.0 == left.wait_s(0.0, 1)
    left.note(60, 0, 60.0, 0, 100.0)
    assert (1.0, 0.0) == (left.wait_s(100.0, 1), left.wait_s(101.0, 1))
    assert [60.0, 0.0] == [left.wait_s(at, 1000) for at in (100.0, 160.0)]


@pytest.mark.parametrize("reset", [None, math.nan, -1.0, 0.0])
def test_a_senseless_reset_blocks_nothing(reset: float | None) -> None:
    """Without a time until the reset there is nothing to wait for."""
    left = Allowance()
    left.note(60, 0, reset, 0, 0.0)
    assert 0.0 == left.wait_s(0.0, 1)


def test_hints_on_replies_slow_the_pace() -> None:
    """A reply that says nothing is left holds the next call back."""
    pace = Pace(Limits(8), 0.0)
    hint = RateHint(limit_requests=10, remaining_requests=0, reset_requests_s=5.0)
    pace.answered(pace.begin(0.0, 1), Reply("Yes.", "stop", "m", Usage(), rate_hint=hint), 1.0)
    assert 0.5 == pace.wait_s(1.0, 1)


def test_the_token_rate_is_settled_on_usage() -> None:
    """What a call used beyond its estimate is paid for by the next one's wait; what it did not use comes back."""
    waits = []
    for expected in (50, 100, 150):
        pace = Pace(Limits(8, tpm=6_000), 0.0)
        pace.answered(pace.begin(0.0, expected), OK, 0.0)
        waits.append(pace.wait_s(0.0, 25))
    assert waits == [pytest.approx(1.0)] * 3


def test_a_share_scales_every_limit() -> None:
    """A process that gets a quarter makes a quarter of the calls, and at least one at a time."""
    pace = Pace(Limits(16, rpm=6_000), 0.0, share=1.0)
    pace.set_share(0.25, 0.0)
    assert 4 == pace.limiter.slots
    pace.set_share(0.0, 0.0)
    assert 1 == pace.limiter.slots
    pace.set_share(1.0, 0.0)
    assert 16 == pace.limiter.most


def test_shares_follow_demand() -> None:
    """All of a limit is given out, by demand, and an idle process keeps a little to begin with."""
    shares = split_shares({"a": 30, "b": 10, "c": 0})
    assert (1.0, True) == (
        pytest.approx(sum(shares.values())),
        shares["a"] > 2 * shares["b"] > 4 * shares["c"] > 0,
    )
    assert {"a": 0.5, "b": 0.5} == split_shares({"a": 0, "b": 0})
    assert {} == split_shares({})


@pytest.mark.parametrize("workers", [1, 2, 16])
def test_a_known_rate_is_used_to_the_full(workers: int) -> None:
    """At the server's own 100 a second, split over processes, 95 % of it is used and 1 % refused at most."""
    figures = simulate(
        [Pace(Limits(64, rpm=6_000), 0.0, share=1 / workers) for _ in range(workers)],
        Refusing(100.0, 100.0),
        rows=4_000,
        latency=lambda _: 0.3,
    )
    assert (True, True) == (figures.seconds <= 1.05 * 40, figures.refused <= 0.01 * 4_000)


def test_an_unknown_rate_is_found() -> None:
    """Where the config knows no rate, refusals are few and most of the server's rate is used all the same."""
    figures = simulate([Pace(Limits(64), 0.0)], Refusing(100.0, 100.0), rows=6_000, latency=lambda _: 0.3)
    assert (True, True) == (figures.seconds <= 1.35 * 60, figures.refused <= 0.05 * 6_000)


def _queueing(parallel: int) -> Figures:
    return simulate([Pace(Limits(128), 0.0)], Queueing(parallel), rows=8_000, latency=lambda _: 0.5)


def test_a_server_that_queues_gets_fewer_calls() -> None:
    """With 8 places and 128 slots calls in flight fall far below the slots, and the server stays busy."""
    figures = _queueing(8)
    assert (True, True) == (figures.last_limit <= 64, figures.seconds <= 1.05 * 8_000 * 0.5 / 8)


@pytest.mark.parametrize("seed", range(4))
def test_answers_of_varying_length_are_no_pressure(seed: int) -> None:
    """A server with room for all keeps all calls, though answers grow sixteenfold and latencies scatter."""
    rng = random.Random(seed)

    def latency(row: int) -> float:
        return (0.1 + 0.01 * _length(row)) * rng.lognormvariate(0, 0.3)

    figures = simulate([Pace(Limits(64), 0.0)], Queueing(10_000), rows=8_000, latency=latency, tokens=_length)
    assert (64, 64) == (figures.least_limit, figures.last_limit)


def _length(row: int) -> int:
    return int(20 * 16 ** (row / 8_000) * (1 + row % 7 / 4))


def test_a_server_that_turns_slow_for_its_own_reasons_keeps_its_calls() -> None:
    """Latency that lowering does not mend is taken for normal, and the calls come back."""
    figures = simulate(
        [Pace(Limits(64), 0.0)],
        Queueing(10_000),
        rows=12_000,
        latency=lambda row: 0.2 if row < 3_000 else 1.0,
    )
    assert (True, 64) == (figures.least_limit >= 32, figures.last_limit)
