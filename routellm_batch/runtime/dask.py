"""The one door to Dask: the same tasks on worker processes, here or behind a scheduler's address.

Shard descriptors go out and small receipts come back, each under a fresh key; data and truth stay on storage. A
task that dies with its worker is submitted again a few times, then its death is the task's error.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask
from distributed import Future, Status, Worker, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.errors import ConfigError, SchedulerLostError, WorkerLostError
from routellm_batch.core.events import Event, Sink, from_plain, to_plain
from routellm_batch.core.logs import install_redaction, quiet
from routellm_batch.core.types import Done
from routellm_batch.core.worker import drain_here, this_worker
from routellm_batch.runtime.clusters import CLUSTERS, CONNECT_S, GPU, connect
from routellm_batch.runtime.tasks import run_task

RESUBMITS = 1
"""A task whose worker died is started again this often, beside no other such task: one of them may be the killer."""
ALLOWED_DEATHS = 1
"""Dask itself starts a task again after this many deaths."""
TOPIC = "routellm-events"
SETTINGS = {
    "distributed.worker.daemon": True,
    "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
    "distributed.scheduler.work-stealing": False,
    "distributed.admin.low-level-log-length": 0,
    "distributed.comm.timeouts.connect": "30s",
}
ENDING = frozenset((Status.closing, Status.closing_gracefully, Status.closed, Status.failed, Status.stopping))
PROFILERS = ("profile", "profile-cycle")
CLOSE_S = 5
DRAIN_EVERY_S = 2.0
GONE_S = 10.0
"""A scheduler that can't be reached for so long is given up; tasks on it end by themselves."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A task on its way."""

    function: Callable[..., Any]
    """What is called, on the task alone."""
    task: object
    """What is sent."""
    resources: Mapping[str, int] | None
    """What its worker must have free."""
    future: Future[Any] | None = None
    """Held, or Dask would forget the task."""
    trials: int = 0
    """Times that it was started again because its worker died."""


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
    """A ``Runner`` on a Dask cluster."""

    def __init__(self, config: ClusterConfig, sink: Sink, token: str) -> None:
        self._token = token
        self._sink = sink
        self._finished: queue.Queue[Future[Any]] = queue.Queue()
        self._tasks: dict[str, _Sent] = {}
        self._suspects: deque[_Sent] = deque()
        self._on_trial: str | None = None
        self._number = 0
        self._draining, self._drain_again_s = False, dict[str, float]()
        self._away_since_s: float | None = None
        dask.config.set(SETTINGS)
        quiet()  # as its import set Dask's own levels
        # Dask prints a traceback of a scheduler that is gone; the run reports it itself, with what to do.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self._cluster = CLUSTERS[config.kind](config) if config.kind in CLUSTERS else None
        self._client = connect(config, self._cluster)
        self._client.subscribe_topic(f"{TOPIC}-{token}", self._on_event)
        self._client.register_plugin(WorkerCare())
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            self.close()
            raise ConfigError("cluster", f"no Dask worker joined within {CONNECT_S} s") from None
        info = self._client.scheduler_info(n_workers=-1)["workers"]
        self.workers = max(1, len(info))
        self.slots = max(1, sum(int(worker["nthreads"]) for worker in info.values()))
        self._gpus = any(GPU in (worker.get("resources") or {}) for worker in info.values())

    def submit(self, function: Callable[..., Any], task: object, *, scores: bool = False) -> None:
        """Start ``function(task)`` on some worker; one that scores on a worker with a GPU, if there is any."""
        resources = {GPU: 1} if scores and self._gpus else None
        self._submit(_Sent(function, task, resources))

    def wait(self, timeout_s: float) -> Sequence[Done]:
        """Return what has finished."""
        if self._draining and self._suspects:
            suspects, self._suspects = self._suspects, deque()
            return [Done(sent.task, error=_lost(sent)) for sent in suspects]
        if self._scheduler_is_gone(time.monotonic()):
            lost, self._tasks = self._tasks, {}
            return [Done(sent.task, error=SchedulerLostError()) for sent in lost.values()]
        try:
            futures = [self._finished.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while not self._finished.empty():
            futures.append(self._finished.get_nowait())
        return [done for future in futures if (done := self._done(future)) is not None]

    def _scheduler_is_gone(self, now_s: float) -> bool:
        """Whether the scheduler was away so long that what it knew is lost."""
        if self._client.status == "running":
            self._away_since_s = None
        elif self._away_since_s is None:
            self._away_since_s = now_s
        return self._away_since_s is not None and now_s - self._away_since_s > GONE_S

    def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Call a quick function in every worker process, without waiting for it."""
        if self._client.status == "running":
            self._client.run(_call_async, function, *args, wait=False, on_error="ignore")

    def drain(self, token: str | None = None) -> None:
        """Tell running tasks on every worker to begin nothing new; said again, as a worker may have been replaced."""
        token = token or self._token
        self._draining = self._draining or token == self._token
        if time.monotonic() >= self._drain_again_s.get(token, 0.0):
            self._drain_again_s[token] = time.monotonic() + DRAIN_EVERY_S
            self.tell(drain_here, token)

    def close(self) -> None:
        """Leave the cluster; end it if it is ours."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(f"{TOPIC}-{self._token}")
        self._client.close(timeout=CLOSE_S)
        if self._cluster is not None:
            self._cluster.close()

    def _try_suspect(self) -> None:
        if self._suspects and self._on_trial is None:
            self._on_trial = self._submit(self._suspects.popleft())

    def _submit(self, sent: _Sent) -> str:
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
        self._try_suspect()
        if future.status == "finished":
            receipt = future.result()
            future.release()
            return Done(sent.task, receipt=receipt)
        error = future.exception() if future.status == "error" else SchedulerLostError()
        future.release()
        if isinstance(error, KilledWorker):
            if sent.trials < RESUBMITS and not self._draining:
                log.warning("a task's workers died; it is started again")
                self._suspects.append(replace(sent, trials=sent.trials + 1))
                self._try_suspect()
                return None
            error = _lost(sent)
        return Done(sent.task, error=error)

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        fields = {name: value for name, value in event[1].items() if name != "worker"}
        self._sink(from_plain(fields))


def _lost(sent: _Sent) -> WorkerLostError:
    return WorkerLostError((sent.trials + 1) * (ALLOWED_DEATHS + 1))


async def _call_async(function: Callable[..., Any], *args: object) -> None:
    """Call a function; Dask would wait for one that is not async, and for ever on a dying worker."""
    function(*args)


def _send_home(worker: Worker, topic: str, event: Event) -> None:
    worker.log_event(topic, to_plain(event))


def _on_worker(function: Callable[..., Any], task: object, token: str) -> Any:
    """Run a task in a worker's thread, with its events sent home."""
    topic = f"{TOPIC}-{token}"
    send_home = partial(_send_home, get_worker(), topic)
    unsubscribe = this_worker().events.subscribe(send_home, key=topic)
    try:
        return run_task(function, task)
    finally:
        unsubscribe()
