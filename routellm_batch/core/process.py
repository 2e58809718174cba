"""What belongs to a process, not to a task: one private event loop, the drain flags, the event sink.

Calls run on a loop of our own in a thread of its own, whatever runs the tasks: a scheduler's loop that is
stalled by our work would miss its heartbeats, and connections stay warm from one task to the next.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from routellm_batch.core.events import Event

T = TypeVar("T")

NAME = secrets.token_hex(8)
"""Names this process to the one that drives the run."""

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
_drained: set[str] = set()
_ending = threading.Event()
_sinks: list[tuple[str, Callable[[Event], None]]] = []
_subscribing = threading.Lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the process's own event loop, started on first use."""
    with _lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="routellm-calls", daemon=True).start()
            _loops.append(loop)
        return _loops[0]


def run_on_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the process's loop and wait for it."""
    return asyncio.run_coroutine_threadsafe(coroutine, event_loop()).result()


def drain(token: str) -> None:
    """Ask the tasks of one start of a run to begin nothing new."""
    _drained.add(token)


def drain_all() -> None:
    """Ask every task of this process to begin nothing new, for good: the process is ending."""
    _ending.set()


def draining(token: str) -> bool:
    """Say whether the tasks of one start of a run should begin nothing new."""
    return token in _drained or _ending.is_set()


def subscribe(sink: Callable[[Event], None], *, key: str = "") -> Callable[[], None]:
    """Send this process's events to a sink; returns what ends it.

    Of several with one key, as two tasks in a worker have, only the first is told: an event is sent home once.
    """
    entry = (key, sink)
    with _subscribing:
        _sinks.append(entry)

    def end() -> None:
        with _subscribing:
            _sinks.remove(entry)

    return end


def emit(event: Event) -> None:
    """Hand an event to whoever subscribed."""
    with _subscribing:
        entries = tuple(_sinks)
    told: set[str] = set()
    for key, sink in entries:
        if not key or key not in told:
            told.add(key)
            sink(event)
