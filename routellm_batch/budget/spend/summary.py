"""What one shard's calls did, as sums that add up to the whole run's. Pure.

The names of the fields are those of the stored summaries, which older runs have too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from routellm_batch.budget.spend.observed_lengths import ObservedLengths, bin_at
from routellm_batch.budget.spend.projection import FinishedCalls
from routellm_batch.core.types import ROUTES, ErrorDetail, Usage

BINS_PER_OCTAVE = 4
"""Latency is binned in quarters of an octave, so a quantile is right to 9 %."""
MOST_REASONS = 24
"""Reasons of failures that are told apart; beyond them, the rarest are told by endpoint, kind and status."""
KEPT = 10
"""Slowest rows that are named by their id, and as many failed ones."""


@dataclass(frozen=True, slots=True)
class RouteTotals:
    """Distinct requests to one endpoint."""

    calls: int = 0
    """Requests answered or failed, each counted once however often it was sent."""
    attempts: int = 0
    """Requests sent."""
    usage: Usage = Usage()
    """Tokens of all calls, as the endpoint counted them."""
    spent_nano: int = 0
    """Settled cost."""
    presumed_nano: int = 0
    """Worst case of the sends whose fate is unknown."""
    latency_bins: Mapping[int, int] = field(default_factory=dict)
    """round(4·log2(milliseconds)) → answered calls."""
    ended: FinishedCalls = FinishedCalls()
    """The same calls beside what was expected of them."""
    heard: ObservedLengths = ObservedLengths()
    """Lengths of their prompts and answers."""
    taken: int = 0
    """Of ``calls``, those whose answer came from a pilot: nothing was sent, and no tokens are counted."""
    uncounted: int = 0
    """Of ``calls``, those whose answer came without a count of its tokens: its worst cost is presumed."""
    ok: int = 0
    """Of ``calls``, those that have an answer of use."""
    answered: int = 0
    """Requests to which the model said anything, be it of use or not."""

    @property
    def sent(self) -> int:
        """Calls that this run made itself."""
        return self.calls - self.taken

    @property
    def answered_here(self) -> int:
        """Calls that this run made itself and that were answered."""
        return sum(self.latency_bins.values())

    def __add__(self, other: RouteTotals) -> RouteTotals:
        """Return the sum, field by field."""
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
            self.uncounted + other.uncounted,
            self.ok + other.ok,
            self.answered + other.answered,
        )


@dataclass(frozen=True, slots=True)
class Failures:
    """Rows of one endpoint that an error of one kind kept from an answer."""

    route: str
    """The endpoint."""
    kind: str
    """An ``ErrorKind``, or another reason in one word."""
    rows: int = 1
    """How many."""
    detail: ErrorDetail = ErrorDetail()
    """What the endpoint's errors said for programs; empty where they said nothing, or too many different things."""


@dataclass(frozen=True, slots=True)
class SlowRow:
    """One of the slowest answered rows."""

    id: str
    """As in the input."""
    route: str
    """Where it was answered."""
    latency_s: float
    """Seconds that the answering attempt took."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One of the failed rows."""

    id: str
    """As in the input."""
    route: str
    """Where it was sent."""
    kind: str
    """An ``ErrorKind``, or another reason in one word."""


