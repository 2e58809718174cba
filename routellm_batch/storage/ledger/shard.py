"""One shard's ledger on storage: its log, its runners' results, and what fences two runners from each other."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

from routellm_batch.core.errors import FencedError
from routellm_batch.core.protocols import Store
from routellm_batch.core.types import Route
from routellm_batch.storage.ledger.epoch import epoch_path, exists
from routellm_batch.storage.ledger.liveness import myself
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.state import Entry, LedgerState, fold

_ENTRY = re.compile(r"/(\d{6})\.json$")
_RESULTS = re.compile(r"/([0-9a-f]{16})\.r(\d{6})\.jsonl$")


RUNNER_BYTES = 8
"""Of a runner's name."""


class ShardLedger:
    """Reads a shard's ledger and, once it has claimed the shard, writes to it as its runner.

    Args:
        store: rooted at the run.
        shard: name of the shard.
        epoch: of the start of the run that reads or writes; 0 for one that only reads.
        turn: of that start's task for this shard.
        runner: names this reader or writer, as no other is named; None for a random name.

    """

    def __init__(
        self, store: Store, shard: str, *, epoch: int = 0, turn: int = 0, runner: str | None = None
    ) -> None:
        self.shard = shard
        self.runner = runner or secrets.token_hex(RUNNER_BYTES)
        self._store = store
        self._folder = f"call/{shard}"
        self._epoch = epoch
        self._turn = turn
        self._known = 0
        self._newest = (0, 0)
        self._claimed = False
        self._next = 0
        self._results = 0
        self._beats = 0

    @property
    def entries(self) -> int:
        """Entries of the log, as far as this reader or runner knows."""
        return max(self._known, self._next)

    def load(self, *, sure: bool = False) -> LedgerState:
        """Return what storage holds; ``sure`` trusts no listing, which may be stale, but asks for the next objects too."""
        entries, results = self._names()
        log = [
            Entry.from_json(data) for data in self._store.read_many([self._entry(n) for n in range(entries)])
        ]
        if sure:
            log += [Entry.from_json(data) for data in self._beyond(self._entry, entries)]
        self._known = max(
            self._known, len(log)
        )  # and not _next: a runner that has claimed is shut out by later entries
        runners = [entry.runner for entry in log if entry.kind == "claim"]
        state = fold(
            log, {runner: self._records(runner, results.get(runner, 0), sure=sure) for runner in runners}
        )
        self._newest = state.turn
        return state

    def read_runner(self, runner: str) -> tuple[list[Entry], list[list[str]]]:
        """Return a runner's intents, and the lines of each of its results objects."""
        entries, results = self._names()
        log = [
            Entry.from_json(data) for data in self._store.read_many([self._entry(n) for n in range(entries)])
        ]
        lines = self._lines(runner, results.get(runner, 0), sure=True)
        return [entry for entry in log if entry.runner == runner and entry.kind == "intent"], lines

    def count_entries(self) -> int:
        """Return the number of the log's entries; objects are listed, not read."""
        return self._names()[0]

    def claim(self) -> LedgerState:
        """Begin to write; whoever wrote before is shut out from here on. Returns all that storage holds then.

        Raises:
            FencedError: another start of the run has taken over, or this task's turn is over.

        """
        # Both are checked once more below; but a runner that comes too late need not shut anybody out.
        if self._newest > (self._epoch, self._turn) or self.deposed():
            raise FencedError
        self._append(Entry("claim", self.runner, self._epoch, self._turn, myself()))
        self._claimed = True
        state = self.load(sure=True)
        # In this order: either a start that takes over sees the claim, or we see its epoch.
        if state.turn > (self._epoch, self._turn) or self.deposed():
            raise FencedError
        return state

    def seal(self) -> None:
        """Shut out every runner of an earlier start or turn, before money is given to another."""
        self._append(Entry("seal", self.runner, self._epoch, self._turn))

    def finish(self) -> None:
        """Note that this runner, if it is one, calls no more, and no copy of its task may: what is left is given back.

        Raises:
            FencedError: another runner has claimed the shard, and may be spending it.

        """
        if self._claimed:
            self._write_next(Entry("seal", self.runner, self._epoch, self._turn + 1))

    def deposed(self) -> bool:
        """Whether another start of the run has taken over."""
        return self._epoch > 0 and exists(self._store, epoch_path(self._epoch + 1))

    def write_intent(self, route: Route, rows: Sequence[tuple[int, int]]) -> None:
        """Name the rows that are about to be sent, as (row, worst nano-dollars of one send).

        Raises:
            FencedError: another runner has claimed the shard.

        """
        self._write_next(Entry("intent", self.runner, route=route, rows=rows))

    def write_results(self, lines: Iterable[str]) -> None:
        """Persist this runner's records, each a line of ``CallRecord.to_json``, in one object."""
        records = list(lines)
        # One that exists already is an earlier object of ours that seemed not to have been written.
        while not self.add_results(self.runner, self._results, records):
            self._results += 1
        self._results += 1

    def add_results(self, runner: str, number: int, lines: Iterable[str]) -> bool:
        """Persist records of a runner in its ``number``-th results object; False if that is another one already."""
        return self._store.create(self._result(runner, number), "\n".join(lines).encode("utf-8"))

    def beat(self) -> None:
        """Show that this runner lives.

        Raises:
            FencedError: another runner has claimed the shard.

        """
        if exists(self._store, self._entry(self._next)) or self.deposed():
            raise FencedError
        self._store.create(f"{self._folder}/{self.runner}.b{self._beats:06d}", b"alive")
        self._beats += 1

    def end(self) -> None:
        """Note that this runner has written all there was to write."""
        self._store.create(self._end(self.runner), b"ended")

    def has_ended(self, runner: str) -> bool:
        """Whether a runner has written all there was to write."""
        return exists(self._store, self._end(runner))

    def trace(self, runner: str) -> int:
        """Return how many objects a runner has written beside the log: more and more, while it lives."""
        prefix = f"{self._folder}/{runner}."
        return sum(stored.path.startswith(prefix) for stored in self._store.list(self._folder))

    def _write_next(self, entry: Entry) -> None:
        if not self._store.create(self._entry(self._next), entry.to_json()):
            raise FencedError
        self._next += 1

    def _append(self, entry: Entry) -> None:
        data = entry.to_json()
        self._next = max(self._next, self.count_entries())
        while not self._store.create(self._entry(self._next), data):
            self._next += 1
        self._next += 1

    def _names(self) -> tuple[int, Mapping[str, int]]:
        """Return the number of entries, and each runner's number of results objects."""
        entries, results = 0, dict[str, int]()
        for stored in self._store.list(self._folder):
            if match := _ENTRY.search(stored.path):
                entries = max(entries, int(match[1]) + 1)
            elif match := _RESULTS.search(stored.path):
                results[match[1]] = max(results.get(match[1], 0), int(match[2]) + 1)
        return entries, results

    def _records(self, runner: str, objects: int, *, sure: bool) -> list[CallRecord]:
        objects_lines = self._lines(runner, objects, sure=sure)
        return [CallRecord.from_json(line) for lines in objects_lines for line in lines]

    def _lines(self, runner: str, objects: int, *, sure: bool) -> list[list[str]]:
        stored = list(self._store.read_many([self._result(runner, n) for n in range(objects)]))
        if sure:
            stored += self._beyond(lambda n: self._result(runner, n), objects)
        # not splitlines: answers may hold U+2028
        return [data.decode("utf-8").split("\n") for data in stored]

    def _beyond(self, path: Callable[[int], str], first: int) -> list[bytes]:
        beyond = []
        for number in count(first):
            try:
                beyond.append(self._store.read(path(number)))
            except FileNotFoundError:
                break
        return beyond

    def _entry(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _result(self, runner: str, number: int) -> str:
        return f"{self._folder}/{runner}.r{number:06d}.jsonl"

    def _end(self, runner: str) -> str:
        return f"{self._folder}/{runner}.end"
