"""The parts of a process that a ``Worker`` holds: its clock, its event loop, its drain flags and its event sinks.

Calls run on a loop of our own in a thread of its own, whatever runs the tasks: a scheduler's loop that is
stalled by our work would miss its heartbeats, and connections stay warm from one task to the next.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from routellm_batch.core.events import Event

T = TypeVar("T")


class Clock(Protocol):
    """What time it is, and waiting for it; coroutines wait by their event loop's own time."""

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; they never go back."""
        ...

    def wall(self) -> datetime:
        """Return the date and time in UTC, for people to read; nothing is decided by it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for some seconds."""
        ...

    def repeating(
        self, interval_s: float, action: Callable[[], bool], name: str
    ) -> AbstractContextManager[None]:
        """Call an action every ``interval_s`` seconds, beside the block, until it returns False or the block ends.

        ``name`` is that of the thread that calls it. The block ends only when a call under way has ended.
        """
        ...


class SystemClock:
    """The real time: a ``Clock``."""

    monotonic = staticmethod(time.monotonic)  # as it is: it is asked several times for each call

    def wall(self) -> datetime:
        """Return the date and time in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for some seconds."""
        time.sleep(seconds)

    @contextmanager
    def repeating(self, interval_s: float, action: Callable[[], bool], name: str) -> Iterator[None]:
        """Call an action every ``interval_s`` seconds in a thread (see ``Clock.repeating``)."""
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(interval_s) and action():
                pass

        thread = threading.Thread(target=repeat, name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


class Loop(Protocol):
    """An event loop that runs in another thread than whoever asks something of it."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, wait for it and return its result, or raise what it raised."""
        ...

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Have a quick function called on the loop, without waiting for it."""
        ...


class ThreadLoop:
    """A ``Loop`` in a thread of its own, which starts on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._started()).result()

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Have a quick function called on the loop, without waiting for it."""
        self._started().call_soon_threadsafe(function, *args)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="routellm-calls", daemon=True).start()
            return self._loop


class DrainFlags:
    """Which tasks of this process are to begin nothing new; any thread may set and read them."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self._all = False

    def drain(self, token: str) -> None:
        """Ask the tasks that heed a token, as those of one start of a run do, to begin nothing new."""
        self._tokens.add(token)

    def drain_all(self) -> None:
        """Ask every task to begin nothing new, for good: the process is ending."""
        self._all = True

    def draining(self, token: str) -> bool:
        """Whether the tasks that heed a token are to begin nothing new."""
        return self._all or token in self._tokens


class EventBus:
    """Hands this process's events to whoever subscribed; any thread may emit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sinks: list[tuple[str, Callable[[Event], None]]] = []

    def subscribe(self, sink: Callable[[Event], None], *, key: str = "") -> Callable[[], None]:
        """Send events to a sink; returns the function that ends the subscription.

        Of several sinks with one key, as two tasks in a worker have, only the first gets an event: it is sent home
        once.
        """
        entry = (key, sink)
        with self._lock:
            self._sinks.append(entry)

        def end() -> None:
            with self._lock:
                self._sinks.remove(entry)

        return end

    def emit(self, event: Event) -> None:
        """Hand an event to every subscriber, in the thread that calls."""
        with self._lock:
            entries = tuple(self._sinks)
        keys: set[str] = set()
        for key, sink in entries:
            if not key or key not in keys:
                keys.add(key)
                sink(event)
