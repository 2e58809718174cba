"""Whether answers of cheap models to one prompt agree: read by a grader's reader, and compared two by two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import re2

from routellm_batch.answers.readers import MAX_CHARS, make_reader
from routellm_batch.answers.structures import first_value
from routellm_batch.config.answers import ReadAnswer, RegexAnswer


class AnswerReader:
    """Reads what is compared of an answer: the value of a key or the match of a pattern where there is one, else all."""

    def __init__(self, config: ReadAnswer) -> None:
        self._field = config.field
        pattern = None if isinstance(config, RegexAnswer) else config.pattern
        self._pattern = None if pattern is None else re2.compile(f"^(?s:.*)(?:{pattern})(?s:.*)$")
        self._reader = make_reader(config)

    def answer(self, text: str | None) -> Any:
        """Return the reading of an answer; None where there is no answer, or nothing in it to compare."""
        if text is None or len(text) > MAX_CHARS:
            return None
        return self._reader.answer(self._part(text))

    def same(self, one: Any, other: Any) -> bool:
        """Whether two readings, neither of them None, say the same."""
        return self._reader.same(one, other)

    def _part(self, text: str) -> str:
        if self._field is not None:
            value = first_value(text)
            if isinstance(value, dict) and self._field in value:
                inner = value[self._field]
                return inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)
        if self._pattern is not None:
            match = self._pattern.match(text)
            if match is not None and match[1] is not None:
                return str(match[1])
        return text


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the other answers to one prompt say of its first."""

    reading: Any
    """The first answer as read; None where it can't be."""
    differs: Sequence[bool | None]
    """For each other answer, whether it says something else; None where it did not come. One that can't be read differs."""
    others_differ: Sequence[bool | None]
    """For each pair of other answers (j < i, in the order of i, then j), the same."""

    @property
    def usable(self) -> bool:
        """Whether the first answer can be read."""
        return self.reading is not None

    @property
    def agreement(self) -> float | None:
        """Equal other answers / other answers that came; None where none came or the first can't be read."""
        came = [differs for differs in self.differs if differs is not None]
        return 1 - sum(came) / len(came) if came and self.usable else None


def compare(reader: AnswerReader, first: str | None, others: Sequence[str | None]) -> Comparison:
    """Return what the other answers say of the first one.

    Args:
        reader: reads and compares answers.
        first: the weak model's answer; None where there is none.
        others: answers of check models and further samples; None for those that did not come.

    """
    own = reader.answer(first)
    read = [reader.answer(other) for other in others]
    came = [other is not None for other in others]

    def differ(one: Any, other: Any) -> bool:
        return one is None or other is None or not reader.same(one, other)

    count = range(len(others))
    return Comparison(
        reading=own,
        differs=[differ(own, read[i]) if came[i] else None for i in count],
        others_differ=[
            differ(read[i], read[j]) if came[i] and came[j] else None for i in count for j in range(i)
        ],
    )
