"""A process's endpoints: its share of the limits, and the pools of starts that have ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from helpers.jobs import job_config

from routellm_batch.budget.selection.cut import Cut
from routellm_batch.core.process import NAME, event_loop, run_on_loop
from routellm_batch.stages.call import job as module
from routellm_batch.stages.call.job import CallJob, close_pool, endpoint_pool, set_shares, take_share
from routellm_batch.storage.run import Run


@pytest.fixture
def job(tmp_path: Path) -> Iterator[CallJob]:
    """One start of a run on two workers; nothing is called."""
    config = job_config(tmp_path, endpoints__weak__limits={"concurrency": 40, "rpm": 600})
    urls = {"strong": "http://127.0.0.1:9/v1", "weak": "http://127.0.0.1:9/v1"}
    with patch.object(module, "_pools", {}):
        yield CallJob(config, Run.__new__(Run), Cut.__new__(Cut), urls, 2, 10, "first")  # type: ignore[arg-type]
        for token in list(module._pools):
            close_pool(token)


async def _nothing() -> None:
    """Let what was put on the loop before run."""


def test_limits_are_split_and_split_anew(job: CallJob) -> None:
    """A process begins with an even part of an endpoint's limits and takes the part that it is told."""
    gate = endpoint_pool(job).callers["weak"].gate
    before = gate.concurrency
    set_shares("first", {"weak": 0.75})
    set_shares("unknown", {"weak": 0.1})
    run_on_loop(_nothing())
    assert (20, 30) == (before, gate.concurrency)


def test_demand_counts_calls_in_hand(job: CallJob) -> None:
    """Nothing is in hand before the first call."""
    pool = endpoint_pool(job)
    assert {"strong": 0, "weak": 0} == pool.demand()
    pool.callers["weak"].gate.open = 7
    assert {"strong": 0, "weak": 7} == pool.demand()
    pool.callers["weak"].gate.open = 0


def test_a_process_takes_its_part_of_a_split(job: CallJob) -> None:
    """It finds its own part by its name; left out of a split, as it fell idle, it keeps a little."""
    gate = endpoint_pool(job).callers["weak"].gate
    take_share("first", {NAME: {"strong": 0.5, "weak": 0.75}, "other": {"strong": 0.5, "weak": 0.25}})
    run_on_loop(_nothing())
    busy = gate.concurrency
    take_share("first", {"one": {"weak": 0.5}, "other": {"weak": 0.5}})
    run_on_loop(_nothing())
    assert (30, 2) == (busy, gate.concurrency)


@pytest.mark.parametrize(("unused_s", "open_calls", "closed"), [(99, 0, True), (99, 1, False), (1, 0, False)])
def test_pools_of_ended_starts_are_closed(
    job: CallJob, unused_s: float, open_calls: int, *, closed: bool
) -> None:
    """A new start closes what an earlier one left, unless that still has calls or was used just now."""
    first = endpoint_pool(job)
    first.used_s = time.monotonic() - unused_s
    first.callers["weak"].gate.open = open_calls
    endpoint_pool(CallJob(job.config, job.run, job.cut, job.base_urls, 2, 10, "second"))
    assert (closed, closed, closed) == (first.closed, first.stopping(), "first" not in module._pools)
    assert event_loop().is_running()
