"""The driver's loops: which shard is sent out next, with what to spend, and when to stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from routellm_batch.config import Config
from routellm_batch.errors import StopError
from routellm_batch.events import RowsScored, Sink
from routellm_batch.halt import Halt
from routellm_batch.pricing import usd_to_nano
from routellm_batch.protocols import Runner
from routellm_batch.stages.call import CallReceipt, CallTask, call_shard
from routellm_batch.stages.escrow import EmbeddingBudget
from routellm_batch.stages.job import CallJob
from routellm_batch.stages.plan import Plan
from routellm_batch.stages.score import STAGE as SCORE
from routellm_batch.stages.score import ScoreTask, bound_shards, score_shards
from routellm_batch.stages.tally import Tally, tallies
from routellm_batch.storage.paid import embedding_use
from routellm_batch.storage.run import Run
from routellm_batch.types import Done, Shard

POLL_S = 0.2
MAX_GROUP = 16
"""Shards in one score task, at most."""
WINDOW = 2
"""Tasks submitted, per slot."""


def raise_error(done: Done) -> None:
    """Raise what a task raised."""
    if done.error is not None:
        raise done.error


def run_score_stage(config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> None:
    """Score every shard that is not scored yet.

    Raises:
        BudgetError: with a hard cap, the embeddings could cost more than it leaves; nothing more was spent.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    finished = run.committed(SCORE)
    missing = [shard for shard in run.shards if shard.name not in finished]
    groups = _groups(missing, runner.slots)
    budget = _embedding_budget(config, run, runner, groups, halt)

    def begin(shards: Sequence[Shard]) -> None:
        allowance = budget.grant(shards) if budget else None
        runner.submit(score_shards, ScoreTask(config, run, shards, allowance), scores=True)

    def take(done: Done) -> None:
        if budget and done.error is None:
            budget.settle(done.task.shards, done.receipt.paid_nano)
        raise_error(done)
        sink(RowsScored(done.receipt.rows))

    _each(groups, runner, halt, begin, take)


def _each(
    groups: Sequence[Sequence[Shard]],
    runner: Runner,
    halt: Halt,
    begin: Callable[[Sequence[Shard]], None],
    take: Callable[[Done], None],
) -> None:
    """Begin a task for each group, some at a time, and take what comes back; a stop lets the running ones end."""
    waiting = deque(groups)
    running = 0
    stop: StopError | None = None
    while waiting or running:
        halt.check_deadline(time.monotonic())
        while waiting and running < WINDOW * runner.slots and not halt.stopped and stop is None:
            begin(waiting.popleft())
            running += 1
        if (halt.stopped or stop) and not running:
            break
        for done in runner.wait(POLL_S):
            running -= 1
            try:
                take(done)
            except StopError as error:  # what the others are paying for is worth waiting for
                stop = stop or error
    if stop is not None:
        raise stop


def _embedding_budget(
    config: Config, run: Run, runner: Runner, groups: Sequence[Sequence[Shard]], halt: Halt
) -> EmbeddingBudget | None:
    """Return what embeddings may cost, None without a hard cap or a paid embedder; reads the input once more.

    Raises:
        BudgetError: they could cost more than the cap leaves.

    """
    cap = config.budget.hard_cap_usd
    if cap is None or config.router.embedder.name != "remote" or not groups:
        return None
    bounds: dict[int, int] = {}

    def take(done: Done) -> None:
        raise_error(done)
        bounds.update(zip((shard.index for shard in done.task.shards), done.receipt, strict=True))

    _each(
        groups, runner, halt, lambda shards: runner.submit(bound_shards, ScoreTask(config, run, shards)), take
    )
    paid = embedding_use(run)
    return EmbeddingBudget(usd_to_nano(cap), paid.paid_nano if paid else 0, bounds)


