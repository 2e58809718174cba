"""Scoring goes where a GPU is; a cluster of GPUs is refused where there are none."""

from __future__ import annotations

import builtins
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from distributed import Nanny, SpecCluster
from distributed.scheduler import Scheduler
from helpers import tasks
from helpers.patience import patience
from helpers.tasks import Item

from routellm_batch.config.job import ClusterConfig
from routellm_batch.core.errors import ConfigError, MissingExtraError
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
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
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


def test_cuda_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dask-cuda is not installed, the error says how to install it."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("dask_cuda"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingExtraError, match=r"cluster.kind: cuda needs dask_cuda: .*routellm-batch\[cuda\]"
    ):
        open_runner(ClusterConfig(kind="cuda"), lambda _event: None, TOKEN)


def test_cuda_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dask-cuda finds no GPU, the error says what to use."""
    package, utils = ModuleType("dask_cuda"), ModuleType("dask_cuda.utils")
    package.LocalCUDACluster = None  # type: ignore[attr-defined]
    utils.get_n_gpus = lambda: 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_cuda", package)
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", utils)
    with pytest.raises(ConfigError, match="has no GPU; use local or serial"):
        open_runner(ClusterConfig(kind="cuda"), lambda _event: None, TOKEN)


def test_cuda_makes_a_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker announces its GPU, and scoring is sent there."""
    asked: dict[str, Any] = {}

    def cluster(**options: Any) -> Any:
        asked.update(options)
        raise ConnectionAbortedError

    package, utils = ModuleType("dask_cuda"), ModuleType("dask_cuda.utils")
    package.LocalCUDACluster = cluster  # type: ignore[attr-defined]
    utils.get_n_gpus = lambda: 2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_cuda", package)
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", utils)
    with pytest.raises(ConnectionAbortedError):
        open_runner(ClusterConfig(kind="cuda"), lambda _event: None, TOKEN)
    assert isinstance(asked["preload"], list)  # dask-cuda adds to it
    assert ({"GPU": 1}, "127.0.0.1", "127.0.0.1:0") == (
        asked["resources"],
        asked["host"],
        asked["dashboard_address"],
    )
