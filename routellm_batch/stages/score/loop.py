"""The driver's loop over the score stage."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.job import Config
from routellm_batch.core.errors import NotBegunError, StopError, WorkerLostError
from routellm_batch.core.events import RowsScored, Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.core.types import Done, Shard
from routellm_batch.core.worker import this_worker
from routellm_batch.stages.deaths import Deaths
from routellm_batch.stages.score.allowance import EmbeddingBudget
from routellm_batch.stages.score.task import STAGE as SCORE
from routellm_batch.stages.score.task import ScoreTask, bound_shards, score_shards
from routellm_batch.stages.tasks import WINDOW, raise_error
from routellm_batch.storage.paid import paid_by_shard
from routellm_batch.storage.run import Run

MAX_GROUP = 16
"""Shards in one score task, at most."""

MakeTask = Callable[[Sequence[Shard]], ScoreTask]
"""Makes a task of some shards."""

log = logging.getLogger(__name__)


def run_score_stage(config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> None:
    """Score every shard that is not scored yet.

    Args:
        config: the job.
        run: its folder.
        runner: runs the tasks.
        sink: takes the number of rows as they are scored.
        halt: stops the stage early.

    Raises:
        BudgetError: with a hard cap, the embeddings could cost more than it leaves; nothing more was spent.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    finished = run.committed(SCORE)
    missing = [shard for shard in run.shards if shard.name not in finished]
    groups = _groups(missing, runner.slots)
    cap, budget = config.budget.hard_cap_usd, None
    if groups and cap is not None and config.router.embedder.name == "remote":
        bounds = _worst_cases(groups, runner, halt, partial(ScoreTask, config, run))
        paid = {int(name): use.paid_nano for name, use in paid_by_shard(run).items()}
        budget = EmbeddingBudget(usd_to_nano(cap), paid, bounds)

    def make(shards: Sequence[Shard]) -> ScoreTask:
        grant = budget.grant(shards) if budget else (None, 0)
        return ScoreTask(config, run, shards, *grant)

    def take(done: Done) -> None:
        if budget and done.error is None:
            budget.settle(done.task.shards, done.receipt.paid_nano)
        raise_error(done)
        sink(RowsScored(done.receipt.rows))

    def rest(task: ScoreTask) -> ScoreTask:
        finished = run.committed(SCORE)
        left = [shard for shard in task.shards if shard.name not in finished]
        if task.allowance_nano is not None or not left:
            return task  # what it may pay is counted over all its shards
        sink(RowsScored(sum(shard.rows for shard in task.shards) - sum(shard.rows for shard in left)))
        return replace(task, shards=left)

    _each(groups, runner, halt, _Work(score_shards, make, take, rest))


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done with each group of shards."""

    function: Callable[[ScoreTask], Any]
    """Runs a task."""
    make: MakeTask
    """Makes a group's task."""
    take: Callable[[Done], None]
    """Takes a task that came back; may raise a ``StopError``, which lets the running tasks finish."""
    rest: Callable[[ScoreTask], ScoreTask] = lambda task: task
    """Returns what is left of a task whose worker died."""


def _each(groups: Sequence[Sequence[Shard]], runner: Runner, halt: Halt, work: _Work) -> None:
    """Begin a task for each group, some at a time, and take what comes back; a stop lets the running tasks finish."""
    waiting = deque(groups)
    running = 0
    stop: StopError | None = None
    deaths: dict[int, Deaths] = {}
    scores = work.function is score_shards
    while waiting or running:
        halt.check_deadline(time.monotonic())
        while waiting and running < WINDOW * runner.slots and not halt.stopped and stop is None:
            runner.submit(work.function, work.make(waiting.popleft()), scores=scores)
            running += 1
        if halt.stopped or stop:
            runner.drain()  # what no worker has begun comes back
            if not running:
                break
        for done in runner.wait(this_worker().settings.poll_s):
            running -= 1
            if halt.stopped and isinstance(done.error, (WorkerLostError, NotBegunError)):
                continue
            try:
                task = _after_death(done, deaths, work.rest)
                if task is not None and stop is None:
                    runner.submit(work.function, task, scores=scores, suspect=True)
                    running += 1
                    continue
                work.take(done)
            except StopError as error:
                # The other tasks are paid for already, so their scores are waited for.
                stop = stop or error
    if stop is not None:
        raise stop


def _after_death(
    done: Done, deaths: dict[int, Deaths], rest: Callable[[ScoreTask], ScoreTask]
) -> ScoreTask | None:
    """Return what is to be run again of a task whose worker died; None of any other.

    Raises:
        WorkerLostError: it died too often in a row, to no avail.

    """
    if not isinstance(done.error, WorkerLostError):
        return None
    task: ScoreTask = rest(done.task)
    key = task.shards[-1].index
    known = deaths.get(key, Deaths(-len(done.task.shards)))
    deaths[key] = known.after(done.error.deaths, -len(task.shards))
    if deaths[key].hopeless:
        raise WorkerLostError(deaths[key].deaths)
    log.warning("a worker process died; what it was scoring is scored again")
    return task


def _worst_cases(
    groups: Sequence[Sequence[Shard]], runner: Runner, halt: Halt, make: MakeTask
) -> dict[int, int]:
    """Return the most nano-dollars that each shard's embeddings can cost, by index; reads the input once more."""
    bounds: dict[int, int] = {}

    def take(done: Done) -> None:
        raise_error(done)
        bounds.update(zip((shard.index for shard in done.task.shards), done.receipt, strict=True))

    _each(groups, runner, halt, _Work(bound_shards, make, take))
    return bounds


def _groups(shards: Sequence[Shard], slots: int) -> list[list[Shard]]:
    """Return the shards in order, a list for each task: few enough in each that every slot gets two tasks."""
    size = max(1, min(MAX_GROUP, len(shards) // (slots * WINDOW)))
    return [list(shards[start : start + size]) for start in range(0, len(shards), size)]
