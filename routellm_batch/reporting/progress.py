"""Progress of a run on a stream: a live display on a terminal, elsewhere a plain line every few seconds.

Displays are event sinks. Events hold numbers and kinds only, so no prompt, answer or key can appear.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from routellm_batch.core.events import CallProgress, Event, Notice, RowsScored, StageFinished, StageStarted
from routellm_batch.core.types import Route
from routellm_batch.reporting.text import count, duration, rate, usd

Clock = Callable[[], float]
"""Seconds since any moment; never goes back."""
INTERVAL_S = 5.0
"""Seconds between two plain lines."""


class ProgressDisplay(Protocol):
    """Shows a run's events between entering and leaving it."""

    def sink(self, event: Event) -> None:
        """Take one event; may be called from any thread."""

    def __enter__(self) -> Self:
        """Begin the display."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display."""


def open_progress(
    stream: TextIO, *, clock: Clock = time.monotonic, interval_s: float = INTERVAL_S
) -> ProgressDisplay:
    """Return the display for a stream: live on a terminal, plain lines elsewhere. The command line shows it on stderr."""
    return LiveProgress(stream, clock) if stream.isatty() else PlainProgress(stream, clock, interval_s)


class StageProgress:
    """The state of one stage, from its events; ``now`` is the clock's reading in seconds."""

    def __init__(self, started: StageStarted, now: float) -> None:
        self.stage = started.stage
        self.title = started.title or started.stage
        self.total = started.total_rows
        self._before = started.done_rows
        self._planned_nano = started.planned_nano
        self._start = now
        self._shards: dict[int, CallProgress] = {}
        self._new = self._failed = self._in_flight = self._spent_nano = 0
        self._down: dict[str, Mapping[Route, str]] = {}

    def take(self, event: RowsScored | CallProgress) -> None:
        """Count an event; a call shard's event replaces the one before it."""
        if isinstance(event, RowsScored):
            self._new += event.rows
            return
        last = self._shards.get(event.shard)
        if last is None:  # What earlier starts of the run did.
            self._before += event.earlier
            last = CallProgress(event.shard, 0, 0, 0, 0, earlier=event.earlier)
        self._shards[event.shard] = event
        self._down[event.process] = event.down
        self._new += event.earlier + event.answered - last.earlier - last.answered
        # A later task of the shard begins to count anew.
        same = event.earlier == last.earlier and event.spent_nano >= last.spent_nano
        self._failed += event.failed - (last.failed if same else 0)
        self._in_flight += event.in_flight - last.in_flight
        self._spent_nano += event.spent_nano - (last.spent_nano if same else 0)

    @property
    def down(self) -> dict[Route, str]:
        """Endpoints that a process finds dead, each with how it failed last."""
        return {route: kind for one in self._down.values() for route, kind in one.items()}

    @property
    def done(self) -> int:
        """Rows done, including those of earlier starts of the run."""
        return self._before + self._new

    def counts(self) -> str:
        """Return rows done and rows in all, e.g. ``12/40 rows``; empty for a stage that does not count rows."""
        return f"{count(self.done)}/{count(self.total)} rows" if self.total else ""

    def facts(self) -> list[str]:
        """Return calls in flight, failures and money; empty for any stage but ``call``."""
        if self.stage != "call":
            return []
        spent, planned = usd(self._spent_nano), usd(self._planned_nano)
        money = (
            f"{spent} of {planned}" if not self._before else f"{spent} since this start, {planned} planned"
        )
        down = [f"{route} is down" for route in self.down]
        return [f"{count(self._in_flight)} in flight", f"{count(self._failed)} failed", money, *down]

    def speed(self, now: float) -> list[str]:
        """Return rows per second and the time left; empty before the first row."""
        elapsed = now - self._start
        if elapsed <= 0 or not self._new:
            return []
        left = max(0, self.total - self.done)
        return [rate(self._new / elapsed), f"ETA {duration(left * elapsed / self._new)}"]

    def line(self, now: float) -> str:
        """Return the stage in one line."""
        return " · ".join([f"{self.title} {self.counts()}".rstrip(), *self.facts(), *self.speed(now)])

    def closing_line(self, now: float) -> str:
        """Return the finished stage in one line: what it did and how long it took."""
        facts = [fact for fact in self.facts() if not fact.endswith(("in flight", "is down"))]
        speed = self.speed(now)[:1]
        first = f"{self.title} ended: {self.counts()}" if self.total else f"{self.title} ended"
        return " · ".join([first, *facts, *speed, duration(now - self._start)])