@dataclass(frozen=True, slots=True)
class CallSummary:
    """What the calls of a shard, or of a run, did."""

    ok: int = 0
    """Rows that have an answer."""
    failed: int = 0
    """Rows that can't be answered."""
    strong_rows: int = 0
    """Valid rows that were answered or failed at the strong endpoint, copies included."""
    unfunded: int = 0
    """Rows that the budget could not pay for."""
    copies: int = 0
    """Rows that took their answer from another row."""
    routes: Mapping[str, RouteTotals] = field(
        default_factory=lambda: {route: RouteTotals() for route in ROUTES}
    )
    """Route → what its calls did."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Error kind → failed rows."""
    slowest: Sequence[SlowRow] = ()
    """The slowest rows, slowest first; ten at most."""
    failures: Sequence[FailedRow] = ()
    """The first rows that failed; ten at most."""
    reasons: Sequence[Failures] = ()
    """Why rows failed, the commonest reason first; absent in summaries of older runs."""
    halts: Sequence[Failures] = ()
    """Likewise of rows that are still to be called: what they met with says that no row can be answered."""
    truncated: Mapping[str, int] = field(default_factory=dict)
    """Route → rows whose answer was cut off at its limit of tokens."""
    reasked: int = 0
    """Rows of a label job whose model was asked again for a label."""

    def __add__(self, other: CallSummary) -> CallSummary:
        """Return the sum of two summaries; of the rows named, the slowest and the first failures are kept."""
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
            add_failures([*self.reasons, *other.reasons]),
            add_failures([*self.halts, *other.halts]),
            _add(self.truncated, other.truncated),
            self.reasked + other.reasked,
        )

    @property
    def spent_nano(self) -> int:
        """Settled cost at both endpoints."""
        return sum(totals.spent_nano for totals in self.routes.values())

    @property
    def failing(self) -> Sequence[str]:
        """Routes of which every row failed that was called."""
        return [route for route, totals in self.routes.items() if totals.calls and not totals.ok]

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
                    # Older summaries don't say; their endpoints count as endpoints that answer.
                    "ok": totals["calls"],
                    "answered": totals["calls"],
                    **totals,
                    "usage": Usage(**totals["usage"]),
                    "latency_bins": _numbered(totals["latency_bins"]),
                    "ended": FinishedCalls(**totals.get("ended", {})),
                    "heard": _observed(totals.get("heard", {})),
                }
            )
            for route, totals in fields["routes"].items()
        }
        slowest = [SlowRow(**row) for row in fields["slowest"]]
        failures = [FailedRow(**row) for row in fields["failures"]]
        reasons = {name: [_failures(one) for one in fields.get(name, ())] for name in ("reasons", "halts")}
        return cls(**{**fields, **reasons, "routes": routes, "slowest": slowest, "failures": failures})


def add_failures(some: Iterable[Failures]) -> list[Failures]:
    """Return failures with those of one reason added up, the commonest first.

    Of many different details the commonest are kept; the others are added up by their status, as some endpoint may put a
    name of the request into each of its errors.
    """
    sums = sorted(_sums(some).items(), key=lambda item: (-item[1], _sort_key(item[0])))
    kept, rest = sums[:MOST_REASONS], sums[MOST_REASONS:]
    plain = [Failures(route, kind, rows, ErrorDetail(detail.status)) for (route, kind, detail), rows in rest]
    whole = _sums([*(Failures(route, kind, rows, detail) for (route, kind, detail), rows in kept), *plain])
    ordered = sorted(whole.items(), key=lambda item: (-item[1], _sort_key(item[0])))
    return [Failures(route, kind, rows, detail) for (route, kind, detail), rows in ordered]


_Reason = tuple[str, str, ErrorDetail]


def _sums(some: Iterable[Failures]) -> dict[_Reason, int]:
    sums: dict[_Reason, int] = {}
    for one in some:
        reason = (one.route, one.kind, one.detail)
        sums[reason] = sums.get(reason, 0) + one.rows
    return sums


def _sort_key(reason: _Reason) -> tuple[str, str, str, str]:
    route, kind, detail = reason
    return route, kind, str(detail), detail.type or ""


def _failures(fields: Mapping[str, Any]) -> Failures:
    return Failures(**{**fields, "detail": ErrorDetail(**fields["detail"])})


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
    number = bin_at(bins, quantile)
    return None if number is None else float(2 ** (number / BINS_PER_OCTAVE)) / 1000


def _numbered(bins: Mapping[str, int]) -> dict[int, int]:
    return {int(number): count for number, count in bins.items()}


def _observed(fields: Mapping[str, Any]) -> ObservedLengths:
    return ObservedLengths(**{**fields, "bins": _numbered(fields.get("bins", {}))})


def _add(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in [*one, *(k for k in other if k not in one)]}
