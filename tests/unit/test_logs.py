"""Logging: what looks like a key is blotted out, whoever logs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from routellm_batch.core.errors import ConfigError
from routellm_batch.core.logs import NOISY, Redact, install_redaction, redact, set_up_logging
from routellm_batch.endpoints.keys import resolve_key


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    factory = logging.getLogRecordFactory()
    levels = {name: logging.getLogger(name).level for name in NOISY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(factory)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("key sk-canary0123456789 used", ()),
        ("headers: {'Authorization': 'Bearer canary.0123456789=='}", ()),
        ("GET https://h/v1?api_key=canary01234&x=1", ()),
        ("GET https://h/v1?x=1&X-Amz-Signature=canary01234", ()),
        ("GET https://h/v1?access_token=canary01234", ()),
        ("key %s and %d", ("sk-canary0123456789", 5)),
        ("auth %(header)s", ({"header": "bearer canary0123456789"},)),
    ],
)
def test_what_looks_like_a_key_is_blotted_out(
    capsys: pytest.CaptureFixture[str], text: str, args: tuple[object, ...]
) -> None:
    """Keys in text, in arguments and in URLs are replaced; the rest of the line stays."""
    set_up_logging()
    logging.getLogger("any.library").warning(text, *args)
    line = capsys.readouterr().err
    assert (False, True, True) == ("canary" in line, "[redacted]" in line, "any.library" in line)


def test_other_lines_pass_as_they_are() -> None:
    """A line without a secret is not touched."""
    record = logging.LogRecord("n", logging.WARNING, "f", 1, "shard %s took %d s", ("000001", 5), None)
    assert (True, "shard 000001 took 5 s") == (Redact().filter(record), record.getMessage())


def test_warnings_go_to_stderr_and_chatter_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are shown, information is not, and the libraries that log requests are kept to errors."""
    set_up_logging()
    logging.getLogger("routellm_batch").warning("shown")
    logging.getLogger("routellm_batch").info("hidden")
    logging.getLogger("botocore").warning("hidden")
    captured = capsys.readouterr()
    assert ("", True, False) == (captured.out, "shown" in captured.err, "hidden" in captured.err)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://h/v1/x?prompt=canary&n=1 failed", "GET https://h/v1/x?[redacted] failed"),
        ("tcp://user:canary@h:1 is gone", "tcp://[redacted]@h:1 is gone"),
        ("s3://bucket/a/b.parquet and https://h/v1", "s3://bucket/a/b.parquet and https://h/v1"),
    ],
)
def test_urls_lose_their_query_and_their_user(text: str, expected: str) -> None:
    """Of a URL only what says where it goes is left."""
    assert expected == redact(text)


def test_a_key_that_was_looked_up_is_blotted_out_whatever_it_looks_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key without any prefix is known from the moment it is resolved."""
    monkeypatch.setenv("LOGS_TEST_KEY", "canary!plain!words")
    resolve_key("env:LOGS_TEST_KEY")
    assert "sent [redacted] twice" == redact("sent canary!plain!words twice")


def test_handlers_of_others_are_served_too() -> None:
    """A handler that someone adds later, to any logger, gets redacted records, exceptions included."""
    install_redaction()
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(handler.format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("distributed.worker.test")
    logger.addHandler(handler)
    try:
        prompt = "canary" + "prompt"
        for error in (ValueError(prompt), ConfigError("budget.usd", "is too little")):
            logger.error("Compute Failed, sk-canary0123456789", exc_info=error)
        logger.error("too few %s %s", *["arguments"])
    finally:
        logger.removeHandler(handler)
    text = "\n".join(seen)
    assert (False, True, True, True) == (
        "canary" in text,
        "ValueError" in text,
        "budget.usd: is too little" in text,
        "can't be formatted" in text,
    )
