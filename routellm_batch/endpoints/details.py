"""What an endpoint's error says for programs: status, code, type and param; never its message. Pure.

Providers put what they like into these fields, so each is kept only where it is short and looks like an identifier, and
neither holds a key nor repeats the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from routellm_batch.core.logs import redact
from routellm_batch.core.types import ErrorDetail

MOST_CHARS = 64
"""A longer code, type or param is left out."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_.:/-][A-Za-z0-9]+)*|-?\d{1,6}", re.ASCII)
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+|\[\d{0,4}\])*", re.ASCII)
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WELL_KNOWN = frozenset(
    (
        *(
            "invalid_request_error",
            "invalid_request",
            "invalid_parameter",
            "unsupported_parameter",
            "bad_request",
        ),
        *("invalid_api_key", "authentication_error", "permission_error", "permission_denied", "unauthorized"),
        *("model_not_found", "not_found", "not_found_error", "insufficient_quota", "insufficient_balance"),
        *(
            "rate_limit_exceeded",
            "rate_limit_error",
            "overloaded_error",
            "server_error",
            "api_error",
            "timeout",
        ),
        *("context_length_exceeded", "content_filter", "content_policy_violation", "error", "forbidden"),
    )
)
"""Codes and types that say nothing of a prompt, even where it has the same word."""
_FIELDS = frozenset(
    {"messages", "content", "role", "text", "type", "name", "image_url", "url", "body", "model"}
)
_ERROR_STATUS = range(400, 600)
"""What a body may name as its status."""


def detail_of(status: int | None, body: Any) -> ErrorDetail:
    """Return what an error's body says for programs.

    Args:
        status: HTTP status of the reply; a 2xx one gives way to the status that the body names, if it names one.
        body: as it was parsed: an object with ``error``, the error itself, a list of one, or anything else.

    """
    error = error_in(body)
    if isinstance(error, str):
        return ErrorDetail(_status(status, None), code=_name(error))
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code, named = fields.get("code"), _status(status, fields)
    if code is None or (
        named is not None and _number(code) == named
    ):  # Google's "code" is the status; the name is in "status"
        code = fields.get("status") if isinstance(fields.get("status"), str) else None
    return ErrorDetail(
        named, _name(code), _name(fields.get("type")), _path(fields.get("param")) or _place(body)
    )


def error_in(body: Any) -> Any:
    """Return the error that a body holds, an object or a text; the body itself where nothing in it is called so."""
    one = body[0] if isinstance(body, list) and len(body) == 1 else body
    return one.get("error") or one if isinstance(one, dict) else one


def without_quotes(detail: ErrorDetail, request: bytes) -> ErrorDetail:
    """Return what an error says without what repeats the prompt: codes and paths that its turns hold word for word.

    Args:
        detail: of the error.
        request: the body that was sent.

    """
    if not (detail.code or detail.type or detail.param):
        return detail
    try:
        body = json.loads(request)
    except ValueError:
        return replace(detail, code=None, type=None, param=None)
    sent = body if isinstance(body, dict) else {}
    text = "\n".join(_texts(sent.get("messages", sent.get("input")))).casefold()
    known = _FIELDS | sent.keys()

    def kept(name: str | None) -> str | None:
        return name if name is None or name in _WELL_KNOWN or name.casefold() not in text else None

    steps = _STEP.findall(detail.param or "")
    quoted = any(step not in known and step.casefold() in text for step in steps)
    return replace(
        detail, code=kept(detail.code), type=kept(detail.type), param=None if quoted else detail.param
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _status(status: int | None, fields: dict[str, Any] | None) -> int | None:
    if status is not None and not 200 <= status < 300:
        return status
    named = (_number((fields or {}).get(name)) for name in ("code", "status", "status_code"))
    return next((number for number in named if number in _ERROR_STATUS), None)


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 6:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _name(value: Any) -> str | None:
    """Return a code or a type; None where it is no identifier."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return _safe(text, _NAME)


def _path(value: Any) -> str | None:
    return _safe(value, _PATH)


def _place(body: Any) -> str | None:
    """Return the param of a validation error as FastAPI gives it: ``{"detail": [{"loc": ["body", "max_tokens"]}]}``."""
    found = body.get("detail") if isinstance(body, dict) else None
    first = found[0] if isinstance(found, list) and found else None
    steps = first.get("loc") if isinstance(first, dict) else None
    if not isinstance(steps, list):
        return None
    words = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps if step != "body"]
    return _path("".join(words).lstrip("."))


def _safe(text: Any, form: re.Pattern[str]) -> str | None:
    if not isinstance(text, str) or len(text) > MOST_CHARS or not form.fullmatch(text):
        return None
    return text if redact(text) == text else None
