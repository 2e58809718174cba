"""What a failed reply means by status and code, and what a reply's headers say; never by the text of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import RateHint, Verdict
from routellm_batch.endpoints.classify import failure_of, rate_hint, retry_after_s


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
