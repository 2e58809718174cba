"""What a simulated world is made of: machines, processes, tasks, starts of the run, and what storage may do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from helpers.sim.loop import SimLoop
from helpers.sim.turns import KilledError, Turn

from routellm_batch.budget.plan import Plan
from routellm_batch.config.job import Config
from routellm_batch.core.halt import Halt
from routellm_batch.core.types import Done
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call.limit_shares import Sharing
from routellm_batch.stages.call.loop import CallStage
from routellm_batch.storage.ledger.local import LocalLog
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.writer import LedgerWriter
from routellm_batch.storage.run import Run


@dataclass(frozen=True)
class Scene:
    """A planned run, ready to be called."""

    objects: Mapping[str, bytes]
    """What its storage holds."""
    run: Run
    plan: Plan
    config: Config
    places: Mapping[str, tuple[str, int]]
    """Prompt → shard and row that are called for it."""


@dataclass(eq=False)
class Host:
    """A machine."""

    name: str
    base: Path
    """The folder of all runs' local logs."""
    folder: Path
    """Those of this run lie here."""
    processes: dict[int, Process] = field(default_factory=dict)
    """Process number → process, dead ones too."""


class Process:
    """One process: an event loop, blocking code, connections, local logs."""

    worker: Worker
    """What its code sees of it; set once the world has put it together."""

    def __init__(self, host: Host, pid: int, now_s: Callable[[], float]) -> None:
        self.host, self.pid = host, pid
        self.alive = True
        """It runs, frozen or not."""
        self.frozen = False
        self.loop = SimLoop(now_s, self.spawn)
        self.turns: list[Turn] = []
        """Its blocking code."""
        self.copies: list[Copy] = []
        self.logs: list[SimLocalLog] = []
        self.sending: tuple[str, str, int] = ("", "", -1)
        """Shard, runner and row of its last send."""
        host.processes[pid] = self

    @property
    def awake(self) -> bool:
        """Say whether it goes on."""
        return self.alive and not self.frozen

    @property
    def running(self) -> list[Copy]:
        """Tasks that it runs."""
        self.copies = [copy for copy in self.copies if not copy.turn.ended]
        return self.copies

    def spawn(
        self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None] = lambda *_: None
    ) -> Turn:
        """Run blocking code; in a dead process nothing runs."""
        turn = Turn(function, done)
        turn.killed = not self.alive
        if self.alive:
            self.turns.append(turn)
        else:
            done(None, KilledError())
        return turn

    def die(self) -> None:
        """End at once: what its code does from now on has no effect."""
        self.alive = False
        for log in self.logs:
            log.close(remove=False)
        self.loop.discard()
        for turn in self.turns:
            turn.killed = True


class SimLocalLog(LocalLog):
    """A local log that is let go of when its process dies."""

    def __init__(self, folder: Path, shard: str, runner: str, process: Process) -> None:
        super().__init__(folder, shard, runner)
        self._open = True
        process.logs.append(self)

    def append(self, payload: bytes) -> None:
        """Append a frame."""
        if not self._open:
            raise KilledError
        super().append(payload)

    def close(self, *, remove: bool) -> None:
        """Let go of the log, once."""
        if self._open:
            self._open = False
            super().close(remove=remove)


class SimWriter(LedgerWriter):
    """A ledger's writer whose process remembers which row is sent now."""

    def __init__(self, ledger: ShardLedger, folder: Path, process: Process, **settings: Any) -> None:
        self._process, self._of = process, ledger
        super().__init__(ledger, folder, **settings)

    def _open_log(self, folder: Path) -> SimLocalLog:
        return SimLocalLog(folder, self._of.shard, self._of.runner, self._process)

    def sending(self, row: int) -> None:
        """Take note that a row is sent now."""
        super().sending(row)
        self._process.sending = (self._of.shard, self._of.runner, row)


@dataclass(eq=False)
class Copy:
    """A task being run by a process; Dask may have it run twice."""

    job: Job
    process: Process
    turn: Turn
    ledger: ShardLedger | None = None
    wallet: Wallet | None = None
    """From when it has claimed its shard."""


@dataclass(eq=False)
class Job:
    """A task that a driver handed out."""

    function: Callable[[Any], Any]
    task: Any
    runner: SimRunner
    copies: list[Copy] = field(default_factory=list)
    """The last one's result counts."""
    deaths: int = 0
    """Processes that died with it."""


class Clock(Protocol):
    """Lets blocking code wait."""

    def sleep(self, seconds: float, until: Callable[[], bool] = ...) -> None:
        """Wait, or return early where something is so."""
        ...


class SimRunner:
    """A ``Runner`` as Dask is one: a task may run twice, or die with its worker and be run again.

    Args:
        clock: lets it wait.
        process: of the driver.
        workers: processes that run its tasks; a dead one's place in the list is another one's.

    """

    def __init__(self, clock: Clock, process: Process, workers: Sequence[Process]) -> None:
        self.workers = self.slots = len(workers)
        self.alone = False
        self.heard = False
        """A process has reported; the driver looks at it at once, so that no time need pass before a first call."""
        self._processes = workers
        self._clock = clock
        self.process = process
        self.token = ""
        self.queue: deque[Job] = deque()
        """Tasks that no process has yet."""
        self.jobs: list[Job] = []
        """Tasks that have not ended."""
        self._finished: list[Done] = []

    def submit(
        self, function: Callable[..., Any], task: object, *, scores: bool = False, suspect: bool = False
    ) -> None:
        """Put a task where a worker finds it."""
        job = Job(function, task, self)
        self.jobs.append(job)
        self.queue.append(job)

    def wait(self, timeout_s: float) -> Sequence[Done]:
        """Return what has finished."""
        self._clock.sleep(timeout_s, lambda: bool(self._finished) or self.heard)
        self.heard = False
        found, self._finished = self._finished, []
        return found

    def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Tell every worker process; one that is frozen hears it when it goes on."""
        for process in self._processes:
            if process.alive:
                function(*args, process.worker)

    def drain(self, token: str | None = None) -> None:
        """Tell every process at once."""
        for process in self._processes:
            process.worker.drains.drain(token or self.token)

    def close(self) -> None:
        """Nothing was started for it."""

    def end(self, job: Job, result: Any, error: BaseException | None) -> None:
        """Take a task's end home."""
        if job in self.jobs and self.process.alive:
            self.jobs.remove(job)
            self._finished.append(Done(job.task, receipt=result, error=error))


@dataclass(eq=False)
class Driver:
    """One start of the run."""

    process: Process
    runner: SimRunner
    halt: Halt
    stage: CallStage | None = None
    """Once it has the run."""
    sharing: Sharing | None = None
    """Allots the limits; once it has the run."""
    epoch: int = 0
    """0 before that."""
    ended: bool = False
    error: BaseException | None = None
    """What it ended with, if not well."""


class Trap(StrEnum):
    """What happens at an operation on storage."""

    FAILS = "the operation fails"
    UNHEARD = "its reply is lost"
    STALLS = "it waits before it is done"
    HANGS = "it is done, and its reply waits"
    KILLS = "the process dies before it"
    KILLS_AFTER = "the process dies after it"


@dataclass
class Stall:
    """A write that waits to be done, or for its reply."""

    process: Process
    path: str
    data: bytes
    done: bool
    released: bool = False
