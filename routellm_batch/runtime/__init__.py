"""Runners: where the tasks run. A row of the table is ``kind: "module:Class"``."""

from __future__ import annotations

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.events import Sink
from routellm_batch.core.protocols import Runner
from routellm_batch.core.registry import resolve
from routellm_batch.core.worker import this_worker
from routellm_batch.runtime.serial import SerialRunner

RUNNERS = {
    "cuda": "routellm_batch.runtime.dask:DaskRunner",
    "local": "routellm_batch.runtime.dask:DaskRunner",
    "address": "routellm_batch.runtime.dask:DaskRunner",
}


def open_runner(config: ClusterConfig, sink: Sink, token: str) -> Runner:
    """Start a runner.

    Raises:
        ConfigError: no scheduler answers at the address.

    """
    if config.kind == "serial":
        return SerialRunner(sink, token, this_worker())
    runner: Runner = resolve(RUNNERS, config.kind, key="cluster.kind")(config, sink, token)
    return runner
