"""A clock for what waits on an event loop: it stands still while anything can run, and jumps over waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION_S = 1e-6
ANOTHER_THREAD_S = 10.0
"""How long a loop without a timer waits, for real, for what another thread has to say."""


class Clock:
    """Simulated seconds, in the place of ``time.monotonic``."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; seconds that it waits for pass at once."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
            return runner.run(coroutine)


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose time is a clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__(_Jumping(clock))

    def time(self) -> float:
        """Return the clock's time."""
        return self._clock.now_s

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call after a time; however short, the clock has moved by then, as a real one would have."""
        return super().call_later(max(delay, RESOLUTION_S), callback, *args, context=context)


class _Jumping(selectors.DefaultSelector):
    """Where there is nothing to do until a time, makes it that time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; the wait for more takes no real time."""
        ready = super().select(ANOTHER_THREAD_S if timeout is None else 0)
        if timeout is None and not ready:
            message = "every coroutine waits for something that never happens"
            raise AssertionError(message)
        if timeout and not ready:
            self._clock.now_s += timeout + RESOLUTION_S  # as late as a real loop wakes
        return ready
