"""Machines, processes, storage and two models in one thread of control: the real call stage, stopped wherever one likes.

Nothing moves by itself. ``settle`` lets all that can go on go on, until everything waits for a reply, for time or for
somebody; ``advance`` moves the clock. A process has an event loop and some blocking code (``Turn``), as in production;
it can be frozen, thawed and killed, at a chosen operation on storage if need be. ``inside`` has the package live in it.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from helpers.sim import store as memory
from helpers.sim.inside import worker_of
from helpers.sim.parts import Copy, Driver, Host, Job, Process, Scene, SimRunner, Stall, Trap
from helpers.sim.provider import Provider
from helpers.sim.turns import KilledError, Turn

from routellm_batch.core.errors import WorkerLostError
from routellm_batch.core.events import Event
from routellm_batch.core.halt import Halt
from routellm_batch.core.types import ROUTES
from routellm_batch.pipeline.start import driving
from routellm_batch.runtime.tasks import run_task
from routellm_batch.stages.call.job import CallJob
from routellm_batch.stages.call.limit_shares import Sharing
from routellm_batch.stages.call.loop import CallStage
from routellm_batch.storage.ledger.epoch import earlier_callers
from routellm_batch.storage.ledger.local import left_here, local_folder
from routellm_batch.storage.ledger.state import Entry

LEASE_S = 3.0
LOG_ENTRY = re.compile(r"call/\d+/\d+\.json")
SLOTS = 2
"""Tasks to a process."""
MOST_DEATHS = 0
"""After more of them the driver is told that a task's processes died; until then the cluster runs it again by itself."""
RESTLESS = 3_000
"""So many moves while the clock stands are no progress."""


