"""What a model thought before it answered, where that stands in the answer's text: it is no part of the answer. Pure.

A model that thinks in its text writes ``<think>…</think>`` first, or the thought and its closing tag alone where the chat
template has opened it. Only what leads is thinking: an answer may speak of such tags.
"""

from __future__ import annotations

import re
from bisect import bisect
from itertools import islice

_PAIRS = (
    (r"<\s*think(?:\s[^<>]{0,80})?>", r"<\s*/\s*think\s*>"),
    (r"<\s*thinking(?:\s[^<>]{0,80})?>", r"<\s*/\s*thinking\s*>"),
    (r"<\s*thought(?:\s[^<>]{0,80})?>", r"<\s*/\s*thought\s*>"),
    (r"<seed:think>", r"</seed:think>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|channel\|>analysis<\|message\|>", r"<\|channel\|>final<\|message\|>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁think▷", r"◁/think▷"),
)
"""How models open and close a thought."""
_OPEN = re.compile("|".join(f"({opening})" for opening, _ in _PAIRS), re.IGNORECASE)
_CLOSE = re.compile("|".join(closing for _, closing in _PAIRS), re.IGNORECASE)
_EITHER = tuple(re.compile(f"(?P<open>{one})|(?P<close>{other})", re.IGNORECASE) for one, other in _PAIRS)
_MENTIONED = re.compile("think|thought|channel", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_EMPTY_LINE = re.compile(r"[ \t]*\r?\n[ \t]*\r?\n")
_BLANK = " \t\r\n\f\v\ufeff\u200b"
_QUOTES = "`'\"“”‘’«»„()"
_SENTENCE_ENDS = ".!?…。！？)]}\"'*"
_MOST_TAGS = 256
"""Tags of one thought that are looked at."""
_MOST_THOUGHTS = 16
"""Thoughts that are taken off after the first."""


def without_thinking(text: str) -> str:
    """Return an answer without the thoughts that lead it; a text without any stays as it is.

    Where the first thought is never closed, nothing is left. Tags in code or in quotation marks close nothing.
    """
    if not _MENTIONED.search(text):
        return text
    start = text.lstrip(_BLANK)
    opening = _OPEN.match(start)
    end = _orphan_end(start) if opening is None else _end(start, opening)
    if end is None:
        return text if opening is None else ""
    start = start[end:].lstrip(_BLANK)
    for _ in range(_MOST_THOUGHTS):
        opening = _OPEN.match(start)
        end = None if opening is None else _end(start, opening)
        if end is None:
            break
        start = start[end:].lstrip(_BLANK)
    return start


def _end(text: str, opening: re.Match[str]) -> int | None:
    """Return where the thought that leads a text ends: at the tag that balances it, or at the last; None if at none."""
    either = _EITHER[(opening.lastindex or 1) - 1]
    fences = _fences(text)
    depth, last, fenced = 1, None, None
    for tag in islice(either.finditer(text, opening.end()), _MOST_TAGS):
        if _is_quoted(text, tag):
            continue
        if bisect(fences, tag.start()) % 2:  # in code, if the model has closed it
            fenced = fenced or (tag.end() if tag["close"] else None)
            continue
        depth += 1 if tag["open"] else -1
        last = tag.end() if tag["close"] else last
        if depth == 0:
            break
    return last or fenced


def _orphan_end(text: str) -> int | None:
    """Return where a thought ends that the chat template has opened; None where the text begins with none.

    Its closing tag comes before any opening one, and stands between sentences or on a line of its own.
    """
    fences = _fences(text)
    for tag in islice(_CLOSE.finditer(text), _MOST_TAGS):
        if _is_quoted(text, tag) or bisect(fences, tag.start()) % 2:
            continue
        if any(not _is_quoted(text, one) for one in islice(_OPEN.finditer(text, 0, tag.start()), _MOST_TAGS)):
            return None
        if _stands_apart(text, tag):
            return tag.end()
    return None


def _stands_apart(text: str, tag: re.Match[str]) -> bool:
    """Whether a tag stands where a thought may end, and not within a sentence that speaks of it."""
    before = text[: tag.start()]
    words = before.rstrip(" \t")
    if not words or words == before or words[-1] in _SENTENCE_ENDS:
        return True
    return words.endswith("\n") or _EMPTY_LINE.match(text, tag.end()) is not None


def _is_quoted(text: str, tag: re.Match[str]) -> bool:
    """Whether a tag is in code on its line, or in quotation marks."""
    start, end = tag.span()
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if line.count("`") % 2 and "`" in text[end:].partition("\n")[0]:
        return True
    around = text[max(0, start - 1) : start], text[end : end + 1]
    return all(mark and mark in _QUOTES for mark in around)


def _fences(text: str) -> list[int]:
    return [fence.start() for fence in _FENCE.finditer(text)]
