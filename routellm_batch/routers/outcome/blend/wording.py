"""Wording features: cheap counts and yes-or-no marks of a prompt's words and answer options.

The router that a pilot fits reads these beside ``surface_features``; the shipped weights, which carry over from other
tasks, read the fourteen surface features alone. As there, lengths are those of the *stem*, the text before the first of
two or more option-like lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from routellm_batch.core.arrays import Floats
from routellm_batch.routers.features import MAX_CHARS, OPTION

COUNTS = (
    "log_chars",
    "log_words",
    "log_option_chars",
    "log_longest_option",
    "log_option_spread",
    "numeric_options",
    "capitalised_words",
    "long_words",
    "distinct_words",
    "words_per_sentence",
    "log_quotes",
    "log_dollars",
    "log_backslashes",
    "has_year",
    "has_percent",
    "has_decimal",
    "log_largest_number",
    "log_distinct_numbers",
)
PHRASES = (
    *("which of the following", "what ", "how ", "how many", "how much", "why ", "who ", "when ", "if "),
    *("most", "best", "all of", "none of", "true", "refers to", "is called", "not ", "because", "therefore"),
    *("each", "per ", "total", "then", "half", "twice", "times", "more than", "less than", "percent"),
    *("calculate", "find", "explain", "describe", "write", "list"),
)
WORDING = (*COUNTS, *(f"says {phrase.strip()}" for phrase in PHRASES))
"""Names, in the order of the columns."""

_WORD = re.compile(r"[A-Za-z']+")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_YEAR = re.compile(r"\b(?:1[0-9]{3}|20[0-9]{2})\b")
_LONG = 10
_OPTIONS = 16
_DIGITS = 15
"""Longer numbers are cut to this many digits: the size of a number counts, not its value."""


def wording(texts: Sequence[str]) -> Floats:
    """Return float64 [B, W], one column for each of ``WORDING``; finite for every text, the empty one too."""
    return np.array([_one(text[:MAX_CHARS]) for text in texts], dtype=np.float64).reshape(-1, len(WORDING))


def _one(text: str) -> tuple[float, ...]:
    marks = list(OPTION.finditer(text))
    stem, options = text, []
    if len(marks) > 1:
        stem = text[: marks[0].start()]
        options = [text[mark.end() : text.find("\n", mark.end())].strip() for mark in marks[:_OPTIONS]]
    words, numbers, low = _WORD.findall(stem), _NUMBER.findall(stem), stem.lower()
    count = len(words) + 1
    sentences = stem.count(". ") + stem.count("? ") + stem.count(".\n") + 1
    sizes = np.array([len(option) for option in options] or [0])
    return (
        np.log1p(len(text)),
        np.log1p(len(words)),
        np.log1p(sizes.mean()),
        np.log1p(sizes.max()),
        np.log1p(sizes.std()),
        sum(map(_is_number, options)) / max(len(options), 1),
        sum(word[0].isupper() for word in words) / count,
        sum(len(word) >= _LONG for word in words) / count,
        len(set(low.split())) / (len(low.split()) + 1),
        count / sentences,
        np.log1p(stem.count('"') + stem.count("“")),
        np.log1p(text.count("$")),
        np.log1p(text.count("\\")),
        float(_YEAR.search(stem) is not None),
        float("%" in text),
        float(any("." in number for number in numbers)),
        np.log1p(max(map(_value, numbers), default=0.0)),
        np.log1p(len(set(numbers))),
        *(float(phrase in low) for phrase in PHRASES),
    )


def _is_number(option: str) -> bool:
    return _NUMBER.fullmatch(option.strip("$% .")) is not None


def _value(number: str) -> float:
    whole = re.split(r"[.,](?![0-9]{3}\b)", number)[0]
    return float(whole.replace(",", "").replace(".", "")[:_DIGITS])
