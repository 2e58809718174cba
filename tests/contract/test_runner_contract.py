"""One contract for every runner: results, errors and events come home, a drain is heard, jobs come out the same."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers import tasks
from helpers.jobs import comparable, job_config, prompts, run_job, write_prompts
from helpers.patience import patience, wait_for
from helpers.stub import Answer, Call, answering, interrupting, stub_server
from helpers.tasks import Item

from routellm_batch.config.job import ClusterConfig
from routellm_batch.core.errors import CallError, ConfigError, DataError, InterruptedRunError, TaskError
from routellm_batch.core.events import Event, RowsScored
from routellm_batch.core.protocols import Runner
from routellm_batch.core.types import Done, ErrorKind, Verdict
from routellm_batch.runtime import open_runner

TOKEN = "contract-token"


@pytest.fixture(scope="module", params=["serial", "local"])
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Runner, queue.Queue[Event]]]:
    """Open a runner, once for this module, as clusters take seconds to start."""
    events: queue.Queue[Event] = queue.Queue()
    runner = open_runner(ClusterConfig(kind=request.param, workers=2), events.put, TOKEN)
    yield runner, events
    runner.close()


@pytest.fixture
def runner(opened: tuple[Runner, Any]) -> Runner:
    """The open runner."""
    return opened[0]


def run_all(runner: Runner, function: Callable[..., Any], numbers: range) -> list[Done]:
    """Submit tasks and wait for every one."""
    for number in numbers:
        runner.submit(function, Item(number))
    found: list[Done] = []
    until = time.monotonic() + patience(30)
    while len(found) < len(numbers) and time.monotonic() < until:
        found += runner.wait(0.5)
    return found


def test_results_come_home_with_their_tasks(runner: Runner) -> None:
    """Every task comes out once with what it returned; the same task may be submitted twice."""
    found = run_all(runner, tasks.double, range(20)) + run_all(runner, tasks.double, range(3))
    assert sorted([*((n, 2 * n) for n in range(20)), (0, 0), (1, 2), (2, 4)]) == sorted(
        (done.task.number, done.receipt) for done in found
    )
    assert {None} == {done.error for done in found}


def test_dask_tells_no_connection(runner: Runner) -> None:
    """What Dask says of its own workings is not on the user's terminal, whatever levels its import sets."""
    names = ("scheduler", "nanny", "core", "batched") if runner.workers > 1 else ()
    assert all(
        logging.getLogger(f"distributed.{name}").getEffectiveLevel() >= logging.ERROR for name in names
    )


def test_waiting_for_nothing_ends(runner: Runner) -> None:
    """Without a finished task ``wait`` returns nothing, after its time at the latest."""
    begun = time.monotonic()
    assert ([], True) == (list(runner.wait(0.1)), time.monotonic() - begun < patience(5))


def test_workers_and_slots_are_told(runner: Runner) -> None:
    """There are at least as many slots as processes, and tasks run in that many processes."""
    pids = {done.receipt for done in run_all(runner, tasks.process_id, range(2 * runner.slots))}
    assert (runner.workers, True) == (len(pids), runner.slots >= runner.workers)
    assert (os.getpid() in pids) == (runner.workers == 1)


def test_errors_come_home_as_their_own_type(runner: Runner) -> None:
    """An error keeps its class, its text and its fields; the others' results are not lost."""
    done = run_all(runner, tasks.fail, range(7, 8))[0]
    assert isinstance(done.error, DataError)
    assert ("a.parquet, column 'id', row 7: is damaged", 7, "id", 2) == (
        str(done.error),
        done.error.row,
        done.error.column,
        done.error.exit_code,
    )
    error = run_all(runner, tasks.fail_call, range(1))[0].error
    assert isinstance(error, CallError)
    assert (ErrorKind.TIMEOUT, Verdict.RETRY, 504, 1.5, True) == (
        error.kind,
        error.verdict,
        error.status,
        error.retry_after_s,
        error.maybe_billed,
    )
    error = run_all(runner, tasks.fail_plainly, range(1))[0].error
    assert isinstance(error, TaskError)
    assert ("ZeroDivisionError", True) == (error.kind, error.place.endswith("in fail_plainly"))
    assert [4] == [done.receipt for done in run_all(runner, tasks.double, range(2, 3))]


def test_events_come_home(opened: tuple[Runner, queue.Queue[Event]]) -> None:
    """What a task emits reaches the sink that the runner was opened with, once."""
    runner, events = opened
    run_all(runner, tasks.say, range(100, 105))
    found = sorted(
        event.rows
        for event in (events.get(timeout=patience(5)) for _ in range(5))
        if isinstance(event, RowsScored)
    )
    time.sleep(0.1)
    assert ([100, 101, 102, 103, 104], True) == (found, events.empty())


