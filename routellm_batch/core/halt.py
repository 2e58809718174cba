"""Why a start of a run ends early: a signal, the deadline, the budget, the endpoints."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from routellm_batch.core.errors import InterruptedRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Halt:
    """Whether, and why, nothing more is begun."""

    deadline_s: float | None = None
    """On the monotonic clock."""
    state: Literal["finished", "budget", "errors", "interrupted"] = "finished"
    reason: str | None = None
    """In words, or the error kind that stopped the calls."""
    loose: bool = False
    """Tasks of this start, or of an earlier one, may still run out of its sight."""

    def stop(self, state: Literal["budget", "errors", "interrupted"], reason: str) -> None:
        """Stop the run; the first reason stands."""
        if self.state == "finished":
            self.state, self.reason = state, reason

    @property
    def stopped(self) -> bool:
        """Say whether nothing more is begun."""
        return self.state != "finished"

    def check_deadline(self, now_s: float) -> None:
        """Stop at the deadline."""
        if self.deadline_s is not None and now_s >= self.deadline_s:
            self.stop("interrupted", "run.deadline_s is reached")


@contextmanager
def stopping_on_signals(halt: Halt) -> Iterator[None]:
    """Stop gently at the first SIGINT or SIGTERM, at once at the second; only a main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    heard: list[int] = []  # not halt.stopped: a run that drains for another reason still wants its answers

    def handle(number: int, _frame: FrameType | None) -> None:
        if heard:
            os._exit(InterruptedRunError.exit_code)
        heard.append(number)
        halt.stop("interrupted", f"{signal.Signals(number).name} was received")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
