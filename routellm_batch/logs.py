"""Logging: warnings to stderr, and nothing that looks like a key in any line."""

from __future__ import annotations

import logging
import re

_SECRET = re.compile(
    r"(sk-[A-Za-z0-9_\-]{8,}|(?i:bearer)\s+[A-Za-z0-9._~+/\-]{8,}=*|(?<=[?&])[^=\s&]*(?i:key|token|signature)[^=\s&]*=[^&\s]+)"
)
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


class Redact(logging.Filter):
    """Blots out what looks like a key, whoever logs it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's text; every record passes."""
        text = record.getMessage()
        clean = _SECRET.sub("[redacted]", text)
        if clean != text:
            record.msg, record.args = clean, ()
        return True


def set_up_logging(level: int = logging.WARNING) -> None:
    """Send warnings to stderr as plain lines; libraries that log requests are kept to errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Redact())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
