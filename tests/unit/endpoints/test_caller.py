"""One request through to its end, against a scripted endpoint: attempts, waits, money, giving up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from helpers.sim.loop import LoneLoop

from routellm_batch.budget.pricing import Price
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import Reply, Usage, Verdict
from routellm_batch.core.worker import Worker, WorkerSettings
from routellm_batch.endpoints.attempts import Attempts
from routellm_batch.endpoints.caller import Caller
from routellm_batch.endpoints.calls import NEW, CallResult, History, Request, RetryPolicy
from routellm_batch.endpoints.pacing import breaker
from routellm_batch.endpoints.pacing.gate import Gate
from routellm_batch.endpoints.pacing.pace import Limits
from routellm_batch.endpoints.pacing.retries import RetryBudget
from routellm_batch.endpoints.wallet import Wallet

PRICE = Price(1_000_000, 1_000_000, 1_000_000)
"""A nano-dollar a token."""
REQUEST = Request(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}', "key", 10, worst_nano=100)
OK = Reply("Yes.", "stop", "m", Usage(20, 0, 10))
LIMITED = CallError(Kind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=0.0)
BROKEN = CallError(Kind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True)
REFUSED = CallError(Kind.UNREACHABLE, Verdict.RETRY)
TIMEOUT = CallError(Kind.TIMEOUT, Verdict.RETRY, maybe_billed=True)
BAD = CallError(Kind.BAD_REQUEST, Verdict.ROW, status=400)
UNCOUNTED = Reply("Yes.", "stop", "m", None)
BROKEN_OFF = CallError(Kind.SERVER_ERROR, Verdict.RETRY, status=502, maybe_billed=True, usage=Usage(10, 0, 3))
NO_KEY = CallError(Kind.AUTH, Verdict.FATAL, status=401)

Step = Reply | CallError


LONE = LoneLoop()
WORKER = Worker(clock=LONE.clock, settings=WorkerSettings(base_wait_s=0.002, max_wait_s=0.02, look_s=0.01))
"""A process that waits only for moments, and of simulated time."""


@dataclass
class Scripted:
    """An ``Endpoint`` that replies as told, step by step, and then for ever as at the last step."""

    steps: Sequence[Step]
    hold_s: float = 0.0
    sent: list[tuple[bytes, dict[str, str], float]] = field(default_factory=list)

    async def send(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Reply with the next step."""
        step = self.steps[min(len(self.sent), len(self.steps) - 1)]
        self.sent.append((body, dict(headers), timeout_s))
        await asyncio.sleep(self.hold_s)
        if isinstance(step, CallError):
            raise step
        return step

    async def close(self) -> None:
        """Nothing to close."""


def make(
    endpoint: Scripted,
    *,
    attempts: int = 3,
    deadline_s: float = 5,
    concurrency: int = 4,
    retries: RetryBudget | None = None,
    presume_5xx: bool = True,
) -> Caller:
    return Caller(
        endpoint,
        Gate(Limits(concurrency), WORKER),
        RetryPolicy(attempts, deadline_s),
        retries or RetryBudget(1),
        PRICE,
        9.0,
        presume_5xx,
        WORKER,
    )


