"""What the package finds in place of the real world: the clock, process numbers, threads, disks and connections."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import psutil
from helpers.sim.parts import Process, SimLocalLog, SimWriter
from helpers.sim.provider import Line
from helpers.sim.turns import KilledError, Turn
from helpers.sim.world import LEASE_S, World

from routellm_batch.core import process as process_module
from routellm_batch.core.types import ROUTES
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call import deliver, job
from routellm_batch.stages.call import task as call
from routellm_batch.stages.call.job import CallJob, EndpointPool
from routellm_batch.storage.ledger import epoch, liveness, shard, succession, writer

CLOCKED = (
    "stages.call.loop",
    "endpoints.caller",
    "endpoints.pacing.gate",
    "storage.ledger.writer",
    "stages.call.task",
    "stages.call.fanout",
    "stages.call.job",
    "pipeline.start",
)
"""Modules that read the clock."""
SMALL = {
    "stages.call.loop.POLL_S": 0.5,
    "endpoints.caller.POLL_S": 0.5,
    "endpoints.caller.MAX_WAIT_S": 2.0,
    "endpoints.pacing.gate.LOOK_S": 0.5,
    "storage.ledger.succession.LOOK_S": 0.5,
    "storage.ledger.writer.MICRO_BATCH": 2,
    "storage.ledger.writer.PATIENCE_S": 20.0,
    "stages.call.fanout.INTENT_ROWS": 2,
    "stages.call.fanout.LOOK_S": 0.5,
    "stages.call.fanout.PROGRESS_S": 60.0,
}
"""Fewer looks at the clock, and batches that a few rows fill."""


class _Inside:
    """The replacements; each does for the process whose code runs what the real one does for its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._tokens = count()

    @property
    def here(self) -> Process:
        """The process whose code runs."""
        assert self.world.here is not None
        return self.world.here

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self.world.now_s

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.world.sleep(seconds)

    def token_hex(self, size: int) -> str:
        """Return a name that no other has."""
        return f"{next(self._tokens):0{2 * size}x}"

    def started(self, pid: int) -> float | None:
        """Say when a process of this machine began; None if none of that number runs."""
        process = self.here.host.processes.get(pid)
        return float(pid) if process and process.alive else None

    def status(self, pid: int) -> SimpleNamespace:
        """Stand in for ``psutil.Process``."""
        frozen = self.here.host.processes[pid].frozen
        return SimpleNamespace(status=lambda: psutil.STATUS_STOPPED if frozen else psutil.STATUS_RUNNING)

    def run_on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the process's loop and wait for it."""
        world, process = self.world, self.here
        assert world.turn is not None
        task = process.loop.create_task(coroutine)
        world.turn.wait(task.done)
        return task.result()

    def endpoint_pool(self, of: CallJob) -> EndpointPool:
        """Return the process's own pool."""
        pools = self.here.pools
        if of.token not in pools:
            ends = {route: getattr(of.config.endpoints, route) for route in ROUTES}
            pools[of.token] = EndpointPool(
                of, {route: job._caller(of, route, end) for route, end in ends.items()}
            )
        return pools[of.token]

    def endpoint(self, base_url: str, _key: object, *, connections: int) -> Line:
        """Return the process's way to a model."""
        process = self.here
        route = next(route for route in ROUTES if route == base_url)
        return Line(self.world.provider, route, lambda: process.sending, process.loop, lambda: process.alive)

    def adopt_all(self, _run_uri: str, token: str) -> int:
        """Look through the machine's local logs, once in each process and start."""
        if token in self.here.adopted:
            return 0
        self.here.adopted.add(token)
        return succession.adopt(self.world.store, self.here.host.folder)

    def wallet(self, grant_nano: int | None) -> Wallet:
        """Return a wallet that the world knows."""
        wallet = Wallet(grant_nano)
        if self.world.copy is not None:
            self.world.copy.wallet = wallet
        return wallet

    def ledger(self, store: Any, name: str, **of: int) -> shard.ShardLedger:
        """Return a ledger that the world knows."""
        ledger = shard.ShardLedger(store, name, **of)
        copy = self.world.copy
        if copy is not None and copy.job.task.shard.name == name:
            copy.ledger = ledger
        return ledger


class _Event:
    """``threading.Event`` on simulated time."""

    def __init__(self, world: World) -> None:
        self._world, self._set = world, False

    def set(self) -> None:
        """Set it."""
        self._set = True

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, or for a time."""
        self._world.sleep(timeout, lambda: self._set)
        return self._set


class _Thread:
    """``threading.Thread`` that takes turns."""

    def __init__(self, world: World, target: Callable[[], None]) -> None:
        self._world, self._target = world, target
        self._turn: Turn | None = None

    def start(self) -> None:
        """Begin."""
        assert self._world.here is not None
        self._turn = self._world.here.spawn(self._target)

    def join(self) -> None:
        """Wait for its end."""
        world, turn = self._world, self._turn
        assert turn is not None
        if world.here is None or not world.here.alive:
            raise KilledError
        assert world.turn is not None
        world.turn.wait(lambda: turn.ended)


@contextmanager
def inside(world: World) -> Iterator[None]:
    """Have the package live in a world."""
    it = _Inside(world)
    clock = SimpleNamespace(monotonic=it.monotonic, sleep=it.sleep)
    threads = SimpleNamespace(Event=lambda: _Event(world), Thread=lambda target, **_: _Thread(world, target))
    system = SimpleNamespace(getpid=lambda: it.here.pid, environ=os.environ)
    programs = SimpleNamespace(Process=it.status, Error=psutil.Error, STATUS_STOPPED=psutil.STATUS_STOPPED)
    replaced: list[tuple[Any, dict[str, Any]]] = [
        (
            liveness,
            {"host": lambda: it.here.host.name, "_started": it.started, "os": system, "psutil": programs},
        ),
        (epoch, {"threading": threads}),
        (shard, {"secrets": it}),
        (writer, {"LocalLog": lambda folder, name, runner: SimLocalLog(folder, name, runner, it.here)}),
        (job, {"OpenAIEndpoint": it.endpoint}),
        (deliver, {"FsStore": lambda _uri: world.store}),
        (
            call,
            {
                "FsStore": lambda _uri: world.store,
                "local_folder": lambda _uri: it.here.host.folder,
                "run_on_loop": it.run_on_loop,
                "endpoint_pool": it.endpoint_pool,
                "_adopt_all": it.adopt_all,
                "Wallet": it.wallet,
                "ShardLedger": it.ledger,
                "LedgerWriter": lambda of, folder, **how: SimWriter(of, folder, it.here, **how),
            },
        ),
    ]
    with ExitStack() as stack:
        for module, names in replaced:
            stack.enter_context(patch.multiple(module, **names))
        for name in CLOCKED:
            stack.enter_context(patch(f"routellm_batch.{name}.time", clock))
        for name, value in SMALL.items():
            stack.enter_context(patch(f"routellm_batch.{name}", value))
        stack.enter_context(patch("routellm_batch.pipeline.start.secrets", it))
        stack.enter_context(patch("routellm_batch.pipeline.start.lease_s", lambda: LEASE_S))
        process_module._drained.clear()
        succession.active.clear()
        epoch._held.clear()
        deliver._other_ledger.cache_clear()
        try:
            yield
        finally:
            for process in [*world.workers, *world.processes]:
                process.die()
            world.settle()
