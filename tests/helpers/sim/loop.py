"""An event loop on simulated time: it runs what is due, and then stands still until somebody moves the clock."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")
Spawn = Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None]
"""Runs a blocking function elsewhere and tells what it returned or raised."""

RESOLUTION_S = 1e-6


class SimLoop(asyncio.AbstractEventLoop):
    """What coroutines, futures, timeouts and ``to_thread`` ask of a loop, without a selector.

    Args:
        now_s: the clock.
        spawn: runs what ``to_thread`` is given.

    """

    def __init__(self, now_s: Callable[[], float], spawn: Spawn) -> None:
        self._now_s = now_s
        self._spawn = spawn
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self.errors: list[dict[str, Any]] = []
        """What no coroutine took."""

    @property
    def due_s(self) -> float:
        """When there is something to do next; infinite if nothing is planned."""
        if self._ready:
            return self._now_s()
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    def run(self) -> bool:
        """Run all that is due now; return whether there was anything."""
        if self.due_s > self._now_s():
            return False
        asyncio._set_running_loop(self)
        try:
            while self.due_s <= self._now_s():
                while self._timers and self._timers[0][0] <= self._now_s():
                    self._ready.append(heapq.heappop(self._timers)[2])
                for _ in range(len(self._ready)):
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
        finally:
            asyncio._set_running_loop(None)
        return True

    def discard(self) -> None:
        """End all coroutines, as if this were the end of their process; what they say to that is not heard."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run()
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def time(self) -> float:
        """Return the simulated time."""
        return self._now_s()

    def get_debug(self) -> bool:
        """Say that nothing is debugged."""
        return False

    def is_running(self) -> bool:
        """Say whether a callback is running."""
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        """Say that it never is."""
        return False

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Call before the clock moves."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at a time."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call after a time; however short, the clock has moved by then, as a real one would have."""
        return self.call_at(self._now_s() + max(delay, RESOLUTION_S), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """Start a coroutine."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run a blocking function elsewhere."""
        future = self.create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._spawn(lambda: func(*args), done)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what no coroutine took."""
        self.errors.append(context)


class LoopClock:
    """A ``Clock`` that tells a loop's time, for code that waits on the loop alone."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self._loop.time()

    def wall(self) -> datetime:
        """Return the simulated time as one of a day long ago."""
        return datetime.fromtimestamp(self._loop.time(), UTC)

    def sleep(self, seconds: float) -> None:
        """Nothing may block."""
        message = f"somebody would block the loop for {seconds} s"
        raise AssertionError(message)

    @contextmanager
    def repeating(self, interval_s: float, action: Callable[[], bool], name: str) -> Iterator[None]:
        """Nothing may run beside the loop."""
        message = f"{name} would call {action} every {interval_s} s"
        raise AssertionError(message)
        yield


class LoneLoop:
    """A loop whose clock jumps to whatever is due next: hours pass in no time, and nothing runs beside it.

    Args:
        now_s: the time at which it begins.

    """

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s
        self.loop = SimLoop(lambda: self.now_s, lambda _function, _done: None)
        self.clock = LoopClock(self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and return its result or raise what it raised."""
        task = self.loop.create_task(coroutine)
        while not task.done():
            due_s = self.loop.due_s
            assert math.isfinite(due_s), "everything waits for ever"
            self.now_s = max(self.now_s, due_s)
            self.loop.run()
        result: T = task.result()
        return result
