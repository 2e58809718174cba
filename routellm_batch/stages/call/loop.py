"""The driver's loop over the call stage: it submits what ``ShardQueue`` says, and deals with what comes back."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from routellm_batch.budget.plan import Plan, Reason
from routellm_batch.core.errors import (
    ConfigError,
    DataError,
    FencedError,
    InterruptedRunError,
    NotBegunError,
    StoreError,
    WorkerLostError,
)
from routellm_batch.core.events import Sink, StageStarted
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.core.types import ROUTES, Done, EndpointName, Route, Shard
from routellm_batch.core.worker import Worker
from routellm_batch.stages.call.degrade import load_degrades
from routellm_batch.stages.call.governor import Governor
from routellm_batch.stages.call.job import CallJob, take_allotment
from routellm_batch.stages.call.limit_shares import Sharing
from routellm_batch.stages.call.queue import CallReceipt, ShardQueue, ShardTask
from routellm_batch.stages.call.standing import REFUSALS
from routellm_batch.stages.call.tally import Tally, tallies
from routellm_batch.stages.call.task import CallTask, call_shard, is_wanted
from routellm_batch.stages.tasks import error_of
from routellm_batch.storage.ledger.local import local_folder
from routellm_batch.storage.ledger.shard import RUNNER_BYTES, ShardLedger
from routellm_batch.storage.ledger.state import LedgerState
from routellm_batch.storage.ledger.succession import adopt
from routellm_batch.storage.run import STAGE

MOST_NAMED = 3
"""Shards that could not be worked on and are named in the reason for a stop."""

log = logging.getLogger(__name__)


@dataclass
class CallStage:
    """The call stage of one start of a run."""

    job: CallJob
    """What is followed now; it changes with each new cut."""
    plan: Plan
    """The run's plan, under today's cap."""
    runner: Runner
    """Runs the tasks."""
    halt: Halt
    """Whether, and why, nothing more is begun."""
    worker: Worker
    """The driver's process."""
    retry_failed: bool = False
    """Rows that failed for good are called again."""
    sink: Sink = lambda _event: None
    """Gets what the user should read."""
    sharing: Sharing | None = None
    """Allots the endpoints' limits to this start's processes by what they call; None for one that hears nothing yet."""
    changed: frozenset[EndpointName] = frozenset()
    """Endpoints that are others than the run was begun with."""
    _answered: frozenset[Route] = frozenset()
    """Routes whose endpoint has answered a row of the run."""
    _undecided: list[tuple[ShardTask, frozenset[Route]]] = field(default_factory=list)
    """Tasks that ended their shard with refused rows of which nobody knew yet whether all are refused, and the routes."""
    _revision: int = 1
    """Of what this start writes of committed shards."""
    _finishing: bool = False
    """All calls are done; what is left is to be written, whatever stops the calls."""
    _given_up: list[str] = field(default_factory=list)
    """What is wrong with shards that can't be worked on; the others are."""
    _error: BaseException | None = None
    """What a task raised that nobody expected; raised again once the others have persisted their replies."""

    def __post_init__(self) -> None:
        """Follow the newest plan."""
        degrades = load_degrades(self.job.run)
        cut = degrades[-1].cut if degrades else self.job.cut
        self.job = replace(self.job, cut=cut, copies_cut=self.plan.cut)
        self._governor = Governor(self.plan, self.job, degrades, self.sink)
        self.queue = ShardQueue(
            self.runner.slots,
            self.plan.calls_cap_nano,
            self.plan.goal_nano if self._governor.active else None,
        )

    def run(self) -> None:
        """Call what is missing; returns when all is done or nothing more can be.

        Raises:
            BaseException: what a task raised that is neither one shard's trouble nor a stop.

        """
        self._load()
        self._loop()
        if not self.halt.stopped and self._ask_undecided():
            self._loop()
        if self.queue.unfunded:
            self.halt.stop("budget", "what is left of budget.hard_cap_usd pays for no further call")
        if self._given_up:
            self.halt.stop("errors", "; ".join(self._given_up[:MOST_NAMED]))
        if self.halt.state in {"finished", "budget"}:
            self.queue.finish()
            self._loop(finishing=True)

    def _load(self) -> None:
        if self.plan.cap_nano is not None and self.halt.loose:
            self._seal()
            self.halt.loose = False
        known = {tally.shard: tally for tally in tallies(self.job.run)}
        self._answered = frozenset(
            route for route in ROUTES if any(tally.summary.routes[route].answered for tally in known.values())
        )
        doubted = frozenset(ROUTES) - self._answered
        self._revision = revision = 1 + max((tally.revision or 0 for tally in known.values()), default=0)
        copies = set(self.plan.copy_shards)
        behind = any(tally.behind for tally in known.values())
        settled = 0
        for shard in self.job.run.shards:
            tally = known.get(shard.name)
            if tally is not None:
                self.queue.book(shard.index, tally.summary.spent_nano + tally.summary.presumed_nano)
                self._governor.book(shard.index, {r: tally.summary.routes[r].ended for r in ROUTES})
            committed = tally is not None and tally.revision is not None
            has_copies = shard.index in copies
            task = ShardTask(
                shard,
                has_copies=has_copies,
                revision=revision if committed else 0,
                retry_failed=self.retry_failed,
                doubted=doubted,
                changed=self.changed,
            )
            if tally is None or not committed or self._reopened(tally, doubted):
                self.queue.add(task)
                continue
            settled += tally.summary.ok + tally.summary.failed
            if tally.behind or (behind and has_copies and tally.summary.failed):
                self.queue.add_unfinished(task)
        # Of the shards that are called, tasks report what was done before.
        self.sink(StageStarted(STAGE, self.plan.valid, settled, self.plan.planned_nano))

    def _ask_undecided(self) -> bool:
        """Have rows called again whose refusal turned out to be their own; return whether there are any."""
        again = [task for task, routes in self._undecided if routes & self._answered]
        for task in again:
            only = replace(
                task, revision=self._revision, again=False, retry_failed=False, doubted=frozenset()
            )
            self.queue.add(only)
        self._undecided = []
        return bool(again)

    def _seal(self) -> None:
        """Shut out what an earlier start left running, so that it spends nothing that is granted anew.

        It may be at work on a committed shard, too: on rows that had failed there, or that were unfunded.
        """
        run = self.job.run
        begun = set(run.store.folders("call"))
        for tally in tallies(run):
            retried = tally.summary.failed + tally.summary.unfunded > 0
            if tally.shard in begun and (tally.revision is None or retried):
                self._sealer(tally.shard).seal()

    def _reopened(self, tally: Tally, doubted: frozenset[Route]) -> bool:
        """Whether a committed shard has rows that may be called again."""
        wanted = (
            self.retry_failed
            or self.changed
            or any(tally.summary.routes[route].calls for route in doubted)
            or not REFUSALS.isdisjoint(tally.summary.errors)
        )
        return tally.summary.unfunded > 0 or (bool(wanted) and tally.summary.failed > 0)

    def _loop(self, *, finishing: bool = False) -> None:
        queue, self._finishing = self.queue, finishing
        while queue.open:
            self.halt.check_deadline(self.worker.clock.monotonic())
            if self._error is not None or (self.halt.stopped and not finishing):
                queue.drop()
                self.runner.drain()
                if not queue.running:
                    break
            elif queue.due is not None:
                self.runner.drain(self.job.round_token)
                if not queue.running:
                    self._degrade(queue.due)
            else:
                self._submit()
            self._allot()
            for done in self.runner.wait(self.worker.settings.poll_s):
                self._take(done)
        if isinstance(self._error, ConfigError) and queue.spent_nano:
            # The error says that nothing was spent, which is no longer true.
            self.halt.stop("errors", str(self._error))
        elif self._error is not None:
            raise self._error

    def _allot(self) -> None:
        """Tell processes what they may use of the endpoints' limits, as often as that changes."""
        if self.sharing is not None and not self.job.alone:
            allotments = self.sharing.due(self.worker.clock.monotonic())
            if allotments:
                self.runner.tell(take_allotment, self.job.token, allotments)

    def _submit(self) -> None:
        governor = self._governor
        for task in self.queue.begin(learning=governor.learning, degradable=governor.active):
            suspect = self.queue.suspect(task.shard.index)
            told = replace(task, answered=self._answered)
            self.runner.submit(call_shard, CallTask(self.job, told), suspect=suspect)

    def _degrade(self, reason: Reason) -> None:
        """Give pending rows a higher cut; nothing is running. Where none helps, what is stuck is left out."""
        shards = [task.shard for task in self.queue.pending]
        now = self.worker.clock.wall()
        job = self._governor.degrade(self.job, shards, self.queue.spent_nano, reason, now)
        # Another round even where no cut helps: the token of this one is drained for good.
        self.job = replace(job or self.job, round=self.job.round + 1)
        self.queue.recut(helped=job is not None)

    def _take(self, done: Done) -> None:
        task: CallTask = done.task
        if done.error is not None:
            self._fail(self.queue.lose(task.shard.index), error_of(done))
            return
        receipt: CallReceipt = done.receipt
        self._governor.book(receipt.shard, receipt.ended)
        self.queue.book(receipt.shard, receipt.total_nano)
        self._answered |= receipt.answered
        if receipt.undecided and receipt.committed and task.work.mode == "call":
            self._undecided.append((task.work, receipt.undecided))
        ahead = task.work.mode == "call" and self._governor.ahead(self.queue.spent_nano)
        if receipt.stop is not None:
            self.halt.stop("errors", receipt.stop)
        self.queue.take(receipt, ahead=ahead, stopped=self.halt.stopped)

    def _fail(self, task: ShardTask, error: BaseException | None) -> None:
        """Take a task's error: one shard's trouble is reported at the end, any other stops the run."""
        if isinstance(error, WorkerLostError):
            self._bury(task, error)
        elif isinstance(error, DataError):
            self._recount(task.shard)
            self._give_up(task.shard, error)
        elif isinstance(error, NotBegunError):
            pass  # the run stops, and the shard is left to the next start
        elif isinstance(error, FencedError):
            self._recount(task.shard)
            if not self.queue.put_back(task):
                self.halt.stop("interrupted", str(error))
        elif isinstance(error, InterruptedRunError):
            self.halt.loose = True
            self.halt.stop("interrupted", str(error))
        else:
            self.halt.loose = True
            self._error = self._error or error

    def _bury(self, task: ShardTask, error: WorkerLostError) -> None:
        """Have a shard called again whose task's worker died; give it up where that helps no more."""
        state = self._recount(task.shard)
        if state is None or (self.halt.stopped and not self._finishing):
            return
        done = sum(not is_wanted(task, record) for record in state.records.values())
        deaths = self.queue.bury(task, error.deaths, done)
        if deaths.hopeless:
            self._give_up(task.shard, WorkerLostError(deaths.deaths))
        else:
            log.warning("a worker process died; shard %s is gone on with", task.shard.name)

    def _give_up(self, shard: Shard, error: BaseException) -> None:
        rows = f"rows {shard.start} to {shard.start + shard.rows - 1} of {self.job.run.files[shard.file].uri}"
        self._given_up.append(f"{rows} can't be worked on: {error}")

    def _sealer(self, shard: str, turn: int = 0) -> ShardLedger:
        """Return a shard's ledger as this start of the run writes to it: only seals."""
        store, runner = self.job.run.store, self.worker.new_name(RUNNER_BYTES)
        return ShardLedger(store, shard, epoch=self.job.epoch, turn=turn, runner=runner)

    def _recount(self, shard: Shard) -> LedgerState | None:
        """Shut a lost task and its copies out of its shard and count what they spent, before its grant goes to others.

        Returns:
            What the ledger holds, with what a dead worker left on this machine; None where storage failed.

        """
        turn = self.queue.turn(shard.index)
        ledger = self._sealer(shard.name, turn)
        try:
            ledger.seal()
            self._adopt(shard)
            state = ledger.load(sure=True)
            self.queue.book(shard.index, state.spent_nano)
            if ledger.deposed():
                self.halt.stop("interrupted", str(FencedError()))
        except OSError as error:  # nothing more may be granted, as nobody knows what is left
            self.halt.loose = True
            self.halt.stop("interrupted", f"storage failed ({type(error).__name__})")
            return None
        return state

    def _adopt(self, shard: Shard) -> None:
        """Store what a dead worker left in this machine's local logs; without them its answers seem not to have come."""
        run = self.job.run
        try:
            folder = local_folder(run.uri, self.worker.local_folder)
        except StoreError:  # a driver may run where no worker does, and where there is no such folder
            return
        adopt(run.store, folder, shard.name)
