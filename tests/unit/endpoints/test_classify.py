"""What a reply means, by status, code and shape; never by the text of a message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import RateHint, Usage, Verdict
from routellm_batch.endpoints.classify import failure_of, parse_reply, rate_hint, retry_after_s

GOOD: dict[str, Any] = {
    "model": "m",
    "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3},
}


def _with(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind", "verdict", "billed"),
    [
        (401, None, Kind.AUTH, Verdict.FATAL, False),
        (401, "invalid_api_key", Kind.AUTH, Verdict.FATAL, False),
        (402, None, Kind.QUOTA, Verdict.FATAL, False),
        (401, "content_filter", Kind.AUTH, Verdict.FATAL, False),
        (403, None, Kind.AUTH, Verdict.REFUSED, False),
        (403, "unknown_code", Kind.AUTH, Verdict.REFUSED, False),
        (403, "invalid_api_key", Kind.AUTH, Verdict.FATAL, False),
        (403, "insufficient_quota", Kind.QUOTA, Verdict.FATAL, False),
        (403, "content_filter", Kind.CONTENT_FILTER, Verdict.ROW, False),
        (404, "content_policy_violation", Kind.CONTENT_FILTER, Verdict.ROW, False),
        (404, "model_not_found", Kind.NOT_FOUND, Verdict.REFUSED, False),
        (429, None, Kind.RATE_LIMITED, Verdict.WAIT, False),
        (429, "rate_limit_exceeded", Kind.RATE_LIMITED, Verdict.WAIT, False),
        (429, "insufficient_quota", Kind.QUOTA, Verdict.FATAL, False),
        (429, "insufficient_balance", Kind.QUOTA, Verdict.FATAL, False),
        (301, None, Kind.REDIRECT, Verdict.FATAL, False),
        (307, None, Kind.REDIRECT, Verdict.FATAL, False),
        (500, None, Kind.SERVER_ERROR, Verdict.RETRY, True),
        (503, "overloaded", Kind.SERVER_ERROR, Verdict.RETRY, True),
        (529, None, Kind.SERVER_ERROR, Verdict.RETRY, True),
        (408, None, Kind.SERVER_ERROR, Verdict.RETRY, True),
        (409, None, Kind.SERVER_ERROR, Verdict.RETRY, False),
        (400, None, Kind.BAD_REQUEST, Verdict.ROW, False),
        (400, "context_length_exceeded", Kind.CONTEXT_LENGTH, Verdict.ROW, False),
        (400, "content_filter", Kind.CONTENT_FILTER, Verdict.ROW, False),
        (413, None, Kind.BAD_REQUEST, Verdict.ROW, False),
        (422, None, Kind.BAD_REQUEST, Verdict.ROW, False),
    ],
)
def test_failures_by_status_and_code(
    status: int, code: str | None, kind: Kind, verdict: Verdict, *, billed: bool
) -> None:
    """Each status has its kind, what to do about it, and whether it may cost money all the same."""
    assert (kind, verdict, billed) == failure_of(status, code)


@given(st.integers(100, 999).filter(lambda status: not 200 <= status < 300), st.none() | st.text(max_size=12))
def test_every_other_status_is_some_failure(status: int, code: str | None) -> None:
    """No status outside 2xx goes without a verdict."""
    kind, verdict, _ = failure_of(status, code)
    assert (kind in Kind, verdict in Verdict) == (True, True)


@pytest.mark.parametrize(
    ("milliseconds", "seconds", "expected"),
    [
        (None, "2", 2.0),
        (None, "0.5", 0.5),
        ("250", "9", 0.25),
        ("soon", "3", 3.0),
        (None, None, None),
        (None, "Wed, 21 Oct 2026 07:28:00 GMT", None),
        (None, "nan", None),
        (None, "-1", 0.0),
        (None, "86400", 120.0),
        (None, "inf", 120.0),
        ("1e9", None, 120.0),
        (None, "", None),
    ],
)
def test_retry_after_is_read_and_capped(
    milliseconds: str | None, seconds: str | None, expected: float | None
) -> None:
    """The finer header wins, nonsense counts as not given, and nothing is above 120 s or below 0."""
    assert expected == retry_after_s(milliseconds, seconds)


@pytest.mark.parametrize(
    ("until", "date", "expected"),
    [
        ("Wed, 21 Oct 2026 07:28:07 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 7.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:07 GMT", 0.0),
        ("Thu, 22 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 120.0),
        ("Wed, 21 Oct 2026 07:28:07 -0000", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("Wed, 99 Oct 2026 07:28:07 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("tomorrow", "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("3", "Wed, 21 Oct 2026 07:28:00 GMT", 3.0),
    ],
)
def test_a_retry_after_date_counts_from_the_date_of_the_reply(
    until: str, date: str, expected: float | None
) -> None:
    """What was asked for is the distance of two of the server's own times; a date that can't be read is none."""
    assert expected == retry_after_s(None, until, date)


def test_rate_limits_are_read_from_the_headers() -> None:
    """Limits, what is left of them and when they are whole again."""
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-reset-tokens": "1m0.5s",
    }
    assert RateHint(500, 30000, 499, 0, 0.12, 60.5) == rate_hint(headers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 120.0),
        ("20ms", 0.02),
        ("1h2m", 120.0),
        ("1m30s", 90.0),
        ("2.5", 2.5),
        ("7", 7.0),
        ("-3", 0.0),
        ("1e9", 120.0),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("1.2.3s", None),
        ("s", None),
        ("١s", None),
    ],
)
def test_a_reset_is_read_and_capped(text: str, expected: float | None) -> None:
    """Durations in either form, within [0, 120] s; nonsense counts as not given."""
    hint = rate_hint({"x-ratelimit-reset-requests": text})
    assert expected == (hint.reset_requests_s if hint else None)


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "9" * 13, "", "²"])
def test_a_count_of_nonsense_is_not_given(text: str) -> None:
    """Only whole numbers of a likely size are taken."""
    assert rate_hint({"x-ratelimit-remaining-tokens": text}) is None


def test_headers_without_limits_give_no_hint() -> None:
    """Most servers say nothing of their limits."""
    assert rate_hint({"content-type": "application/json"}) is None


@given(st.text(max_size=20))
def test_no_header_text_is_too_odd(text: str) -> None:
    """Whatever a header holds, reading it raises nothing and stays within bounds."""
    hint = rate_hint({"x-ratelimit-reset-tokens": text, "x-ratelimit-limit-tokens": text})
    reset = hint.reset_tokens_s if hint else None
    assert reset is None or 0 <= reset <= 120


def test_a_good_reply_is_read() -> None:
    """Answer, reason, model and every count of tokens are taken."""
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    reply = parse_reply(200, _with(usage=usage))
    assert ("Yes.", "stop", "m", Usage(7, 4, 3, 2)) == (
        reply.answer,
        reply.finish_reason,
        reply.model,
        reply.usage,
    )


@pytest.mark.parametrize(
    ("told", "total", "reasoning", "output"),
    [
        (30, 40, 20, 30),  # within the completion, as OpenAI counts it
        (30, 60, 20, 50),  # apart, and in the total
        (30, 60, None, 50),  # apart, and named nowhere but in the total
        (30, None, 45, 75),  # apart, as there is more of it
        (30, 5, 20, 30),  # a total of nonsense takes nothing away
        (30, "x", 20, 30),
    ],
)
def test_reasoning_that_is_counted_apart_is_paid_for(
    told: int, total: Any, reasoning: int | None, output: int
) -> None:
    """Whether an endpoint counts reasoning within the completion or beside it, every token of output is priced."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": told,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    assert output == parse_reply(200, _with(usage=usage)).usage.output_tokens


