"""The clusters that a job starts itself, and the way to one that is there already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

from distributed import Client, LocalCluster
from distributed.security import Security

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.errors import ConfigError, InterruptedRunError
from routellm_batch.core.registry import missing_extra
from routellm_batch.runtime.tls import readable_files

THREADS = 2
"""Tasks at once in a worker process: one's calls fill the gap while the other's last reply is awaited."""
GPU = "GPU"
"""Resource that a worker with a GPU announces: ``dask worker --resources "GPU=1"``."""
CONNECT_S = 60


def _local_cluster(config: ClusterConfig) -> LocalCluster:
    """Start worker processes on this machine.

    Raises:
        InterruptedRunError: one of them died or did not come up.

    """
    try:
        return _processes(config)
    except (RuntimeError, OSError) as error:  # Dask's word for a worker that died while it started
        message = (
            f"the worker processes could not be started ({type(error).__name__}); run the same command again"
        )
        raise InterruptedRunError(message) from None


def _processes(config: ClusterConfig) -> LocalCluster:
    # Dask allows a worker process one thread of arithmetic; a router on a CPU may use its share of the cores.
    threads = str(max(1, (os.cpu_count() or 1) // config.workers))
    return LocalCluster(
        env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
        n_workers=config.workers,
        protocol="tls://",
        security=Security.temporary(),  # Loopback is open to every user of this machine, and to what they run.
        threads_per_worker=THREADS,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
        memory_limit=0,
        preload="routellm_batch.runtime.preload",
    )


def _cuda_cluster(_config: ClusterConfig) -> LocalCluster:
    """Return a cluster with one worker process for each GPU of this machine.

    Raises:
        MissingExtraError: dask-cuda is not installed.
        ConfigError: there is no GPU.

    """
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
        preload=["routellm_batch.runtime.preload"],  # A list: dask-cuda adds its own.
    )
    return cluster


CLUSTERS: Mapping[str, Callable[[ClusterConfig], LocalCluster]] = {
    "cuda": _cuda_cluster,
    "local": _local_cluster,
}
"""Kinds of cluster that the job starts itself."""


def connect(config: ClusterConfig, cluster: LocalCluster | None) -> Client:
    """Return a client of our own cluster, or of the one at the configured address.

    Raises:
        ConfigError: no scheduler answers there, or a TLS file can't be read.

    """
    if cluster is not None:
        return Client(cluster, set_as_default=False)
    address = config.address or ""
    security = None
    if config.tls is not None:
        files = {f"tls_{name}": path for name, path in readable_files(config.tls).items()}
        security = Security(require_encryption=True, **files)
    try:
        return Client(address, security=security, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            "cluster.address", f"no Dask scheduler answers at {address} ({type(error).__name__})"
        ) from None
