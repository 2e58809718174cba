"""How two answers to one prompt are compared: the options of each reader, and the answer that a cascade looks at.

Graders compare an answer with a reference (``graders.py``), a cascade compares answers with one another; both read them
with the same readers, so the options of a reader are written here once.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from routellm_batch.config.model import Model, plain_json
from routellm_batch.config.problems import explain
from routellm_batch.config.reading import parse_yaml
from routellm_batch.core.errors import ConfigError

Tolerance = Annotated[float, BeforeValidator(plain_json), Field(ge=0, lt=1)]


def _letters(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{2,26}", value) or len(set(value)) != len(value):
        message = "must be two or more different capital letters, such as ABCD"
        raise ValueError(message)
    return value


def _pattern(value: str) -> str:
    import re2  # late: few configs hold a pattern

    options = re2.Options()
    options.log_errors = False
    try:
        groups = re2.compile(value, options).groups
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        message = f"can't be used: {text[:200]} (RE2 syntax: no look-around, no back-references)"
        raise ValueError(message) from None
    if groups == 0:
        message = "can't be used: it has no group; put (…) around what is to be compared"
        raise ValueError(message)
    if groups > 1:
        message = "must have one group, which is what is compared; write (?:…) for the others"
        raise ValueError(message)
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""An RE2 pattern with one group."""


class ExactOptions(Model):
    """How a whole text is read."""

    case: bool = False
    """Whether upper and lower case differ."""
    punctuation: bool = True
    """False leaves punctuation out of the comparison."""


class NumericOptions(Model):
    """How a number is read."""

    read: Literal["auto", "last", "first", "boxed", "marker"] = "auto"
    """Where the number stands; ``auto``: after the marker, else boxed, else after "answer is", else the last."""
    marker: Annotated[str, Field(min_length=1)] = "####"
    """Text that stands before the number."""
    tolerance: Tolerance = 1e-6
    """Allowed difference, as a share of the reference (of 1 where the reference is smaller)."""


class ChoiceOptions(Model):
    """How a letter is read."""

    letters: Annotated[str, AfterValidator(_letters)] = "ABCDEFGHIJ"
    """The letters that may be chosen."""


class RegexOptions(Model):
    """How the group of a pattern is read."""

    pattern: Pattern
    """RE2 pattern with one group, whose match is compared."""
    match: Literal["first", "last"] = "last"
    """Which match counts where there are several."""
    case: bool = False
    """Whether upper and lower case differ."""


class JsonOptions(Model):
    """How a JSON value is read."""

    keys: tuple[str, ...] = ()
    """Keys of the outermost object to compare; all if none is named."""
    tolerance: Tolerance = 1e-9
    """Allowed difference of numbers, as a share of the reference."""


class _Part(Model):
    """Which part of an answer is read."""

    field: Annotated[str, Field(min_length=1)] | None = None
    """Where the answer holds a JSON object with this key, its value is read; any other answer is read whole."""


class _Matched(_Part):
    """Which part of an answer is read, by key or by pattern."""

    pattern: Pattern | None = None
    """RE2 pattern with one group: where it matches, its last match is read; any other answer is read whole."""


class ExactAnswer(ExactOptions, _Matched):
    """Two answers are equal where their texts are, apart from space, and from case unless ``case`` is set."""

    kind: Literal["exact"]
    """How answers are compared."""


class NumericAnswer(NumericOptions, _Matched):
    """Two answers are equal where they give the same number."""

    kind: Literal["numeric"]
    """How answers are compared."""


class ChoiceAnswer(ChoiceOptions, _Matched):
    """Two answers are equal where they settle on the same letter."""

    kind: Literal["choice"]
    """How answers are compared."""


class RegexAnswer(RegexOptions, _Part):
    """Two answers are equal where the pattern's group finds the same text in both."""

    kind: Literal["regex"]
    """How answers are compared."""


class JsonAnswer(JsonOptions, _Matched):
    """Two answers are equal where they hold the same JSON value."""

    kind: Literal["json"]
    """How answers are compared."""


class LabelAnswer(_Part):
    """Two answers are equal where they give the same label; label jobs alone have labels."""

    kind: Literal["label"]
    """How answers are compared."""


class TextAnswer(_Matched):
    """Free text: how much two answers agree is the cosine of their embeddings."""

    kind: Literal["text"]
    """How answers are compared."""


ReadAnswer = ExactAnswer | NumericAnswer | ChoiceAnswer | RegexAnswer | JsonAnswer
"""Kinds whose answers are read from the text alone and are then equal or not."""
AnswerConfig = Annotated[ReadAnswer | LabelAnswer | TextAnswer, Field(discriminator="kind")]
"""How a cascade compares answers."""


class _Named(Model):
    """An answer, under the name of the option that gives it."""

    answer: AnswerConfig


def parse_answer(text: str) -> AnswerConfig:
    """Return what ``--answer`` says: ``KIND``, or a YAML mapping with its options.

    Raises:
        ConfigError: an unknown kind or option; the text names the key.

    """
    tree = (
        plain_json(parse_yaml(text, source="--answer")) if text.lstrip().startswith("{") else {"kind": text}
    )
    try:
        return _Named.model_validate({"answer": tree}).answer
    except ValidationError as error:
        key, problem = explain(error, _Named)[0]
        raise ConfigError(f"--{key}", problem) from None
