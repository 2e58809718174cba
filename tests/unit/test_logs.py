"""Logging: what looks like a key is blotted out, whoever logs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from routellm_batch.logs import NOISY, Redact, set_up_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in NOISY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
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
