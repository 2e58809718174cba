"""Is an endpoint broken, or is it one row? What its replies so far say. Pure.

A refusal (403, 404) may be about one row, as of a prompt that the provider flags, or about all of them, as of a key
without rights or a wrong path. The status is the same. So a refusal is undecided until the endpoint answers another
row, which makes it the row's own, or has refused so many in a row that it is taken to refuse all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from routellm_batch.core.types import ErrorKind, Route
from routellm_batch.storage.ledger.record import CallRecord

FIRST_REFUSED = 20
"""So many refusals before the first answer, or as many as the run has calls, and the endpoint refuses all rows."""
MOST_REFUSED = 50
"""So many in a row once it has answered, as when a key is withdrawn on the way."""
REFUSALS = frozenset({str(ErrorKind.AUTH), str(ErrorKind.NOT_FOUND)})
"""Kinds of refusals that are undecided, or were about all rows."""


@dataclass
class Standing:
    """One endpoint, as one process sees it."""

    answers: int = 0
    """Rows that it answered, at least: 1 where only others have seen it answer."""
    refused: int = 0
    """Refusals since its last answer."""

    def note_answered(self) -> None:
        """Note that somebody has seen it answer, now or earlier."""
        self.answers = max(1, self.answers)

    def answer(self) -> None:
        """Count an answer."""
        self.answers += 1
        self.refused = 0

    def refuse(self, calls: int) -> bool:
        """Count a refusal; return whether the endpoint is now taken to refuse all rows, of a run of so many calls."""
        self.refused += 1
        return self.refused >= (MOST_REFUSED if self.answers else min(FIRST_REFUSED, calls))


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused row that is undecided."""

    record: CallRecord
    """What its sends came to, as failed; it is written once it is decided, as an intent has one record."""
    answers: int
    """Answers of the endpoint before the refusal."""

    def ending(self, standing: Standing, *, last: bool) -> CallRecord | None:
        """Return the record that ends the row; None while it is undecided.

        Args:
            standing: of the endpoint now.
            last: nothing more is heard of the endpoint here, so what is known decides.

        """
        if standing.answers > self.answers or (last and standing.answers):
            return replace(self.record, error_kind=str(ErrorKind.BAD_REQUEST))
        return self.record if last else None


def suspects(records: Mapping[int, CallRecord], *, retry_failed: bool) -> frozenset[int]:
    """Return the rows whose failing anew would tell nothing of the endpoint: it has refused them before.

    Args:
        records: row → what the ledger holds of it.
        retry_failed: rows that failed for good are called again, and count among these.

    """
    return frozenset(
        row
        for row, record in records.items()
        if (record.status != "ok" and record.error_kind in REFUSALS)
        or (retry_failed and record.status == "failed")
    )


def undecided(records: Mapping[int, CallRecord]) -> frozenset[Route]:
    """Return the routes with rows that failed by a refusal of which nobody knew whether it was about them."""
    ended = (record for record in records.values() if record.status == "failed")
    return frozenset(record.route for record in ended if record.error_kind in REFUSALS)
