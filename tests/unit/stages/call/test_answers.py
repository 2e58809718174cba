"""What a call's result comes to in the ledger, and that nothing an answer holds keeps it from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from helpers.jobs import job_config

from routellm_batch.config.job import LabelConfig
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorDetail, ErrorKind, Reply, Usage, Verdict
from routellm_batch.endpoints.calls import CallResult, Request
from routellm_batch.stages.call.answers import Pending, next_question, record_of
from routellm_batch.stages.call.requests import Call

CALL = Call(7, "weak", Request(b'{"messages": [{"role": "user", "content": "Hi"}]}', "key", 10, 100))
LABEL = LabelConfig(values=("spam", "ham"))
SCHEMA = LabelConfig.model_validate({"schema": {"type": "object"}})
OK = Reply("spam", "stop", "m", Usage(20, 0, 10))


@pytest.mark.parametrize(
    ("reply", "status", "kind"),
    [
        (OK, "ok", None),
        (replace(OK, usage=None), "ok", None),
        (replace(OK, answer=" \n"), "failed", "empty_answer"),
        (replace(OK, answer="", failure=ErrorKind.CONTENT_FILTER), "failed", "content_filter"),
        (replace(OK, failure=ErrorKind.CONTENT_FILTER), "failed", "content_filter"),
        (replace(OK, failure=ErrorKind.REFUSAL), "failed", "refusal"),
    ],
)
def test_an_answer_is_kept_whatever_it_counts_as(reply: Reply, status: str, kind: str | None) -> None:
    """What is refused or filtered has failed, in a label job too; its text stays."""
    result = CallResult(reply, attempts=1, presumed_nano=100)
    for label in (None, LABEL):
        record = record_of(CALL, result, label)
        assert (status, kind, reply.answer) == (record.status, record.error_kind, record.answer)
        assert (reply.usage is not None, 100) == (record.counted, record.presumed_nano)


def test_what_an_error_says_for_programs_is_kept() -> None:
    """With the kind of the failure."""
    detail = ErrorDetail(400, "unsupported_parameter", None, "max_tokens")
    error = CallError(ErrorKind.BAD_REQUEST, Verdict.ROW, status=400, detail=detail)
    record = record_of(CALL, CallResult(error=error, attempts=1), None)
    assert ("failed", "bad_request", detail) == (record.status, record.error_kind, record.detail)


@pytest.mark.parametrize("error", [ValueError, TypeError, RecursionError, MemoryError, UnicodeEncodeError])
def test_a_reader_that_fails_makes_an_invalid_label(error: type[Exception], tmp_path: Path) -> None:
    """What was paid for reaches the ledger, and the model is not asked again."""
    raised = error("utf-8", "x", 0, 1, "bad") if error is UnicodeEncodeError else error("the answer's text")
    config = job_config(tmp_path)
    with patch("routellm_batch.stages.call.answers.read_label", side_effect=raised):
        record = record_of(CALL, CallResult(OK, attempts=1, usage=OK.usage or Usage(), cost_nano=30), LABEL)
        assert ("failed", "invalid_label", "spam", 30) == (
            *(record.status, record.error_kind, record.answer),
            record.cost_nano,
        )
        assert next_question(LABEL, config.endpoints.weak, Pending(CALL, CALL.request), record) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "\\u0000"}',
        '{"a": 1, "a": 2}',
        '{"a\\ud800": 1, "a\\udfff": 2}',
        '{"a\\ud800": 1, "a?": 2}',
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '"\\ud83d"',
        '{"a": "\\ud83d", "\\ud83d": 1}',
        "\ud83d",
        "\x00",
    ],
)
def test_whatever_an_answer_holds_is_a_valid_label_or_an_invalid_one(text: str) -> None:
    """And a line of the ledger, which is read again; keys that are equal once they are cleaned are no label."""
    for label in (LABEL, SCHEMA):
        record = record_of(CALL, CallResult(replace(OK, answer=text), attempts=1), label)
        assert (record.label is None) == (record.error_kind == ErrorKind.INVALID_LABEL)
        assert record.label is None or record.label.count('"a') <= 1
        assert record.row == type(record).from_json(record.to_json()).row
