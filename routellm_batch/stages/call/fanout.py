"""Makes one shard's calls: both endpoints at once, every reply persisted within a micro-batch.

Each route has a lane. It names rows in an intent, which is on storage before the first of them is sent; a row
whose send may have been billed in vain goes back to its lane, and is sent again under another intent.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from routellm_batch.core.events import CallProgress
from routellm_batch.core.types import ROUTES, ErrorKind, Route, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.caller import Caller
from routellm_batch.endpoints.calls import CallResult, History
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call.answers import Pending, next_question, record_of
from routellm_batch.stages.call.job import EndpointPool
from routellm_batch.stages.call.requests import Call
from routellm_batch.stages.call.standing import Refused
from routellm_batch.storage.ledger.liveness import myself
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.writer import LedgerWriter


@dataclass
class FanOut:
    """One task's calls for one shard, on the process's event loop."""

    shard: int
    """Index of the shard."""
    pool: EndpointPool
    """The process's endpoints."""
    writer: LedgerWriter
    """Writes the shard's ledger."""
    wallet: Wallet
    """Keeps the task within its grant."""
    worker: Worker
    """The process that calls."""
    records: dict[int, CallRecord] = field(default_factory=dict)
    """Row → what this task did with it."""
    round_token: str = ""
    """Names the drain that calls this task back when a new cut is due."""
    earlier: int = 0
    """Rows of the shard that are answered, or have failed for good, already."""
    suspects: frozenset[int] = frozenset()
    """Rows that failed before in a way that their failing anew tells nothing of the endpoint."""
    open: int = 0
    """Calls in hand, sent or waiting for their turn."""
    _lanes: list[_Lane] = field(default_factory=list)
    _failed: int = 0

    async def run(self, calls: Sequence[Call], known: Sequence[CallRecord] = ()) -> None:
        """Make the calls but those that are ``known``; returns when each is answered, failed or known not to be sent."""
        for record in known:
            self.keep(record, final=False)
        for route in ROUTES:
            mine = [c for c in calls if c.route == route and c.row not in self.records]
            self._lanes.append(_Lane(self, route, [Pending(call, call.request) for call in mine]))
        writing = asyncio.create_task(self.writer.run(self.stopping))
        reporting = asyncio.create_task(self._report_often())
        self.pool.begin_task()
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(lane.run())
        finally:
            reporting.cancel()
            self.pool.end_task()
            self.writer.finish()
            await writing
            self._report()
        if self.writer.error is not None:
            raise self.writer.error

    def stopping(self) -> bool:
        """Whether this task is to begin nothing more."""
        return (
            self.writer.error is not None
            or self.pool.stopping()
            or self.worker.drains.draining(self.round_token)
        )

    def keep(self, record: CallRecord, *, final: bool) -> None:
        """Take a record of one send, or of a row's end."""
        self.writer.add(record)
        known = self.records.get(record.row)
        self.records[record.row] = record if known is None else record.after(known)
        if final:
            failed = record.status == "failed"
            self._failed += failed
            if not (failed and record.row in self.suspects):
                self.pool.count(record.route, failed=failed)

    def watch(self, route: Route, result: CallResult) -> None:
        """Take what a call's result says of its endpoint; stop calling where it says so."""
        if result.reply is not None and result.reply.answer.strip():
            self.pool.standings[route].answer()
        if result.error is not None and result.error.verdict is Verdict.FATAL:
            self.pool.fatal(result.error.kind)
        if result.over_reserve:
            self.pool.exceeded(route, capped=self.pool.job.config.budget.hard_cap_usd is not None)
        if result.reply is not None and result.reply.usage is None:
            self.pool.uncounted(route)

    async def _report_often(self) -> None:
        while True:
            self._report()  # at once: without an allotment nothing is sent
            await asyncio.sleep(self.worker.settings.progress_s)

    def _report(self) -> None:
        answered = sum(record.status != "unsent" for record in self.records.values())
        pool, in_hand = self.pool, self.pool.demand()
        waiting = {lane.route: min(lane.waiting, self.worker.settings.intent_rows) for lane in self._lanes}
        self.worker.events.emit(
            CallProgress(
                self.shard,
                answered,
                self._failed,
                self.open,
                self.wallet.settled_nano,
                process=self.worker.name,
                demand={route: max(in_hand[route], waiting.get(route, 0)) for route in ROUTES},
                earlier=self.earlier,
                down=pool.down(),
                start=pool.job.token,
                sent=pool.sent(),
                allotment=pool.allotment,
                period=pool.period,
                idle=pool.tasks == 0,
                said_s=self.worker.clock.monotonic(),
                who=myself(),
            )
        )


