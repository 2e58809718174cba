"""Scoring goes where a GPU is; deaths of workers come home, and a cluster without any is given up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, Nanny, SpecCluster
from distributed.scheduler import Scheduler
from helpers import tasks
from helpers.patience import patience
from helpers.patience import wait_for as wait_until
from helpers.tasks import Item

from routellm_batch.config.job import ClusterConfig
from routellm_batch.core.errors import NotBegunError, NoWorkersError, SchedulerLostError, WorkerLostError
from routellm_batch.core.types import Done
from routellm_batch.runtime import open_runner
from routellm_batch.runtime.dask import DaskRunner, _Sent, _Size

TOKEN = "gpu-token"


def wait_for(runner: Any, count: int) -> list[Any]:
    """Return what ``count`` tasks returned."""
    found: list[Any] = []
    until = time.monotonic() + patience(30)
    while len(found) < count and time.monotonic() < until:
        found += [done.receipt for done in runner.wait(0.5)]
    return found


def test_scoring_runs_on_the_workers_that_announce_a_gpu() -> None:
    """Of two workers one has the resource: every scoring task runs there, other tasks run on both."""
    options = {"nthreads": 2, "dashboard": False}
    spec = {
        "plain": {"cls": Nanny, "options": options},
        "gpu": {"cls": Nanny, "options": {**options, "resources": {"GPU": 1}}},
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with SpecCluster(workers=spec, scheduler=scheduler, silence_logs=False) as cluster:
        address = cluster.scheduler_address
        runner = open_runner(ClusterConfig(kind="address", address=address), lambda _event: None, TOKEN)
        try:
            for number in range(8):
                runner.submit(tasks.worker_name, Item(number), scores=True)
            scored = wait_for(runner, 8)
            for number in range(24):
                runner.submit(tasks.worker_name, Item(number))
            others = wait_for(runner, 24)
        finally:
            runner.close()
    assert ["gpu"] * 8 == scored
    assert {"gpu", "plain"} == set(others)


SCHEDULER = {
    "cls": Scheduler,
    "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
}


def done_within(runner: Any, count: int) -> list[Done]:
    """Return so many tasks that came back, or as many as came in time."""
    found: list[Done] = []
    until = time.monotonic() + patience(60)
    while len(found) < count and time.monotonic() < until:
        found += runner.wait(0.2)
    return found


def test_each_death_comes_home_and_workers_come_back() -> None:
    """A worker that dies with a task is an error of that task, at once; another process does the next one."""
    runner = open_runner(ClusterConfig(kind="local", workers=1), lambda _event: None, TOKEN)
    try:
        runner.submit(tasks.die, Item(0), suspect=True)
        died = done_within(runner, 1)
        runner.submit(tasks.double, Item(2))
        after = done_within(runner, 1)
    finally:
        runner.close()
    assert [1] == [done.error.deaths for done in died if isinstance(done.error, WorkerLostError)]
    assert [4] == [done.receipt for done in after]


@pytest.mark.parametrize(
    ("drained", "errors"), [(False, {NoWorkersError}), (True, {NoWorkersError, NotBegunError})]
)
def test_a_cluster_without_workers_is_waited_for_and_given_up(
    *, drained: bool, errors: set[type[Exception]]
) -> None:
    """What is submitted comes back after a while, or at once where the run stops; both are 75."""
    # A process of its own: a worker that is told to go drains its process for good.
    worker = {"cls": Nanny, "options": {"nthreads": 1, "dashboard": False}}
    with SpecCluster(workers={"one": worker}, scheduler=SCHEDULER, silence_logs=False) as cluster:
        client = Client(cluster.scheduler_address, set_as_default=False)
        runner = DaskRunner(client, lambda _event: None, TOKEN, no_workers_s=0.5)
        try:
            cluster.scale(0)
            wait_until(lambda: not client.scheduler_info()["workers"], 20, "no worker")
            runner.submit(tasks.double, Item(1))
            if drained:
                runner.drain()
            found = done_within(runner, 1)
        finally:
            runner.close()
    assert [(True, 75)] == [(type(done.error) in errors, done.error.exit_code) for done in found]


@dataclass
class Receipt:
    """A task that is done, as Dask's client knows it, whose receipt can't be fetched."""

    status: str
    key: str = "task"
    released: bool = False

    def result(self, timeout: float) -> Any:
        """Wait in vain."""
        raise TimeoutError

    def release(self) -> None:
        """Note that it is not waited for any more."""
        self.released = True


@pytest.mark.parametrize("status", ["lost", "finished", "cancelled"])
@pytest.mark.parametrize(
    ("scheduler", "error"), [("running", WorkerLostError), ("connecting", SchedulerLostError)]
)
def test_a_receipt_that_dies_with_its_worker_is_a_death(
    status: str, scheduler: str, error: type[Exception]
) -> None:
    """The task had ended, and its worker died before what it gave was fetched: it may be run again, unless Dask is gone."""
    runner = DaskRunner.__new__(DaskRunner)
    runner._client, runner._size = SimpleNamespace(status=scheduler), _Size(2, 4)
    runner._on_trial, future = None, Receipt(status)
    runner._tasks = {"task": _Sent(tasks.double, Item(1), None, suspect=False)}
    done = runner._done(future)
    assert (error, True) == (type(done.error), future.released)
    assert Item(1) == done.task
