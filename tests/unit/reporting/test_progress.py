"""Progress displays: what they print of the events they get."""

from __future__ import annotations

import threading
from io import StringIO

import pytest

from routellm_batch.budget.pricing import NANO
from routellm_batch.core.events import CallProgress, Event, Notice, RowsScored, StageFinished, StageStarted
from routellm_batch.reporting.progress import LiveProgress, PlainProgress, StageProgress, open_progress


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def shown(*steps: Event | float) -> list[str]:
    """Return the plain lines of some events, with seconds that pass between them."""
    clock, stream = Clock(), StringIO()
    with open_progress(stream, clock=clock) as display:
        for step in steps:
            if isinstance(step, float):
                clock.now += step
            else:
                display.sink(step)
    return stream.getvalue().splitlines()


CALL = StageStarted("call", 14_042, 0, 1_800_000_000)


def test_plain_line() -> None:
    """A call line tells rows, calls in flight, failures, dollars, speed and time left."""
    lines = shown(CALL, 10.0, CallProgress(0, 1024, 3, 64, 123_400_000))
    assert lines[1] == (
        "call 1,024/14,042 rows · 64 in flight · 3 failed · $0.123 of $1.80 · 102 rows/s · ETA 2m07s"
    )


def test_shards_replace_and_add() -> None:
    """A shard's event replaces its last one; the shards sum."""
    events = [CallProgress(0, 10, 1, 5, 1000), CallProgress(1, 7, 0, 4, 500), CallProgress(0, 20, 2, 0, 3000)]
    stage = StageProgress(CALL, 0.0)
    for event in events:
        stage.take(event)
    assert stage.line(0.0) == "call 27/14,042 rows · 4 in flight · 2 failed · $0.0000035 of $1.80"


def test_one_line_every_five_seconds() -> None:
    """However many events come, a line is printed at the start, every five seconds and at the end."""
    steps: list[Event | float] = [StageStarted("score", 100, 0)]
    for _ in range(100):
        steps += [0.1, RowsScored(1)]
    lines = shown(*steps, StageFinished("score"))
    assert lines == [
        "score 0/100 rows",
        "score 50/100 rows · 10 rows/s · ETA 5s",
        "score 100/100 rows · 10 rows/s · ETA 0s",
        "score ended: 100/100 rows · 10 rows/s · 10s",
    ]


def test_resumed_stage() -> None:
    """Rows of an earlier start count as done, but neither for the speed nor as dollars of this start."""
    lines = shown(StageStarted("call", 100, 40, NANO), 5.0, CallProgress(0, 10, 0, 1, 5_000_000))
    assert lines[1] == (
        "call 50/100 rows · 1 in flight · 0 failed · $0.005 since this start, $1.00 planned · 2 rows/s · ETA 25s"
    )


def test_stage_without_rows() -> None:
    """A stage that counts no rows says when it begins and ends."""
    assert shown(StageStarted("plan", 0, 0), 3.0, StageFinished("plan")) == ["plan", "plan ended · 3s"]


def test_stopped_stage_leaves_where_it_stood() -> None:
    """A stage that does not end leaves its last figures."""
    lines = shown(StageStarted("score", 100, 0), 1.0, RowsScored(30))
    assert lines[-1] == "score 30/100 rows · 30 rows/s · ETA 2s"


def test_notices() -> None:
    """Notices are printed at once, warnings as such, and no markup is read in them."""
    lines = shown(Notice("hello"), Notice("[bold]careful[/bold]", warning=True))
    assert lines == ["note: hello", "warning: [bold]careful[/bold]"]


def test_event_outside_a_stage() -> None:
    """An event that comes late, after its stage has ended, is ignored."""
    assert shown(RowsScored(5), StageFinished("score")) == []


def test_ten_million_rows() -> None:
    """Numbers stay readable at scale."""
    stage = StageProgress(StageStarted("call", 10_000_000, 0, 1_234_567 * NANO), 0.0)
    stage.take(CallProgress(0, 2_500_000, 1234, 10_000, 300_000 * NANO))
    assert stage.line(86_400.0) == (
        "call 2,500,000/10,000,000 rows · 10,000 in flight · 1,234 failed · $300,000 of $1,230,000"
        " · 28.9 rows/s · ETA 3d00h"
    )


