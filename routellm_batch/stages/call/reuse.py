"""Answers that the run's pilot has paid for: taken over by request key instead of being bought again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from routellm_batch.stages.call.requests import Call
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import from_parquet

ANSWERS = "answers.parquet"
"""In a pilot's folder: a row for each request that was answered."""
ANSWER_SCHEMA = pa.schema(
    [
        ("request_key", pa.string()),
        ("model", pa.string()),
        ("answer", pa.string()),
        ("label", pa.string()),
        ("finish_reason", pa.string()),
    ]
)


def reused(pilot: str | None, calls: Sequence[Call]) -> list[CallRecord]:
    """Return a record for each call whose request a pilot has an answer to: nothing is sent, nothing is paid.

    Raises:
        OSError: the pilot that the run was begun with can't be read.

    """
    if pilot is None:
        return []
    known = _answers(pilot)
    return [
        CallRecord(call.row, call.route, "ok", call.request.key, **known[call.request.key])
        for call in calls
        if call.request.key in known
    ]


@lru_cache(maxsize=2)
def _answers(pilot: str) -> dict[str, dict[str, Any]]:
    rows = from_parquet(FsStore(pilot).read(ANSWERS)).to_pylist()
    return {row.pop("request_key"): row for row in rows}