def _groups(shards: Sequence[Shard], slots: int) -> list[list[Shard]]:
    size = max(1, min(MAX_GROUP, len(shards) // (slots * WINDOW)))
    return [list(shards[start : start + size]) for start in range(0, len(shards), size)]


def grant_for(left_nano: int, tasks: int, slots: int) -> int:
    """Return what the next task may spend: an even part of what is left over the tasks that may run beside it."""
    return left_nano // max(1, min(tasks, WINDOW * slots))


@dataclass
class CallStage:
    """The call stage of one start of a run."""

    job: CallJob
    plan: Plan
    runner: Runner
    halt: Halt
    retry_failed: bool = False
    _waiting: deque[CallTask] = field(default_factory=deque)
    _again: list[CallTask] = field(default_factory=list)
    """Tasks that ran out of their grant."""
    _finish: list[CallTask] = field(default_factory=list)
    """Shards to be written once all calls are done."""
    _running: dict[int, CallTask] = field(default_factory=dict)
    _spent: dict[int, int] = field(default_factory=dict)
    """Shard → settled and presumed, in nano-dollars, as its ledger last said."""
    _unfunded: bool = False
    _error: BaseException | None = None
    """What the first failed task raised; raised again once the others have persisted their replies."""

    def run(self) -> None:
        """Call what is missing; returns when all is done or nothing more can be."""
        self._load()
        self._loop()
        if self._unfunded:
            self.halt.stop("budget", "what is left of budget.hard_cap_usd pays for no further call")
        if self.halt.state in {"finished", "budget"}:
            self._waiting = deque(replace(task, mode="finish", grant_nano=None) for task in self._finish)
            self._loop(finishing=True)

    def _load(self) -> None:
        known = {tally.shard: tally for tally in tallies(self.job.run, begun=self.plan.cap_nano is not None)}
        revision = 1 + max((tally.revision or 0 for tally in known.values()), default=0)
        copies = set(self.plan.copy_shards)
        for shard in self.job.run.shards:
            tally = known.get(shard.name)
            if tally is not None:
                self._spent[shard.index] = tally.summary.spent_nano + tally.summary.presumed_nano
            committed = tally is not None and tally.revision is not None
            if tally is None or not committed or self._reopened(tally):
                task = CallTask(
                    self.job,
                    shard,
                    has_copies=shard.index in copies,
                    revision=revision if committed else 0,
                    retry_failed=self.retry_failed,
                )
                self._waiting.append(task)

    def _reopened(self, tally: Tally) -> bool:
        return tally.summary.unfunded > 0 or (self.retry_failed and tally.summary.failed > 0)

    def _loop(self, *, finishing: bool = False) -> None:
        while self._waiting or self._running or self._again:
            self.halt.check_deadline(time.monotonic())
            if self._error is not None or (self.halt.stopped and not finishing):
                self._drain()
                if not self._running:
                    break
            else:
                self._submit()
            for done in self.runner.wait(POLL_S):
                self._take(done)
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        self._waiting.clear()
        self._again.clear()
        self.runner.drain()

    def _submit(self) -> None:
        alone = not self._waiting and not self._running
        if alone and self._again:  # nobody else may give anything back: one at a time, with all that is left
            self._start(self._again.pop(0), 1)
        while self._waiting and len(self._running) < WINDOW * self.runner.slots:
            tasks = len(self._waiting) + len(self._running)
            self._start(self._waiting.popleft(), tasks)

    def _start(self, task: CallTask, tasks: int) -> None:
        cap = self.plan.calls_cap_nano
        if cap is not None and task.mode == "call":
            granted = sum(running.grant_nano or 0 for running in self._running.values())
            left = max(0, cap - sum(self._spent.values()) - granted)
            known = self._spent.get(task.shard.index, 0)
            task = replace(task, grant_nano=grant_for(left, tasks, self.runner.slots), known_nano=known)
        self._running[task.shard.index] = task
        self.runner.submit(call_shard, task)

    def _take(self, done: Done) -> None:
        task: CallTask = done.task
        last = self._running.pop(task.shard.index)
        if done.error is not None:
            self._error = self._error or done.error
            return
        receipt: CallReceipt = done.receipt
        self._spent[receipt.shard] = receipt.total_nano
        if receipt.stop is not None:
            self.halt.stop("errors", receipt.stop)
        if receipt.committed:
            return
        alone = not self._running and not self._waiting
        if receipt.unsent and not self.halt.stopped:
            if alone and receipt.total_nano == last.known_nano:
                self._unfunded = True  # all that is left was offered, and paid for nothing
                self._finish.append(last)
            else:
                self._again.append(replace(last, again=True))
        elif not receipt.unsent:
            self._finish.append(last)