@pytest.mark.parametrize(("stream", "expected"), [(StringIO(), PlainProgress), (Terminal(), LiveProgress)])
def test_display_suits_the_stream(stream: StringIO, expected: type) -> None:
    """A terminal gets the live display, anything else plain lines."""
    assert isinstance(open_progress(stream), expected)


def test_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the stage at work is drawn; ended stages and notices leave one line each."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    clock, stream = Clock(), Terminal()
    with open_progress(stream, clock=clock) as display:
        display.sink(StageStarted("score", 10, 0))
        clock.now += 2
        display.sink(RowsScored(10))
        display.sink(StageFinished("score"))
        display.sink(Notice("mind the [gap]", warning=True))
        display.sink(CALL)
        display.sink(CallProgress(0, 7, 1, 3, 5_000_000))
    text = stream.getvalue()
    for part in (
        "score ended: 10/10 rows · 5 rows/s · 2s",
        "mind the [gap]",
        "7/14,042 rows",
        "3 in flight · 1 failed",
    ):
        assert part in text


def test_a_sink_called_from_within() -> None:
    """A signal handler that reports while its thread is inside a display does not wait for itself."""

    class Interrupting(StringIO):
        def write(self, text: str) -> int:
            if text.startswith("score"):
                display.sink(Notice("stopping"))
            return super().write(text)

    stream = Interrupting()
    display = open_progress(stream, clock=Clock())
    worker = threading.Thread(target=display.sink, args=(StageStarted("score", 1, 0),), daemon=True)
    worker.start()
    worker.join(5)
    assert (worker.is_alive(), stream.getvalue()) == (False, "note: stopping\nscore 0/1 rows\n")


def test_rows_of_earlier_starts_are_done_before() -> None:
    """A shard that an earlier start left in the middle goes on from there, and its rows are nobody's speed."""
    lines = shown(
        StageStarted("call", 40, 0, NANO), CallProgress(0, 0, 0, 8, 0, earlier=32), 2.0, StageFinished("call")
    )
    assert "call ended: 32/40 rows" in lines[-1]
    assert "rows/s" not in lines[-1]


def test_a_shard_that_is_taken_up_again_loses_nothing() -> None:
    """The next task of a shard counts on from what the one before had done and spent."""
    lines = shown(
        StageStarted("call", 40, 0, NANO),
        CallProgress(0, 10, 1, 0, NANO // 4),
        CallProgress(0, 5, 1, 0, NANO // 8, earlier=10),
        1.0,
        StageFinished("call"),
    )
    assert "call ended: 15/40 rows · 2 failed · $0.375" in lines[-1]


def test_a_dead_endpoint_is_said_once_and_while_it_lasts() -> None:
    """An endpoint that is down is said at once, stays in the line, and is said again when it is back."""
    down = CallProgress(0, 5, 0, 9, 0, process="a", down={"weak": "unreachable"})
    other = CallProgress(1, 5, 0, 9, 0, process="b", down={"weak": "timeout"})
    lines = shown(
        CALL,
        down,
        10.0,
        other,
        10.0,
        CallProgress(0, 6, 0, 8, 0, process="a"),
        10.0,
        CallProgress(1, 6, 0, 8, 0, process="b"),
    )
    said = [line for line in lines if "weak" in line]
    assert said == [
        "warning: the weak endpoint is down (unreachable); its rows wait, and one call at a time asks whether it is back",
        "call 10/14,042 rows · 18 in flight · 0 failed · $0 of $1.80 · weak is down · 1 rows/s · ETA 3h53m",
        "call 11/14,042 rows · 17 in flight · 0 failed · $0 of $1.80 · weak is down · 0.55 rows/s · ETA 7h05m",
        "note: the weak endpoint is back",
    ]


def test_a_stage_of_a_pilot_has_its_title() -> None:
    """A stage with a title of its own is shown by that."""
    lines = shown(StageStarted("call", 40, 0, title="pilot: weak"), 5.0, StageFinished("call"))
    assert [line.partition(" ·")[0] for line in lines] == [
        "pilot: weak 0/40 rows",
        "pilot: weak ended: 0/40 rows",
    ]
