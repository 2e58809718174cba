"""Any sequence of faults: the real call stage in a simulated world, its promises checked after every move."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.sim.audit import Auditor
from helpers.sim.inside import inside
from helpers.sim.parts import Driver, Trap
from helpers.sim.picture import pictured
from helpers.sim.plans import KINDS, planned
from helpers.sim.profile import PROFILE, TIMEOUT_S
from helpers.sim.provider import Fate
from helpers.sim.world import LEASE_S, World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

pytestmark = pytest.mark.timeout(TIMEOUT_S)

WHICH = st.integers(0, 5)
"""Picks one of some, whatever their number."""
PARTS = ("call/", ".json", ".r", "commit/", "epoch/", "responses/")
"""In the paths of some writes."""
MOST_BLOWS = 5
"""Deaths and interruptions in one world, so that some of its runs get far."""
MOST_STARTS = 3
"""Starts at work at once."""
END_S = 90
"""A start that nothing disturbs ends within this time."""


class Calls(RuleBasedStateMachine):
    """Machines, processes, storage and models that fail in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.blows = 0

    @initialize(kind=st.sampled_from(sorted(KINDS)), calls=st.integers(1, 8))
    def plan(self, kind: str, calls: int) -> None:
        """Begin with a run that is planned, and a cap that pays for some of its calls."""
        folder = Path(tempfile.mkdtemp(prefix="routellm-world-"))
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self.world = World(planned(kind), folder, calls * 400_000 if kind in {"stop", "degrade"} else None)
        self.stack.enter_context(inside(self.world))
        self.auditor = Auditor(self.world)
        self.world.start(self.world.hosts[0])
        self.world.settle()

    @rule(which=WHICH, fate=st.sampled_from(Fate))
    def reply(self, which: int, fate: Fate) -> None:
        """Let one request come to something."""
        if waiting := self.world.provider.waiting:
            self.world.provider.end(waiting[which % len(waiting)], fate)
            self.world.settle()

    @rule(fate=st.sampled_from([Fate.ANSWERED, Fate.DEAR]))
    def reply_to_all(self, fate: Fate) -> None:
        """Answer all that waits."""
        for call in self.world.provider.waiting:
            self.world.provider.end(call, fate)
        self.world.settle()

    @rule(seconds=st.sampled_from([0.6, 4.0]))
    def all_is_well(self, seconds: float) -> None:
        """Answer every request at once for a while."""
        self.world.provider.answer_all()
        self.world.advance(seconds)
        self.world.provider.automatic = False

    @rule(seconds=st.sampled_from([0.6, 1.2, 4.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass: less than a lease, or more."""
        self.world.advance(seconds)

    @precondition(lambda self: len(self.world.traps) < 2)
    @rule(trap=st.sampled_from(Trap), skips=st.integers(0, 2), part=st.sampled_from(PARTS))
    def storage_will(self, trap: Trap, skips: int, part: str) -> None:
        """Have something happen at a coming write."""
        self.world.traps.append((trap, skips, part))

    @precondition(lambda self: self.world.stalls)
    @rule(which=WHICH)
    def storage_goes_on(self, which: int) -> None:
        """Let a write go on."""
        stalls = self.world.stalls
        stalls.pop(which % len(stalls)).released = True
        self.world.settle()

    @precondition(lambda self: self.world.late)
    @rule(which=WHICH)
    def late_write(self, which: int) -> None:
        """Let what a dead process was writing arrive after all."""
        late = self.world.late.pop(which % len(self.world.late))
        self.world.store.objects.setdefault(late.path, late.data)

    @precondition(lambda self: self.blows < MOST_BLOWS)
    @rule(which=st.integers(0, 1))
    def worker_dies(self, which: int) -> None:
        """Kill a worker process."""
        self.blows += 1
        self.world.kill(self.world.workers[which])
        self.world.settle()

    @precondition(lambda self: self.blows < MOST_BLOWS)
    @rule(which=st.integers(0, 1))
    def host_is_lost(self, which: int) -> None:
        """Lose a machine, its local logs too."""
        self.blows += 1
        self.world.lose_host(which)
        self.world.settle()

    @rule(which=WHICH)
    def process_freezes(self, which: int) -> None:
        """Stop a process, as a full machine does."""
        processes = self.world.processes
        processes[which % len(processes)].frozen = True

    @precondition(lambda self: any(process.frozen for process in self.world.processes))
    @rule(which=WHICH)
    def process_goes_on(self, which: int) -> None:
        """Let a stopped process go on."""
        frozen = [process for process in self.world.processes if process.frozen]
        frozen[which % len(frozen)].frozen = False
        self.world.settle()

    @rule(which=WHICH, worker=st.integers(0, 1), late=st.booleans())
    def task_runs_twice(self, which: int, worker: int, *, late: bool) -> None:
        """Have a process run a task that another one runs, perhaps only once it goes on."""
        jobs = [job for driver in self.world.drivers for job in driver.runner.jobs if job.copies]
        if jobs:
            self.world.workers[worker].frozen |= late
            self.world.run_copy(jobs[which % len(jobs)], self.world.workers[worker])
            self.world.settle()

    @rule(which=WHICH, frozen=st.booleans())
    def task_is_taken_over(self, which: int, *, frozen: bool) -> None:
        """Have the other worker run a task that one runs, for longer than a lease; the one may be stopped meanwhile."""
        tasks = [(n, copy) for n, worker in enumerate(self.world.workers) for copy in worker.running]
        if tasks:
            number, copy = tasks[which % len(tasks)]
            copy.process.frozen = copy.process.frozen or frozen
            self.world.run_copy(copy.job, self.world.workers[1 - number])
            self.world.advance(2 * LEASE_S)

    @property
    def drivers(self) -> list[Driver]:
        """Starts at work."""
        return [driver for driver in self.world.drivers if driver.process.alive]

    @precondition(lambda self: self.drivers and self.blows < MOST_BLOWS)
    @rule(which=WHICH)
    def driver_dies(self, which: int) -> None:
        """Kill a start of the run."""
        self.blows += 1
        self.world.kill(self.drivers[which % len(self.drivers)].process)
        self.world.settle()

    @precondition(lambda self: self.drivers and self.blows < MOST_BLOWS)
    @rule(which=WHICH)
    def driver_is_interrupted(self, which: int) -> None:
        """Ask a start of the run to end."""
        self.blows += 1
        self.drivers[which % len(self.drivers)].halt.stop("interrupted", "SIGTERM")

    @precondition(lambda self: len(self.drivers) < MOST_STARTS)
    @rule(
        host=st.integers(0, 1),
        more=st.sampled_from([0, 0, 500_000]),
        calls=st.booleans(),
        retry_failed=st.booleans(),
    )
    def start(self, host: int, more: int, *, calls: bool, retry_failed: bool) -> None:
        """Start the run once more, perhaps with more to spend, or for what failed for good, or only plan it."""
        if self.world.provider.cap_nano is not None:
            self.world.provider.cap_nano += more
        self.world.start(self.world.hosts[host], calls=calls, retry_failed=retry_failed)
        self.world.settle()

    @invariant()
    def holds(self) -> None:
        """All that must hold does."""
        with pictured(self.world):
            self.auditor.check()

    def teardown(self) -> None:
        """Recover without faults, and leave."""
        with self.stack:
            if hasattr(self, "world"):
                self.recover()

    def recover(self) -> None:
        """Storage, machines and models work from now on: the run ends, every row once or left out for money."""
        self.world.heal()
        with pictured(self.world):
            for _ in range(4):
                self._wait_for_starts()
                last = self.world.drivers[-1]
                if last.stage and last.ended and not last.error and last.halt.state in {"finished", "budget"}:
                    break
                self.world.start(self.world.hosts[0])
            self.auditor.check_end(last)

    def _wait_for_starts(self) -> None:
        for _ in range(END_S):
            if not self.drivers:
                return
            self.world.advance(1.0)
            self.auditor.check()
        message = "a start does not end"
        raise AssertionError(message)


TestCalls = Calls.TestCase
TestCalls.settings = settings(PROFILE)
