"""Where every operation on storage and on the local logs passes: it is noted, and one is the last of its process."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from routellm_batch.storage.ledger.local import LocalLog
from routellm_batch.storage.store import FsStore

WRITES = ("create", "replace")
READS = ("read", "read_many", "exists", "list", "folders")
ANY = "any"
"""Counts all operations."""
_NONCE = re.compile(r"\b[0-9a-f]{16}\b")


class Door:
    """Notes this process's operations in a file, each as its name and how many of that name there were.

    A name holds no nonce, and so is the same in each run: ``create call/000002/*.end``. ``at`` is (moment, name,
    number) of the operation to die at: before it, after it, or within it, when a file is written and not in its place.
    """

    def __init__(self, trace: Path, at: Sequence[Any] | None) -> None:
        self._trace = os.open(trace, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._at = tuple(at) if at else None
        self._count: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._now = threading.local()
        """``points`` of a thread's operation."""
        self._in_flight: set[tuple[LocalLog, int]] = set()
        """(Log, row) of each call that was sent and whose record is not in the log."""

    def open(self) -> None:
        """Let every operation of this process pass here from now on."""
        for method in (*WRITES, *READS):
            setattr(FsStore, method, self._stored(method, getattr(FsStore, method)))
        LocalLog.append = self._appended(LocalLog.append)
        LocalLog.close = self._closed(LocalLog.close)
        os.link, os.replace = self._placed(os.link), self._placed(os.replace)

    def _stored(self, method: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def stored(store: FsStore, path: str | Sequence[str], *args: Any) -> Any:
            if not path and method == "read_many":  # it asks the store for nothing
                return work(store, path)
            first = path if isinstance(path, str) else f"{path[0]} of {len(path)}"
            return self._passing(f"{method} {_NONCE.sub('*', first)}", work, store, path, *args)

        return stored

    def _appended(self, work: Callable[..., None]) -> Callable[..., None]:
        def appended(log: LocalLog, payload: bytes) -> None:
            shard, row = log._path.name.partition(".")[0], json.loads(payload)
            if payload.isdigit():
                self._passing(f"send {shard}", self._sent, (log, row), work, log, payload)
            else:
                self._passing(f"record {shard}", self._recorded, (log, row["row"]), work, log, payload)

        return appended

    def _sent(self, call: tuple[LocalLog, int], work: Callable[..., None], *args: Any) -> None:
        with self._lock:
            self._in_flight.add(call)
        work(*args)

    def _recorded(self, call: tuple[LocalLog, int], work: Callable[..., None], *args: Any) -> None:
        work(*args)
        with self._lock:
            self._in_flight.discard(call)

    def _closed(self, work: Callable[..., None]) -> Callable[..., None]:
        def closed(log: LocalLog, *, remove: bool) -> None:
            self._passing(f"close {log._path.name.partition('.')[0]}", work, log, remove=remove)

        return closed

    def _placed(self, work: Callable[..., None]) -> Callable[..., None]:
        def placed(*args: str) -> None:
            with self._lock:
                self._die("within", self._now.points)
            work(*args)

        return placed

    def _passing(self, name: str, work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self._lock:
            self._count.update((name, ANY))
            points = self._now.points = {(name, self._count[name]), (ANY, self._count[ANY])}
            self._note(name, self._count[name])
            self._die("before", points)
        result = work(*args, **options)
        with self._lock:
            self._die("after", points)
        return result

    def _die(self, moment: str, points: set[tuple[str, int]]) -> None:
        """Die if this is the point. The lock is never let go of, so that nothing is sent after the count."""
        if self._at in {(moment, *point) for point in points}:
            self._note("in flight", len(self._in_flight))
            os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, name: str, number: int) -> None:
        os.write(self._trace, f"{json.dumps([name, number])}\n".encode())
