"""Which reader goes with which options: graders and cascades read answers with the same ones."""

from __future__ import annotations

from typing import Any, Protocol

from routellm_batch.answers.choices import ChoiceReader
from routellm_batch.answers.numbers import NumericReader
from routellm_batch.answers.structures import JsonReader
from routellm_batch.answers.texts import ExactReader, RegexReader
from routellm_batch.config.answers import (
    ChoiceOptions,
    ExactOptions,
    JsonOptions,
    NumericOptions,
    RegexOptions,
)

MAX_CHARS = 1 << 20
"""A longer answer is not read."""
ReaderOptions = ExactOptions | NumericOptions | ChoiceOptions | RegexOptions | JsonOptions


class Reader(Protocol):
    """Reads from a text what is compared; None where the text holds nothing to compare."""

    def reference(self, value: object) -> Any:
        """Return what is compared of a reference."""
        ...

    def answer(self, text: str) -> Any:
        """Return what is compared of an answer."""
        ...

    def same(self, answer: Any, reference: Any) -> bool:
        """Whether two readings say the same."""
        ...


def make_reader(options: ReaderOptions) -> Reader:
    """Return the reader that some options are those of."""
    if isinstance(options, ExactOptions):
        return ExactReader(options)
    if isinstance(options, NumericOptions):
        return NumericReader(options)
    if isinstance(options, ChoiceOptions):
        return ChoiceReader(options)
    if isinstance(options, JsonOptions):
        return JsonReader(options)
    return RegexReader(options)
