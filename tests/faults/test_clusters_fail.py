"""Rows 3 to 7 of the fault matrix: what happens to a Dask cluster, a worker at a time and as a whole."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from helpers.lab import END_S, IN_FLIGHT, MARK, SHARD_ROWS, Lab, texts
from helpers.oracle import answers, check_accounted, check_every_row_once, check_same
from helpers.patience import wait_for
from helpers.programs import Program, kill

Rows = list[dict[str, Any]]
DASK = "distributed.cli"
LONG_TASKS = {"input__shard_rows": 60}
"""Two tasks of some seconds for each worker, so that a disturbance surely falls into one."""
QUICK = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


def open_scheduler(lab: Lab) -> Program:
    """Start a scheduler on loopback and point the job at it."""
    lab.env |= QUICK
    arguments = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = lab.python("-m", f"{DASK}.dask_scheduler", *arguments, name="scheduler")
    wait_for(lambda: "tcp://" in scheduler.said or scheduler.ended, 40, "a scheduler")
    address = "tcp://" + scheduler.said.partition("tcp://")[2].split()[0]
    lab.changes["cluster"] = {"kind": "address", "address": address}
    return scheduler


def open_workers(lab: Lab, *options: str, count: int = 2) -> list[Program]:
    """Start workers of two threads each and wait until they have joined."""
    address = lab.changes["cluster"]["address"]
    arguments = ["-m", f"{DASK}.dask_worker", address, "--nthreads", "2", "--no-dashboard", *options]
    workers = [lab.python(*arguments, name="worker") for _ in range(count)]
    for worker in workers:
        wait_for(lambda worker=worker: "Registered to" in worker.said, 40, "a worker")
    return workers


@pytest.mark.parametrize("phase", ["score", "call"])
def test_row_03_poison_shard(lab: Lab, phase: str) -> None:
    """A row that ends each process which touches it costs its shard alone: the others are done, the run says so."""
    prompts = texts(96)
    prompts[90] = f"{prompts[90]} {MARK}"
    lab.write_input(prompts)
    lab.changes["cluster"] = {"kind": "local", "workers": 2}
    lab.env |= {"FAULTS": "poison", "FAULT_PHASE": phase}
    lab.serve(latency_ms=5)
    job = lab.start()
    assert job.wait(2 * END_S) not in {0, 1}, job.said
    assert "Traceback" not in job.said
    if phase == "score":
        assert 96 // SHARD_ROWS - 1 == lab.count("commit/score/*")
    else:
        assert 96 - SHARD_ROWS == sum(row["status"] == "ok" for row in answers(lab.run))
        check_accounted(lab.run, lab.log, most=IN_FLIGHT)


def test_row_04_worker_frozen_then_back(lab: Lab, undisturbed: Rows) -> None:
    """A worker that freezes is replaced; back again, it writes nothing and sends nothing that its successor did."""
    lab.changes |= LONG_TASKS
    lab.serve(latency_ms=200)
    open_scheduler(lab)
    frozen, _ = open_workers(lab, "--no-nanny")
    job = lab.start()
    lab.wait_for_bills(30, job)
    frozen.send(signal.SIGSTOP)
    time.sleep(8)
    frozen.send(signal.SIGCONT)
    assert 0 == job.wait(END_S), job.said
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)


@pytest.mark.parametrize("options", [["--nanny"], ["--no-nanny"]])
def test_row_05_worker_told_to_stop(lab: Lab, undisturbed: Rows, options: list[str]) -> None:
    """A worker that is told to stop drains: it is gone in time, and no reply that it waited for is paid again."""
    lab.changes |= LONG_TASKS
    lab.serve(latency_ms=200)
    open_scheduler(lab)
    leaving, _ = open_workers(lab, *options)
    job = lab.start()
    lab.wait_for_bills(30, job)
    leaving.send(signal.SIGTERM)
    leaving.wait(10)
    assert 0 == job.wait(END_S), job.said
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


RETIRE = (
    "import sys\n"
    "from distributed import Client\n"
    "with Client(sys.argv[1], set_as_default=False) as client:\n"
    "    client.retire_workers(n=1)\n"
)


def test_row_06_worker_retired(lab: Lab, undisturbed: Rows) -> None:
    """A worker that is retired at work is not answered for twice: no row is called again."""
    lab.changes |= LONG_TASKS
    lab.serve(latency_ms=200)
    open_scheduler(lab)
    open_workers(lab)
    job = lab.start()
    lab.wait_for_bills(30, job)
    lab.python("-c", RETIRE, lab.changes["cluster"]["address"], name="retire").wait(END_S)
    lab.go_on(
        job
    )  # a scheduler that is too busy to answer for 10 s is given up, and that is no second payment
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


@pytest.mark.parametrize("phase", ["score", "call"])
def test_row_07_scheduler_killed(lab: Lab, undisturbed: Rows, phase: str) -> None:
    """Without its scheduler the run is paused, exit 75; with a new one the same command goes on."""
    lab.serve(latency_ms=100)
    if phase == "score":
        lab.env |= {"FAULTS": "slow_scores", "FAULT_SLOW_S": "0.3"}
    scheduler = open_scheduler(lab)
    open_workers(lab, "--no-nanny", count=1)
    job = lab.start()
    if phase == "score":
        wait_for(lambda: lab.count("commit/score/*"), 40, "a scored shard")
    else:
        lab.wait_for_bills(60, job)
    kill(scheduler.pid)
    assert 75 == job.wait(30), job.said
    assert "Traceback" not in job.said
    lab.changes["cluster"] = {"kind": "serial"}
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)
