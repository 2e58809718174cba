"""A process's endpoints: its share of the limits, and the pools of starts that have ended."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.jobs import job_config

from routellm_batch.budget.selection.cut import Cut
from routellm_batch.core.types import ErrorKind
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.pacing.breaker import OPENS_AFTER
from routellm_batch.stages.call.job import CallJob, EndpointPools, close_pool, endpoint_pool, take_allotment
from routellm_batch.stages.call.limit_shares import VALID_S, Allotment, Part
from routellm_batch.storage.run import Run


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process whose connections are closed in the end."""
    worker = Worker()
    yield worker
    for token in ("first", "second"):
        close_pool(token, worker)


@pytest.fixture
def job(tmp_path: Path) -> CallJob:
    """One start of a run on two workers; nothing is called."""
    config = job_config(tmp_path, endpoints__weak__limits={"concurrency": 40, "rpm": 600})
    urls = {"strong": "http://127.0.0.1:9/v1", "weak": "http://127.0.0.1:9/v1"}
    return CallJob(config, Run.__new__(Run), Cut.__new__(Cut), urls, 2, 10, "first")  # type: ignore[arg-type]


async def _nothing() -> None:
    """Let what was put on the loop before run."""


def allotment(number: int, calls: int, *, period: int = 0, said_s: float = 0.0) -> Allotment:
    """Return what a driver allots of the weak endpoint."""
    return Allotment(number, said_s, period, {"weak": Part(calls, 0.5)})


def told(worker: Worker, *allotments: Allotment) -> None:
    """Have a process take what it was allotted, one after the other."""
    for one in allotments:
        take_allotment("first", {worker.name: one, "another": allotment(9, 40)}, worker)
        take_allotment("unknown", {worker.name: allotment(9, 40)}, worker)
    worker.loop.run(_nothing())


def test_a_process_begins_with_nothing_and_uses_what_it_is_allotted(job: CallJob, worker: Worker) -> None:
    """It finds its own allotment by its name; the newest one counts, in whatever order they come."""
    pool = endpoint_pool(job, worker)
    pace, now_s = pool.callers["weak"].gate.pace, worker.clock.monotonic()
    before = pace.wait_s(now_s, 1)
    pool.begin_task()
    told(worker, allotment(2, 30, said_s=now_s), allotment(1, 7, said_s=now_s))
    assert (math.inf, 30, 2) == (before, pace.limiter.most, pool.allotment)
    assert pace.wait_s(now_s, 1) < 1
    assert math.inf == pace.wait_s(now_s + VALID_S, 1)


def test_what_was_allotted_ends_with_the_last_task(job: CallJob, worker: Worker) -> None:
    """An idle process uses nothing, and not what was meant for it before; then it begins anew."""
    pool, now_s = endpoint_pool(job, worker), worker.clock.monotonic()
    pace = pool.callers["weak"].gate.pace
    pool.begin_task()
    told(worker, allotment(1, 30, said_s=now_s))
    pool.end_task()
    told(worker, allotment(2, 30, said_s=now_s))
    pool.begin_task()
    told(worker, allotment(3, 30, said_s=now_s))
    assert (math.inf, 1) == (pace.wait_s(now_s, 1), pool.period)
    told(worker, allotment(4, 30, said_s=now_s, period=1))
    assert pace.wait_s(now_s, 1) < 1


def test_a_process_that_calls_alone_has_all_of_the_limits(job: CallJob, worker: Worker) -> None:
    """It waits for no word of a driver, which is itself."""
    pool = endpoint_pool(replace(job, alone=True), worker)
    assert (0, 40) == (
        pool.callers["weak"].gate.pace.wait_s(worker.clock.monotonic(), 1),
        pool.callers["weak"].gate.concurrency,
    )


def test_tasks_end_where_nobody_drives_the_run(job: CallJob, worker: Worker) -> None:
    """A process that has heard nothing of the driver for long sends nothing more, and lets go of its tasks."""
    pool = endpoint_pool(job, worker)
    pool.begin_task()
    assert not pool.stopping()
    pool.heard_s -= 2 * VALID_S + 1
    assert pool.stopping()


def test_demand_counts_calls_in_hand(job: CallJob, worker: Worker) -> None:
    """Nothing is in hand before the first call."""
    pool = endpoint_pool(job, worker)
    assert {"strong": 0, "weak": 0} == pool.demand()
    pool.callers["weak"].gate.open = 7
    assert {"strong": 0, "weak": 7} == pool.demand()
    pool.callers["weak"].gate.open = 0


def test_an_endpoint_that_is_down_is_told_of(job: CallJob, worker: Worker) -> None:
    """While an endpoint's breaker is open the process says so, with how it failed."""
    pool = endpoint_pool(job, worker)
    breaker = pool.callers["weak"].gate.pace.breaker
    for _ in range(OPENS_AFTER):
        assert {} == pool.down()
        breaker.down(ErrorKind.TIMEOUT, 0.0, probe=False)
    assert {"weak": "timeout"} == pool.down()
    breaker.up()
    assert {} == pool.down()


@pytest.mark.parametrize(("unused_s", "open_calls", "closed"), [(99, 0, True), (99, 1, False), (1, 0, False)])
def test_pools_of_ended_starts_are_closed(
    job: CallJob, worker: Worker, unused_s: float, open_calls: int, *, closed: bool
) -> None:
    """A new start closes what an earlier one left, unless that still has calls or was used just now."""
    first = endpoint_pool(job, worker)
    first.used_s = worker.clock.monotonic() - unused_s
    first.callers["weak"].gate.open = open_calls
    endpoint_pool(replace(job, token="second"), worker)
    assert (closed, closed, closed) == (
        first.closed,
        first.stopping(),
        "first" not in worker.kept(EndpointPools),
    )
