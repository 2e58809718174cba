"""Which rows a call task calls, by what the ledger holds of them and what the task is for."""

from __future__ import annotations

from typing import Any

import pytest

from routellm_batch.core.types import Shard
from routellm_batch.stages.call.queue import ShardTask
from routellm_batch.stages.call.task import is_wanted
from routellm_batch.storage.ledger.record import CallRecord

OPEN: dict[str, Any] = {}
COMMITTED = {"revision": 1}
DOUBTED = {"revision": 1, "doubted": frozenset({"weak"})}
RETRIED = {"revision": 1, "retry_failed": True}
AGAIN = {"again": True, "retry_failed": True}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("timeout", [OPEN, DOUBTED, RETRIED]),
        ("bad_request", [RETRIED]),
        ("empty_answer", [RETRIED]),
        ("auth", [OPEN, COMMITTED, DOUBTED, RETRIED]),
        ("not_found", [OPEN, COMMITTED, DOUBTED, RETRIED]),
    ],
)
def test_a_failed_row_is_called_again_where_its_failure_may_have_passed(
    kind: str, wanted: list[dict[str, Any]]
) -> None:
    """In an open shard, in a committed one of an endpoint that has answered nothing, and of an undecided refusal always."""
    record = CallRecord(0, "weak", "failed", "key", error_kind=kind)
    works = (OPEN, COMMITTED, DOUBTED, RETRIED, AGAIN)
    assert wanted == [work for work in works if is_wanted(ShardTask(Shard(0, 0, 0, 8), **work), record)]


@pytest.mark.parametrize("work", [OPEN, COMMITTED, DOUBTED, RETRIED, AGAIN])
def test_an_answered_row_is_never_called_and_an_unsent_one_always(work: dict[str, Any]) -> None:
    """Whatever the task is for."""
    task = ShardTask(Shard(0, 0, 0, 8), **work)
    unsent = CallRecord(0, "weak", "unsent", "key", error_kind="auth")
    answered = CallRecord(0, "weak", "ok", "key", answer="Yes.")
    assert [True, True, False] == [is_wanted(task, one) for one in (None, unsent, answered)]
