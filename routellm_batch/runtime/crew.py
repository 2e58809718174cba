"""The worker processes of a cluster of our own: one that Dask does not bring back is started anew.

Dask's nannies restart a worker that dies, and give up where it dies again while it starts; and a cluster of Dask's
forgets a worker that takes longer than ``lost-worker-timeout`` to come back, as on a busy machine. So who is there is
looked at here, again and again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from distributed import Nanny, Scheduler, SpecCluster, Status

GRACE_S = 2.0
"""A worker that is missing for so long without a process is replaced; the pause doubles with each vain try."""
LONGEST_S = 60.0
"""The longest pause between two tries; and a process that has not joined for so long is replaced, too."""
LET_GO_S = 5.0
"""How long a nanny may take to end."""
ALIVE = frozenset((Status.init, Status.created, Status.starting, Status.running))

log = logging.getLogger(__name__)


def is_due(missing_s: float, tries: int, *, gone: bool) -> bool:
    """Whether a worker that is missing is to be started anew.

    Args:
        missing_s: since when it is missing, or since it was last started anew.
        tries: how often it was started anew without joining.
        gone: no process of it runs.

    """
    return missing_s >= min(LONGEST_S, GRACE_S * 2 ** min(tries, 10)) if gone else missing_s >= LONGEST_S


@dataclass
class _Missing:
    since_s: float
    tries: int = 0


@dataclass
class Crew:
    """Keeps a cluster's worker processes; ``tend`` and ``kill`` run on the cluster's event loop."""

    cluster: SpecCluster
    """The cluster; its scheduler is in this process."""
    _missing: dict[Any, _Missing] = field(default_factory=dict)
    """Name → since when no such worker is there."""
    _working: set[asyncio.Task[None]] = field(default_factory=set)
    """Starts and ends of nannies that are under way."""

    def tend(self, now_s: float | None = None) -> None:
        """Start those workers anew that are missing and that nobody brings back."""
        now_s = time.monotonic() if now_s is None else now_s
        cluster = self.cluster
        here = {worker.name for worker in self._scheduler.workers.values()}
        for name in list(cluster.worker_spec):
            if name in here:
                self._missing.pop(name, None)
                continue
            missing = self._missing.setdefault(name, _Missing(now_s))
            nanny = cluster.workers.get(name)
            if is_due(now_s - missing.since_s, missing.tries, gone=_is_gone(nanny)):
                missing.since_s, missing.tries = now_s, missing.tries + 1
                log.warning("a worker process did not come back; another one is started")
                self._replace(name, nanny)

    @property
    def _scheduler(self) -> Scheduler:
        return cast("Scheduler", self.cluster.scheduler)

    def kill(self) -> None:
        """End every worker process at once."""
        for nanny in self.cluster.workers.values():
            _kill(nanny)

    def _replace(self, name: Any, nanny: Nanny | None) -> None:
        spec = self.cluster.worker_spec[name]
        if nanny is not None:
            _kill(nanny)
            self._begin(nanny.close(timeout=1))
        new = spec["cls"](self._scheduler.address, **{"name": name, **spec.get("options", {})})
        self.cluster.workers[name] = new
        self._begin(new)

    def _begin(self, awaitable: Any) -> None:
        """Await something without waiting for it; that a worker did not start shows in that it is missing."""

        async def wait() -> None:
            with suppress(Exception):
                await awaitable

        task = asyncio.ensure_future(wait())
        self._working.add(task)
        task.add_done_callback(self._working.discard)


def _is_gone(nanny: Any) -> bool:
    """Whether no process runs that may yet join."""
    if nanny is None or nanny.status not in ALIVE:
        return True
    return nanny.status == Status.running and (nanny.process is None or not nanny.process.is_alive())


def _kill(nanny: Any) -> None:
    with suppress(ProcessLookupError, AttributeError):
        if nanny.pid:
            os.kill(nanny.pid, signal.SIGKILL)