@pytest.mark.parametrize(
    ("changes", "answer", "finish"),
    [
        ({"choices": []}, "", None),
        ({"choices": None}, "", None),
        (
            {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]},
            "",
            "content_filter",
        ),
        ({"choices": [{"message": {"refusal": "No."}}]}, "", None),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}, "", "length"),
        ({"choices": [{}]}, "", None),
        ({"model": None}, "Yes.", "stop"),
        ({"usage": {**GOOD["usage"], "prompt_tokens_details": None}}, "Yes.", "stop"),
        ({"usage": {**GOOD["usage"], "prompt_tokens_details": {"cached_tokens": None}}}, "Yes.", "stop"),
    ],
)
def test_a_paid_reply_without_an_answer_is_still_a_reply(
    changes: dict[str, Any], answer: str, finish: str | None
) -> None:
    """Where usage is given the call is settled, whatever was said; details may be absent."""
    reply = parse_reply(200, _with(**changes))
    assert (answer, finish, 7) == (reply.answer, reply.finish_reason, reply.usage.input_tokens)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><title>Gateway</title>",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"error": {"message": "upstream"}}',
        _with()[: len(_with()) // 2],
        b"\xff\xfe" + _with(),
        _with(usage=...),
        _with(usage=None),
        _with(usage=[]),
        _with(usage={"prompt_tokens": 7}),
        _with(usage={"prompt_tokens": -1, "completion_tokens": 3}),
        _with(usage={"prompt_tokens": 7.5, "completion_tokens": 3}),
        _with(usage={"prompt_tokens": True, "completion_tokens": 3}),
        _with(usage={"prompt_tokens": "7", "completion_tokens": 3}),
        _with(usage={"prompt_tokens": 10**40, "completion_tokens": 3}),
        _with(usage={**GOOD["usage"], "prompt_tokens_details": [1]}),
        _with(choices=...),
        _with(choices={}, usage={}),
        _with(choices=["Yes."]),
        _with(choices=[{"message": None}]),
        _with(choices=[{"text": "Yes."}]),
        _with(choices=[{"message": {"content": 5}}]),
        _with(choices=[{"message": {"content": [{"type": "text", "text": "Yes."}]}}]),
        _with(choices=[{"message": {"content": "Yes."}, "finish_reason": 5}]),
        b"[" * 100_000,
        b'{"usage": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_completion_is_a_bad_reply_that_may_be_billed(content: bytes) -> None:
    """A 200 of another shape is never an answer: it is tried again, and its worst cost is presumed."""
    with pytest.raises(CallError) as caught:
        parse_reply(200, content)
    error = caught.value
    assert (Kind.BAD_REPLY, Verdict.RETRY, True) == (error.kind, error.verdict, error.maybe_billed)


def test_what_can_not_be_stored_is_replaced() -> None:
    """A lone surrogate anywhere in a reply becomes a question mark, as no file can hold it."""
    message = {"message": {"content": "a\ud800b"}, "finish_reason": "st\udfffop"}
    reply = parse_reply(200, _with(model="m\ud800", choices=[message]))
    assert ("a?b", "st?op", "m?") == (reply.answer, reply.finish_reason, reply.model)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["content", "message", "x"]), inner)
    ),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from(["usage", "choices", "model"]), JSON), paid=st.booleans())
def test_no_json_breaks_the_parser(changes: dict[str, Any], *, paid: bool) -> None:
    """Whatever JSON comes, the outcome is a reply or a CallError."""
    body = {**GOOD, **changes, "usage": GOOD["usage"]} if paid else {**GOOD, **changes}
    try:
        reply = parse_reply(200, json.dumps(body).encode())
    except CallError as error:
        assert error.kind is Kind.BAD_REPLY
    else:
        assert isinstance(reply.answer, str)
