"""How long a test waits before it calls something hung: longer on a machine that is busy just now.

A limit that is itself under test is measured on a simulated clock (``helpers.clock``) and is never stretched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

CALM_S = 0.004
"""What ``_work`` takes on a calm machine of the slower kind."""
MOST = 10.0
"""A machine that is slower than this is not waited for."""
MEASURED_FOR_S = 5.0
"""A measurement is used again for this long."""
POLL_S = 0.01


def patience(seconds: float) -> float:
    """Return a time limit for a machine as busy as this one is now; never less than the limit given."""
    return seconds * slowness(int(time.perf_counter() / MEASURED_FOR_S))


def wait_for(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Return once a condition holds; a failure that names it if that takes longer.

    The machine is looked at again at the end of the time, as it may have become busy since.
    """
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() > begun_s + within_s and time.monotonic() > begun_s + patience(within_s):
            raise AssertionError(f"not within {patience(within_s):.0f} s: {what}")
        time.sleep(POLL_S)


@cache
def slowness(_period: int = 0) -> float:
    """Return how many times longer things take now than on a calm machine, from 1 to ``MOST``.

    A piece of work is timed, which tells of slow and of shared processors; the load tells of work that comes and goes.
    """
    times = []
    for _ in range(3):
        begun_s = time.perf_counter()
        _work()
        times.append(time.perf_counter() - begun_s)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(MOST, max(1.0, sorted(times)[1] / CALM_S, load))


def _work() -> int:
    total = 0
    for number in range(50_000):
        total += number * number
    return total
