"""How a reference of the grader ``choice`` names the right option: by its letter, its number, or its text. Pure.

A number alone does not say whether counting begins at 0 or at 1; the references of a whole data set do, where one is 0 or
is the number of the last option. ``NamingTally`` looks at all of them and settles on one way, or says what to set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal

from routellm_batch.answers.choices import ChoiceReader
from routellm_batch.answers.texts import normal
from routellm_batch.config.graders import ChoiceConfig

NamedOption = Literal["letter", "from_0", "from_1", "text"]
WAYS: tuple[NamedOption, ...] = ("letter", "from_0", "from_1", "text")
"""How an option may be named, the likeliest first."""
COUNTED: tuple[NamedOption, ...] = ("from_0", "from_1")
_INDEX = re.compile(r"\d{1,2}")


def option_texts(options: object) -> list[str] | None:
    """Return a row's options as texts: of a list, a list as JSON text, a struct of them, or one with a list ``text``.

    None where there are none, or the value is nothing like that.
    """
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except (ValueError, RecursionError):
            return None
    if isinstance(options, Mapping):
        inner = options.get("text")
        options = inner if isinstance(inner, list) else [one for one in options.values() if one is not None]
    if not isinstance(options, list) or not options:
        return None
    plain = [one for one in options if isinstance(one, str | int | float | Decimal)]
    return [str(one) for one in plain] if len(plain) == len(options) else None


def option_named(value: object, options: object, config: ChoiceConfig, named: NamedOption) -> str | None:
    """Return the letter of the option that a reference names; None where it names none.

    Args:
        value: the reference, as the input has it.
        options: the row's options, as the input has them.
        config: of the grader.
        named: how the option is named.

    """
    texts = option_texts(options)
    if named == "letter":
        return _letters(config).reference(value) if isinstance(value, str) else None
    if named == "text":
        wanted = normal(str(value), case=False, punctuation=True)
        same = [
            n for n, text in enumerate(texts or ()) if normal(text, case=False, punctuation=True) == wanted
        ]
        return _letter(same[0], config, texts) if len(same) == 1 else None
    number = _whole(value)
    return None if number is None else _letter(number - (named == "from_1"), config, texts)


@lru_cache(maxsize=8)
def _letters(config: ChoiceConfig) -> ChoiceReader:
    return ChoiceReader(config)


def _letter(index: int, config: ChoiceConfig, texts: list[str] | None) -> str | None:
    most = len(config.letters) if texts is None else min(len(texts), len(config.letters))
    return config.letters[index] if 0 <= index < most else None


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if _INDEX.fullmatch(value.strip()) and value.strip().isascii() else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return int(value) if value == int(value) else None
    except (ValueError, OverflowError):
        return None


@dataclass
class NamingTally:
    """Which ways of naming an option all references of a data set agree with."""

    config: ChoiceConfig
    """Of the grader."""
    read: dict[NamedOption, int] = field(default_factory=lambda: dict.fromkeys(WAYS, 0))
    """Way → references that name an option in that way."""
    differ: set[tuple[NamedOption, NamedOption]] = field(default_factory=set)
    """Pairs of ways in which some reference names two different options."""
    total: int = 0
    """References seen."""
    numbers: int = 0
    """References that are the number of an option, wherever counting begins."""

    def add(self, answers: list[Any], options: object) -> None:
        """Take the right answers of one row, none where it has no reference."""
        if not answers:
            return
        self.total += 1
        named = {
            way: frozenset(option_named(one, options, self.config, way) for one in answers) - {None}
            for way in WAYS
        }
        self.numbers += bool(named["from_0"] or named["from_1"])
        for way in WAYS:
            self.read[way] += bool(named[way])
        for one, other in combinations(WAYS, 2):
            if named[one] and named[other] and named[one] != named[other]:
                self.differ.add((one, other))

    @property
    def best(self) -> NamedOption:
        """The way that most references agree with, the likeliest of several; as the config says where it does."""
        if self.config.reference_is != "auto":
            return self.config.reference_is
        return max(WAYS, key=lambda way: self.read[way])

    @property
    def doubt(self) -> NamedOption | None:
        """Another way that the references may be meant in; None where there is none, or the config says how they are."""
        if self.config.reference_is != "auto" or not self.total:
            return None
        best = self.best
        if best in COUNTED and self.read[best] < self.numbers:
            return next(
                way for way in COUNTED if way != best
            )  # one reference is 0, and another the last number
        others = (way for way in WAYS if way != best and self.read[way] == self.read[best])
        return next((way for way in others if {(best, way), (way, best)} & self.differ), None)
