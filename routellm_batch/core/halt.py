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
    """How the run would end now; ``finished`` while nothing stops it."""
    reason: str | None = None
    """Why, in words or as the error kind that stopped the calls; None while nothing stops it."""
    loose: bool = False
    """Tasks of this start, or of an earlier one, may still run out of its sight."""

    def stop(self, state: Literal["budget", "errors", "interrupted"], reason: str) -> None:
        """Stop the run; the first reason stands."""
        if self.state == "finished":
            self.state, self.reason = state, reason

    @property
    def stopped(self) -> bool:
        """Whether nothing more is begun."""
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

    signals: list[int] = []  # not halt.stopped: a run that drains for another reason still wants its answers

    def handle(number: int, _frame: FrameType | None) -> None:
        if signals:
            os._exit(InterruptedRunError.exit_code)
        signals.append(number)
        halt.stop("interrupted", f"{signal.Signals(number).name} was received")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
