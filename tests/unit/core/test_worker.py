"""What a process is to its tasks: who hears its events, which of them begin nothing new, its loop, what it keeps."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from routellm_batch.core.events import Event, RowsScored
from routellm_batch.core.process import DrainFlags, EventBus, SystemClock, ThreadLoop
from routellm_batch.core.worker import Worker, drain_here, this_worker

PACKAGE = Path(__file__).parents[3] / "routellm_batch"
TIMELESS = ("stages/call", "storage/ledger", "endpoints", "endpoints/pacing")
"""Folders whose code is handed its clock."""


def test_of_two_sinks_with_one_key_only_the_first_gets_an_event() -> None:
    """A worker's tasks send each event home once; sinks without a key all get it, and one that ended gets nothing."""
    bus, names = EventBus(), list[str]()

    def sink(name: str) -> Callable[[Event], None]:
        return lambda _event: names.append(name)

    ends = [
        bus.subscribe(sink(name), key=key) for name, key in [("a", "k"), ("b", "k"), ("c", ""), ("d", "")]
    ]
    bus.emit(RowsScored(1))
    ends[0]()
    bus.emit(RowsScored(1))
    assert ["a", "c", "d", "b", "c", "d"] == names


def test_a_drain_is_heeded_under_its_token_and_at_the_end_under_all() -> None:
    """A token drains the tasks that heed it; a process that ends drains everything."""
    flags = DrainFlags()
    flags.drain("one")
    before = flags.draining("one"), flags.draining("other")
    flags.drain_all()
    assert ((True, False), True) == (before, flags.draining("other"))


def test_this_process_can_be_drained_by_name() -> None:
    """A runner has every process call one function, without handing it anything but the token."""
    drain_here("of test_this_process_can_be_drained_by_name")
    assert this_worker().drains.draining("of test_this_process_can_be_drained_by_name")
    assert this_worker() is this_worker()


def test_a_loop_runs_in_one_thread_of_its_own() -> None:
    """Coroutines of all callers run on one thread, which is not theirs; what they raise comes back."""
    loop = ThreadLoop()

    async def where() -> int:
        return threading.get_ident()

    async def fail() -> None:
        raise FileNotFoundError

    threads, called = {loop.run(where()), loop.run(where())}, list[str]()
    loop.call_soon(called.append, "called")
    assert (1, False) == (len(threads), threading.get_ident() in threads)
    with pytest.raises(FileNotFoundError):
        loop.run(fail())
    loop.run(asyncio.sleep(0))
    assert ["called"] == called


@pytest.mark.parametrize("calls", [1, 3])
def test_an_action_repeats_until_it_says_so(calls: int) -> None:
    """It is called every so often beside the block, until it returns False; the end of the block ends it, too."""
    count, enough = 0, threading.Event()

    def action() -> bool:
        nonlocal count
        count += 1
        if count == calls:
            enough.set()
        return count < calls

    with SystemClock().repeating(0.001, action, "test"):
        assert enough.wait(10)
    with SystemClock().repeating(60.0, action, "test"):
        pass
    assert calls == count


def test_a_worker_keeps_one_value_of_a_kind() -> None:
    """It is made when it is first asked for, each worker has its own, and one can be set before that."""
    one, other = Worker(), Worker()
    other.keep(list, [1])
    assert (one.kept(list), [1]) == ([], other.kept(list))
    assert one.kept(list) is one.kept(list)
    assert one.name != other.name


@pytest.mark.parametrize("folder", TIMELESS)
def test_the_clock_is_an_argument(folder: str) -> None:
    """Code that a simulated world runs asks its worker for the time, and never the system."""
    for path in (PACKAGE / folder).glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert "time" not in names, path
