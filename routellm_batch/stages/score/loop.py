"""The driver's loop over the score stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.job import Config
from routellm_batch.core.errors import StopError
from routellm_batch.core.events import RowsScored, Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.core.types import Done, Shard
from routellm_batch.core.worker import this_worker
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

    def begin(shards: Sequence[Shard]) -> None:
        grant = budget.grant(shards) if budget else (None, 0)
        runner.submit(score_shards, ScoreTask(config, run, shards, *grant), scores=True)

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
    """Begin a task for each group, some at a time, and take what comes back; a stop lets the running tasks finish."""
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
        for done in runner.wait(this_worker().settings.poll_s):
            running -= 1
            try:
                take(done)
            except StopError as error:
                # The other tasks are paid for already, so their scores are waited for.
                stop = stop or error
    if stop is not None:
        raise stop


def _worst_cases(
    groups: Sequence[Sequence[Shard]], runner: Runner, halt: Halt, make: MakeTask
) -> dict[int, int]:
    """Return the most nano-dollars that each shard's embeddings can cost, by index; reads the input once more."""
    bounds: dict[int, int] = {}

    def take(done: Done) -> None:
        raise_error(done)
        bounds.update(zip((shard.index for shard in done.task.shards), done.receipt, strict=True))

    _each(groups, runner, halt, lambda shards: runner.submit(bound_shards, make(shards)), take)
    return bounds


def _groups(shards: Sequence[Shard], slots: int) -> list[list[Shard]]:
    """Return the shards in order, a list for each task: few enough in each that every slot gets two tasks."""
    size = max(1, min(MAX_GROUP, len(shards) // (slots * WINDOW)))
    return [list(shards[start : start + size]) for start in range(0, len(shards), size)]
