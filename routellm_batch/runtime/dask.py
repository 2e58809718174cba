"""The runner on Dask: the same tasks on worker processes, whatever kind of cluster they belong to.

Shard descriptors go out and small receipts come back, each under a fresh key; data and truth stay on storage. No
more tasks are at the workers than they have threads, so that a worker that dies takes along only what it was at work
on; each such death is the task's error, and whoever drives the stage decides whether the task is run again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import dask
import distributed.utils
from distributed import Client, Future, LocalCluster, Status, Worker, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from routellm_batch.core.errors import (
    ConfigError,
    NotBegunError,
    NoWorkersError,
    SchedulerLostError,
    WorkerLostError,
)
from routellm_batch.core.events import Event, Sink, from_plain, to_plain
from routellm_batch.core.logs import install_redaction, quiet
from routellm_batch.core.types import Done
from routellm_batch.core.worker import drain_here, this_worker
from routellm_batch.runtime.crew import Crew
from routellm_batch.runtime.tasks import run_task

THREADS = 2
"""Tasks at once in a worker process: one's calls fill the gap while the other's last reply is awaited."""
GPU = "GPU"
"""Resource that a worker with a GPU announces: ``dask worker --resources "GPU=1"``."""
WORKER_PRELOAD = "routellm_batch.runtime.preload"
"""Module that a worker process of our own imports first."""
JOIN_S = 60
TOPIC = "routellm-events"
SETTINGS = {
    "distributed.worker.daemon": True,
    # Every death is reported; what it means is decided by whoever drives the stage.
    "distributed.scheduler.allowed-failures": 0,
    # Else a worker that is slow to come back is forgotten; ``Crew`` looks after those of our own.
    "distributed.deploy.lost-worker-timeout": "365 days",
    "distributed.scheduler.work-stealing": False,
    "distributed.admin.low-level-log-length": 0,
    "distributed.comm.timeouts.connect": "30s",
}
ENDING = frozenset((Status.closing, Status.closing_gracefully, Status.closed, Status.failed, Status.stopping))
PROFILERS = ("profile", "profile-cycle")
CLOSE_S = 5
CLOSE_CLUSTER_S = 8
DRAIN_EVERY_S = 2.0
GONE_S = 10.0
"""A scheduler that can't be reached for so long is given up; its tasks end by themselves."""
RECEIPT_S = 5.0
"""The receipt of a finished task is waited for this long; it is small, and at a worker that runs."""
LOOK_S = 0.5
"""Time between two looks at how many workers there are."""
NO_WORKERS_S = 60.0
"""A cluster without any worker is waited for this long; then the run is paused."""
LEAVE_S = 1.0
"""The same where the run stops anyway."""


def set_up_dask(settings: Mapping[str, Any] | None = None) -> None:
    """Set Dask's configuration in this process, before a cluster or a client is opened.

    Args:
        settings: those of one kind of cluster, beside those of all.

    """
    dask.config.set({**SETTINGS, **(settings or {})})
    # Otherwise Dask imports whatever a fork server of its own would, pandas among it: a second of this process.
    distributed.utils._forkserver_preload_set = True  # noqa: SLF001 - there is no public name
    quiet()  # as its import set Dask's own levels
    # It prints a traceback of a scheduler that is gone; the run says so itself, and what to do.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    # It calls each task failed whose worker died, and that task is run again.
    logging.getLogger("distributed.scheduler").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A task that was submitted."""

    function: Callable[..., Any]
    """Runs the task."""
    task: object
    """Its argument."""
    resources: Mapping[str, int] | None
    """What its worker must have free."""
    suspect: bool
    """Its worker died with it before."""
    future: Future[Any] | None = None
    """Kept, or Dask would forget the task; None before it is at a worker."""


@dataclass
class _Size:
    """How many workers there are, as far as is known; the client's event loop looks, the driver's thread reads."""

    workers: int
    threads: int
    stale: bool = False
    """A worker has died since."""


class WorkerCare(WorkerPlugin):
    """What every worker process does for this package, those that join later too."""

    name = "routellm-batch"
    # Else a second job on the cluster would end the first one's.
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Keep keys and data out of the worker's log, and its threads from being sampled."""
        install_redaction()
        # ``sys._current_frames`` can hang a process of Python 3.11 for good (cpython#106883); Dask asks a hundred times
        # a second, and takes five minutes to see that the worker is gone.
        for name in PROFILERS:
            callback = worker.periodic_callbacks.pop(name, None)
            if callback is not None:
                callback.stop()

    def teardown(self, worker: Worker) -> None:
        """Let the tasks of a worker that is told to go persist what they have; Dask kills it soon."""
        if worker.status in ENDING:
            this_worker().drains.drain_all()


