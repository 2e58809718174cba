"""Rows 1 to 10: processes die, stop, leave, or come twice."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.faults import (
    COMMAND,
    LEASE_S,
    ROWS,
    Process,
    Scene,
    check_answered,
    check_money,
    check_quiet,
    kill,
    wait_for,
)

IN_FLIGHT = 32
"""Both routes' concurrency: the most that can be in flight."""


def ledger(made: Scene) -> list[Path]:
    """Return the results objects on storage."""
    return sorted((made.folder / "root/runs/job/call").rglob("*.jsonl"))


def test_row_01_worker_killed_while_scoring(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """Its shard is scored again; rows and scores are those of a run without faults."""
    job = stage.run(stage.config(input__shard_rows=4))
    wait_for((stage.folder / "root/runs/job/score").exists, "a score")
    kill(job.workers()[0])
    assert 0 == job.wait()
    check_answered(stage, reference=reference)
    check_money(stage)


def test_row_02_worker_killed_while_calling(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """What it had heard is adopted from its local log; only its calls in flight are paid for again, and told."""
    config = stage.config()
    job = stage.run(config)
    stage.wait_billed(60)
    kill(job.workers()[0])
    assert 0 == job.wait()
    check_answered(stage, reference=reference)
    check_money(stage, open_at_kills=IN_FLIGHT)
    check_quiet(stage, config)


def test_row_05_worker_asked_to_end(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """A worker that gets SIGTERM loses nothing that it was answered."""
    job = stage.run(stage.config())
    stage.wait_billed(60)
    kill(job.workers()[0], signal.SIGTERM)
    assert 0 == job.wait()
    check_answered(stage, reference=reference)
    check_money(stage, open_at_kills=IN_FLIGHT)


def test_row_08_driver_killed(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """The same command goes on: the plan stays, what was answered stays, calls ≤ rows + calls in flight."""
    config = stage.config(budget__hard_cap_usd="0.05")
    job = stage.run(config)
    stage.wait_billed(ROWS // 2)
    plan = (stage.folder / "root/runs/job/plan.json").read_bytes()
    job.end()
    assert 0 == stage.run(config).wait()
    assert plan == (stage.folder / "root/runs/job/plan.json").read_bytes()
    check_answered(stage, reference=reference)
    check_money(stage, cap_nano=50_000_000, open_at_kills=IN_FLIGHT)
    assert len(stage.billed) <= ROWS + IN_FLIGHT
    check_quiet(stage, config)


@pytest.mark.parametrize("path", ["run.json", "score", "plan.json", "commit/call"])
def test_row_08_driver_killed_early(stage: Scene, reference: list[dict[str, Any]], path: str) -> None:
    """Wherever it was killed: while scoring, between the plan and the first grant, after the first marker."""
    config = stage.config(cluster={"kind": "serial"})
    job = stage.run(config)
    wait_for((stage.folder / "root/runs/job" / path).exists, path)
    job.end()
    assert 0 == stage.run(config).wait()
    check_answered(stage, reference=reference)
    check_money(stage, open_at_kills=IN_FLIGHT)


def test_row_09_two_drivers(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """The second says that another start drives the run, calls nothing, and leaves with 75."""
    config = stage.config()
    first = stage.run(config)
    stage.wait_billed(20)
    second = stage.run(config)
    assert 75 == second.wait(20)
    assert "another start of this run is driving it" in " ".join(second.text.split())
    assert 0 == first.wait()
    check_answered(stage, reference=reference)
    check_money(stage)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_row_10_driver_asked_to_end(
    stage: Scene, reference: list[dict[str, Any]], number: signal.Signals
) -> None:
    """It stops sending, keeps every answer, reports what was done, leaves with 75, and goes on when run again."""
    config = stage.config()
    job = stage.run(config)
    stage.wait_billed(60)
    kill(job.popen, number)
    assert 75 == job.wait(20)
    told = stage.cost["endpoints"]
    assert len(stage.billed) == sum(told[route]["attempts"] for route in ("strong", "weak"))
    assert 0 == stage.run(config).wait()
    check_answered(stage, reference=reference)
    check_money(stage)
    assert ROWS == len(stage.billed)


def test_row_10_second_signal(stage: Scene) -> None:
    """A second signal ends it at once."""
    job = stage.run(stage.config(cluster={"kind": "serial"}))
    stage.wait_billed(20)
    kill(job.popen, signal.SIGTERM)
    time.sleep(0.01)
    kill(job.popen, signal.SIGTERM)
    assert 75 == job.wait(5)


def cluster(made: Scene, *options: str, workers: int = 2) -> tuple[str, Process, list[Process]]:
    """Start a scheduler and workers by hand; its address, and their processes."""
    file = made.folder / "scheduler.json"
    dask = Path(COMMAND).with_name("dask")
    local = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    env = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{LEASE_S}s"}
    scheduler = made.start(dask, "scheduler", *local, "--port", "0", "--scheduler-file", str(file), **env)
    wait_for(file.exists, "the scheduler")
    made.env["PYTHONPATH"] = os.pathsep.join([made.env["PYTHONPATH"], str(Path(__file__).parents[2])])
    started = [
        made.start(dask, "worker", "--scheduler-file", str(file), *local, "--nthreads", "2", *options, **env)
        for _ in range(workers)
    ]
    import json

    return str(json.loads(file.read_text())["address"]), scheduler, started


def remote(address: str) -> dict[str, Any]:
    return {"cluster": {"kind": "address", "address": address}}


@pytest.mark.parametrize("stage_of", ["score", "call"])
def test_row_07_scheduler_killed(stage: Scene, reference: list[dict[str, Any]], stage_of: str) -> None:
    """The driver leaves with 75 within half a minute, workers flush, and another cluster goes on."""
    address, scheduler, _ = cluster(stage)
    job = stage.run(stage.config(**remote(address)))
    if stage_of == "score":
        wait_for((stage.folder / "root/runs/job/run.json").exists, "the run")
    else:
        stage.wait_billed(60)
    kill(scheduler.popen)
    assert 75 == job.wait(30), job.text
    (stage.folder / "scheduler.json").unlink(missing_ok=True)
    other, _, _ = cluster(stage)
    again = stage.run(stage.config(**remote(other)))
    assert 0 == again.wait(), again.text
    check_answered(stage, reference=reference)
    check_money(stage, open_at_kills=IN_FLIGHT)


def test_row_04_worker_stopped_past_its_time(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """A second runner waits for the silent one's lease, and the first sends nothing more when it wakes."""
    address, _, workers = cluster(stage, "--no-nanny")
    job = stage.run(stage.config(**remote(address)))
    stage.wait_billed(60)
    kill(workers[0].popen, signal.SIGSTOP)
    try:
        time.sleep(4 * LEASE_S)
    finally:
        kill(workers[0].popen, signal.SIGCONT)
    assert 0 == job.wait(), job.text
    time.sleep(1)
    check_answered(stage, reference=reference)
    check_money(stage, open_at_kills=IN_FLIGHT)


def test_row_06_worker_retired(stage: Scene, reference: list[dict[str, Any]]) -> None:
    """A worker that is scaled away while it calls: no row is called twice."""
    address, _, _ = cluster(stage)
    job = stage.run(stage.config(**remote(address)))
    stage.wait_billed(60)
    retire = (
        "import sys; from distributed import Client\n"
        "with Client(sys.argv[1], set_as_default=False) as c:\n"
        "    c.retire_workers([list(c.scheduler_info(n_workers=-1)['workers'])[0]])\n"
    )
    assert 0 == stage.start(sys.executable, "-c", retire, address).wait(30)
    assert 0 == job.wait(), job.text
    check_answered(stage, reference=reference)
    check_money(stage)
    assert ROWS == len(stage.billed)


def test_row_03_poison_shard(stage: Scene) -> None:
    """A shard that kills its worker every time is named and given up; every other row is answered; exit is not 0."""
    job = stage.run(stage.config(), ROUTELLM_TEST_POISON="000003")
    assert 5 == job.wait(90), job.text
    assert "rows 96 to 127" in " ".join(job.text.split())
    assert ROWS - 32 <= len(stage.rows)
    check_money(stage)
