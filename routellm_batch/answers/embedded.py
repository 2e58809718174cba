"""JSON values in a text: amid prose, in fences and tags, and in the forms that models write instead of JSON. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from routellm_batch.answers.wrappings import bare, fenced, tagged

MAX_STARTS = 64
"""How many brackets, fences and tags are tried as the start of a value."""
_START = re.compile(r"[{\[]")
MEANT = re.compile(r"\{\s*(?:[\"'“}]|$)|\[\s*[{\[\"'“]")
"""What can only be the start of JSON: where it can't be read, the answer is broken, and no part of it counts."""
_CITED = re.compile(r"\[\^?\d{1,3}(?:\s?[,–-]\s?\d{1,3})*\]")
"""What may refer to a source, as in "as shown in [12]"."""
_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<quoted>'(?:[^'\\]|\\.)*')|(?P<sign>[{}\[\]:,])"
    r"|(?P<word>-?[A-Za-z0-9.+-]+))",
    re.DOTALL,
)
_WORDS = {"True": "true", "False": "false", "None": "null"}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, which has each key once: of two values nobody knows which one was meant."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        message = "a key is there twice"
        raise ValueError(message)
    return fields


def _no_constant(name: str) -> Any:
    message = f"{name} is not valid JSON"
    raise ValueError(message)


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
BROKEN = "broken"
"""In place of values: the text holds JSON that can't be read."""


def values_in(text: str) -> list[Any] | str:
    """Return the JSON values of an answer, each different one once; ``BROKEN`` where it holds JSON that can't be read.

    A whole answer that is JSON is its only value. Else what stands in an answer tag counts, else in a code fence, else each
    object and list amid the text; lists of small numbers, which may name sources, only where nothing else does. Commas
    before a closing bracket, and Python's quotes and names, are read as JSON.
    """
    text = bare(text)
    whole = _decoded(text)
    if whole is not None:
        return [whole[0]]
    for blocks in (tagged(text), fenced(text)):
        values: list[Any] = []
        if len(blocks) > MAX_STARTS:
            return BROKEN
        for block in blocks:
            found = _decoded(block)
            inner = [found[0]] if found is not None else _scanned(block)
            if isinstance(inner, str):
                return inner
            values += inner
        if values:
            return _different(values)
    return _scanned(text)


def _different(values: list[Any]) -> list[Any]:
    """Return values without repetitions."""
    known = {json.dumps(value, sort_keys=True): value for value in values}
    return list(known.values())


def _decoded(text: str) -> tuple[Any] | None:
    """Return the value of a text that is JSON from end to end, in a tuple; None for any other text."""
    for form in (str, _as_json):
        written = form(text)
        if written is not None:
            try:
                return (_DECODER.decode(written),)
            except (ValueError, RecursionError):
                continue
    return None


def _scanned(text: str) -> list[Any] | str:
    """Return the objects and lists amid a text."""
    values: list[Any] = []
    cited: list[Any] = []
    after = 0
    for number, start in enumerate(_START.finditer(text)):
        if number == MAX_STARTS:
            return BROKEN  # what follows might be another value
        at = start.start()
        if at < after:
            continue
        found = _value_at(text, at)
        if found is not None:
            value, after = found
            is_source = isinstance(value, list) and _CITED.fullmatch(text, at, after)
            (cited if is_source else values).append(value)
        elif MEANT.match(text, at):
            return BROKEN
    return _different(values or cited)


def _value_at(text: str, at: int) -> tuple[Any, int] | None:
    """Return the value that begins at a bracket and the index after it; None where there is none."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return written_otherwise(text, at)


def written_otherwise(text: str, at: int) -> tuple[Any, int] | None:
    """Return the value at a bracket that is written in Python's way, or with commas before closing brackets; else None."""
    span = _span(text, at)
    found = None if span is None else _decoded(text[at:span])
    return None if found is None or span is None else (found[0], span)


def _span(text: str, at: int) -> int | None:
    """Return the index after the bracket that closes the one at ``at``; None where none does."""
    depth = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        sign = match["sign"]
        depth += (sign in {"{", "["}) - (sign in {"}", "]"})
        if not depth:
            return at
    return None


def _as_json(text: str) -> str | None:
    """Return a value as JSON that is written with Python's quotes and names, or with commas before closing brackets."""
    parts: list[str] = []
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        if (
            match["sign"] in {"}", "]"}
            and len(parts) > 1
            and parts[-1] == ","
            and parts[-2] not in {"{", "["}
        ):
            parts.pop()
        if match["quoted"] is not None:
            inner = match["quoted"][1:-1].replace("\\'", "'")
            parts.append('"' + re.sub(r'(\\.)|"', lambda m: m[1] or '\\"', inner) + '"')
        else:
            word = match["text"] or match["sign"] or match["word"]
            parts.append(_WORDS.get(word, word))
    bracketed = bool(parts) and parts[0] in {"{", "["}
    return " ".join(parts) if bracketed and not text[at:].strip() else None
