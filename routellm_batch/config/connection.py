"""How an endpoint is reached besides its URL and key: further headers, a query, an authority, plain http."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BeforeValidator

CONNECTION_KEYS = ("headers", "query", "ca_file", "allow_http")
"""Keys of an endpoint that say how it is reached; none changes what a request asks or what a reply is."""
REFERENCES = ("env:", "file:")

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")
_OWN_HEADERS = frozenset(
    (
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "te"),
        *("connection", "keep-alive", "upgrade", "expect", "trailer", "accept", "accept-encoding"),
        *("x-request-key", "x-attempt"),
    )
)
"""Headers that the job or HTTP itself sets."""
_SECRET_NAME = re.compile(
    r"auth|key|token|secret|cookie|passw|credential|signature|session|^sig$|^code$", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"(sk-|bearer\s|basic\s|eyJ)", re.IGNORECASE)


class Settings(dict[str, str]):
    """Names with values, fixed once they are checked, so that a config that holds them can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash the pairs, whatever their order."""
        return hash(frozenset(self.items()))


def is_reference(value: str) -> bool:
    """Whether a value stands for what a variable or a file holds."""
    return value.startswith(REFERENCES)


def value_problem(value: str) -> str | None:
    """Return why a text can't be the value of a header; None where it can."""
    if not value.strip():
        return "is empty"
    if _NOT_IN_VALUE.search(value):
        return "has a line break, a control character or one that HTTP headers can't hold"
    return None


def _texts(value: Any) -> Any:
    """Return a mapping with its numbers as texts: YAML reads ``api-version: 2024`` as one."""
    if not isinstance(value, dict):
        return value
    return {
        name: str(one) if isinstance(one, int | Decimal) and not isinstance(one, bool) else one
        for name, one in value.items()
    }


def _check_literal(name: str, value: str) -> None:
    if is_reference(value):
        if not value.partition(":")[2]:
            message = f"{name!r} must name what it refers to: env:NAME or file:/path"
            raise ValueError(message)
    elif _SECRET_NAME.search(name) or _SECRET_VALUE.match(value):
        message = f"{name!r} must be a reference, env:NAME or file:/path; it looks like a secret, which a config never holds"
        raise ValueError(message)


def _headers(value: dict[str, str]) -> dict[str, str]:
    names = [name.lower() for name in value]
    for name, text in value.items():
        problem = value_problem(text)
        if not _TOKEN.fullmatch(name):
            message = f"{name!r} is not a name that a header can have"
            raise ValueError(message)
        if names.count(name.lower()) > 1:
            message = f"{name!r} is given twice: the names of headers don't differ by case"
            raise ValueError(message)
        if name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-"):
            message = f"{name!r} is set by the job and can't be given"
            raise ValueError(message)
        if problem is not None:
            message = f"{name!r} {problem}"
            raise ValueError(message)
        _check_literal(name, text)
    return Settings(value)


def _query(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not name or _NOT_IN_VALUE.search(name):
            message = f"{name!r} is not a name that a query can have"
            raise ValueError(message)
        if _NOT_IN_VALUE.search(text):
            message = f"{name!r} has a line break or a control character"
            raise ValueError(message)
        _check_literal(name, text)
    return Settings(value)


Headers = Annotated[dict[str, str], BeforeValidator(_texts), AfterValidator(_headers)]
Query = Annotated[dict[str, str], BeforeValidator(_texts), AfterValidator(_query)]


@dataclass(frozen=True, slots=True)
class Reach:
    """How an endpoint is reached besides its URL and key, as the config has it: references, not what they stand for."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Put on each URL."""
    ca_file: str | None = None
    """PEM file of the authorities that are trusted; None for the public ones."""

    @property
    def brings_key(self) -> bool:
        """Whether a header or the query holds what the endpoint knows the caller by."""
        return any(_SECRET_NAME.search(name) for name in (*self.headers, *self.query))


DIRECT = Reach()
"""By its URL and key alone."""


def check_reach(headers: Mapping[str, str], api_key: str | None) -> None:
    """Refuse two keys at once.

    Raises:
        ValueError: both ``api_key`` and a header name the caller.

    """
    if api_key is not None and any(name.lower() == "authorization" for name in headers):
        message = "headers.Authorization is what api_key sends; give one of them"
        raise ValueError(message)


def check_url_query(query: str) -> None:
    """Refuse a URL's own query that holds a secret, which a config never does.

    Args:
        query: what follows the question mark.

    Raises:
        ValueError: a name or a value in it looks like a secret; the text has the name alone.

    """
    for name, value in _pairs(query):
        if _SECRET_NAME.search(name) or _SECRET_VALUE.match(value):
            message = (
                f"must hold no secret, and {name!r} in its query looks like one; "
                "write it as a reference, query: {name: env:NAME}"
            )
            raise ValueError(message)


def check_query(base_url: str | None, query: Mapping[str, str]) -> None:
    """Refuse a name that both the URL and ``query`` give a value.

    Raises:
        ValueError: there is one; the text names it.

    """
    twice = sorted({name for name, _ in _pairs((base_url or "").partition("?")[2])} & query.keys())
    if twice:
        message = f"query.{twice[0]} is in base_url too; give it in one of them"
        raise ValueError(message)


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)
