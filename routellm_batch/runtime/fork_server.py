"""Worker processes that start at once: one process imports Dask, and the workers are forked from it.

A worker that starts from nothing imports Dask and, as ``multiprocessing`` does for every child, the script that the
driver runs, with all that the script imports: seconds for each worker. The fork server is Python's own
(``multiprocessing.forkserver``). It runs no thread and opens no connection, so that forking it is safe; what a task needs
besides is imported in the worker.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, spawn
from pathlib import Path
from typing import Literal

MAIN = "ROUTELLM_BATCH_MAIN"
"""Environment variable by which the fork server learns what the driver's main module is."""
PRELOAD = ["routellm_batch.runtime.forked", "distributed", "routellm_batch.runtime.dask"]
"""Modules that the fork server imports, in this order."""
FIRST_SAFE_PYTHON = (3, 11, 1)
"""Before it, other users of the machine could reach the server's socket (CVE-2022-42919)."""
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_NANNY_ENVIRONMENT = {**_THREADS, "MALLOC_TRIM_THRESHOLD_": "65536"}
"""What Dask sets before it starts a worker process, unless the user has set it: libraries read it as they load."""


def start_fork_server() -> Literal["forkserver", "spawn"]:
    """Start the fork server, unless it runs already, without waiting for its imports.

    Returns:
        The start method for worker processes: ``spawn`` where forking is not safe, or the server could not be started.

    """
    if sys.platform != "linux" or sys.version_info < FIRST_SAFE_PYTHON:
        return "spawn"
    main = spawn.get_preparation_data("")
    facts = {"path": main.get("init_main_from_path"), "name": main.get("init_main_from_name")}
    forkserver.set_forkserver_preload(PRELOAD)
    # The server has to import the same modules as the driver.
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    unset = {name: value for name, value in _NANNY_ENVIRONMENT.items() if name not in os.environ}
    with _environment({**unset, "PYTHONPATH": paths, MAIN: json.dumps(facts)}):
        try:
            forkserver.ensure_running()
        except OSError:  # such as a temporary folder whose path is too long for a socket
            return "spawn"
    return "forkserver"


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change environment variables for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
