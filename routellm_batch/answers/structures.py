"""The grader ``json``: the first JSON value of an answer, compared by structure."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from routellm_batch.answers.embedded import MEANT, written_otherwise
from routellm_batch.answers.wrappings import bare
from routellm_batch.config.answers import JsonOptions

_FENCE = re.compile(
    r"```[A-Za-z]{0,16}\s*(?=[{\[\"\d])(.*?)\s*```|```[A-Za-z]{0,16}[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL
)
_START = re.compile(r"[{\[]")
_CITED = re.compile(r"\[\d{1,3}(?:, ?\d{1,3})*\]")
"""A list that may be a reference to a source, as in "as shown in [12]": taken only where no other value follows."""
MAX_STARTS = 64
"""How many brackets, and how many code fences, are tried as the start of a value."""


class _Nothing:
    """The type of ``NOTHING``, which means that there is no JSON value; None can't, as it is JSON's null."""


NOTHING: Final = _Nothing()


def _refuse(name: str) -> Any:
    message = f"{name} is not valid JSON"
    raise ValueError(message)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def first_value(text: str) -> Any:
    """Return the first JSON value of a text, or ``NOTHING``.

    It is looked for in code fences, then the whole text is tried, then what begins at each bracket. A list of small whole
    numbers amid text counts only where nothing else does, as it may cite a source: "as shown in [12], {…}".
    """
    text = bare(text)
    for one_line, block in _FENCE.findall(text)[:MAX_STARTS]:
        value = _whole(one_line or block)
        if value is not NOTHING:
            return value
    value = _whole(text)
    if value is not NOTHING:
        return value
    return _amid(text)


def _amid(text: str) -> Any:
    """Return the first value that begins at a bracket amid a text, or ``NOTHING``."""
    cited: Any = NOTHING
    after = 0
    for number, start in enumerate(_START.finditer(text)):
        if number == MAX_STARTS:
            break
        if start.start() < after:
            continue
        try:
            value, after = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            found = written_otherwise(text, start.start())
            if found is None and MEANT.match(text, start.start()):
                return NOTHING  # it is cut off or broken: no part of it is the answer
            if found is None:
                continue
            value, after = found
        if not (isinstance(value, list) and _CITED.fullmatch(text, start.start(), after)):
            return value
        cited = value if cited is NOTHING else cited
    return cited


def _whole(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return NOTHING


def same_value(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two JSON values are equal: numbers within the tolerance, objects by key, lists in order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            same_value(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    return type(one) is type(other) and bool(one == other)


class JsonReader:
    """Reads the first JSON value of an answer."""

    def __init__(self, config: JsonOptions) -> None:
        self._config = config

    def reference(self, value: object) -> Any:
        """Return the right value in a tuple: parsed JSON text, or what a struct, list or number column holds; else None."""
        if isinstance(value, str):
            parsed = _whole(value)
            return None if parsed is NOTHING else (parsed,)
        return (value,) if isinstance(value, dict | list | int | float) else None

    def answer(self, text: str) -> Any:
        """Return the answer's first value, in a tuple, as null is a value too; None where it has none."""
        value = first_value(text)
        return None if value is NOTHING else (value,)

    def same(self, answer: Any, reference: Any) -> bool:
        """Whether answer and reference are equal; if the config names keys, by those alone."""
        try:
            return same_value(self._chosen(answer[0]), self._chosen(reference[0]), self._config.tolerance)
        except (OverflowError, RecursionError):
            return False

    def _chosen(self, value: Any) -> Any:
        keys = self._config.keys
        return (
            {key: value[key] for key in keys if key in value} if keys and isinstance(value, dict) else value
        )
