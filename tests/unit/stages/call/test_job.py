"""A process's endpoints: its share of the limits, and the pools of starts that have ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.jobs import job_config

from routellm_batch.budget.selection.cut import Cut
from routellm_batch.core.types import ErrorKind
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.pacing.breaker import OPENS_AFTER
from routellm_batch.stages.call.job import CallJob, EndpointPools, close_pool, endpoint_pool, take_share
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


def test_limits_are_split_and_split_anew(job: CallJob, worker: Worker) -> None:
    """A process begins with an even part of an endpoint's limits and takes the part that it is told."""
    gate = endpoint_pool(job, worker).callers["weak"].gate
    before = gate.concurrency
    take_share("first", {worker.name: {"weak": 0.75}}, worker)
    take_share("unknown", {worker.name: {"weak": 0.1}}, worker)
    worker.loop.run(_nothing())
    assert (20, 30) == (before, gate.concurrency)


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


def test_a_process_takes_its_part_of_a_split(job: CallJob, worker: Worker) -> None:
    """It finds its own part by its name; left out of a split, as it fell idle, it keeps a little."""
    gate = endpoint_pool(job, worker).callers["weak"].gate
    take_share(
        "first", {worker.name: {"strong": 0.5, "weak": 0.75}, "other": {"strong": 0.5, "weak": 0.25}}, worker
    )
    worker.loop.run(_nothing())
    busy = gate.concurrency
    take_share("first", {"one": {"weak": 0.5}, "other": {"weak": 0.5}}, worker)
    worker.loop.run(_nothing())
    assert (30, 2) == (busy, gate.concurrency)


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
