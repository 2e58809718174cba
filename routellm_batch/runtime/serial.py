"""``cluster.kind: serial``: the same tasks in this process, for quickstarts, tests and small jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.events import Sink
from routellm_batch.core.types import Done
from routellm_batch.core.worker import Worker, this_worker
from routellm_batch.runtime.tasks import run_task

SLOTS = 2
"""Two shards at once: one's calls fill the gap while the other's last reply is awaited."""


def open_serial(_config: ClusterConfig, sink: Sink, token: str) -> SerialRunner:
    """Return a runner in this process."""
    return SerialRunner(sink, token, this_worker())


class SerialRunner:
    """A ``Runner`` of one process.

    Args:
        sink: receives the events of all tasks.
        token: of this start of the run.

    """

    workers = 1
    slots = SLOTS
    alone = True

    def __init__(self, sink: Sink, token: str, worker: Worker) -> None:
        self._token = token
        self._worker = worker
        self._threads = ThreadPoolExecutor(SLOTS, thread_name_prefix="routellm-task")
        self._futures: dict[Future[Any], object] = {}
        self._unsubscribe = worker.events.subscribe(sink)

    def submit(
        self,
        function: Callable[..., Any],
        task: object,
        *,
        scores: bool = False,  # noqa: ARG002
        suspect: bool = False,  # noqa: ARG002
    ) -> None:
        """Start ``function(task)``; every task runs here."""
        self._futures[self._threads.submit(run_task, function, task)] = task

    def wait(self, timeout_s: float) -> Sequence[Done]:
        """Return what has finished."""
        finished, _ = wait(self._futures, timeout_s, FIRST_COMPLETED)
        return [_done(self._futures.pop(future), future) for future in finished]

    def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Call a quick function; this is the only process."""
        function(*args)

    def drain(self, token: str | None = None) -> None:
        """Tell running tasks to begin nothing new; only those of ``token``, if one is given."""
        self._worker.drains.drain(token or self._token)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._unsubscribe()


def _done(task: object, future: Future[Any]) -> Done:
    error = future.exception()
    return Done(task, error=error) if error is not None else Done(task, receipt=future.result())
