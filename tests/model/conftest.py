"""The threads of a simulated world take turns, so they share a processor."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_processor() -> Iterator[None]:
    """Stay on one processor: to wake a thread on another takes longer than its turn, and the more so on a busy machine."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    yield
    os.sched_setaffinity(0, before)
