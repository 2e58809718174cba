"""Any sequence of replies and waits: one process's calls to one endpoint, their pace counted once more by brute force."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from helpers.sim.loop import LoopClock, SimLoop
from helpers.sim.profile import PROFILE, TIMEOUT_S
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routellm_batch.budget.pricing import Price
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import Reply, Usage, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.caller import Caller
from routellm_batch.endpoints.calls import NEW, CallResult, Request, RetryPolicy
from routellm_batch.endpoints.classify import rate_hint, retry_after_s
from routellm_batch.endpoints.pacing import breaker, buckets, retries
from routellm_batch.endpoints.pacing.gate import Gate
from routellm_batch.endpoints.pacing.pace import Limits
from routellm_batch.endpoints.pacing.retries import RetryBudget
from routellm_batch.endpoints.wallet import Wallet

pytestmark = pytest.mark.timeout(TIMEOUT_S)

TINY = 1e-6
PRICE = Price(1_000_000, 1_000_000, 1_000_000)
"""A nano-dollar a token."""
DEADLINE_S = 300.0
LONGEST_S = 120.0
"""No server is obeyed for longer."""
TOKENS = (10, 40, 400)
"""Expected tokens of a request: the third is more than the token bucket holds."""

DOWN = {
    "500": CallError(Kind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True),
    "timeout": CallError(Kind.TIMEOUT, Verdict.RETRY, maybe_billed=True),
    "refused": CallError(Kind.UNREACHABLE, Verdict.RETRY),
}
"""What says that the endpoint is down."""


@dataclass(eq=False)
class Sent:
    """One request as the endpoint saw it."""

    row: int
    at_s: float
    tokens: int
    probe: bool
    """It came while too many in a row had said that the endpoint is down."""
    retry: bool
    """The row's last send failed, and not with a 429."""
    reply: asyncio.Future[Reply]
    order: int
    """Among all that was sent and all that ended."""
    used: int | None = None
    """Tokens that the answer came to."""
    ended: float = math.inf
    """Its end among all that was sent and all that ended."""


@dataclass
class Model:
    """What may be sent when, counted anew from what the endpoint saw and said."""

    most: int
    rate: Mapping[str, float | None]
    """Requests and tokens a second."""
    sent: list[Sent] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)
    """Row → failures that count."""
    down: list[float] = field(default_factory=list)
    """Times of the failures in a row that said the endpoint is down."""
    probe_s: float | None = None
    """Not earlier than this is the next probe; None while calls pass."""
    wait_s: float = 0.0
    """Between probes."""
    not_before_s: float = 0.0
    """A 429 asked for a pause until then."""
    pause_s: float = -math.inf
    """When the last pause began."""
    pauses: int = 0
    """Pauses since the last answer."""
    hint_s: float = 0.0
    """An answer said that nothing is left until then."""
    events: int = 0
    """Sends and ends so far."""

    def open(self) -> list[Sent]:
        """Return what is on its way."""
        return [one for one in self.sent if one.ended == math.inf]

    def may_send(self, now_s: float) -> None:
        """Check a send against all that speaks against it."""
        on_their_way = self.open()
        assert len(on_their_way) < self.most
        assert now_s >= self.not_before_s - TINY, "a pause that a 429 asked for is not over"
        assert now_s >= self.hint_s - TINY, "nothing is left until the reset"
        if self.pauses > 1:
            assert [] == on_their_way, "in a storm of 429s one call goes at a time"
        if self.probe_s is not None:
            assert now_s >= self.probe_s - TINY, "the endpoint is down, and no probe is due"
            assert [] == [one for one in on_their_way if one.probe], "one probe at a time"

    def end(self, one: Sent, now_s: float, error: CallError | None) -> None:
        """Take note of a reply."""
        one.ended = self.events = self.events + 1
        limited = error is not None and error.verdict is Verdict.WAIT
        down = error is not None and error in DOWN.values()
        if error is None:
            self.pauses = 0
        elif limited:
            self._pause(one, now_s, error)
        if not down:
            self.down, self.probe_s = [], None
        else:
            self._fell(one, now_s)
        if error is not None and not limited and not (down and one.probe):
            self.failures[one.row] += 1

    def _pause(self, one: Sent, now_s: float, error: CallError) -> None:
        asked_s = 0.5 if error.retry_after_s is None else error.retry_after_s
        assert 0 <= asked_s <= LONGEST_S
        self.not_before_s = max(self.not_before_s, now_s + asked_s)
        if one.at_s > self.pause_s:
            self.pauses, self.pause_s = self.pauses + 1, now_s

    def _fell(self, one: Sent, now_s: float) -> None:
        self.down.append(now_s)
        if self.probe_s is None:
            lasted_s = now_s - self.down[0]
            many = len(self.down) >= breaker.OPENS_AFTER
            if many or (len(self.down) >= breaker.OPENS_AFTER_LONG and lasted_s >= breaker.OPENS_LONG_S):
                self.wait_s = breaker.PROBE_S
                self.probe_s = now_s + self.wait_s
        elif one.probe:
            self.wait_s = min(breaker.MAX_PROBE_S, 2 * self.wait_s)
            self.probe_s = now_s + self.wait_s

    def check_rates(self) -> None:
        """In no window is more sent than the rate and a burst allow."""
        for unit, rate in self.rate.items():
            if rate is None:
                continue
            capacity = max(1.0, rate * buckets.BURST_S)
            for number, last in enumerate(self.sent):
                over = max(0.0, self._amount(unit, last) - capacity)  # waits for a full bucket only
                for begin, first in enumerate(self.sent[: number + 1]):
                    seconds = last.at_s - first.at_s
                    taken = sum(self._amount(unit, one) for one in self.sent[begin : number + 1])
                    taken -= self._given_back(unit, first, last)
                    assert taken <= capacity + rate * seconds + over + TINY, f"{taken} {unit} in {seconds} s"

    def _amount(self, unit: str, one: Sent) -> float:
        return 1.0 if unit == "requests" else float(one.tokens)

    def _given_back(self, unit: str, first: Sent, last: Sent) -> float:
        """Return what answers between two sends took less than was expected of them."""
        ended = [one for one in self.sent if one.used is not None and first.order < one.ended < last.order]
        return 0.0 if unit == "requests" else sum(max(0, one.tokens - (one.used or 0)) for one in ended)


