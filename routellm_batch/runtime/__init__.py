"""Runners: where the tasks run. ``KINDS`` has a row for each ``cluster.kind``, which is imported when it is asked for.

A new kind of cluster takes one module and one row:

1. ``runtime/clusters/<kind>.py`` with a function ``open_<kind>(config, sink, token)`` that returns a ``Runner``. On Dask
   that is a ``DaskRunner`` around a client of the cluster; ``clusters/local.py`` and ``clusters/address.py`` are examples.
2. A row ``"<kind>": "module:function"`` in ``KINDS``.

The name becomes valid in a config once ``config/cluster.py`` lists it; a test holds both lists together. Only this room
may import Dask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routellm_batch.core.registry import resolve

if TYPE_CHECKING:
    # A worker imports this room before its first task, which may need neither the config nor pydantic.
    from routellm_batch.config.cluster import ClusterConfig
    from routellm_batch.core.events import Sink
    from routellm_batch.core.protocols import Runner

KINDS = {
    "address": "routellm_batch.runtime.clusters.address:open_address",
    "cuda": "routellm_batch.runtime.clusters.cuda:open_cuda",
    "local": "routellm_batch.runtime.clusters.local:open_local",
    "serial": "routellm_batch.runtime.serial:open_serial",
}
"""``cluster.kind`` → ``module:function`` that opens its runner."""


def open_runner(config: ClusterConfig, sink: Sink, token: str) -> Runner:
    """Open what the tasks run on; the caller closes it.

    Args:
        config: the kind of cluster, and its settings.
        sink: receives the events of all tasks.
        token: of this start of the run; keeps its tasks and events apart from those of others on the same cluster.

    Raises:
        ConfigError: the cluster can't be used as configured: no scheduler answers, no worker joins, there is no GPU, or
            a TLS file can't be read.
        MissingExtraError: a package that the kind needs is not installed.
        InterruptedRunError: a worker process died while it started.

    """
    runner: Runner = resolve(KINDS, config.kind, key="cluster.kind")(config, sink, token)
    return runner
