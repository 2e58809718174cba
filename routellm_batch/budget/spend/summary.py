"""Sums that add up: what one shard's calls did, and the whole run's as the sum of its shards. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from routellm_batch.budget.spend.observed_lengths import Heard
from routellm_batch.budget.spend.projection import Ended
from routellm_batch.core.types import ROUTES, Usage

BINS_PER_OCTAVE = 4
"""Latency is binned in quarters of an octave, so a quantile is right to 9 %."""
KEPT = 10
"""Slowest and failed rows that are kept by id."""


@dataclass(frozen=True, slots=True)
class RouteTotals:
    """Distinct requests to one endpoint."""

    calls: int = 0
    """Requests answered or failed, each counted once however often it was sent."""
    attempts: int = 0
    """Requests sent."""
    usage: Usage = Usage()
    spent_nano: int = 0
    """Settled cost."""
    presumed_nano: int = 0
    """Worst cost of sends whose fate is unknown."""
    latency_bins: Mapping[int, int] = field(default_factory=dict)
    """round(4·log2(milliseconds)) → answered calls."""
    ended: Ended = Ended()
    """The same calls beside what was expected of them."""
    heard: Heard = Heard()
    """What their answers taught of lengths."""
    taken: int = 0
    """Of ``calls``, those that a pilot had an answer to: nothing was sent, and no tokens are counted."""

    @property
    def sent(self) -> int:
        """The others: those that this run made."""
        return self.calls - self.taken

    def __add__(self, other: RouteTotals) -> RouteTotals:
        """Add field by field."""
        return RouteTotals(
            self.calls + other.calls,
            self.attempts + other.attempts,
            self.usage + other.usage,
            self.spent_nano + other.spent_nano,
            self.presumed_nano + other.presumed_nano,
            _add(self.latency_bins, other.latency_bins),
            self.ended + other.ended,
            self.heard + other.heard,
            self.taken + other.taken,
        )


@dataclass(frozen=True, slots=True)
class SlowRow:
    """One of the slowest answered rows."""

    id: str
    route: str
    latency_s: float


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One of the failed rows."""

    id: str
    route: str
    kind: str


@dataclass(frozen=True, slots=True)
class CallSummary:
    """What the calls of a shard, or of a run, did."""

    ok: int = 0
    failed: int = 0
    strong_rows: int = 0
    """Valid rows that were answered or failed at the strong endpoint, copies included."""
    unfunded: int = 0
    """Rows that the budget left out."""
    copies: int = 0
    """Rows that took their answer from another row."""
    routes: Mapping[str, RouteTotals] = field(
        default_factory=lambda: {route: RouteTotals() for route in ROUTES}
    )
    errors: Mapping[str, int] = field(default_factory=dict)
    """Error kind → failed rows."""
    slowest: Sequence[SlowRow] = ()
    failures: Sequence[FailedRow] = ()

    def __add__(self, other: CallSummary) -> CallSummary:
        """Add two summaries; of the rows named, the slowest and the first failures are kept."""
        slowest = sorted([*self.slowest, *other.slowest], key=lambda row: -row.latency_s)[:KEPT]
        return CallSummary(
            self.ok + other.ok,
            self.failed + other.failed,
            self.strong_rows + other.strong_rows,
            self.unfunded + other.unfunded,
            self.copies + other.copies,
            {route: self.routes[route] + other.routes[route] for route in ROUTES},
            _add(self.errors, other.errors),
            slowest,
            [*self.failures, *other.failures][:KEPT],
        )

    @property
    def spent_nano(self) -> int:
        """Settled cost at both endpoints."""
        return sum(totals.spent_nano for totals in self.routes.values())

    @property
    def taken(self) -> int:
        """Answers taken over from a pilot."""
        return sum(totals.taken for totals in self.routes.values())

    @property
    def presumed_nano(self) -> int:
        """Presumed cost at both endpoints."""
        return sum(totals.presumed_nano for totals in self.routes.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> CallSummary:
        """Read plain JSON values (whose mapping keys are text)."""
        routes = {
            route: RouteTotals(
                **{
                    **totals,
                    "usage": Usage(**totals["usage"]),
                    "latency_bins": _numbered(totals["latency_bins"]),
                    "ended": Ended(**totals.get("ended", {})),
                    "heard": _heard(totals.get("heard", {})),
                }
            )
            for route, totals in fields["routes"].items()
        }
        slowest = [SlowRow(**row) for row in fields["slowest"]]
        failures = [FailedRow(**row) for row in fields["failures"]]
        return cls(**{**fields, "routes": routes, "slowest": slowest, "failures": failures})


def add_all(summaries: Iterable[CallSummary]) -> CallSummary:
    """Return the sum of some summaries."""
    total = CallSummary()
    for summary in summaries:
        total = total + summary
    return total


def latency_bin(latency_s: float) -> int:
    """Return the bin of a latency."""
    return round(BINS_PER_OCTAVE * math.log2(max(latency_s, 1e-6) * 1000))


def latency_quantile(bins: Mapping[int, int], quantile: float) -> float | None:
    """Return a latency quantile in seconds from its bins; None if there are none."""
    total, seen = sum(bins.values()), 0
    for number in sorted(bins):
        seen += bins[number]
        if seen >= quantile * total:
            return float(2 ** (number / BINS_PER_OCTAVE)) / 1000
    return None


def _numbered(bins: Mapping[str, int]) -> dict[int, int]:
    return {int(number): count for number, count in bins.items()}


def _heard(fields: Mapping[str, Any]) -> Heard:
    return Heard(**{**fields, "bins": _numbered(fields.get("bins", {}))})


def _add(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in [*one, *(k for k in other if k not in one)]}