class DaskRunner:
    """A ``Runner`` on a Dask cluster.

    Args:
        client: of the cluster; the runner closes it.
        sink: receives the events of all tasks.
        token: of this start of the run.
        cluster: the cluster, where it ends with the runner; its workers are looked after.
        no_workers_s: how long a cluster without any worker is waited for.

    Raises:
        ConfigError: no worker joined.

    """

    alone = False

    def __init__(
        self,
        client: Client,
        sink: Sink,
        token: str,
        cluster: LocalCluster | None = None,
        *,
        no_workers_s: float = NO_WORKERS_S,
    ) -> None:
        self._token = token
        self._sink = sink
        self._no_workers_s = no_workers_s
        self._finished: queue.Queue[Future[Any]] = queue.Queue()
        self._tasks: dict[str, _Sent] = {}
        """At the workers."""
        self._waiting: deque[_Sent] = deque()
        """To be given to a worker with room."""
        self._suspects: deque[_Sent] = deque()
        """The same, of those that may kill their workers: one of them at a time."""
        self._on_trial: str | None = None
        self._number = 0
        self._draining, self._drain_again_s = False, dict[str, float]()
        self._looking: concurrent.futures.Future[None] | None = None
        self._away_since_s: float | None = None
        self._empty_since_s: float | None = None
        self._client, self._cluster = client, cluster
        self._crew = None if cluster is None else Crew(cluster)
        self._client.subscribe_topic(f"{TOPIC}-{token}", self._on_event)
        self._client.register_plugin(WorkerCare())
        try:
            self._client.wait_for_workers(1, timeout=JOIN_S)
        except TimeoutError:
            self.close()
            raise ConfigError("cluster", f"no Dask worker joined within {JOIN_S} s") from None
        info = self._client.scheduler_info(n_workers=-1)["workers"]
        self.workers = max(1, len(info))
        self.slots = max(1, sum(int(worker["nthreads"]) for worker in info.values()))
        self._gpus = any(GPU in (worker.get("resources") or {}) for worker in info.values())
        self._size = _Size(self.workers, self.slots)
        self._looking = asyncio.run_coroutine_threadsafe(
            self._look_often(), cast("Any", self._client.loop).asyncio_loop
        )

    def submit(
        self, function: Callable[..., Any], task: object, *, scores: bool = False, suspect: bool = False
    ) -> None:
        """Start ``function(task)`` on some worker; one that scores on a worker with a GPU, if there is any.

        Of the tasks whose worker died with them, the suspects, one runs at a time: one of them may kill workers.
        """
        resources = {GPU: 1} if scores and self._gpus else None
        (self._suspects if suspect else self._waiting).append(_Sent(function, task, resources, suspect))
        self._fill()

    def wait(self, timeout_s: float) -> Sequence[Done]:
        """Return what has finished."""
        if self._draining and (self._waiting or self._suspects):
            return [Done(sent.task, error=NotBegunError()) for sent in self._take_waiting()]
        now_s = time.monotonic()
        if self._scheduler_is_gone(now_s):
            return [Done(sent.task, error=SchedulerLostError()) for sent in self._take_all()]
        if self._workers_are_gone(now_s):
            return [Done(sent.task, error=NoWorkersError(self._patience_s)) for sent in self._take_all()]
        self._fill()
        try:
            futures = [self._finished.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while not self._finished.empty():
            futures.append(self._finished.get_nowait())
        done = [done for future in futures if (done := self._done(future)) is not None]
        self._fill()
        return done

    def _scheduler_is_gone(self, now_s: float) -> bool:
        """Whether the scheduler was away so long that what it knew is lost."""
        if self._client.status == "running":
            self._away_since_s = None
        elif self._away_since_s is None:
            self._away_since_s = now_s
        return self._away_since_s is not None and now_s - self._away_since_s > GONE_S

    def _workers_are_gone(self, now_s: float) -> bool:
        """Whether there was no worker for so long that none is expected any more, or that a stop need not wait."""
        if self._size.workers or self._client.status != "running":
            self._empty_since_s = None
        elif self._empty_since_s is None:
            self._empty_since_s = now_s
        return self._empty_since_s is not None and now_s - self._empty_since_s > self._patience_s

    @property
    def _patience_s(self) -> float:
        return LEAVE_S if self._draining else self._no_workers_s

    async def _look_often(self) -> None:
        """Look how many workers there are, and after those of our own, on the client's event loop."""
        while True:
            self._size.stale = False
            with suppress(Exception):  # whatever Dask raises, the next look may do better
                found = await cast("Any", self._client.scheduler).identity(n_workers=0)
                if not self._size.stale:
                    self._size.workers, self._size.threads = found["n_workers"], found["total_threads"]
                if self._crew is not None and not self._draining:
                    self._crew.tend()
            await asyncio.sleep(LOOK_S)

    def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Call a quick function in every worker process, without waiting for it."""
        if self._client.status == "running":
            self._client.run(_call, function, *args, wait=False, on_error="ignore")

    def drain(self, token: str | None = None) -> None:
        """Tell running tasks on every worker to begin nothing new; repeated calls reach workers that were replaced."""
        token = token or self._token
        self._draining = self._draining or token == self._token
        if time.monotonic() >= self._drain_again_s.get(token, 0.0):
            self._drain_again_s[token] = time.monotonic() + DRAIN_EVERY_S
            self.tell(drain_here, token)

    def close(self) -> None:
        """Leave the cluster; end it if it is ours, by force if it does not end by itself."""
        if self._looking is not None:
            self._looking.cancel()
        if self._client.status == "running":
            self._client.unsubscribe_topic(f"{TOPIC}-{self._token}")
        self._client.close(timeout=CLOSE_S)
        if self._cluster is not None and self._crew is not None:
            try:
                self._cluster.close(timeout=CLOSE_CLUSTER_S)
            except TimeoutError:  # such as for a process that starts, and ends only once it has started
                self._crew.kill()
                self._cluster.status = Status.closed  # else Dask tries it once more as Python ends

    def _take_waiting(self) -> Sequence[_Sent]:
        taken = [*self._waiting, *self._suspects]
        self._waiting.clear()
        self._suspects.clear()
        return taken

    def _take_all(self) -> Sequence[_Sent]:
        taken = [*self._tasks.values(), *self._take_waiting()]
        self._tasks, self._on_trial = {}, None
        return taken

    def _fill(self) -> None:
        """Give tasks to workers as far as they have room."""
        while not self._size.stale and len(self._tasks) < self._size.threads:
            if self._suspects and self._on_trial is None:
                self._on_trial = self._send(self._suspects.popleft())
            elif self._waiting:
                self._send(self._waiting.popleft())
            else:
                break

    def _send(self, sent: _Sent) -> str:
        self._number += 1
        key = f"{sent.function.__name__}-{self._token}-{self._number}"
        future = self._client.submit(
            _on_worker, sent.function, sent.task, self._token, key=key, pure=False, resources=sent.resources
        )
        self._tasks[key] = replace(sent, future=future)
        future.add_done_callback(self._finished.put)
        return key

    def _done(self, future: Future[Any]) -> Done | None:
        sent = self._tasks.pop(str(future.key), None)
        if sent is None:
            return None
        if self._on_trial == future.key:
            self._on_trial = None
        try:
            return self._end_of(sent.task, future)
        finally:
            future.release()

    def _end_of(self, task: object, future: Future[Any]) -> Done:
        """Return what became of a task: its receipt, its own error, or that its worker or the scheduler is gone."""
        if future.status == "error":
            error = future.exception()
            if not isinstance(error, KilledWorker):
                return Done(task, error=error)
        elif future.status == "finished":
            # A receipt that dies with its worker before it is fetched would be waited for until Dask has run the task anew.
            with suppress(Exception, asyncio.CancelledError):
                return Done(task, receipt=future.result(timeout=RECEIPT_S))
        if self._client.status != "running":
            return Done(task, error=SchedulerLostError())
        self._size.stale = True  # who else was at that worker is known at the next look
        return Done(task, error=WorkerLostError(1))

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        fields = {name: value for name, value in event[1].items() if name != "worker"}
        self._sink(from_plain(fields))


async def _call(function: Callable[..., Any], *args: object) -> None:
    """Call a function as a coroutine: Dask would wait for a plain one, and for ever on a dying worker."""
    function(*args)


def _send_home(worker: Worker, topic: str, event: Event) -> None:
    worker.log_event(topic, to_plain(event))


def _on_worker(function: Callable[..., Any], task: object, token: str) -> Any:
    """Run a task in a worker's thread, with its events sent to the driver."""
    topic = f"{TOPIC}-{token}"
    send_home = partial(_send_home, get_worker(), topic)
    unsubscribe = this_worker().events.subscribe(send_home, key=topic)
    try:
        return run_task(function, task)
    finally:
        unsubscribe()