def test_events_of_tasks_side_by_side_come_home_once(opened: tuple[Runner, queue.Queue[Event]]) -> None:
    """Two tasks at once in a process do not each send home what one of them emits."""
    runner, events = opened
    run_all(runner, tasks.say_slowly, range(200, 208))
    found = [
        event.rows
        for event in (events.get(timeout=patience(5)) for _ in range(8))
        if isinstance(event, RowsScored)
    ]
    time.sleep(0.3)
    assert (list(range(200, 208)), True) == (sorted(found), events.empty())


def test_a_drain_is_heard_by_running_tasks(runner: Runner) -> None:
    """Tasks in every process see that nothing more is to be begun, and return what they have."""
    for number in range(runner.slots):
        runner.submit(tasks.until_drained, Item(number, TOKEN))
    time.sleep(0.3)
    runner.drain()
    found: list[Done] = []
    while len(found) < runner.slots:
        found += runner.wait(5)
    assert ["drained"] * runner.slots == [done.receipt for done in found]


def test_every_process_is_told(runner: Runner, tmp_path: Path) -> None:
    """What is told reaches every process that runs tasks."""
    runner.tell(tasks.leave_a_trace, str(tmp_path))
    wait_for(lambda: len(list(tmp_path.iterdir())) >= runner.workers, 20, "a trace of every process")
    assert runner.workers == len(list(tmp_path.iterdir()))


def test_a_process_that_calls_alone_gets_all_of_the_limits(tmp_path: Path) -> None:
    """Of two workers one has all the calls there are: soon it makes as many at once as the endpoint allows."""
    write_prompts(tmp_path / "in.parquet", prompts(240))
    settings = {
        "input__shard_rows": 240,
        "budget__strong_share": 0,
        "endpoints__weak__limits": {"concurrency": 8},
        "cluster": {"kind": "local", "workers": 2},
    }
    with (
        stub_server(answering(delay_s=0.05)) as stub,
        patch("routellm_batch.stages.call.limit_shares.SPLIT_S", 0.2),
    ):
        done = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    assert (0, 8) == (done.exit_code, stub.peak)


def test_workers_that_do_not_come_up_pause_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies while it starts is no crash of the job: the same command tries again."""

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", dies)
    with pytest.raises(
        InterruptedRunError, match=r"could not be started \(RuntimeError\); run the same command"
    ):
        open_runner(ClusterConfig(kind="local", workers=1), lambda _: None, TOKEN)


def test_an_address_where_no_scheduler_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster address that nobody answers at is a config error that names it."""
    monkeypatch.setattr("routellm_batch.runtime.clusters.address.CONNECT_S", 0.5)
    config = ClusterConfig(kind="address", address="tcp://127.0.0.1:9")
    with pytest.raises(
        ConfigError, match=r"cluster\.address: no Dask scheduler answers at tcp://127\.0\.0\.1:9"
    ):
        open_runner(config, lambda _: None, "t")


def echo(call: Call) -> Answer:
    return Answer(f"{call.body['model']} on {call.prompt}", status=400 if "Prompt 5:" in call.prompt else 200)


def test_jobs_come_out_the_same_on_every_runner(tmp_path: Path) -> None:
    """Begun serially, interrupted, and finished on two processes, a job has the rows and sums of a serial one."""
    texts = [*prompts(40), *prompts(8), None]
    write_prompts(tmp_path / "in.parquet", texts, row_group_size=9)
    slow = {f"endpoints__{route}__limits": {"concurrency": 2} for route in ("strong", "weak")}
    with stub_server(echo) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        serial = run_job(job_config(tmp_path, **urls, run__id="serial"))
        stub.script = interrupting(echo, len(stub.calls) + 4)
        cut = run_job(job_config(tmp_path, **urls, **slow, run__id="both"))
        stub.script = echo
        done = run_job(job_config(tmp_path, **urls, run__id="both", cluster={"kind": "local", "workers": 2}))
    assert (3, 75, 3) == (serial.exit_code, cut.exit_code, done.exit_code)
    assert comparable(serial.rows) == comparable(done.rows)
    keys = ("rows", "share", "endpoints", "errors", "spent_usd", "presumed_usd")
    assert [serial.cost[key] for key in keys] == [done.cost[key] for key in keys]
    requests = {call.key for call in stub.calls}
    assert (2 * len(requests), True) == (len(stub.calls), cut.cost["rows"]["pending"] > 0)