class _Lane:
    """One route's rows: those not sent yet, and those that wait to be sent again."""

    def __init__(self, fan: FanOut, route: Route, rows: Sequence[Pending]) -> None:
        self._fan = fan
        self._route = route
        self._caller: Caller = fan.pool.callers[route]
        self._now_s, self._settings = fan.worker.clock.monotonic, fan.worker.settings
        self._fresh = deque(rows)
        self._later: list[tuple[float, int, Pending]] = []
        """Heap of (due, row, …)."""
        self._standing = fan.pool.standings[route]
        self._refused: list[Refused] = []
        """Rows that were refused, and of which is not known yet whether all are."""
        self._open = 0
        self._moved = asyncio.Event()

    @property
    def route(self) -> Route:
        """Where its rows are sent."""
        return self._route

    @property
    def waiting(self) -> int:
        """Rows that no intent names yet, or that wait to be sent again."""
        return len(self._fresh) + len(self._later)

    async def run(self) -> None:
        """Send all rows; returns when nothing is open and nothing more is to be sent."""
        async with asyncio.TaskGroup() as group:
            while self._busy():
                idle = self._fan.stopping() or self._fan.writer.silent()
                batch = [] if idle else self._take(self._now_s())
                if not batch:
                    if self._busy():  # else all that was left can't be paid for
                        await self._pause()
                    self._decide()
                    continue
                rows = [(one.call.row, one.request.worst_nano) for one in batch]
                await self._fan.writer.intend(self._route, rows, self._fan.stopping)
                if self._fan.writer.error is None:
                    self._open += len(batch)
                    self._fan.open += len(batch)
                    for one in batch:
                        group.create_task(self._send(one))
        self._decide(last=not self._fan.stopping())
        for refused in self._refused:  # of a run that stops: the next start calls them again
            self._fan.keep(replace(refused.record, status="unsent"), final=False)

    def _busy(self) -> bool:
        """Whether calls are open or to be made, or others' calls may yet say what a refusal meant."""
        undecided = self._refused and not self._standing.answers and self._caller.gate.open > 0
        return self._open > 0 or (bool(self._fresh or self._later or undecided) and not self._fan.stopping())

    def _decide(self, *, last: bool = False) -> None:
        """End the refused rows of which is known now whether it was about them; at ``last`` all of them."""
        left = []
        for one in self._refused:
            ending = one.ending(self._standing, last=last)
            if ending is None:
                left.append(one)
            else:
                self._fan.keep(ending, final=True)
        self._refused = left

    def _take(self, now_s: float) -> list[Pending]:
        """Return the rows of the next intent: those that are due first, then fresh ones, as many as there is room for.

        Rows that can't be paid for are passed over: they come back with another grant, if ever.
        """
        busy = self._caller.gate.concurrency
        size = min(self._settings.max_intent_rows, max(self._settings.intent_rows, busy))
        room = busy + 2 * size - self._open
        if room < size:
            return []
        batch: list[Pending] = []
        while self._later and len(batch) < size and self._later[0][0] <= now_s:
            one = self._later[0][2]
            affords = self._fan.wallet.affords(one.request.worst_nano)
            if affords and not (one.asks_again or self._caller.may_retry(now_s)):
                break
            heapq.heappop(self._later)
            batch += [one] if affords else []
        while self._fresh and len(batch) < size:
            one = self._fresh.popleft()
            batch += [one] if self._fan.wallet.affords(one.request.worst_nano) else []
        return batch

    async def _pause(self) -> None:
        """Wait until a row ends or comes due, but not long: a stop is not announced."""
        self._moved.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.look_s):
                await self._moved.wait()

    async def _send(self, one: Pending) -> None:
        fan = self._fan
        try:
            result = await self._caller.call(
                one.request,
                fan.wallet,
                lambda: fan.stopping() or fan.writer.silent(),
                one.history,
                lambda: fan.writer.sending(one.call.row),
            )
        except OSError:  # the local log is full: nothing was sent, and the writer says why
            result = CallResult(unsent=True, history=one.history)
        finally:
            self._open -= 1
            fan.open -= 1
            self._moved.set()
        self._end(one, result)

    def _end(self, one: Pending, result: CallResult) -> None:
        """Book a row's result, and put the row back where it is to be sent again."""
        self._fan.watch(self._route, result)
        self._decide()
        config = self._fan.pool.job.config
        bounds = config.input.part_tokens
        record = record_of(one.call, result, config.label)
        if result.error is not None and result.error.verdict is Verdict.REFUSED:
            self._refuse(record, result.error.kind)
            return
        question = next_question(config.label, config.endpoints.of(self._route), one, record, bounds)
        back: Pending | None = None
        if question is not None:
            back = replace(one, request=question, reasks=one.reasks + 1, asks_again=True, history=History())
            # Its answer is kept in case no second one comes.
        elif result.again_at_s is not None or result.unsent:
            back = replace(one, history=result.history, asks_again=result.unsent)
        if back is not None:
            record = replace(record, status="unsent", reasks=int(question is not None))
            due_s = result.again_at_s or self._now_s()
            heapq.heappush(self._later, (due_s, one.call.row, back))
        self._fan.keep(record, final=back is None)

    def _refuse(self, record: CallRecord, kind: ErrorKind) -> None:
        """Book a refusal, and leave open what it means, unless this row was refused before and others were answered."""
        known = record.row in self._fan.suspects and self._standing.answers > 0
        self._refused.append(Refused(record, -1 if known else self._standing.answers))
        if known:
            self._decide()
        elif self._standing.refuse(self._fan.pool.job.calls):
            self._fan.pool.fatal(kind)
