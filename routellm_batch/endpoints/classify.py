"""What a failed reply and a reply's headers mean: pure functions of status, error code and headers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from routellm_batch.core.types import ErrorKind, RateHint, Verdict

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""A longer reply is refused."""
MAX_RETRY_AFTER_S = 120.0
"""A longer wait, asked for or named by a reset header, is cut to this; some servers send nonsense."""

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
_BY_CODE = {
    "context_length_exceeded": ErrorKind.CONTEXT_LENGTH,
    "content_filter": ErrorKind.CONTENT_FILTER,
    "content_policy_violation": ErrorKind.CONTENT_FILTER,
}
_FATAL_STATUS = {401: ErrorKind.AUTH, 402: ErrorKind.QUOTA}
"""These speak of the key and its account, whatever the row: a key that is revoked on the way stops the run at once."""
_REFUSED_STATUS = {403: ErrorKind.AUTH, 404: ErrorKind.NOT_FOUND}
"""Of a wrong key or URL as much as of one row: a prompt that the provider flags, a feature that the model lacks."""
_KEY_CODES = frozenset({"invalid_api_key", "account_deactivated", "organization_deactivated"})
_RATE_HEADERS = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[dhms])){1,5}", re.ASCII)
_DURATION_PART = re.compile(r"([\d.]+)(ms|[dhms])")
_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_COUNT_DIGITS = 12
_TRANSIENT_STATUS = frozenset({408, 409, 425})


def failure_of(status: int, code: str | None) -> tuple[ErrorKind, Verdict, bool]:
    """Class a non-2xx reply by status and machine-readable code.

    Returns:
        kind, verdict, and whether the work may have been billed all the same.

    """
    if code in _QUOTA_CODES:
        return ErrorKind.QUOTA, Verdict.FATAL, False
    if status in _FATAL_STATUS:
        return _FATAL_STATUS[status], Verdict.FATAL, False
    if status in _REFUSED_STATUS and code not in _BY_CODE:
        verdict = Verdict.FATAL if code in _KEY_CODES else Verdict.REFUSED
        return _REFUSED_STATUS[status], verdict, False
    if status == 429:
        return ErrorKind.RATE_LIMITED, Verdict.WAIT, False
    if 300 <= status < 400:
        return ErrorKind.REDIRECT, Verdict.FATAL, False
    if status >= 500:
        return ErrorKind.SERVER_ERROR, Verdict.RETRY, True
    if status in _TRANSIENT_STATUS:
        # Gateways say 408 where the model behind them was too slow; it may have done the work.
        return ErrorKind.SERVER_ERROR, Verdict.RETRY, status == 408
    return _BY_CODE.get(code or "", ErrorKind.BAD_REQUEST), Verdict.ROW, False


def retry_after_s(milliseconds: str | None, seconds: str | None, date: str | None = None) -> float | None:
    """Return what ``retry-after-ms`` or else ``retry-after`` asks for, within [0, 120] s.

    A ``retry-after`` that is a date counts from the reply's own ``date``, as our clock may differ from the server's.
    Nonsense counts as not given.
    """
    for value in (_scaled(milliseconds, 1e-3), _scaled(seconds, 1.0), _between(date, seconds)):
        if value is not None:
            return min(max(value, 0.0), MAX_RETRY_AFTER_S)
    return None


def _scaled(text: str | None, scale: float) -> float | None:
    try:
        value = float(text or "") * scale
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _between(date: str | None, until: str | None) -> float | None:
    """Return the seconds from one HTTP date to another."""
    if date is None or until is None:
        return None
    try:
        return (parsedate_to_datetime(until) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: only one of them has a zone
        return None


def rate_hint(headers: Mapping[str, str]) -> RateHint | None:
    """Return what the ``x-ratelimit-*`` headers say, None where there are none of use; nonsense counts as absent.

    Args:
        headers: of a reply; names in lower case, or a mapping that ignores the case.

    """
    texts = [headers.get(name) for name in _RATE_HEADERS]
    if not any(texts):
        return None
    counts, resets = [_count(text) for text in texts[:4]], [_seconds(text) for text in texts[4:]]
    hint = RateHint(*counts, *resets)
    return None if hint == RateHint() else hint


def _count(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= _MAX_COUNT_DIGITS):
        return None
    return int(text)


def _seconds(text: str | None) -> float | None:
    """Read ``1s``, ``6m0s``, ``20ms`` or plain seconds, within [0, 120]."""
    if text is None or not _DURATION.fullmatch(text):
        return retry_after_s(None, text)
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))
    return min(seconds, MAX_RETRY_AFTER_S)
