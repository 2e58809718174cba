"""What the package finds in place of the real world: workers with their clocks and loops, process numbers, connections."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psutil
from helpers.sim.parts import Process, SimWriter
from helpers.sim.provider import Line
from helpers.sim.turns import KilledError

from routellm_batch.core.types import ROUTES
from routellm_batch.core.worker import Worker, WorkerSettings
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call import task as call
from routellm_batch.stages.call.job import EndpointPools
from routellm_batch.storage.ledger import liveness
from routellm_batch.storage.ledger.shard import ShardLedger

if TYPE_CHECKING:
    from helpers.sim.world import World

SETTINGS = WorkerSettings(
    poll_s=0.5, look_s=0.5, max_wait_s=2.0, micro_batch=2, patience_s=20.0, intent_rows=2, progress_s=2.0
)
"""Fewer looks at the clock, and batches that a few rows fill."""


def worker_of(world: World, process: Process) -> Worker:
    """Return what the code of a process sees of it."""

    def endpoint(base_url: str, _key: object, *, connections: int, reach: object) -> Line:
        route = next(route for route in ROUTES if route == base_url)
        return Line(world.provider, route, lambda: process.sending, process.loop, lambda: process.alive)

    worker = Worker(
        name=f"process{process.pid}",
        clock=_Clock(world),
        loop=_Loop(world, process),
        settings=SETTINGS,
        local_folder=process.host.base,
        new_name=lambda size: f"{next(world.names):0{2 * size}x}",
    )
    worker.keep(EndpointPools, EndpointPools(endpoint))
    return worker


class _Clock:
    """A ``Clock`` on simulated time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self._world.now_s

    def wall(self) -> datetime:
        """Return the simulated time as one of a day long ago."""
        return datetime.fromtimestamp(self._world.now_s, UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._world.sleep(seconds)

    @contextmanager
    def repeating(self, interval_s: float, action: Callable[[], bool], name: str) -> Iterator[None]:
        """Call an action again and again, in a turn of its own."""
        world, ended = self._world, False

        def repeat() -> None:
            while True:
                world.sleep(interval_s, lambda: ended)
                if ended or not action():
                    return

        assert world.here is not None
        turn = world.here.spawn(repeat)
        try:
            yield
        finally:
            ended = True
            if world.here is None or not world.here.alive:
                raise KilledError
            assert world.turn is not None
            world.turn.wait(lambda: turn.ended)


class _Loop:
    """A ``Loop`` that is a process's simulated one."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the process's loop and wait for it."""
        task = self._process.loop.create_task(coroutine)
        assert self._world.turn is not None
        self._world.turn.wait(task.done)
        return task.result()

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Have a function called on the process's loop."""
        self._process.loop.call_soon(function, *args)


class _System:
    """What the operating system says of processes, to the process whose code runs."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def here(self) -> Process:
        """The process whose code runs."""
        assert self._world.here is not None
        return self._world.here

    def host(self) -> str:
        """Return the name of this machine."""
        return self.here.host.name

    def started(self, pid: int) -> float | None:
        """Return when a process of this machine began; None if none of that number runs."""
        process = self.here.host.processes.get(pid)
        return float(pid) if process and process.alive else None

    def status(self, pid: int) -> SimpleNamespace:
        """Stand in for ``psutil.Process``."""
        frozen = self.here.host.processes[pid].frozen
        return SimpleNamespace(status=lambda: psutil.STATUS_STOPPED if frozen else psutil.STATUS_RUNNING)


class _Watch:
    """Shows the world what a task makes: its wallet, its ledger, and which row it sends."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wallet(self, grant_nano: int | None) -> Wallet:
        """Return a wallet that the world knows."""
        wallet = Wallet(grant_nano)
        if self._world.copy is not None:
            self._world.copy.wallet = wallet
        return wallet

    def ledger(self, store: Any, name: str, **of: Any) -> ShardLedger:
        """Return a ledger that the world knows."""
        ledger = ShardLedger(store, name, **of)
        copy = self._world.copy
        if copy is not None and copy.job.task.shard.name == name:
            copy.ledger = ledger
        return ledger

    def writer(self, of: ShardLedger, folder: Any, **settings: Any) -> SimWriter:
        """Return a ledger's writer whose process remembers what it sends."""
        assert self._world.here is not None
        return SimWriter(of, folder, self._world.here, **settings)


@contextmanager
def inside(world: World) -> Iterator[None]:
    """Have the package live in a world: its processes are those of the world, and its tasks are looked at."""
    it, watch = _System(world), _Watch(world)
    system = SimpleNamespace(getpid=lambda: it.here.pid, environ=os.environ)
    programs = SimpleNamespace(Process=it.status, Error=psutil.Error, STATUS_STOPPED=psutil.STATUS_STOPPED)
    with ExitStack() as stack:
        replaced = {"host": it.host, "_started": it.started, "os": system, "psutil": programs}
        stack.enter_context(patch.multiple(liveness, **replaced))
        seen = {"Wallet": watch.wallet, "ShardLedger": watch.ledger, "LedgerWriter": watch.writer}
        stack.enter_context(patch.multiple(call, **seen))
        try:
            yield
        finally:
            for process in [*world.workers, *world.processes]:
                process.die()
            world.settle()
