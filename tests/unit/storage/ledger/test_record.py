"""A record is one line that any version reads, whatever text it holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from routellm_batch.core.types import ErrorDetail, Usage
from routellm_batch.storage.ledger.record import CallRecord

WHOLE = CallRecord(
    *(
        3,
        "strong",
        "failed",
        "key",
        "bad_request",
        "answer",
        "label",
        "stop",
        "model",
        2,
        Usage(1, 2, 3, 4),
        5,
        6,
        0.5,
    ),
    counted=False,
    detail=ErrorDetail(400, "unsupported_parameter", "invalid_request_error", "max_tokens"),
)


@pytest.mark.parametrize("record", [WHOLE, CallRecord(0, "weak", "unsent", "")])
def test_a_line_holds_all_of_a_record(record: CallRecord) -> None:
    """What is written is read again."""
    assert record == CallRecord.from_json(record.to_json())


def test_a_line_of_an_older_version_is_read() -> None:
    """It knows neither details of errors nor answers without a count."""
    fields = json.loads(WHOLE.to_json())
    del fields["counted"], fields["detail"]
    assert replace(WHOLE, counted=True, detail=None) == CallRecord.from_json(json.dumps(fields))


def test_text_that_no_file_can_hold_is_cleaned() -> None:
    """A lone surrogate in any field, the inner ones too, is written as a question mark; nothing raises."""
    bad = "a\ud800b"
    record = replace(WHOLE, answer=bad, label=bad, model=bad, detail=ErrorDetail(400, bad))
    read = CallRecord.from_json(record.to_json())
    assert ("a?b",) * 4 == (read.answer, read.label, read.model, read.detail and read.detail.code)
    assert (WHOLE.usage, WHOLE.finish_reason) == (read.usage, read.finish_reason)