class World:
    """Two machines with a worker process each, a store, two models, and the starts of one run."""

    def __init__(self, scene: Scene, folder: Path, cap_nano: int | None) -> None:
        self.now_s = 1_000.0
        self.folder = folder
        self._numbers = count(1)
        self.names = count()
        """Numbers that name starts and runners."""
        self.store = memory.MemoryStore(scene.run.uri, scene.objects)
        self.store.watch = self._watch
        self.scene = replace(scene, run=replace(scene.run, store=self.store))
        self.problems: list[str] = []
        """What must not be, and was."""
        prices = {route: getattr(scene.config.endpoints, route).nano_price for route in ROUTES}
        billed = scene.config.endpoints.weak.presume_5xx
        self.provider = Provider(
            self.store,
            prices,
            scene.places,
            self.problems.append,
            cap_nano,
            billed,
            lambda: self.now_s,
            LEASE_S,
        )
        self.processes: list[Process] = []
        """Those that run, and dead ones whose code still unwinds."""
        self.hosts = [self._host(), self._host()]
        self.workers = [self.process(host) for host in self.hosts]
        self.drivers: list[Driver] = []
        self.traps: list[tuple[Trap, int, str]] = []
        """(what, after so many more writes, to paths with this in them)."""
        self.stalls: list[Stall] = []
        self.late: list[Stall] = []
        """Writes of dead processes that are still on their way."""
        self.begun: set[str] = set()
        """Runners that have tried to write an intent."""
        self.lost: set[str] = set()
        """Runners whose local logs were lost with their machine."""
        self.here: Process | None = None
        """Whose code runs now."""
        self.turn: Turn | None = None

    @property
    def cap_nano(self) -> int | None:
        """What the calls may cost, for starts to come."""
        return self.provider.cap_nano

    def _host(self) -> Host:
        name = f"host{next(self._numbers)}"
        base = self.folder / name
        return Host(name, base, local_folder(self.scene.run.uri, base))

    def process(self, host: Host) -> Process:
        """Start a process."""
        process = Process(host, next(self._numbers), lambda: self.now_s)
        process.worker = worker_of(self, process)
        process.worker.events.subscribe(self._hear)
        self.processes.append(process)
        return process

    def _hear(self, event: Event) -> None:
        """Take what a process reports to whoever drives the run."""
        for driver in self.drivers:
            if driver.process.alive and driver.sharing is not None:
                driver.sharing.note(event, self.now_s)
                driver.runner.heard = True

    # Time and turns

    def settle(self) -> None:
        """Let everything go on until it waits."""
        for _ in range(RESTLESS):
            if not self._moves():
                return
        message = "the world does not come to rest"
        raise AssertionError(message)

    def _moves(self) -> bool:
        moved = self._place()
        for process in [one for one in self.processes if one.awake or not one.alive]:
            with self._in(process):
                moved |= process.alive and process.loop.run()
                for turn in [turn for turn in process.turns if turn.ready(self.now_s)]:
                    self.turn, moved = turn, True
                    turn.go()
                    self.turn = None
            process.turns = [turn for turn in process.turns if not turn.ended]
        self.processes = [process for process in self.processes if process.alive or process.turns]
        return moved

    @contextmanager
    def _in(self, process: Process) -> Iterator[None]:
        self.here = process
        yield
        self.here = None

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until_s = self.now_s + seconds
        self.settle()
        while (due_s := self._due_s()) <= until_s:
            self.now_s = max(self.now_s, due_s)
            self.settle()
        self.now_s = until_s

    def _due_s(self) -> float:
        awake = [process for process in self.processes if process.awake]
        turns = [turn.due_s for process in awake for turn in process.turns]
        return min([*turns, *(process.loop.due_s for process in awake)], default=math.inf)

    def sleep(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, as blocking code; return early where something is so."""
        assert self.turn is not None
        self.turn.wait(until, self.now_s + seconds)

    # Storage

    def _watch(self, operation: str, path: str, data: bytes) -> memory.Fate:
        """Do to a write what a trap says; a dead process can do nothing at all."""
        process, turn = self.here, self.turn
        if process is not None and not process.alive:
            raise KilledError
        if process is None or turn is None or not turn.mine or operation != "create":
            return memory.Fate.WORKS
        if LOG_ENTRY.fullmatch(path):
            entry = Entry.from_json(data)
            if entry.kind == "claim":
                self.provider.claimed_s.setdefault(entry.runner, self.now_s)
            elif entry.kind == "intent":
                self.begun.add(entry.runner)
        trap = self._sprung(path)
        if trap in {Trap.FAILS, Trap.UNHEARD}:
            return memory.Fate.FAILS if trap is Trap.FAILS else memory.Fate.UNHEARD
        if trap in {Trap.HANGS, Trap.KILLS_AFTER}:
            self.store.objects.setdefault(path, data)
        if trap in {Trap.KILLS, Trap.KILLS_AFTER}:
            self.kill(process)
            raise KilledError
        if trap in {Trap.STALLS, Trap.HANGS}:
            stall = Stall(process, path, data, trap is Trap.HANGS)
            self.stalls.append(stall)
            turn.wait(lambda: stall.released)
        return memory.Fate.WORKS

    def _sprung(self, path: str) -> Trap | None:
        for number, (trap, skips, part) in enumerate(self.traps):
            if part in path:
                if skips == 0:
                    del self.traps[number]
                    return trap
                self.traps[number] = (trap, skips - 1, part)
        return None

    def heal(self) -> None:
        """Have everything work, and every request answered at once, from now on."""
        self.traps.clear()
        for stall in self.stalls:
            stall.released = True
        self.stalls.clear()
        for process in self.processes:
            process.frozen = False
        self.provider.answer_all()

    # Processes and tasks

    def kill(self, process: Process) -> None:
        """End a process at once; a worker is started again, and its tasks are run again elsewhere."""
        copies = process.running
        process.die()
        self.late += [stall for stall in self.stalls if stall.process is process and not stall.done]
        self.stalls = [stall for stall in self.stalls if stall.process is not process]
        for copy in copies:
            job = copy.job
            if copy is not job.copies[-1] or job not in job.runner.jobs:
                continue
            job.deaths += 1
            if job.deaths > MOST_DEATHS:
                job.runner.end(job, None, WorkerLostError(job.deaths))
            else:
                job.runner.queue.append(job)
        if process in self.workers:
            number = self.workers.index(process)
            self.workers[number] = self.process(self.hosts[number])

    def lose_host(self, number: int) -> None:
        """Lose a machine with all that is on it; another one takes its place."""
        lost, self.hosts[number] = self.hosts[number], self._host()
        for process in list(lost.processes.values()):
            if process.alive:
                self.kill(process)
        for shard in self.scene.run.shards:
            self.lost |= left_here(lost.folder, shard.name)
        shutil.rmtree(lost.base)

    def _place(self) -> bool:
        """Give waiting tasks to processes with room, the emptiest first."""
        moved = False
        for driver in self.drivers:
            queue = driver.runner.queue
            while queue and driver.process.alive:
                worker = min(self.workers, key=lambda one: len(one.running))
                if len(worker.running) >= SLOTS:
                    break
                self.run_copy(queue.popleft(), worker)
                moved = True
        return moved

    def run_copy(self, job: Job, process: Process) -> None:
        """Have a process run a task; from now on its result is the one that counts."""

        def done(result: Any, error: BaseException | None) -> None:
            if copy is job.copies[-1]:
                job.runner.end(job, result, error)

        def call(task: Any) -> Any:
            return job.function(task, process.worker)

        copy = Copy(job, process, process.spawn(lambda: run_task(call, job.task), done))
        job.copies.append(copy)
        process.copies.append(copy)

    @property
    def copies(self) -> list[Copy]:
        """Tasks that run, in processes that live."""
        return [copy for process in self.processes if process.alive for copy in process.running]

    @property
    def copy(self) -> Copy | None:
        """The task whose code runs now."""
        return next((c for c in self.here.copies if c.turn is self.turn), None) if self.here else None

    # Starts of the run

    def start(self, host: Host, *, calls: bool = True, retry_failed: bool = False) -> Driver:
        """Start the run on a machine; one that calls nothing ends as soon as it has the run, as ``plan`` does."""
        process = self.process(host)
        driver = Driver(process, SimRunner(self, process, self.workers), Halt())
        self.drivers.append(driver)

        def done(_result: Any, error: BaseException | None) -> None:
            driver.ended, driver.error = True, error
            self.kill(process)

        process.spawn(lambda: self._drive(driver, calls=calls, retry_failed=retry_failed), done)
        return driver

    def _drive(self, driver: Driver, *, calls: bool, retry_failed: bool) -> None:
        """Do what ``run_job`` does once there is a plan."""
        scene = self.scene
        worker = driver.process.worker
        with driving(scene.run, lambda _event: None, driver.halt, worker, lease_s=LEASE_S) as start:
            driver.runner.token, driver.epoch = start.token, start.epoch
            planned = sum(totals.calls for totals in scene.plan.endpoints.values())
            job = CallJob(
                config=scene.config,
                run=scene.run,
                cut=scene.plan.cut,
                base_urls={route: route for route in ROUTES},
                workers=len(self.workers),
                calls=planned,
                token=start.token,
                epoch=start.epoch,
                lease_s=start.lease_s,
            )
            plan = replace(scene.plan, cap_nano=self.cap_nano)
            if calls:
                driver.sharing = Sharing.of(scene.config.endpoints)
                driver.sharing.start, driver.sharing.expected = start.token, len(self.workers)
                if driver.halt.loose:
                    earlier = earlier_callers(scene.run.store, start.epoch)
                    driver.sharing.wait_for(earlier, self.now_s)
                driver.stage = CallStage(
                    job, plan, driver.runner, driver.halt, worker, retry_failed, sharing=driver.sharing
                )
                driver.stage.run()
