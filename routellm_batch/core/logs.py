"""Logging: warnings to stderr, and no key, no query of a URL and no text of another library's exception in any line.

Secrets are blotted out when a record is made: whoever logs, whichever handler writes it or is added later, in the
driver and on every worker.
"""

from __future__ import annotations

import logging
import re
import traceback
from types import TracebackType
from typing import Any

from routellm_batch.core.errors import RoutellmBatchError

BLOT = "[redacted]"
_KEYS = re.compile(
    r"sk-[A-Za-z0-9_\-]{8,}|(?i:bearer)\s+[A-Za-z0-9._~+/\-]{8,}=*"
    r"|(?<=[?&])[^=\s&]*(?i:key|token|signature|secret|password)[^=\s&]*=[^&\s]+"
)
_QUERY = re.compile(r"(?<=://)(?P<user>[^\s/@]+@)?(?P<path>[^\s?'\"<>]*)(?P<query>\?[^\s'\"<>]+)?")
SHORTEST_KEY = 8
"""Blotting a shorter one out would take ordinary words along."""
NOISY = (
    "aiohttp.access",
    "asyncio",
    "botocore",
    "distributed",
    "fsspec",
    "httpx",
    "httpx2",
    "openai",
    "s3fs",
    "urllib3",
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_hidden: set[str] = set()
"""Secrets of this process. Global, and no part of a ``Worker``, as logging itself is: a process has one factory of
records, which any library calls from any thread, and a secret that is known to one part is to be hidden by all."""


def hide(secret: str) -> None:
    """Blot a secret of this process out of every line from now on, whatever it looks like."""
    if len(secret) >= SHORTEST_KEY:
        _hidden.add(secret)


def redact(text: str) -> str:
    """Return a text without known secrets, what looks like a key, and users and queries of URLs."""
    for secret in tuple(_hidden):
        text = text.replace(secret, BLOT)
    text = _KEYS.sub(BLOT, text)
    return _QUERY.sub(_without_query, text) if "://" in text else text


def _without_query(match: re.Match[str]) -> str:
    user = f"{BLOT}@" if match["user"] else ""
    query = f"?{BLOT}" if match["query"] else ""
    return f"{user}{match['path']}{query}"


def describe(error: BaseException) -> str:
    """Return an exception's class, and its text where that is known to hold no data: ours, or the system's."""
    if isinstance(error, RoutellmBatchError | OSError):
        return redact(f"{type(error).__name__}: {error}")
    return type(error).__name__


def _exception_lines(error: BaseException) -> str:
    """Return a traceback by its places, without the texts of exceptions that may hold a prompt or an answer."""
    places = "".join(traceback.format_tb(error.__traceback__))
    return redact(f"Traceback (most recent call last):\n{places}{describe(error)}")


class Redact(logging.Filter):
    """Blots out what must not be read, whoever logs it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's text and its exception; every record passes."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            record.msg, record.args = "(a line that can't be formatted)", ()
        else:
            clean = redact(text)
            if clean != text:
                record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _exception_lines(record.exc_info[1])
            record.exc_info = None
        return True


class RedactedRecord(logging.LogRecord):
    """A log record that never holds what ``Redact`` blots out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _REDACT.filter(self)


_REDACT = Redact()


def install_redaction() -> None:
    """Redact every record that this process makes from now on; in the CLI, in jobs and on workers."""
    logging.setLogRecordFactory(RedactedRecord)


def set_up_logging(level: int = logging.WARNING) -> None:
    """Send warnings to stderr as plain lines; libraries that log requests are kept to errors."""
    install_redaction()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    quiet()


def quiet() -> None:
    """Keep libraries that log each request or connection to errors."""
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
