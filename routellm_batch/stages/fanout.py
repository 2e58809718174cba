"""Fanning one shard's calls out: both endpoints at once, every reply persisted within a micro-batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from routellm_batch.config import LabelConfig
from routellm_batch.config_endpoints import EndpointConfig
from routellm_batch.endpoints.caller import Outcome, Request
from routellm_batch.events import CallProgress
from routellm_batch.stages.job import EndpointPool
from routellm_batch.stages.labels import ask_again, judge
from routellm_batch.stages.requests import Call, follow_up
from routellm_batch.storage.ledger import CallRecord, ShardLedger
from routellm_batch.types import ROUTES, ErrorKind, Route, Verdict
from routellm_batch.wallet import Wallet

MICRO_BATCH = 64
"""Rows to one intent, and results to one object."""
FLUSH_S = 5.0
"""A reply waits no longer than this to be persisted."""
PROGRESS_S = 0.5
LOOK_S = 0.1
"""A row that may be sent again looks this often whether it may."""


@dataclass
class FanOut:
    """One task's calls for one shard, on the process's event loop."""

    shard: int
    pool: EndpointPool
    ledger: ShardLedger
    wallet: Wallet
    emit: Callable[[CallProgress], None]
    records: dict[int, CallRecord] = field(default_factory=dict)
    """Row → what came of it, in this go."""
    _buffer: list[CallRecord] = field(default_factory=list)
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ending: bool = False
    _broken: bool = False
    _open: int = 0
    _failed: int = 0

    async def run(self, calls: Sequence[Call]) -> None:
        """Make the calls; returns when each is answered, failed or known not to be sent."""
        flushing, reporting = (
            asyncio.create_task(self._flush_often()),
            asyncio.create_task(self._report_often()),
        )
        try:
            async with asyncio.TaskGroup() as group:
                for route in ROUTES:
                    group.create_task(self._route(route, [call for call in calls if call.route == route]))
        finally:
            reporting.cancel()
            self._ending = True  # never cancelled: a write under way must end before the ledger is read
            self._full.set()
            await flushing
            self._report()

    async def _route(self, route: Route, calls: Sequence[Call]) -> None:
        """Open micro-batches as fast as calls end; an intent is on storage before its first send."""
        window = asyncio.Semaphore(self.pool.callers[route].gate.concurrency + MICRO_BATCH // 2)
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(calls), MICRO_BATCH):
                batch = calls[start : start + MICRO_BATCH]
                await window.acquire()
                window.release()
                if self._stopping() or self.wallet.empty:
                    return
                async with self._writing:
                    rows = [(call.row, call.request.worst_nano) for call in batch]
                    await asyncio.to_thread(self.ledger.write_intent, route, rows)
                for call in batch:
                    await window.acquire()
                    group.create_task(self._row(call, window))

    async def _row(self, call: Call, window: asyncio.Semaphore) -> None:
        self._open += 1
        try:
            self._keep(await self._answer(call))
        finally:
            self._open -= 1
            window.release()

    async def _answer(self, call: Call) -> CallRecord:
        """Call one row, asking again where a label is wanted and the answer is none."""
        config, label = self.pool.job.config, self.pool.job.config.label
        end: EndpointConfig = getattr(config.endpoints, call.route)
        request = call.request
        record = await self._once(call, request)
        for _ in range(label.reask if label else 0):
            if label is None or record.error_kind != ErrorKind.INVALID_LABEL:
                break
            answer = record.answer or ""
            request = follow_up(end, request, answer, ask_again(label, judge(label, answer).problem or ""))
            second = await self._once(call, request)
            record = replace(second.after(record), status=second.status)
        if record.status != "unsent":
            self.pool.count(call.route, failed=record.status == "failed")
        return record

    def _stopping(self) -> bool:
        return self._broken or self.pool.stopping()

    async def _once(self, call: Call, request: Request) -> CallRecord:
        caller, label = self.pool.callers[call.route], self.pool.job.config.label
        outcome = await caller.call(request, self.wallet, self._stopping)
        self._watch(call.route, outcome)
        record = _record(call, outcome, label)
        while outcome.again_at_s is not None and not self._stopping():
            if (now_s := time.monotonic()) < outcome.again_at_s or not caller.may_retry(now_s):
                await asyncio.sleep(min(LOOK_S, max(0.01, outcome.again_at_s - now_s)))
                continue
            outcome = await caller.call(request, self.wallet, self._stopping, outcome.history)
            self._watch(call.route, outcome)
            record = _record(call, outcome, label).after(record)
        return record

    def _watch(self, route: Route, outcome: Outcome) -> None:
        if outcome.error is not None and outcome.error.verdict is Verdict.FATAL:
            self.pool.fatal(outcome.error.kind)
        if outcome.over_reserve:
            self.pool.exceeded(route, capped=self.wallet.grant_nano is not None)

    def _keep(self, record: CallRecord) -> None:
        self.records[record.row] = record
        self._failed += record.status == "failed"
        self._buffer.append(record)
        if len(self._buffer) >= MICRO_BATCH:
            self._full.set()

    async def _flush_often(self) -> None:
        while self._buffer or not self._ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(0 if self._ending else FLUSH_S):
                    await self._full.wait()
            self._full.clear()
            async with self._writing:
                records, self._buffer = self._buffer, []
                if records:
                    try:
                        await asyncio.to_thread(self.ledger.write_results, records)
                    except BaseException:
                        self._broken = (
                            True  # what can't be persisted must not be paid for: nothing more is sent
                        )
                        raise

    async def _report_often(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._report()

    def _report(self) -> None:
        answered = sum(record.status != "unsent" for record in self.records.values())
        self.emit(CallProgress(self.shard, answered, self._failed, self._open, self.wallet.settled_nano))


def _record(call: Call, outcome: Outcome, label: LabelConfig | None) -> CallRecord:
    """Return what the ledger keeps of an outcome."""
    reply, kind, tag = outcome.reply, outcome.error.kind if outcome.error else None, None
    if reply is not None:
        if not reply.answer.strip():
            kind = (
                ErrorKind.CONTENT_FILTER
                if reply.finish_reason == "content_filter"
                else ErrorKind.EMPTY_ANSWER
            )
        elif label is not None:
            tag = judge(label, reply.answer).label
            kind = ErrorKind.INVALID_LABEL if tag is None else None
    status = (
        "unsent"
        if outcome.unsent or outcome.again_at_s is not None
        else "failed"
        if kind is not None
        else "ok"
    )
    return CallRecord(
        row=call.row,
        route=call.route,
        status=status,
        request_key=call.request.key,
        error_kind=None if kind is None else str(kind),
        answer=reply.answer if reply else None,
        label=tag,
        finish_reason=reply.finish_reason if reply else None,
        model=reply.model if reply else None,
        attempts=outcome.attempts,
        usage=outcome.usage,
        cost_nano=outcome.cost_nano,
        presumed_nano=outcome.presumed_nano,
        latency_s=outcome.latency_s,
    )
