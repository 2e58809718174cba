"""``cluster.kind: cuda``: one worker process for each GPU of this machine."""

from __future__ import annotations

import logging
import os

from distributed import Client, LocalCluster

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.core.registry import missing_extra
from routellm_batch.runtime.dask import GPU, THREADS, WORKER_PRELOAD, DaskRunner, set_up_dask


def open_cuda(_config: ClusterConfig, sink: Sink, token: str) -> DaskRunner:
    """Start a worker for each GPU, and return a runner on them.

    Raises:
        MissingExtraError: dask-cuda is not installed.
        ConfigError: there is no GPU, its driver does not answer, or no worker joins.

    """
    set_up_dask({"distributed.worker.multiprocessing-method": "spawn"})  # CUDA does not survive a fork
    cluster = _start_workers()
    return DaskRunner(Client(cluster, set_as_default=False), sink, token, cluster)


def _start_workers() -> LocalCluster:
    try:
        from dask_cuda import LocalCUDACluster
        from dask_cuda.utils import get_n_gpus
    except ModuleNotFoundError as error:
        raise missing_extra(error, what="cluster.kind: cuda") from error
    try:
        gpus = int(get_n_gpus()) if os.environ.get("CUDA_VISIBLE_DEVICES") != "" else 0
    except Exception as error:  # noqa: BLE001 - the NVML binding has its own error for each driver fault
        raise ConfigError(
            "cluster.kind", f"cuda, and the GPU driver does not answer ({type(error).__name__})"
        ) from None
    if gpus < 1:
        raise ConfigError("cluster.kind", "cuda, and this machine has no GPU; use local or serial")
    cluster: LocalCluster = LocalCUDACluster(
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        threads_per_worker=THREADS,
        resources={GPU: 1},
        silence_logs=logging.ERROR,
        memory_limit=0,
        preload=[WORKER_PRELOAD],  # A list: dask-cuda adds its own.
    )
    return cluster
