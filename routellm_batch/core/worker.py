"""What a process is to the code that runs in it: a clock, an event loop, settings, and what is kept between tasks.

A ``Worker`` is handed to whatever waits, calls or writes, so that nothing below asks the system for the time or
looks for a loop by itself; a simulated world hands in workers of its own. Each process has one, ``this_worker()``,
which joins a task where it arrives: tasks travel as plain values, a worker never leaves its process.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from routellm_batch.core.process import Clock, DrainFlags, EventBus, Loop, SystemClock, ThreadLoop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How often a process looks, how long it waits, and how much it writes at once."""

    poll_s: float = 0.2
    """How long the loop that drives a stage waits for a finished task before it looks at its stops again."""
    look_s: float = 0.25
    """How often whatever waits in a task looks whether the run stops, or what it waits for has come."""
    base_wait_s: float = 0.5
    """The span from which the wait before a first retry is drawn; it doubles with each further one."""
    max_wait_s: float = 30.0
    """The longest span from which a wait before a retry is drawn."""
    intent_rows: int = 128
    """Rows to one intent, at least where so many wait; more where more are in flight. Half as many would be twice the
    objects, and what a lost host leaves open, and presumed spent, is at most two intents' rows and the calls in
    flight."""
    max_intent_rows: int = 256
    """Rows to one intent, at most."""
    progress_s: float = 0.5
    """How often a task that calls reports its progress."""
    micro_batch: int = 64
    """Results to one object of the ledger."""
    flush_s: float = 5.0
    """A reply waits no longer than this to be stored, however few there are."""
    patience_s: float = 900.0
    """How long storage that fails is tried again; nothing new is sent meanwhile, and what was answered is kept."""
    again_s: float = 2.0
    """The pause before storage that failed is tried again."""


@dataclass(eq=False)
class Worker:
    """One process, as the code that runs in it sees it; any thread may use it."""

    name: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names this process to the one that drives the run."""
    clock: Clock = field(default_factory=SystemClock)
    """Tells the time, and waits."""
    loop: Loop = field(default_factory=ThreadLoop)
    """Runs the calls of all tasks of this process."""
    settings: WorkerSettings = WorkerSettings()
    """How often it looks, how long it waits, and how much it writes at once."""
    local_folder: Path | None = None
    """Where this machine's local logs lie; None for the folder that the environment names."""
    new_name: Callable[[int], str] = secrets.token_hex
    """Returns a name that no other process makes, of so many bytes in hexadecimal."""
    drains: DrainFlags = field(default_factory=DrainFlags)
    """Which of its tasks are to begin nothing new."""
    events: EventBus = field(default_factory=EventBus)
    """Who hears what happens in its tasks."""
    _kept: dict[type[Any], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def kept(self, kind: type[T]) -> T:
        """Return this process's one value of a kind, made without arguments when it is first asked for.

        So a module above keeps what its tasks share, such as connections, without a variable of its own.
        """
        with self._lock:
            if kind not in self._kept:
                self._kept[kind] = kind()
            value: T = self._kept[kind]
            return value

    def keep(self, kind: type[T], value: T) -> None:
        """Set this process's one value of a kind, before anybody asks for it."""
        with self._lock:
            self._kept[kind] = value


_making = threading.Lock()
_workers: dict[int, Worker] = {}
"""Process id → its worker. By process, as one that is forked must not take its parent's name, loop and flags along."""


def this_worker() -> Worker:
    """Return this process's own worker.

    A process is one thing, and functions that a cluster calls by name can be handed nothing: so this is global.
    """
    process = os.getpid()
    with _making:
        if process not in _workers:
            _workers[process] = Worker()
        return _workers[process]


def drain_here(token: str) -> None:
    """Ask this process's tasks that heed a token to begin nothing new; a runner has every process call it."""
    this_worker().drains.drain(token)
