"""The driver's loop over the call stage: which shard is sent out next, with what to spend, and when to stop."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from routellm_batch.budget.plan import Plan, Reason
from routellm_batch.core.errors import (
    ConfigError,
    DataError,
    FencedError,
    InterruptedRunError,
    WorkerLostError,
)
from routellm_batch.core.events import Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.core.types import ROUTES, Done, Shard
from routellm_batch.core.worker import Worker
from routellm_batch.stages.call.degrade import load_degrades
from routellm_batch.stages.call.governor import Governor
from routellm_batch.stages.call.job import CallJob, take_share
from routellm_batch.stages.call.limit_shares import Sharing
from routellm_batch.stages.call.tally import Tally, tallies
from routellm_batch.stages.call.task import CallReceipt, CallTask, call_shard
from routellm_batch.stages.tasks import WINDOW, error_of
from routellm_batch.storage.ledger.shard import RUNNER_BYTES, ShardLedger

MOST_TOLD = 3
MOST_FENCED = 4
"""A shard that its task lost to a copy more often than this, copies of it may be losing for ever."""
LEARNING_PARTS = 8
"""While a route's costs are not known yet, a task is given at most this part of what is left."""


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
    worker: Worker
    retry_failed: bool = False
    sink: Sink = lambda _event: None
    sharing: Sharing = field(default_factory=Sharing)
    """Hears what this start's processes call."""
    _waiting: deque[CallTask] = field(default_factory=deque)
    _again: list[CallTask] = field(default_factory=list)
    """Tasks whose grant paid for nothing."""
    _alone: int | None = None
    """The shard that was offered all that is left."""
    _stuck: list[CallTask] = field(default_factory=list)
    """Tasks that all that is left paid for nothing of."""
    _due: Reason | None = None
    """Why pending rows need a higher cut; nothing is begun until they have it."""
    _finish: list[CallTask] = field(default_factory=list)
    """Shards to be written once all calls are done."""
    _running: dict[int, CallTask] = field(default_factory=dict)
    _turns: Counter[int] = field(default_factory=Counter)
    """Shard → tasks handed out for it."""
    _fenced: Counter[int] = field(default_factory=Counter)
    """Shard → tasks that lost it to a copy of themselves."""
    _spent: dict[int, int] = field(default_factory=dict)
    """Shard → settled and presumed, in nano-dollars, as its ledger last said."""
    _unfunded: bool = False
    _given_up: list[str] = field(default_factory=list)
    """What is wrong with shards that can't be worked on; the others are."""
    _error: BaseException | None = None
    """What a task raised that nobody expected; raised again once the others have persisted their replies."""

    def __post_init__(self) -> None:
        """Follow the newest plan."""
        degrades = load_degrades(self.job.run)
        if degrades:
            newest = degrades[-1]
            self.job = replace(self.job, cut=newest.cut, copies_cut=self.plan.cut)
        else:
            self.job = replace(self.job, copies_cut=self.plan.cut)
        self._governor = Governor(self.plan, self.job, degrades, self.sink)

    def run(self) -> None:
        """Call what is missing; returns when all is done or nothing more can be."""
        self._load()
        self._loop()
        if self._unfunded:
            self.halt.stop("budget", "what is left of budget.hard_cap_usd pays for no further call")
        if self._given_up:
            self.halt.stop("errors", "; ".join(self._given_up[:MOST_TOLD]))
        if self.halt.state in {"finished", "budget"}:
            self._due = None
            self._waiting = deque(replace(task, mode="finish", grant_nano=None) for task in self._finish)
            self._loop(finishing=True)

    def _load(self) -> None:
        if self.plan.cap_nano is not None and self.halt.loose:
            self._seal()
            self.halt.loose = False
        known = {tally.shard: tally for tally in tallies(self.job.run, begun=self.plan.cap_nano is not None)}
        revision = 1 + max((tally.revision or 0 for tally in known.values()), default=0)
        copies = set(self.plan.copy_shards)
        behind = any(tally.behind for tally in known.values())
        for shard in self.job.run.shards:
            tally = known.get(shard.name)
            if tally is not None:
                self._spent[shard.index] = tally.summary.spent_nano + tally.summary.presumed_nano
                self._governor.book(shard.index, {r: tally.summary.routes[r].ended for r in ROUTES})
            committed = tally is not None and tally.revision is not None
            has_copies = shard.index in copies
            task = CallTask(
                self.job,
                shard,
                has_copies=has_copies,
                revision=revision if committed else 0,
                retry_failed=self.retry_failed,
            )
            if tally is None or not committed or self._reopened(tally):
                self._waiting.append(task)
            elif tally.behind or (behind and has_copies and tally.summary.failed):
                self._finish.append(task)

    def _seal(self) -> None:
        """Shut out what an earlier start left running, so that it spends nothing that is granted anew.

        It may be at work on a committed shard, too: on rows that had failed there, or that were unfunded.
        """
        run = self.job.run
        begun = set(run.store.folders("call"))
        for tally in tallies(run):
            mended = tally.summary.failed + tally.summary.unfunded > 0
            if tally.shard in begun and (tally.revision is None or mended):
                self._sealer(tally.shard).seal()

    def _reopened(self, tally: Tally) -> bool:
        return tally.summary.unfunded > 0 or (self.retry_failed and tally.summary.failed > 0)

    def _loop(self, *, finishing: bool = False) -> None:
        while self._waiting or self._running or self._again or self._stuck:
            self.halt.check_deadline(self.worker.clock.monotonic())
            if self._error is not None or (self.halt.stopped and not finishing):
                self._drain()
                if not self._running:
                    break
            elif self._due is not None:
                self.runner.drain(self.job.round_token)
                if not self._running:
                    self._degrade(self._due)
            else:
                self._submit()
            if (shares := self.sharing.due(self.worker.clock.monotonic())) and self.runner.workers > 1:
                self.runner.tell(take_share, self.job.token, shares)
            for done in self.runner.wait(self.worker.settings.poll_s):
                self._take(done)
        if isinstance(self._error, ConfigError) and any(self._spent.values()):
            self.halt.stop(
                "errors", str(self._error)
            )  # it says that nothing was spent, which is no longer true
        elif self._error is not None:
            raise self._error

    def _drain(self) -> None:
        self._waiting.clear()
        self._again.clear()
        self._stuck.clear()
        self.runner.drain()

    def _degrade(self, reason: Reason) -> None:
        """Give pending rows a higher cut; nothing is running. Where none helps, what is stuck is left out."""
        tasks = [*self._waiting, *self._again, *self._stuck]
        shards = [task.shard for task in tasks]
        job = self._governor.degrade(
            self.job, shards, sum(self._spent.values()), reason, self.worker.clock.wall()
        )
        self._due = None
        # Another round even where no cut helps: the token of this one is drained for good.
        self.job = replace(job or self.job, round=self.job.round + 1)
        if job is not None:
            self._waiting = deque(tasks)
            self._again, self._stuck = [], []
        elif reason == "worst_case":
            self._leave_out()

    def _leave_out(self) -> None:
        self._unfunded = True
        self._finish += self._stuck
        self._stuck = []

    def _submit(self) -> None:
        alone = not self._waiting and not self._running
        if alone and self._again:  # nobody else may give anything back: one at a time, with all that is left
            self._alone = self._again[0].shard.index
            self._start(self._again.pop(0), 1)
        elif alone and self._stuck:
            if self._governor.active:
                self._due = "worst_case"
            else:
                self._leave_out()
        while self._waiting and len(self._running) < WINDOW * self.runner.slots:
            tasks = len(self._waiting) + len(self._running)
            self._start(self._waiting.popleft(), tasks)

    def _start(self, task: CallTask, tasks: int) -> None:
        cap = self.plan.calls_cap_nano
        if cap is not None and task.mode == "call":
            granted = sum(running.grant_nano or 0 for running in self._running.values())
            left = max(0, cap - sum(self._spent.values()) - granted)
            known = self._spent.get(task.shard.index, 0)
            grant = grant_for(left, tasks, self.runner.slots)
            if self._alone != task.shard.index and self._governor.learning:
                grant = min(grant, left // LEARNING_PARTS)  # what it teaches is wanted early
            task = replace(task, grant_nano=grant, known_nano=known)
        task = replace(task, job=self.job, turn=self._turns[task.shard.index])
        self._turns[task.shard.index] += 1
        self._running[task.shard.index] = task
        self.runner.submit(call_shard, task)

    def _take(self, done: Done) -> None:
        task: CallTask = done.task
        last = self._running.pop(task.shard.index)
        alone, self._alone = self._alone == task.shard.index, None if not self._running else self._alone
        if done.error is not None:
            self._fail(last, error_of(done))
            return
        receipt: CallReceipt = done.receipt
        self._spent[receipt.shard] = receipt.total_nano
        self._governor.book(receipt.shard, receipt.ended)
        if last.mode == "call" and self._governor.ahead(sum(self._spent.values())):
            self._due = self._due or "burn"
        if receipt.stop is not None:
            self.halt.stop("errors", receipt.stop)
        if receipt.committed:
            return
        if not receipt.unsent:
            self._finish.append(last)
        elif not self.halt.stopped:
            paid = receipt.total_nano != last.known_nano
            stuck = alone and receipt.short and not paid
            task = replace(last, again=True)
            if stuck:
                self._stuck.append(task)
            elif paid or self._due is not None:
                self._waiting.append(task)
            else:
                self._again.append(task)

    def _fail(self, task: CallTask, error: BaseException | None) -> None:
        """Take a task's error: one shard's trouble is told at the end, any other stops the run."""
        shard = task.shard
        if isinstance(error, (WorkerLostError, DataError)):
            self._recount(shard)
            rows = f"rows {shard.start} to {shard.start + shard.rows - 1} of {self.job.run.files[shard.file].uri}"
            self._given_up.append(f"{rows} can't be worked on: {error}")
        elif isinstance(error, FencedError):
            self._recount(shard)
            self._fenced[shard.index] += 1
            if self._fenced[shard.index] > MOST_FENCED:
                self.halt.stop("interrupted", str(error))
            self._waiting.append(replace(task, again=True))
        elif isinstance(error, InterruptedRunError):
            self.halt.loose = True
            self.halt.stop("interrupted", str(error))
        else:
            self.halt.loose = True
            self._error = self._error or error

    def _sealer(self, shard: str, turn: int = 0) -> ShardLedger:
        """Return a shard's ledger as this start of the run writes to it: only seals."""
        store, runner = self.job.run.store, self.worker.new_name(RUNNER_BYTES)
        return ShardLedger(store, shard, epoch=self.job.epoch, turn=turn, runner=runner)

    def _recount(self, shard: Shard) -> None:
        """Shut a lost task and its copies out of its shard and count what they spent, before its grant goes to others."""
        turn = self._turns[shard.index]
        ledger = self._sealer(shard.name, turn)
        try:
            ledger.seal()
            self._spent[shard.index] = ledger.load(sure=True).spent_nano
            if ledger.deposed():
                self.halt.stop("interrupted", str(FencedError()))
        except OSError as error:  # nothing more may be granted, as nobody knows what is left
            self.halt.loose = True
            self.halt.stop("interrupted", f"storage failed ({type(error).__name__})")
