"""``cluster.kind: local``: worker processes on this machine."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from routellm_batch.core.errors import InterruptedRunError
from routellm_batch.runtime.fork_server import start_fork_server

if TYPE_CHECKING:
    from distributed import LocalCluster

    from routellm_batch.config.cluster import ClusterConfig
    from routellm_batch.core.events import Sink
    from routellm_batch.runtime.dask import DaskRunner

NO_WORKERS_S = 180.0
"""How long a run waits for worker processes of its own, of which none is left; a busy machine starts them slowly."""
ARITHMETIC_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def open_local(config: ClusterConfig, sink: Sink, token: str) -> DaskRunner:
    """Start ``config.workers`` processes, and return a runner on them.

    Raises:
        InterruptedRunError: one of them died or did not come up.
        ConfigError: no worker joined.

    """
    method = start_fork_server()  # First: it imports Dask while this process does.
    from distributed import Client

    from routellm_batch.runtime.dask import DaskRunner, set_up_dask

    set_up_dask({"distributed.worker.multiprocessing-method": method})
    try:
        cluster = _start_workers(config.workers)
    except (RuntimeError, OSError) as error:  # Dask's errors for a worker that died while it started
        message = (
            f"the worker processes could not be started ({type(error).__name__}); run the same command again"
        )
        raise InterruptedRunError(message) from None
    client = Client(cluster, set_as_default=False)
    return DaskRunner(client, sink, token, cluster, no_workers_s=NO_WORKERS_S)


def _start_workers(workers: int) -> LocalCluster:
    from distributed import LocalCluster
    from distributed.security import Security

    from routellm_batch.runtime.dask import THREADS, WORKER_PRELOAD

    # Dask allows a worker process one thread of arithmetic; a router on a CPU may use its share of the cores.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    return LocalCluster(
        # The whole environment, as the fork server has that of its own start.
        env={**os.environ, **dict.fromkeys(ARITHMETIC_THREADS, threads)},
        n_workers=workers,
        protocol="tls://",
        security=Security.temporary(),  # Loopback is open to every user of this machine, and to what they run.
        threads_per_worker=THREADS,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
        memory_limit=0,
        preload=WORKER_PRELOAD,
    )
