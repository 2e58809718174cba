"""Tasks that a runner under test is given; here, as worker processes must be able to import them."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from distributed import get_worker
from helpers.patience import patience

from routellm_batch.core.errors import CallError, DataError
from routellm_batch.core.events import RowsScored
from routellm_batch.core.types import ErrorKind, Verdict
from routellm_batch.core.worker import this_worker


@dataclass(frozen=True)
class Item:
    """A task."""

    number: int
    token: str = ""


def double(item: Item) -> int:
    """Return twice the number."""
    return 2 * item.number


def process_id(item: Item) -> int:
    """Return the process that ran the task, after a moment, so that all processes get one."""
    time.sleep(0.2)
    return os.getpid()


def profilers(item: Item) -> list[str]:
    """Return what samples the worker's threads."""
    return [name for name in get_worker().periodic_callbacks if name.startswith("profile")]


def say(item: Item) -> int:
    """Emit an event."""
    this_worker().events.emit(RowsScored(item.number))
    return item.number


def fail(item: Item) -> None:
    """Raise an error of this package with fields."""
    raise DataError("is damaged", file="a.parquet", column="id", row=item.number)


def fail_call(item: Item) -> None:
    """Raise a call's error."""
    raise CallError(ErrorKind.TIMEOUT, Verdict.RETRY, status=504, retry_after_s=1.5, maybe_billed=True)


def fail_plainly(item: Item) -> None:
    """Raise an error of Python's own."""
    raise ZeroDivisionError


def until_drained(item: Item) -> str:
    """Work until the runner drains; give up after a while."""
    until = time.monotonic() + patience(20)
    while time.monotonic() < until:
        if this_worker().drains.draining(item.token):
            return "drained"
        time.sleep(0.01)
    return "never"


def leave_a_trace(folder: str) -> None:
    """Write a file of this process."""
    (Path(folder) / str(os.getpid())).write_text("told", "utf-8")


def flush_when_drained(item: Item) -> str:
    """Write a file as soon as the process is told to begin nothing more; ``token`` is its path."""
    Path(f"{item.token}.begun").write_text(str(os.getpid()), "utf-8")
    answer = until_drained(item)
    Path(item.token).write_text(answer, "utf-8")
    return answer


def leak(item: Item) -> None:
    """Raise what nothing foresaw, with data in its text, in its cause and in the log."""
    try:
        {}[item.token]
    except KeyError as error:
        logging.getLogger("routellm_batch.test").exception("while on shard %d", item.number)
        message = f"invalid literal: {item.token}"
        raise ValueError(message) from error


def worker_name(_item: Item) -> str:
    """Return the name of the Dask worker that runs this, after a moment, so that all get some."""
    time.sleep(0.05)
    return str(get_worker().name)


def say_slowly(item: Item) -> int:
    """Emit an event while other tasks of this process are under way."""
    time.sleep(0.2)
    this_worker().events.emit(RowsScored(item.number))
    time.sleep(0.2)
    return item.number


def die(_item: Item) -> None:
    """End the process at once."""
    os._exit(1)