class _Display:
    """Follows the stages, one at a time and under a lock; its subclasses print."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = (
            threading.RLock()
        )  # A signal handler may report while the thread that it interrupted does.
        self._stage: StageProgress | None = None

    def sink(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            now = self._clock()
            if isinstance(event, Notice):
                self._say(f"{'warning' if event.warning else 'note'}: {event.text}", warning=event.warning)
            elif isinstance(event, StageStarted):
                self._stage = StageProgress(event, now)
                self._moved(self._stage, now, started=True)
            elif self._stage is None:
                return
            elif isinstance(event, StageFinished):
                self._say(self._stage.closing_line(now))
                self._stage = None
            else:
                down = self._stage.down
                self._stage.take(event)
                self._say_down(down, self._stage.down)
                self._moved(self._stage, now)

    def _say_down(self, before: Mapping[Route, str], after: Mapping[Route, str]) -> None:
        """Say once that an endpoint went down, and once that it is back."""
        for route in after.keys() - before.keys():
            waiting = "its rows wait, and one call at a time asks whether it is back"
            self._say(f"warning: the {route} endpoint is down ({after[route]}); {waiting}", warning=True)
        for route in before.keys() - after.keys():
            self._say(f"note: the {route} endpoint is back")

    def _say(self, line: str, *, warning: bool = False) -> None:
        raise NotImplementedError

    def _moved(self, stage: StageProgress, now: float, *, started: bool = False) -> None:
        raise NotImplementedError


class PlainProgress(_Display):
    """Prints a line when a stage begins and ends, and one every few seconds in between."""

    def __init__(self, stream: TextIO, clock: Clock, interval_s: float) -> None:
        super().__init__(clock)
        self._stream = stream
        self._interval_s = interval_s
        self._last = clock()

    def __enter__(self) -> Self:
        """Begin the display."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave a line for a stage that did not end."""
        with self._lock:
            if self._stage is not None:
                self._say(self._stage.line(self._clock()))
                self._stage = None

    def _say(self, line: str, *, warning: bool = False) -> None:  # noqa: ARG002 - plain text has no colours
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def _moved(self, stage: StageProgress, now: float, *, started: bool = False) -> None:
        if started or now - self._last >= self._interval_s:
            self._last = now
            self._say(stage.line(now))


class LiveProgress(_Display):
    """Shows a bar with figures for the running stage, below one line for each stage that has ended."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        super().__init__(clock)
        self._console = Console(file=stream, highlight=False)
        # Refreshed by rich's own thread, so that the time left counts down while no event arrives.
        self._live = Live(console=self._console, get_renderable=self._render, transient=True)

    def __enter__(self) -> Self:
        """Begin the display."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar, and leave a line for a stage that did not end."""
        self._live.stop()
        with self._lock:
            if self._stage is not None:
                self._say(self._stage.line(self._clock()))
                self._stage = None

    def _say(self, line: str, *, warning: bool = False) -> None:
        self._console.print(Text(line, style="yellow" if warning else ""))

    def _moved(self, stage: StageProgress, now: float, *, started: bool = False) -> None:
        """Do nothing: the next refresh shows it."""

    def _render(self) -> RenderableType:
        stage = self._stage
        if stage is None:
            return Text("")
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(max(1, stage.total), stage.done, width=24, pulse=not stage.total)
        head.add_row(Text(stage.title, style="bold"), bar, Text(stage.counts()))
        return Group(head, Text(" · ".join([*stage.facts(), *stage.speed(self._clock())]), style="dim"))
