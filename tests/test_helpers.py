"""The helpers that other tests trust: simulated time, and patience with a busy machine."""

from __future__ import annotations

import asyncio
import time

import pytest
from helpers import clock as clock_module
from helpers import patience as module
from helpers.clock import Clock
from helpers.patience import MOST, patience, wait_for


def test_simulated_time_jumps_over_waits() -> None:
    """Two sleeps side by side take as long as the longer one on the clock, and no real time."""
    clock = Clock()

    async def both() -> float:
        begun_s = clock.monotonic()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return clock.monotonic() - begun_s

    begun_s = time.perf_counter()
    assert pytest.approx(7200) == clock.run(both())
    assert time.perf_counter() - begun_s < patience(5)


def test_a_shorter_wait_ends_first() -> None:
    """A time limit on the simulated clock cuts off what takes longer, and nothing else."""

    async def limited(seconds: float) -> str:
        try:
            async with asyncio.timeout(10):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return "late"
        return "in time"

    assert ["in time", "late"] == [Clock().run(limited(seconds)) for seconds in (9, 11)]


def test_a_wait_for_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coroutine that nothing will ever wake is an error, not a test that hangs."""
    monkeypatch.setattr(clock_module, "ANOTHER_THREAD_S", 0.01)

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="waits for something that never happens"):
        Clock().run(hang())


@pytest.mark.parametrize(("load", "factor"), [(0.0, 1), (1.0, 1), (3.0, 3), (99.0, MOST)])
def test_patience_grows_with_the_load(monkeypatch: pytest.MonkeyPatch, load: float, factor: float) -> None:
    """A limit is what was asked for on a calm machine, longer by the load of each processor, up to a bound."""
    monkeypatch.setattr(module, "_work", lambda: 0)
    monkeypatch.setattr(module.os, "getloadavg", lambda: (load * (module.os.cpu_count() or 1), 0.0, 0.0))
    module.slowness.cache_clear()
    try:
        assert 5 * factor == pytest.approx(patience(5))
    finally:
        module.slowness.cache_clear()


def test_what_does_not_happen_is_named() -> None:
    """Waiting returns once a condition holds, and names it if that never happens."""
    seen = iter([False, True])
    wait_for(lambda: next(seen), 30, "the second look")
    with pytest.raises(AssertionError, match="not within .* s: a miracle"):
        wait_for(lambda: False, 0.01, "a miracle")
