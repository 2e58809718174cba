"""The call ledger of one shard: what was going to be sent, and what came of it.

A writer takes a number by creating its first intent exclusively, and then writes, below ``call/<shard>/``:

* ``<writer>.i<seq>.json``: an *intent*, before the sends: the rows of a micro-batch with each row's worst cost;
* ``<writer>.r<seq>.jsonl``: *results*, at most one micro-batch or a few seconds after the replies.

An intent's row without a result of the same writer is an *orphan*: its process died, the call may have been
made, and so its worst cost is presumed spent. Records add up: a row's cost is the sum over its records, its
answer is the last one's.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from routellm_batch.protocols import Store
from routellm_batch.types import Route, Usage

_NAME = re.compile(r"/(\d{3})\.([ir])(\d{6})\.jsonl?$")


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What came of one row in one go."""

    row: int
    """Row in the shard."""
    route: Route
    """Where it was sent."""
    status: str
    """ok | failed | unsent (an intent's row that was not sent after all)."""
    request_key: str
    """Digest of endpoint and body."""
    error_kind: str | None = None
    answer: str | None = None
    label: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    attempts: int = 0
    """Requests sent."""
    usage: Usage = Usage()
    """Tokens of all attempts that were answered."""
    cost_nano: int = 0
    """Settled cost of all attempts."""
    presumed_nano: int = 0
    """Worst cost of attempts whose fate is unknown."""
    latency_s: float | None = None
    """Of the answering attempt."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> CallRecord:
        """Read one line."""
        fields = json.loads(line)
        return cls(**{**fields, "usage": Usage(**fields["usage"])})

    def after(self, earlier: CallRecord) -> CallRecord:
        """Return this record with an earlier one's spending added."""
        last = earlier if self.status == "unsent" else self
        return replace(
            last,
            attempts=earlier.attempts + self.attempts,
            usage=earlier.usage + self.usage,
            cost_nano=earlier.cost_nano + self.cost_nano,
            presumed_nano=earlier.presumed_nano + self.presumed_nano,
        )


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All that storage knows of a shard's calls."""

    records: Mapping[int, CallRecord] = field(default_factory=dict)
    """Row → its merged record."""
    orphans: Mapping[Route, tuple[int, int]] = field(default_factory=dict)
    """Route → (calls, worst nano-dollars) of intents without a result."""
    writers: int = 0
    """Writers so far."""

    @property
    def spent_nano(self) -> int:
        """Settled and presumed, orphans included."""
        booked = sum(record.cost_nano + record.presumed_nano for record in self.records.values())
        return booked + sum(worst for _, worst in self.orphans.values())


class ShardLedger:
    """Reads a shard's ledger, and writes to it as one more writer."""

    def __init__(self, store: Store, shard: str) -> None:
        self._store = store
        self._folder = f"call/{shard}"
        self._nonce = secrets.token_hex(8)
        self._writer: int | None = None
        self._writers = 0
        self._intents = 0
        self._results = 0

    def load(self) -> LedgerState:
        """Read what is there. Partly written objects can't occur: creates are whole."""
        names = [(o.path, m) for o in self._store.list(self._folder) if (m := _NAME.search(o.path))]
        names.sort(key=lambda one: (one[1][1], one[1][2], one[1][3]))
        records: dict[int, CallRecord] = {}
        open_intents: dict[tuple[int, int], tuple[Route, int]] = {}
        found = self._store.read_many([path for path, _ in names])
        for (_, match), data in zip(names, found, strict=True):
            writer, kind = int(match[1]), match[2]
            text = data.decode("utf-8")
            if kind == "i":
                intent = json.loads(text)
                for row, worst in intent["rows"]:
                    open_intents[writer, row] = (intent["route"], worst)
                continue
            for line in text.split("\n"):  # not splitlines: answers may hold U+2028
                record = CallRecord.from_json(line)
                open_intents.pop((writer, record.row), None)
                known = records.get(record.row)
                records[record.row] = record if known is None else record.after(known)
        writers = 1 + max((int(m[1]) for _, m in names), default=-1)
        self._writers = writers
        return LedgerState(records, _orphans(open_intents.values()), writers)

    def count_writers(self) -> int:
        """Return the number of writers so far, this one included; objects are listed, not read."""
        found = (_NAME.search(o.path) for o in self._store.list(self._folder))
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    @property
    def writers(self) -> int:
        """Writers that ``load`` saw, and this one if it wrote."""
        return self._writers if self._writer is None else max(self._writers, self._writer + 1)

    def write_intent(self, route: Route, rows: Sequence[tuple[int, int]]) -> None:
        """Say which rows are about to be sent, as (row, worst nano-dollars)."""
        body = {"route": route, "nonce": self._nonce, "rows": list(rows)}
        data = json.dumps(body, separators=(",", ":")).encode()
        if self._writer is None:
            self._writer = self._take_number(data)
        else:
            self._store.create(f"{self._folder}/{self._writer:03d}.i{self._intents:06d}.json", data)
        self._intents += 1

    def write_results(self, records: Iterable[CallRecord]) -> None:
        """Persist what came of some rows, in one object."""
        data = "\n".join(record.to_json() for record in records).encode("utf-8")
        self._store.create(f"{self._folder}/{self._writer or 0:03d}.r{self._results:06d}.jsonl", data)
        self._results += 1

    def _take_number(self, data: bytes) -> int:
        number = self._writers
        while not self._store.create(f"{self._folder}/{number:03d}.i{0:06d}.json", data):
            number += 1
        return number


def _orphans(rows: Iterable[tuple[Route, int]]) -> dict[Route, tuple[int, int]]:
    sums: dict[Route, tuple[int, int]] = {}
    for route, worst in rows:
        calls, nano = sums.get(route, (0, 0))
        sums[route] = (calls + 1, nano + worst)
    return sums
