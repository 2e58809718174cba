"""Which shard is sent out next, and with what to spend: all that a call stage's loop has to remember. Pure.

Events go in (a shard is to be called, a task came back, a new cut stands), the tasks to submit come out. What runs
the tasks, what storage holds and what time it is are the loop's. Kept at every moment under a cap: what is spent and
what running tasks were granted is within it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from routellm_batch.budget.plan import Reason
from routellm_batch.budget.spend.projection import FinishedCalls
from routellm_batch.core.types import EndpointName, Route, Shard
from routellm_batch.stages.deaths import Deaths
from routellm_batch.stages.tasks import WINDOW

MOST_FENCED = 4
"""A shard that its task lost to a copy more often than this, copies of it may be losing for ever."""
LEARNING_PARTS = 8
"""While a route's costs are not known yet, a task is given at most this part of what is left."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What a task is to do with one shard."""

    shard: Shard
    """The shard."""
    mode: Literal["call", "finish"] = "call"
    """Whether calls are made that are missing, or only what the ledgers hold is written."""
    grant_nano: int | None = None
    """What this task may spend; None without a limit."""
    turn: int = 0
    """Number of this task among those that its start has handed out for the shard; a copy of it has the same."""
    known_nano: int = 0
    """What the grant's giver knew of this shard's spending; whatever the ledger holds beyond it comes off the grant."""
    has_copies: bool = False
    """Some of its rows take their answer from another row."""
    revision: int = 0
    """0, or the number of this pass over rows that an earlier one left failed or unfunded."""
    retry_failed: bool = False
    """Rows that failed for good are called again."""
    again: bool = False
    """An earlier task of this start ran out of its grant: what failed then has failed."""
    answered: frozenset[Route] = frozenset()
    """Routes whose endpoint is known to have answered a row of the run."""
    doubted: frozenset[Route] = frozenset()
    """Routes whose endpoint had answered none when this start began: failures that may have passed are called again."""
    changed: frozenset[EndpointName] = frozenset()
    """Endpoints that are others than the run was begun with: what those before had failed is called again."""


@dataclass(frozen=True, slots=True)
class CallReceipt:
    """What a call task did; small, as it travels through the scheduler."""

    shard: int
    """Index of the shard."""
    committed: bool
    """The shard's responses and marker are written."""
    unsent: int
    """Rows that still need a call."""
    total_nano: int
    """Settled and presumed for this shard, by all tasks there ever were."""
    stop: str | None
    """Why this process calls no more, if so."""
    short: bool = False
    """The grant did not pay for a row's worst case."""
    ended: Mapping[Route, FinishedCalls] = field(default_factory=dict)
    """This shard's calls that ended, by all tasks there ever were."""
    answered: frozenset[Route] = frozenset()
    """Routes whose endpoint has answered a row of this shard."""
    undecided: frozenset[Route] = frozenset()
    """Routes whose endpoint refused rows of this shard when nobody knew yet whether it refuses all."""


def grant_for(left_nano: int, tasks: int, slots: int) -> int:
    """Return what the next task may spend: an even part of what is left over the tasks that may run beside it."""
    return left_nano // max(1, min(tasks, WINDOW * slots))


