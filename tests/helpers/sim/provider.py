"""Both models behind one door: requests wait until somebody says what becomes of them; bills are written down."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from helpers.sim.store import MemoryStore

from routellm_batch.budget.pricing import Price, cost_nano
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind, Reply, Route, Usage, Verdict
from routellm_batch.storage.ledger.state import Entry

TEMPLATE_TOKENS = 16
"""Input tokens beside the text: what a chat template may add to each turn and at the end."""


class Fate(StrEnum):
    """What becomes of a request."""

    ANSWERED = "answered"
    DEAR = "answered at its worst cost"
    EMPTY = "answered with nothing"
    LOST = "billed, its reply lost"
    DROPPED = "lost on its way"
    LIMITED = "429"
    REFUSED = "connection refused"
    BROKEN = "500, billed"
    DOWN = "500, not billed"
    GARBLED = "200, billed, unreadable"
    REJECTED = "400"
    FORBIDDEN = "403"
    UNPAID = "429 insufficient quota"


BILLED = frozenset((Fate.ANSWERED, Fate.DEAR, Fate.EMPTY, Fate.LOST, Fate.BROKEN, Fate.GARBLED))
UNBILLED = frozenset((Fate.LIMITED, Fate.REFUSED, Fate.UNPAID))
"""As whoever sent it knows: it may be sent again under the same intent."""
ERRORS: Mapping[Fate, CallError] = {
    Fate.LOST: CallError(ErrorKind.CONNECTION, Verdict.RETRY, maybe_billed=True),
    Fate.DROPPED: CallError(ErrorKind.CONNECTION, Verdict.RETRY, maybe_billed=True),
    Fate.LIMITED: CallError(ErrorKind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=0.5),
    Fate.REFUSED: CallError(ErrorKind.UNREACHABLE, Verdict.RETRY),
    Fate.BROKEN: CallError(ErrorKind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True),
    Fate.DOWN: CallError(ErrorKind.SERVER_ERROR, Verdict.RETRY, status=500, maybe_billed=True),
    Fate.GARBLED: CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=200, maybe_billed=True),
    Fate.REJECTED: CallError(ErrorKind.BAD_REQUEST, Verdict.ROW, status=400),
    Fate.FORBIDDEN: CallError(ErrorKind.AUTH, Verdict.REFUSED, status=403),
    Fate.UNPAID: CallError(ErrorKind.QUOTA, Verdict.FATAL, status=429),
}
"""As the client classes them."""
LATE = CallError(ErrorKind.TIMEOUT, Verdict.RETRY, maybe_billed=True)


@dataclass(eq=False)
class Call:
    """One request that has arrived."""

    shard: str
    runner: str
    row: int
    route: Route
    dearest: Usage
    """The most that it can be billed for."""
    reply: asyncio.Future[Reply]
    alive: Callable[[], bool]
    """Says whether whoever sent it still runs."""
    billed_nano: int = 0
    fate: Fate | None = None
    """What became of it; from then on nothing more is billed."""
    booked: bool = False
    """Whoever sent it knows what became of it."""


@dataclass
class Provider:
    """The models, their bills, and what the bills must never show."""

    store: MemoryStore
    """Whose intents every send must stand in."""
    prices: Mapping[Route, Price]
    places: Mapping[str, tuple[str, int]]
    """Prompt → shard and row."""
    problem: Callable[[str], None]
    """Told what must not be."""
    cap_nano: int | None
    bills_5xx: bool
    now_s: Callable[[], float]
    lease_s: float
    claimed_s: dict[str, float] = field(default_factory=dict)
    """Runner → when it claimed its shard."""
    calls: list[Call] = field(default_factory=list)
    """In order of arrival."""
    billed: Counter[str] = field(default_factory=Counter)
    """Shard → nano-dollars."""
    automatic: bool = False
    """Every request is answered at once."""

    @property
    def waiting(self) -> list[Call]:
        """Requests that nothing has become of yet."""
        return [call for call in self.calls if call.fate is None]

    def dearest_nano(self, call: Call) -> int:
        """Return the most that a request can cost."""
        return cost_nano(self.prices[call.route], call.dearest)

    def arrive(
        self,
        body: bytes,
        route: Route,
        sending: tuple[str, str, int],
        loop: asyncio.AbstractEventLoop,
        alive: Callable[[], bool],
    ) -> Call:
        """Take a request, and check that it may be sent."""
        fields = json.loads(body)
        texts = [turn["content"] for turn in fields["messages"]]
        tokens = sum(len(text.encode()) + TEMPLATE_TOKENS for text in texts) + TEMPLATE_TOKENS
        shard, runner, row = sending
        call = Call(
            shard,
            runner,
            row,
            route,
            Usage(tokens, 0, fields["max_completion_tokens"]),
            loop.create_future(),
            alive,
        )
        if self.places[texts[-1]] != (shard, row):
            self.problem(f"row {row} of shard {shard} was noted, another one was sent")
        self._check_may_be_sent(call)
        self.calls.append(call)
        if self.automatic:
            self.end(call, Fate.ANSWERED)
        return call

    def end(self, call: Call, fate: Fate) -> None:
        """Let a request come to something."""
        if fate is Fate.BROKEN and not self.bills_5xx:
            fate = Fate.DOWN
        call.fate = fate
        usage = call.dearest if fate is not Fate.ANSWERED else Usage(4, 1, 2)
        if fate in BILLED:
            self._bill(call, usage)
        if call.reply.done() or not call.alive():
            return
        error = ERRORS.get(fate)
        if error is not None:
            call.reply.set_exception(error)
        else:
            answer = "" if fate is Fate.EMPTY else f"Answer to row {call.row} of shard {call.shard}."
            call.reply.set_result(Reply(answer, "stop", f"{call.route}-model", usage))

    def answer_all(self) -> None:
        """Answer every request from now on."""
        self.automatic = True
        for call in self.waiting:
            self.end(call, Fate.ANSWERED)

    def _bill(self, call: Call, usage: Usage) -> None:
        call.billed_nano = cost_nano(self.prices[call.route], usage)
        self.billed[call.shard] += call.billed_nano
        total = self.billed.total()
        if self.cap_nano is not None and total > self.cap_nano:
            self.problem(f"{total} nano-dollars are billed, {self.cap_nano} is the cap")

    def _check_may_be_sent(self, call: Call) -> None:
        """A send stands in an intent that no other send used up, and no later runner has begun to send."""
        log = self.log(call.shard)
        named = sum(row == call.row for one in log if one.runner == call.runner for row, _ in one.rows)
        used = self.used(call.shard, call.runner)[call.row]
        if used >= named:
            self.problem(f"row {call.row} of shard {call.shard} is sent {used + 1} times for {named} intents")
        claims = [entry.runner for entry in log if entry.kind == "claim"]
        later = set(claims[claims.index(call.runner) + 1 :])
        if any(one.shard == call.shard and one.runner in later for one in self.calls):
            self.problem(f"a runner of shard {call.shard} sends after a later one has begun to")
        waits = (one for one in self.waiting if one.alive() and one.runner != call.runner)
        if any((one.shard, one.row) == (call.shard, call.row) for one in waits) and (
            self.now_s() < self.claimed_s[call.runner] + self.lease_s
        ):
            self.problem(f"row {call.row} of shard {call.shard} is sent while a living runner waits for it")

    def used(self, shard: str, runner: str) -> Counter[int]:
        """Return row → how many of a runner's intents for it were used up by a send."""
        mine = (call for call in self.calls if (call.shard, call.runner) == (shard, runner))
        unbilled = UNBILLED if self.bills_5xx else UNBILLED | {Fate.DOWN}
        return Counter(call.row for call in mine if call.fate not in unbilled)

    def log(self, shard: str) -> list[Entry]:
        """Return a shard's log as it is on storage."""
        entries = self.store.objects.items()
        inside = sorted(
            (p, data) for p, data in entries if p.startswith(f"call/{shard}/") and p.endswith(".json")
        )
        return [Entry.from_json(data) for _, data in inside]

    def may_bill_nano(self, shard: str) -> int:
        """Return what is billed for a shard, with each request that nothing has become of yet at its worst."""
        waiting = sum(self.dearest_nano(call) for call in self.waiting if call.shard == shard)
        return self.billed[shard] + waiting

    def might_bill_nano(self) -> int:
        """Return what is billed, with each request that somebody still waits for at its worst."""
        open_ones = [call for call in self.calls if not call.booked]
        known = self.billed.total() - sum(call.billed_nano for call in open_ones)
        return known + sum(
            call.billed_nano if call.fate is not None and not call.alive() else self.dearest_nano(call)
            for call in open_ones
        )


class Line:
    """An ``Endpoint``: one process's way to one of the models."""

    def __init__(
        self,
        provider: Provider,
        route: Route,
        sending: Callable[[], tuple[str, str, int]],
        loop: asyncio.AbstractEventLoop,
        alive: Callable[[], bool],
    ) -> None:
        self._provider, self._route, self._sending = provider, route, sending
        self._loop, self._alive = loop, alive

    async def send(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send one request and wait for what becomes of it."""
        call = self._provider.arrive(body, self._route, self._sending(), self._loop, self._alive)
        try:
            async with asyncio.timeout(timeout_s):
                return await call.reply
        except TimeoutError:
            self._provider.end(call, Fate.LOST)
            raise LATE from None
        finally:
            call.booked = self._alive()

    async def close(self) -> None:
        """Nothing to close."""
