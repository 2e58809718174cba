"""What a 2xx body holds: an answer, an error, or nothing that can be read. Pure. Never by the text of a message.

What was answered is kept wherever it can be: without token counts, in parts, as tool calls, or as a refusal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from routellm_batch.answers.thinking import without_thinking
from routellm_batch.core.encoding import storable
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorDetail, ErrorKind, RateHint, Reply, Usage, Verdict
from routellm_batch.endpoints.classify import failure_of
from routellm_batch.endpoints.details import detail_of
from routellm_batch.endpoints.usage import usage_of

_FILTERED = frozenset(
    (
        *("content_filter", "content_filtered", "safety", "image_safety", "sensitive", "blocklist", "spii"),
        *("prohibited_content", "guardrail_intervened", "recitation"),
    )
)
"""Finish reasons of an answer that a filter cut off, in small letters."""
_REFUSED = frozenset({"refusal", "refused"})
_BROKEN = frozenset({"error", "server_error"})
_TEXT_PARTS = frozenset({None, "text", "output_text"})
_STATUS_OF = {
    400: (
        *("invalidrequesterror", "invalidrequest", "badrequest", "badrequesterror", "invalidparameter"),
        *("contextlengthexceeded", "contentfilter", "contentpolicyviolation", "unsupportedparameter"),
    ),
    401: ("authenticationerror", "invalidapikey", "unauthorized", "unauthenticated"),
    402: ("insufficientquota", "insufficientbalance", "billinghardlimitreached"),
    403: ("permissionerror", "permissiondenied", "forbidden"),
    404: ("notfounderror", "modelnotfound", "notfound"),
    429: (
        *("ratelimit", "ratelimited", "ratelimitexceeded", "ratelimiterror", "ratelimitreached"),
        *("toomanyrequests", "throttled", "throttling", "throttlingexception", "resourceexhausted"),
    ),
    500: ("servererror", "internalerror", "internalservererror", "internal", "apierror", "upstreamerror"),
    503: (
        *("overloaded", "overloadederror", "engineoverloaded", "engineoverloadederror", "modeloverloaded"),
        *("serviceunavailable", "serviceunavailableerror", "unavailable", "serveroverloaded"),
    ),
    504: ("timeout", "timeouterror", "gatewaytimeout", "deadlineexceeded", "requesttimeout"),
}
_STATUS_BY_NAME = {name: status for status, names in _STATUS_OF.items() for name in names}
"""Codes and types, in small letters and without marks → the HTTP status that they stand for."""


def parse_reply(status: int, content: bytes, rate: RateHint | None = None) -> Reply:
    """Return the answer that a 2xx body holds.

    Args:
        status: HTTP status.
        content: the body.
        rate: what the headers say of the endpoint's limits.

    Raises:
        CallError: it holds an error, or is not a chat completion; its ``maybe_billed`` and ``usage`` say what that costs.

    """
    try:
        body = json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise _bad(status) from None
    one = body[0] if isinstance(body, list) and len(body) == 1 else body
    if not isinstance(one, dict):
        raise _bad(status) from None
    usage, choice = usage_of(one.get("usage")), _first_choice(one)
    if choice is None and _is_error(one):
        raise _error_of(one, usage, rate) from None
    if (choice is None and usage is None) or not isinstance(one.get("choices"), list | None):
        raise _bad(status, usage) from None
    if "choices" not in one:
        raise _bad(status, usage) from None
    try:
        return _reply(one, choice or {}, usage, rate)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise _bad(status, usage) from None


def _bad(status: int, usage: Usage | None = None) -> CallError:
    return CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=status, maybe_billed=True, usage=usage)


def _first_choice(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first choice; None where there is none."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _is_error(body: Mapping[str, Any]) -> bool:
    """Whether a body without an answer says that it is an error: under ``error``, or in itself."""
    return _says(body.get("error")) or body.get("object") == "error" or body.get("type") == "error"


def _says(error: Any) -> bool:
    """Whether an ``error`` says anything; good replies may have it as null, empty, or with empty fields."""
    if isinstance(error, dict):
        return any(value not in (None, "", 0, {}, []) for value in error.values())
    return bool(error)


def _error_of(body: Mapping[str, Any], usage: Usage | None, rate: RateHint | None) -> CallError:
    """Return the error that a 2xx body is. A 429 or a 5xx that came so has done no work that could be billed."""
    detail = _named(detail_of(None, body))
    if detail.status is None:
        return CallError(
            *(ErrorKind.BAD_REPLY, Verdict.RETRY),
            maybe_billed=True,
            rate_hint=rate,
            detail=detail,
            usage=usage,
        )
    kind, verdict, maybe_billed = failure_of(detail.status, detail.code)
    refused = kind in {ErrorKind.RATE_LIMITED, ErrorKind.SERVER_ERROR}
    return CallError(
        kind,
        verdict,
        status=detail.status,
        maybe_billed=maybe_billed and not refused,
        rate_hint=rate,
        detail=detail,
        usage=None if refused else usage,
    )


def _named(detail: ErrorDetail) -> ErrorDetail:
    """Return an error's detail with the status that its code or type stands for, where it names none."""
    if detail.status is not None:
        return detail
    names = (re.sub(r"[^a-z]", "", (name or "").lower()) for name in (detail.code, detail.type))
    status = next((_STATUS_BY_NAME[name] for name in names if name in _STATUS_BY_NAME), None)
    return ErrorDetail(status, detail.code, detail.type, detail.param)


