"""Scoring goes where a GPU is."""

from __future__ import annotations

import time
from typing import Any

from distributed import Nanny, SpecCluster
from distributed.scheduler import Scheduler
from helpers import tasks
from helpers.patience import patience
from helpers.tasks import Item

from routellm_batch.config.job import ClusterConfig
from routellm_batch.runtime import open_runner

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
