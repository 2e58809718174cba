"""What an endpoint's replies say of it: whether a refusal was about one row or about all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routellm_batch.stages.call.standing import (
    FIRST_REFUSED,
    MOST_REFUSED,
    Refused,
    Standing,
    suspects,
    undecided,
)
from routellm_batch.storage.ledger.record import CallRecord


def record(row: int = 0, status: str = "failed", kind: str | None = "auth") -> CallRecord:
    return CallRecord(row, "weak", status, "key", error_kind=kind, attempts=2, presumed_nano=5)


@pytest.mark.parametrize(
    ("answered", "calls", "limit"),
    [(False, 1000, FIRST_REFUSED), (False, 3, 3), (True, 1000, MOST_REFUSED), (True, 3, MOST_REFUSED)],
)
def test_so_many_refusals_are_about_all_rows(answered: bool, calls: int, limit: int) -> None:  # noqa: FBT001
    """Fewer are enough of an endpoint that has not answered yet, and fewer still in a run that has no more calls."""
    standing = Standing()
    if answered:
        standing.note_answered()
    assert [False] * (limit - 1) + [True] == [standing.refuse(calls) for _ in range(limit)]


def test_an_answer_starts_the_count_anew() -> None:
    """Refusals between answers never add up to all rows."""
    standing = Standing()
    for _ in range(3 * MOST_REFUSED):
        standing.answer()
        assert not standing.refuse(1000)


def test_a_refusal_is_the_rows_own_once_another_is_answered() -> None:
    """Undecided before, it ends the row as a refused request, with all that its sends came to."""
    standing = Standing()
    refused = Refused(record(), standing.answers)
    assert refused.ending(standing, last=False) is None
    standing.answer()
    ending = refused.ending(standing, last=False)
    assert replace(record(), error_kind="bad_request") == ending


@pytest.mark.parametrize(("answers", "kind"), [(0, "auth"), (1, "bad_request")])
def test_at_last_what_is_known_decides(answers: int, kind: str) -> None:
    """Where nothing more is heard, an endpoint that had answered before refused the row; of any other the kind stays."""
    ending = Refused(record(), answers).ending(Standing(answers), last=True)
    assert ending is not None
    assert kind == ending.error_kind


def test_rows_that_were_refused_before_are_suspect() -> None:
    """So are, where failed rows are asked for, all that failed; an answered row never is."""
    records = {
        0: record(0),
        1: record(1, "unsent", "not_found"),
        2: record(2, "failed", "bad_request"),
        3: record(3, "ok", None),
        4: record(4, "unsent", "timeout"),
    }
    assert {0, 1} == suspects(records, retry_failed=False)
    assert {0, 1, 2} == suspects(records, retry_failed=True)


def test_a_refusal_that_ended_undecided_is_told() -> None:
    """Only of failed rows, and by route: rows that are unsent are called again anyway."""
    assert {"weak"} == undecided({0: record()})
    assert frozenset() == undecided({0: record(0, "unsent"), 1: record(1, "failed", "timeout")})
