"""What a reply means: pure functions of status, error code, headers and body. Never of message text."""

from __future__ import annotations

import json
from typing import Any

from routellm_batch.errors import CallError
from routellm_batch.types import ErrorKind, Reply, Usage, Verdict

MAX_REPLY_BYTES = 32 * 1024 * 1024
"""A longer reply is refused."""
MAX_TOKENS = 10**9
"""A larger count in a reply's usage is nonsense, and would not fit the columns."""
MAX_RETRY_AFTER_S = 120.0
"""A longer Retry-After is cut to this; some servers send nonsense."""

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"})
_BY_CODE = {
    "context_length_exceeded": ErrorKind.CONTEXT_LENGTH,
    "content_filter": ErrorKind.CONTENT_FILTER,
    "content_policy_violation": ErrorKind.CONTENT_FILTER,
}
_FATAL_STATUS = {
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA,
    403: ErrorKind.AUTH,
    404: ErrorKind.NOT_FOUND,
}
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
    if status == 429:
        return ErrorKind.RATE_LIMITED, Verdict.WAIT, False
    if 300 <= status < 400:
        return ErrorKind.REDIRECT, Verdict.FATAL, False
    if status >= 500:
        return ErrorKind.SERVER_ERROR, Verdict.RETRY, True
    if status in _TRANSIENT_STATUS:
        return ErrorKind.SERVER_ERROR, Verdict.RETRY, False
    return _BY_CODE.get(code or "", ErrorKind.BAD_REQUEST), Verdict.ROW, False


def retry_after_s(milliseconds: str | None, seconds: str | None) -> float | None:
    """Return what ``retry-after-ms`` or else ``retry-after`` asks for, within [0, 120] s.

    A date form or nonsense counts as not given.
    """
    for text, scale in ((milliseconds, 1e-3), (seconds, 1.0)):
        try:
            value = float(text) * scale if text is not None else None
        except ValueError:
            value = None
        if value is not None and value == value:  # noqa: PLR0124 - NaN differs from itself
            return min(max(value, 0.0), MAX_RETRY_AFTER_S)
    return None


def parse_reply(status: int, content: bytes) -> Reply:
    """Check a 2xx body against what a chat completion must hold.

    Raises:
        CallError: not a chat completion; it may have been billed.

    """
    try:
        reply = json.loads(content)
        usage = _usage(reply["usage"])
        choices = reply["choices"]
        first = choices[0] if choices else None
        answer = first["message"].get("content") if first else None
        finish = first.get("finish_reason") if first else None
        model = reply.get("model")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=status, maybe_billed=True) from None
    if not (answer is None or isinstance(answer, str)) or not (finish is None or isinstance(finish, str)):
        raise CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=status, maybe_billed=True)
    named = _storable(model) if isinstance(model, str) else ""
    return Reply(_storable(answer or ""), None if finish is None else _storable(finish), named, usage)


def _storable(text: str) -> str:
    """Return a text without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _usage(found: Any) -> Usage:
    details_in = found.get("prompt_tokens_details") or {}
    details_out = found.get("completion_tokens_details") or {}
    counts = (
        found["prompt_tokens"],
        details_in.get("cached_tokens") or 0,
        found["completion_tokens"],
        details_out.get("reasoning_tokens") or 0,
    )
    if any(
        isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_TOKENS
        for count in counts
    ):
        message = "usage must be whole numbers of tokens"
        raise ValueError(message)
    return Usage(*counts)