class ShardQueue:
    """The shards of one start of a call stage: those that wait, run, are stuck, or are to be finished.

    Args:
        slots: tasks that the runner can run at once.
        cap_nano: what all calls of the run may cost; None without a cap.
        goal_nano: what they are asked to cost, where that is no cap: tasks are granted parts of it while costs are
            learned, so that what they teach comes before it is spent.

    """

    def __init__(self, slots: int, cap_nano: int | None, goal_nano: int | None = None) -> None:
        self.running: dict[int, ShardTask] = {}
        """Shard → its task."""
        self.spent: dict[int, int] = {}
        """Shard → settled and presumed, in nano-dollars, as its ledger last said."""
        self.due: Reason | None = None
        """Why pending rows need a higher cut; nothing is begun until they have it."""
        self.unfunded = False
        """Rows were left out that the whole remaining budget could not pay for."""
        self._slots = slots
        self._cap_nano = cap_nano
        self._goal_nano = goal_nano if cap_nano is None else None
        self._waiting: deque[ShardTask] = deque()
        self._unpaid: list[ShardTask] = []
        """Tasks whose grant paid for nothing."""
        self._alone: int | None = None
        """The shard that was offered all that is left."""
        self._stuck: list[ShardTask] = []
        """Tasks that the whole remaining budget could not pay for."""
        self._unfinished: list[ShardTask] = []
        """Shards to be written once all calls are done."""
        self._turns: Counter[int] = Counter()
        """Shard → tasks handed out for it."""
        self._fenced: Counter[int] = Counter()
        """Shard → tasks that lost it to a copy of themselves."""
        self._deaths: dict[int, Deaths] = {}
        """Shard → deaths of its tasks' workers without progress."""

    def add(self, task: ShardTask) -> None:
        """Take a shard that is to be called."""
        self._waiting.append(task)

    def add_unfinished(self, task: ShardTask) -> None:
        """Take a shard that needs no call, and is to be written once all calls are done."""
        self._unfinished.append(task)

    def book(self, shard: int, spent_nano: int) -> None:
        """Take what a shard's ledger says was spent for it, by all tasks there ever were."""
        self.spent[shard] = spent_nano

    @property
    def open(self) -> bool:
        """Whether any task runs or is yet to be submitted; those to be finished do not count before ``finish``."""
        return bool(self._waiting or self.running or self._unpaid or self._stuck)

    @property
    def spent_nano(self) -> int:
        """Settled and presumed for all shards, in nano-dollars."""
        return sum(self.spent.values())

    @property
    def pending(self) -> Sequence[ShardTask]:
        """The tasks whose rows are pending and that do not run."""
        return [*self._waiting, *self._unpaid, *self._stuck]

    def turn(self, shard: int) -> int:
        """Return the number that a shard's next task will have; those before it are over once it is sealed."""
        return self._turns[shard]

    def begin(self, *, learning: bool, degradable: bool) -> Sequence[ShardTask]:
        """Return the tasks to submit now; from here on they run. May set ``due`` or ``unfunded`` instead.

        Args:
            learning: some route's costs are not known yet, so tasks are kept small: what they teach is wanted early.
            degradable: a higher cut may yet pay for what is stuck.

        """
        begun: list[ShardTask] = []
        alone = not self._waiting and not self.running
        if alone and self._unpaid:  # nobody else may give anything back: one at a time, with all that is left
            self._alone = self._unpaid[0].shard.index
            begun.append(self._start(self._unpaid.pop(0), 1, learning=learning))
        elif alone and self._stuck:
            if degradable:
                self.due = "worst_case"
            else:
                self._leave_out()
        while self._waiting and len(self.running) < WINDOW * self._slots:
            tasks = len(self._waiting) + len(self.running)
            begun.append(self._start(self._waiting.popleft(), tasks, learning=learning))
        return begun

    def _start(self, task: ShardTask, tasks: int, *, learning: bool) -> ShardTask:
        shard = task.shard.index
        if self._cap_nano is not None and task.mode == "call":
            granted = sum(running.grant_nano or 0 for running in self.running.values())
            left = max(0, self._cap_nano - self.spent_nano - granted)
            grant = grant_for(left, tasks, self._slots)
            if self._alone != shard and learning:
                grant = min(grant, left // LEARNING_PARTS)
            task = replace(task, grant_nano=grant, known_nano=self.spent.get(shard, 0))
        elif self._goal_nano is not None and task.mode == "call":
            part = max(0, self._goal_nano - self.spent_nano) // LEARNING_PARTS
            slice_nano = part if learning and part else None
            task = replace(task, grant_nano=slice_nano, known_nano=self.spent.get(shard, 0))
        task = replace(task, turn=self._turns[shard])
        self._turns[shard] += 1
        self.running[shard] = task
        return task

    def take(self, receipt: CallReceipt, *, ahead: bool, stopped: bool) -> None:
        """Take a task back that came to an end.

        Args:
            receipt: what it did.
            ahead: spending runs ahead of the plan, so that pending rows need a higher cut.
            stopped: nothing more is begun, so that rows that still need a call are left to the next start.

        """
        task, alone = self._end(receipt.shard)
        self.book(receipt.shard, receipt.total_nano)
        if ahead:
            self.due = self.due or "burn"
        if receipt.committed:
            return
        if not receipt.unsent:
            self._unfinished.append(task)
        elif not stopped:
            paid = receipt.total_nano != task.known_nano
            again = replace(task, again=True)
            if alone and receipt.short and not paid:
                self._stuck.append(again)
            elif paid or self.due is not None:
                self._waiting.append(again)
            elif self._goal_nano:
                self._goal_nano = (
                    0  # it is too small to be learned of in parts: from here on there is no grant
                )
                self._waiting.append(again)
            else:
                self._unpaid.append(again)

    def lose(self, shard: int) -> ShardTask:
        """Take a task out that failed; what it spent is to be booked, and its shard is called no more.

        Returns:
            The task, for ``put_back`` or ``bury``.

        """
        return self._end(shard)[0]

    def put_back(self, task: ShardTask) -> bool:
        """Have a shard called again whose task lost it to a copy of itself.

        Returns:
            Whether that is likely to help; False once it happened too often.

        """
        self._fenced[task.shard.index] += 1
        self._waiting.append(replace(task, again=True))
        return self._fenced[task.shard.index] <= MOST_FENCED

    def bury(self, task: ShardTask, deaths: int, done: int) -> Deaths:
        """Have a shard called again whose task's worker died, unless that happened too often in a row to no avail.

        Args:
            task: that was lost.
            deaths: worker processes that died with it.
            done: rows of the shard that need no further call by now.

        Returns:
            The deaths so far; where they are ``hopeless``, the shard is called no more.

        """
        shard = task.shard.index
        self._deaths[shard] = known = self._deaths.get(shard, Deaths()).after(deaths, done)
        if not known.hopeless:
            self._waiting.append(task)
        return known

    def suspect(self, shard: int) -> bool:
        """Whether a shard's task may be what kills its workers."""
        return self._deaths.get(shard, Deaths()).suspect

    def _end(self, shard: int) -> tuple[ShardTask, bool]:
        """Return a task that runs no more, and whether it had been offered all that was left."""
        task, alone = self.running.pop(shard), self._alone == shard
        if not self.running:
            self._alone = None
        return task, alone

    def recut(self, *, helped: bool) -> None:
        """Note that pending rows have a higher cut, or that none helps; then what is stuck is left out."""
        reason, self.due = self.due, None
        if helped:
            self._waiting = deque(self.pending)
            self._unpaid, self._stuck = [], []
        elif reason == "worst_case":
            self._leave_out()

    def _leave_out(self) -> None:
        self.unfunded = True
        self._unfinished += self._stuck
        self._stuck = []

    def drop(self) -> None:
        """Forget every task that does not run: nothing more is begun."""
        self._waiting.clear()
        self._unpaid.clear()
        self._stuck.clear()

    def finish(self) -> None:
        """Have the shards written that are to be, now that all calls are done."""
        self.due = None
        self._waiting = deque(replace(task, mode="finish", grant_nano=None) for task in self._unfinished)
        self._unfinished = []