class Pacing(RuleBasedStateMachine):
    """Rows that are called, and an endpoint that replies as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.loop = SimLoop(lambda: self.now_s, self._nothing_blocks)
        self.results: dict[int, CallResult] = {}
        self.ended: dict[int, tuple[float, float]] = {}
        """Row → when it ended, and for how long the endpoint had been down then."""
        self.rows = 0
        self.last: dict[int, CallError | None] = {}
        self.sizes: dict[int, int] = {}
        self.problems: list[BaseException] = []
        self.unsure: list[CallError] = []
        """Failures of requests that may have been billed."""
        self.worker = Worker(clock=LoopClock(self.loop))

    @initialize(
        most=st.integers(1, 24),
        rpm=st.sampled_from([None, 60, 1200]),
        tpm=st.sampled_from([None, 6_000]),
        attempts=st.integers(1, 3),
        share=st.sampled_from([0.0, 0.2, 1.0]),
        presume=st.booleans(),
    )
    def begin(
        self, most: int, rpm: int | None, tpm: int | None, attempts: int, share: float, *, presume: bool
    ) -> None:
        """Open the way to an endpoint."""
        self.budget, self.attempts = share, attempts
        self.wallet = Wallet(None)
        self.caller = Caller(
            self,
            Gate(Limits(most, rpm, tpm), self.worker, patience_s=DEADLINE_S),
            RetryPolicy(attempts, DEADLINE_S),
            RetryBudget(share),
            PRICE,
            60.0,
            presume,
            self.worker,
        )
        self.model = Model(most, {"requests": rpm and rpm / 60, "tokens": tpm and tpm / 60})

    async def send(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Take a request, as an ``Endpoint``."""
        row = int(body)
        mine = [one for one in self.model.sent if one.row == row]
        last = self.last.get(row)
        self.model.events += 1
        one = Sent(
            row,
            self.now_s,
            self.sizes[row],
            probe=self.model.probe_s is not None,
            retry=last is not None and last.verdict is not Verdict.WAIT,
            reply=self.loop.create_future(),
            order=self.model.events,
        )
        try:
            assert str(len(mine) + 1) == headers["X-Attempt"]
            assert self.model.failures[row] < self.attempts, "a row is tried too often"
            self.model.may_send(self.now_s)
        except AssertionError as problem:
            self.problems.append(problem)
        self.model.sent.append(one)
        return await one.reply

    async def close(self) -> None:
        """Nothing to close."""

    @rule(rows=st.integers(1, 8), tokens=st.sampled_from(TOKENS))
    def call(self, rows: int, tokens: int) -> None:
        """Have some rows called."""
        for row in range(self.rows, self.rows + rows):
            self.sizes[row] = tokens
            self.loop.create_task(self._call(Request(b"%d" % row, "key", tokens, worst_nano=1000)))
        self.rows += rows
        self.loop.run()

    async def _call(self, request: Request) -> None:
        """Call a row until it is answered or failed, as the fan-out does."""
        history = NEW
        while True:
            result = await self.caller.call(request, self.wallet, lambda: False, history)
            if result.again_at_s is None:
                self.results[int(request.content)] = result
                down = self.model.down
                self.ended[int(request.content)] = (self.now_s, self.now_s - down[0] if down else 0.0)
                return
            await asyncio.sleep(result.again_at_s - self.now_s)
            while not self.caller.may_retry(self.now_s):  # noqa: ASYNC110 - time passes by itself
                await asyncio.sleep(0.5)
            history = result.history

    def _reply(self, one: Sent, came: Reply | CallError) -> None:
        limiter = self.caller.gate.pace.limiter
        before, lowered_s = limiter.limit, limiter.decreased_s
        error = came if isinstance(came, CallError) else None
        self.model.end(one, self.now_s, error)
        self.last[one.row] = error
        if error is None:
            usage = came.usage if isinstance(came, Reply) else Usage()
            one.used = usage.input_tokens + usage.output_tokens
            one.reply.set_result(came)
        else:
            self.unsure += [error] if error.maybe_billed else []
            one.reply.set_exception(error)
        self.loop.run()
        if limiter.limit < before and lowered_s is not None:
            assert one.at_s > lowered_s, "a burst lowers the limit once"

    @rule(which=st.integers(0, 30), used=st.integers(1, 60), left=st.sampled_from([None, None, 0, 1000]))
    def answer(self, which: int, used: int, left: int | None) -> None:
        """Answer a request, perhaps saying what is left of the requests."""
        if waiting := self.model.open():
            headers = {"x-ratelimit-remaining-requests": str(left), "x-ratelimit-reset-requests": "5s"}
            hint = None if left is None else rate_hint(headers)
            if left is not None:
                self.model.hint_s = self.now_s + 5 if left == 0 else 0.0
            reply = Reply("Yes.", "stop", "m", Usage(used // 2, 0, used - used // 2), hint)
            self._reply(waiting[which % len(waiting)], reply)

    @rule(
        which=st.integers(0, 30), asked=st.sampled_from([None, "-3", "0", "0.7", "4", "9999", "nan", "soon"])
    )
    def limit(self, which: int, asked: str | None) -> None:
        """Refuse a request with a 429, and perhaps name a pause."""
        if waiting := self.model.open():
            wait_s = retry_after_s(None, asked)
            error = CallError(Kind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=wait_s)
            self._reply(waiting[which % len(waiting)], error)

    @rule(which=st.integers(0, 30), how=st.sampled_from(sorted(DOWN)))
    def fail(self, which: int, how: str) -> None:
        """Fail a request in a way that says that the endpoint is down."""
        if waiting := self.model.open():
            self._reply(waiting[which % len(waiting)], DOWN[how])

    @rule(how=st.sampled_from(sorted(DOWN)))
    def fail_all(self, how: str) -> None:
        """Fail all that is on its way."""
        for one in self.model.open():
            self._reply(one, DOWN[how])

    @rule(which=st.integers(0, 30))
    def reject(self, which: int) -> None:
        """Refuse a row for good."""
        if waiting := self.model.open():
            self._reply(waiting[which % len(waiting)], CallError(Kind.BAD_REQUEST, Verdict.ROW, status=400))

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 7.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass."""
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while (due_s := self.loop.due_s) <= until_s:
            self.now_s = max(self.now_s, due_s)
            self.loop.run()
        self.now_s = until_s

    @invariant()
    def holds(self) -> None:
        """All that must hold does."""
        if not hasattr(self, "model"):
            return
        assert [] == self.problems
        assert [] == self.loop.errors
        pace = self.caller.gate.pace
        assert 1 <= pace.limiter.slots <= self.model.most
        assert len(self.model.open()) == pace.in_flight <= self.model.most
        tried = sum(one.retry and not one.probe for one in self.model.sent)
        firsts = len({one.row for one in self.model.sent})
        earned = retries.FIRST_RETRIES + self.budget * firsts
        assert tried <= earned + retries.RETRIES_PER_S * (self.now_s - 100.0)
        self.model.check_rates()

    def teardown(self) -> None:
        """Answer everything from now on: each row ends, answered or failed for a reason."""
        if hasattr(self, "model"):
            self._finish()

    def _finish(self) -> None:
        for _ in range(3_000):
            for one in self.model.open():
                self._reply(one, Reply("Yes.", "stop", "m", Usage(5, 0, 5)))
            if len(self.results) == self.rows:
                break
            self._advance(1.0)
        self.holds()
        assert self.rows == len(self.results)
        for row, result in self.results.items():
            mine = [one for one in self.model.sent if one.row == row]
            assert len(mine) == result.history.attempts
            if result.reply is None:
                assert self._may_fail(row, mine), f"row {row} failed for no reason"
        presumed = sum(self.caller.presume_5xx or one is DOWN["timeout"] for one in self.unsure)
        assert (0, 1000 * presumed) == (self.wallet.reserved_nano, self.wallet.presumed_nano)

    def _may_fail(self, row: int, mine: Sequence[Sent]) -> bool:
        """Say whether a row was refused, tried as often as it may be, or kept waiting for too long."""
        last = self.last.get(row)
        refused = last is not None and last.verdict is Verdict.ROW
        ended_s, down_s = self.ended[row]
        late = bool(mine) and ended_s - mine[0].at_s > DEADLINE_S - LONGEST_S
        return (
            refused or late or down_s > breaker.NEVER_ANSWERED_S or self.model.failures[row] >= self.attempts
        )

    @staticmethod
    def _nothing_blocks(_function: object, _done: object) -> None:
        raise AssertionError("nothing blocks here")


TestPacing = Pacing.TestCase
TestPacing.settings = settings(PROFILE)