def call(
    steps: Sequence[Step],
    *,
    wallet: Wallet | None = None,
    stopping: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> tuple[CallResult, Scripted, Wallet]:
    endpoint, payer = Scripted(steps), wallet or Wallet(None)

    async def play() -> CallResult:
        caller = make(endpoint, **settings)
        result = await caller.call(REQUEST, payer, stopping)
        total = result
        while result.again_at_s is not None:
            await asyncio.sleep(max(0.0, result.again_at_s - LONE.now_s))
            while not caller.may_retry(LONE.now_s):  # noqa: ASYNC110 - time passes by itself
                await asyncio.sleep(0.01)
            result = await caller.call(REQUEST, payer, stopping, result.history)
            total = replace(
                result,
                attempts=total.attempts + result.attempts,
                presumed_nano=total.presumed_nano + result.presumed_nano,
            )
        return total

    return LONE.run(play()), endpoint, payer


@pytest.mark.parametrize(
    ("steps", "attempts", "settled", "presumed"),
    [
        ([UNCOUNTED], 1, 0, 100),
        ([BROKEN, UNCOUNTED], 2, 0, 200),
        ([BROKEN_OFF, OK], 2, 13 + 30, 0),
        ([BROKEN_OFF, BROKEN_OFF, UNCOUNTED], 3, 26, 100),
    ],
)
def test_what_an_endpoint_does_or_does_not_count_is_booked(
    steps: list[Step], attempts: int, settled: int, presumed: int
) -> None:
    """An answer without a count costs its worst case, a failure with one what was counted; both are tried no further."""
    result, _, wallet = call(steps)
    assert (steps[-1], attempts) == (result.reply, result.attempts)
    assert (settled, presumed, 0) == (wallet.settled_nano, wallet.presumed_nano, wallet.reserved_nano)


def test_a_failure_that_was_counted_is_settled_in_its_own_call() -> None:
    """It ends the call, as the next send needs an intent of its own; a row that is given up has paid for all."""
    caller, wallet = make(Scripted([BROKEN_OFF])), Wallet(100)
    first = LONE.run(caller.call(REQUEST, wallet, lambda: False))
    assert (True, 13, Usage(10, 0, 3)) == (first.again_at_s is not None, first.cost_nano, first.usage)
    result, _, wallet = call([BROKEN_OFF], attempts=2)
    assert (Kind.SERVER_ERROR, 26) == (result.error and result.error.kind, wallet.settled_nano)


@pytest.mark.parametrize(
    ("steps", "attempts", "presumed"),
    [
        ([OK], 1, 0),
        ([BROKEN, OK], 2, 100),
        ([TIMEOUT, BROKEN, OK], 3, 200),
        ([REFUSED, REFUSED, OK], 3, 0),
        ([LIMITED, LIMITED, LIMITED, LIMITED, OK], 5, 0),
        ([LIMITED, BROKEN, LIMITED, BROKEN, OK], 5, 200),
    ],
)
def test_an_answer_is_reached(steps: list[Step], attempts: int, presumed: int) -> None:
    """Transient failures are tried again; the answer is settled at its usage, the unknowable presumed at worst."""
    result, endpoint, wallet = call(steps)
    assert (OK, attempts, 30, presumed) == (
        result.reply,
        result.attempts,
        result.cost_nano,
        result.presumed_nano,
    )
    assert (attempts, 30, presumed, 0) == (
        len(endpoint.sent),
        wallet.settled_nano,
        wallet.presumed_nano,
        wallet.reserved_nano,
    )
    assert (None, False) == (result.error, result.unsent)


@pytest.mark.parametrize(
    ("steps", "attempts", "error", "sent"),
    [
        ([BROKEN], 3, BROKEN, 3),
        ([BROKEN], 1, BROKEN, 1),
        ([REFUSED, TIMEOUT], 2, TIMEOUT, 2),
        ([LIMITED, LIMITED, BROKEN], 1, BROKEN, 3),
        ([BAD], 3, BAD, 1),
        ([BROKEN, BAD], 3, BAD, 2),
    ],
)
def test_a_row_fails_after_its_attempts(
    steps: list[Step], attempts: int, error: CallError, sent: int
) -> None:
    """The last error is the row's; a 429 uses up no attempt, and what no retry can mend is not tried again."""
    result, endpoint, wallet = call(steps, attempts=attempts)
    assert (error, sent, sent) == (result.error, result.attempts, len(endpoint.sent))
    assert (None, False, 0) == (result.reply, result.unsent, wallet.reserved_nano)


def test_a_fatal_error_leaves_the_row_to_be_called_later() -> None:
    """A refused key costs one request and nothing else; the row counts as not sent."""
    result, endpoint, wallet = call([NO_KEY])
    assert (NO_KEY, True, 1) == (result.error, result.unsent, len(endpoint.sent))
    assert (0, 0, 0) == (wallet.settled_nano, wallet.presumed_nano, wallet.reserved_nano)


def test_a_single_attempt_outlasts_a_storm_of_429s() -> None:
    """With ``attempts: 1`` a row that is limited twenty times is still answered."""
    result, _, _ = call([*[LIMITED] * 20, OK], attempts=1)
    assert (OK, 21) == (result.reply, result.attempts)


def test_the_body_is_the_same_on_every_attempt() -> None:
    """Only ``X-Attempt`` changes between attempts."""
    result, endpoint, _ = call([BROKEN, LIMITED, OK])
    assert [REQUEST.content] * 3 == [body for body, _, _ in endpoint.sent]
    assert [{"X-Request-Key": "key", "X-Attempt": str(n)} for n in (1, 2, 3)] == [
        h for _, h, _ in endpoint.sent
    ]
    assert (3, {9.0}) == (result.attempts, {timeout for _, _, timeout in endpoint.sent})


def test_retry_after_is_honoured() -> None:
    """The next attempt comes no sooner than the endpoint asked for."""
    begun = LONE.now_s
    call([replace_wait(LIMITED, 0.15), OK])
    assert 0.15 <= LONE.now_s - begun < 1.5


def replace_wait(error: CallError, seconds: float) -> CallError:
    return CallError(error.kind, error.verdict, status=error.status, retry_after_s=seconds)


def test_the_slot_is_free_while_a_row_waits() -> None:
    """At concurrency 1 another row is answered while the first one waits for its Retry-After."""

    async def play() -> list[str]:
        first, second = Scripted([replace_wait(LIMITED, 0.2), OK]), Scripted([OK])
        gate = Gate(Limits(1), WORKER)
        ended: list[str] = []

        async def one(name: str, endpoint: Scripted) -> None:
            caller = replace(make(endpoint), gate=gate)
            await caller.call(REQUEST, Wallet(None), lambda: False)
            ended.append(name)

        await asyncio.gather(one("limited", first), one("other", second))
        return ended

    assert LONE.run(play()) == ["other", "limited"]


def test_the_deadline_ends_the_tries() -> None:
    """Past ``retry.deadline_s`` a row is failed, however many attempts are left."""
    result, endpoint, _ = call([replace_wait(LIMITED, 0.05)], deadline_s=0.3, attempts=20)
    assert (Kind.RATE_LIMITED, True) == (
        result.error.kind if result.error else None,
        2 <= len(endpoint.sent) <= 7,
    )


def test_a_stop_ends_a_wait_soon() -> None:
    """A row that waits for a minute gives up within a moment once the run stops, and counts as not sent."""
    stop = iter([*[False] * 6, *[True] * 100])
    begun = LONE.now_s
    result, endpoint, wallet = call([replace_wait(LIMITED, 60)], deadline_s=100, stopping=lambda: next(stop))
    assert (True, None, 1, 0) == (result.unsent, result.reply, len(endpoint.sent), wallet.reserved_nano)
    assert LONE.now_s - begun < 1


def test_nothing_is_sent_once_the_run_stops() -> None:
    """A row whose turn comes after the stop is not sent."""
    result, endpoint, _ = call([OK], stopping=lambda: True)
    assert (True, 0, []) == (result.unsent, result.attempts, endpoint.sent)


def test_nothing_is_sent_that_can_not_be_paid_for() -> None:
    """A wallet that can't cover the worst case means no request, and a row for later."""
    result, endpoint, wallet = call([OK], wallet=Wallet(99))
    assert (True, [], True) == (result.unsent, endpoint.sent, wallet.empty)


def test_presumed_spend_counts_against_the_grant() -> None:
    """After an attempt whose fate is unknown the next one needs money of its own."""
    result, endpoint, wallet = call([TIMEOUT, OK], wallet=Wallet(150))
    assert (True, 1, 100, 0) == (
        result.unsent,
        len(endpoint.sent),
        result.presumed_nano,
        wallet.settled_nano,
    )


def test_a_5xx_can_be_trusted_to_be_free() -> None:
    """With ``presume_5xx: false`` a 5xx costs nothing, a timeout still its worst."""
    result, _, wallet = call([BROKEN, TIMEOUT, OK], presume_5xx=False)
    assert (100, 100) == (result.presumed_nano, wallet.presumed_nano)


@pytest.mark.parametrize(("usage", "over"), [(Usage(50, 0, 50), False), (Usage(50, 0, 51), True)])
def test_an_overrun_is_seen(usage: Usage, *, over: bool) -> None:
    """A bill above what was reserved is flagged, and booked as it is."""
    result, _, wallet = call([replace(OK, usage=usage)])
    assert (over, usage.input_tokens + usage.output_tokens) == (result.over_reserve, wallet.settled_nano)


def test_retries_beyond_their_share_wait() -> None:
    """With the retry budget spent a row waits until another retry is earned, instead of failing."""
    begun = LONE.now_s
    result, _, _ = call([BROKEN, OK], retries=RetryBudget(0.0, saved=0.8))
    assert (OK, True) == (result.reply, 0.15 < LONE.now_s - begun < 2)


def test_a_cancelled_call_is_presumed_spent() -> None:
    """A call that is cut off in flight is booked at its worst."""

    async def play() -> Wallet:
        wallet = Wallet(None)
        task = asyncio.create_task(make(Scripted([OK], hold_s=5)).call(REQUEST, wallet, lambda: False))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return wallet

    assert LONE.run(play()).presumed_nano == 100


def test_waits_stay_bounded_after_any_number_of_429s() -> None:
    """A row that was limited five thousand times still waits at most half a minute."""
    attempts = Attempts(RetryPolicy(3, 5), WORKER.settings, NEW)
    attempts.limited = 5000
    assert 0 <= attempts.wait_s(None) <= WORKER.settings.max_wait_s


def _once(
    steps: Sequence[Step], history: History = NEW, sending: Callable[[], None] = lambda: None, **settings: Any
) -> tuple[CallResult, Scripted, Wallet]:
    endpoint, wallet = Scripted(steps), Wallet(None)
    caller = make(endpoint, **settings)
    return LONE.run(caller.call(REQUEST, wallet, lambda: False, history, sending)), endpoint, wallet


@pytest.mark.parametrize("error", [BROKEN, TIMEOUT])
def test_what_may_have_been_billed_ends_the_call(error: CallError) -> None:
    """One billable send a call: the row comes back with its totals and the time from which it may be sent again."""
    begun = LONE.now_s
    result, endpoint, wallet = _once([error, OK], History(1, 4, begun - 1))
    assert (1, 100, History(2, 5, begun - 1)) == (result.attempts, result.presumed_nano, result.history)
    assert (None, None, False, 1) == (result.reply, result.error, result.unsent, len(endpoint.sent))
    assert begun < (result.again_at_s or 0) < begun + 1
    assert ("5", 100, 0) == (endpoint.sent[0][1]["X-Attempt"], wallet.presumed_nano, wallet.reserved_nano)


def test_history_counts_towards_attempts_and_deadline() -> None:
    """A row's last attempt is its last in whichever call it falls, and so is one past its deadline."""
    assert BROKEN == _once([BROKEN], History(2, 2, LONE.now_s))[0].error
    assert BROKEN == _once([BROKEN], History(1, 1, LONE.now_s - 99))[0].error


def test_each_send_is_announced() -> None:
    """``sending`` is called once before each request, and what it raises keeps the request from being sent."""
    seen: list[int] = []
    result, endpoint, _ = _once([LIMITED, REFUSED, OK], sending=lambda: seen.append(1))
    assert (OK, 3, 3) == (result.reply, len(seen), len(endpoint.sent))

    def full() -> None:
        raise BlockingIOError

    endpoint, wallet = Scripted([OK]), Wallet(None)
    caller = make(endpoint)
    with pytest.raises(BlockingIOError):
        LONE.run(caller.call(REQUEST, wallet, lambda: False, NEW, full))
    assert ([], 0, 0, 0) == (endpoint.sent, wallet.reserved_nano, caller.gate.in_flight, caller.gate.open)


def test_attempts_stay_bounded_under_errors() -> None:
    """With a fifth of the requests failing every row is answered in about 1.25 attempts a row."""

    class Flaky(Scripted):
        async def send(self, body: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> Reply:
            self.sent.append(({}, {}, timeout_s))
            if len(self.sent) % 5 == 0:
                raise BROKEN
            return OK

    async def play() -> tuple[int, int]:
        endpoint = Flaky([])
        caller = make(endpoint, attempts=6, retries=RetryBudget(0.4))
        answered = 0
        for _ in range(400):
            result = await caller.call(REQUEST, Wallet(None), lambda: False)
            while result.again_at_s is not None and caller.may_retry(LONE.now_s):
                result = await caller.call(REQUEST, Wallet(None), lambda: False, result.history)
            answered += result.reply is not None
        return answered, len(endpoint.sent)

    assert (400, 499) == LONE.run(play())


def test_a_cancelled_wait_does_not_end_the_pause_of_others() -> None:
    """While an endpoint cools down, a call that is cancelled and one that stops leave the pause as it is."""

    async def play() -> tuple[float, list[object]]:
        gate, stop = Gate(Limits(4), WORKER), [False]
        send = await gate.enter(1)
        assert send is not None
        gate.leave(send, replace_wait(LIMITED, 0.5))
        begun = LONE.now_s
        cancelled = asyncio.create_task(gate.enter(1))
        stopped = asyncio.create_task(gate.enter(1, lambda: stop[0]))
        other = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        stop[0] = True
        results = await asyncio.gather(cancelled, stopped, return_exceptions=True)
        await other
        return LONE.now_s - begun, [type(result) for result in results]

    waited_s, results = LONE.run(play())
    assert (True, [asyncio.CancelledError, type(None)]) == (0.45 <= waited_s < 1.0, results)


def test_a_dead_endpoint_fails_rows_only_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait unfailed while the breaker is open, a retry too, and fail with its last error when patience ends."""
    monkeypatch.setattr(breaker, "OPENS_AFTER", 2)
    monkeypatch.setattr(breaker, "PROBE_S", 60.0)

    async def play() -> tuple[bool, bool, CallResult, int]:
        endpoint = Scripted([TIMEOUT])
        caller = replace(make(endpoint), gate=Gate(Limits(4), WORKER, patience_s=0.4))
        for _ in range(2):
            await caller.call(REQUEST, Wallet(None), lambda: False)
        waiting = asyncio.create_task(caller.call(REQUEST, Wallet(None), lambda: False))
        await asyncio.sleep(0.05)
        early = waiting.done(), caller.may_retry(LONE.now_s)
        return *early, await waiting, len(endpoint.sent)

    done, may, result, sent = LONE.run(play())
    assert (False, False, 2, 0) == (done, may, sent, result.attempts)
    assert (Kind.TIMEOUT, False) == (result.error.kind if result.error else None, result.unsent)