def _reply(
    body: Mapping[str, Any], choice: Mapping[str, Any], usage: Usage | None, rate: RateHint | None
) -> Reply:
    finish = choice.get("finish_reason")
    finish = storable(finish) if isinstance(finish, str) else None
    ending = (finish or "").lower()
    if ending in _BROKEN or _says(choice.get("error")) or _says(body.get("error")):
        raise _broken_off(choice if _says(choice.get("error")) else body, usage, rate) from None
    message = choice["message"] if choice else {}
    text, calls, refusal = _text(message.get("content")), _tool_calls(message), _refusal(message)
    said = without_thinking(text)
    answer = (_with_calls(said, calls) if calls else said) or refusal
    failure = None
    if ending in _FILTERED:
        failure = ErrorKind.CONTENT_FILTER
    elif refusal or ending in _REFUSED:
        failure = ErrorKind.REFUSAL
    if (text or calls) and usage is not None and not usage.output_tokens:
        usage = None  # something was said, and counted as nothing
    model = body.get("model")
    named = storable(model) if isinstance(model, str) else ""
    return Reply(storable(answer), finish, named, usage, rate, failure)


def _broken_off(where: Mapping[str, Any], usage: Usage | None, rate: RateHint | None) -> CallError:
    """Return the error of an answer that the model, or what served it, did not end. It may well be billed."""
    detail = _named(detail_of(None, where)) if _says(where.get("error")) else ErrorDetail()
    kind, verdict = ErrorKind.SERVER_ERROR, Verdict.RETRY
    if detail.status is not None:
        kind, verdict, _ = failure_of(detail.status, detail.code)
        if verdict is Verdict.WAIT:
            kind, verdict = ErrorKind.SERVER_ERROR, Verdict.RETRY
        elif verdict is not Verdict.RETRY:  # of this answer alone: the endpoint had begun it
            verdict = Verdict.ROW
    return CallError(
        kind, verdict, status=detail.status, maybe_billed=True, rate_hint=rate, detail=detail, usage=usage
    )


def _text(content: Any) -> str:
    """Return a content's text: as it is, or its text parts joined.

    Raises:
        TypeError: it is neither a text nor parts.

    """
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(_part(part) for part in (content if isinstance(content, list) else [content]))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        message = "a content part must be an object or a text"
        raise TypeError(message)
    text = part.get("text") if part.get("type") in _TEXT_PARTS else None
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def _refusal(message: Mapping[str, Any]) -> str:
    """Return what the model says for not answering, from where it stands apart from the answer; empty without one."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    given = [message.get("refusal"), *(part.get("refusal") for part in parts if isinstance(part, dict))]
    return "".join(text for text in given if isinstance(text, str)).strip()


def _tool_calls(message: Mapping[str, Any]) -> list[Any]:
    """Return the calls that a model asks for, in the form of ``tool_calls``, whatever the endpoint's."""
    calls = message.get("tool_calls")
    if calls:
        return calls if isinstance(calls, list) else [calls]
    function = message.get("function_call")
    return [{"type": "function", "function": function}] if function else []


def _with_calls(text: str, calls: list[Any]) -> str:
    """Return an answer that calls tools as JSON: the list of its calls, or that list beside the text."""
    value = {"content": text, "tool_calls": calls} if text.strip() else calls
    return json.dumps(value, ensure_ascii=False)
