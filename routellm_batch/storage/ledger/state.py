"""What a shard's log and results add up to. Pure: the reading of storage is ``shard``'s."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from routellm_batch.core.types import WEAK, Route
from routellm_batch.storage.ledger.record import CallRecord

Worst = tuple[Route, int]
"""A call that may have been made: its route, and the most it can have cost in nano-dollars."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a shard's log. Entries are numbered without a gap, and nobody writes one unread."""

    kind: Literal["claim", "seal", "intent"]
    """claim: a runner begins; seal: earlier ones are shut out; intent: rows are about to be sent."""
    runner: str
    """Who writes it."""
    epoch: int = 0
    """Of claims and seals: the start of the run that the writer belongs to."""
    turn: int = 0
    """Of claims: which of that start's tasks for this shard the runner is of; of seals: the first that may claim."""
    who: Mapping[str, Any] = field(default_factory=dict)
    """Of claims: the writing process."""
    route: Route = WEAK
    """Of intents: where the rows are sent."""
    rows: Sequence[tuple[int, int]] = ()
    """Of intents: (row, worst nano-dollars of one send)."""

    def to_json(self) -> bytes:
        """Return the entry's object."""
        fields: dict[str, Any] = {"kind": self.kind, "runner": self.runner}
        if self.kind == "intent":
            fields |= {"route": self.route, "rows": list(self.rows)}
        else:
            fields |= {"epoch": self.epoch, "turn": self.turn, "who": dict(self.who)}
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Entry:
        """Read an entry's object."""
        fields = json.loads(data)
        rows = tuple((row, worst) for row, worst in fields.pop("rows", ()))
        return cls(**fields, rows=rows)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All that storage knows of a shard's calls."""

    records: Mapping[int, CallRecord] = field(default_factory=dict)
    """Row → its merged record."""
    orphans: Mapping[Route, tuple[int, int]] = field(default_factory=dict)
    """Route → (calls, worst nano-dollars) of intents without a result: each may have been sent, once."""
    open_runners: Mapping[str, Entry] = field(default_factory=dict)
    """Runners that have such intents → their claim."""
    entries: int = 0
    """Entries of the log so far."""
    held: bool = False
    """Nobody has shut out the last runner that claimed; it may be at work."""
    turn: tuple[int, int] = (0, 0)
    """The highest (epoch, turn) that a claim or a seal names; whoever is of a lower one is shut out."""

    @property
    def spent_nano(self) -> int:
        """Settled and presumed, orphans included."""
        booked = sum(record.cost_nano + record.presumed_nano for record in self.records.values())
        return booked + sum(worst for _, worst in self.orphans.values())


def fold(log: Sequence[Entry], results: Mapping[str, Sequence[CallRecord]]) -> LedgerState:
    """Return what a shard's log and its runners' results come to.

    An intent authorises one billable send of each of its rows, and each gets one record in the end. So of a row
    that a runner has named in more intents than it has records for, the last ones are open.
    """
    claims = {entry.runner: entry for entry in log if entry.kind == "claim"}
    records: dict[int, CallRecord] = {}
    closed: dict[tuple[str, int], int] = defaultdict(int)
    for runner in claims:  # in the order of their claims
        for record in results.get(runner, ()):
            known = records.get(record.row)
            records[record.row] = record if known is None else record.after(known)
            closed[runner, record.row] += 1
    named: dict[tuple[str, int], list[Worst]] = defaultdict(list)
    for entry in log:
        for row, worst in entry.rows:
            named[entry.runner, row].append((entry.route, worst))
    left = {key: sends[closed[key] :] for key, sends in named.items() if len(sends) > closed[key]}
    return LedgerState(
        records=records,
        orphans=_sums(worst for sends in left.values() for worst in sends),
        open_runners={runner: claims[runner] for runner in dict.fromkeys(runner for runner, _ in left)},
        entries=len(log),
        held=next((entry.kind for entry in reversed(log) if entry.kind != "intent"), None) == "claim",
        turn=max(((entry.epoch, entry.turn) for entry in log), default=(0, 0)),
    )


def _sums(sends: Iterable[Worst]) -> dict[Route, tuple[int, int]]:
    sums: dict[Route, tuple[int, int]] = {}
    for route, worst in sends:
        calls, nano = sums.get(route, (0, 0))
        sums[route] = (calls + 1, nano + worst)
    return sums
