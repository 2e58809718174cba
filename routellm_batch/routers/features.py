"""Surface features: fourteen cheap numbers that describe how a prompt looks.

A list of answer options says little about how hard the question above it is, so the lengths count the *stem*: the
text before the first of two or more option-like lines. Only the first ``MAX_CHARS`` characters are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from routellm_batch.core.arrays import Floats

MAX_CHARS = 16_384
"""Characters of a text that are read."""

FEATURES = (
    "log_stem_chars",
    "log_stem_lines",
    "log_numbers",
    "log_sentences",
    "log_commas",
    "log_maths_symbols",
    "log_code_symbols",
    "log_options",
    "chars_per_word",
    "digit_share",
    "non_ascii_share",
    "ends_with_question",
    "negations",
    "has_blank",
)
"""Names of the F = 14 columns, in their order. ``log_`` is log(1 + count)."""
_LOGS = 8

OPTION = re.compile(r"^[ \t]*\(?[A-Za-z][.)](?=[ \t]?\S)", re.MULTILINE)
"""The start of a line that looks like an answer option: ``A.``, ``b)`` or ``(C)``."""
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_NEGATIONS = frozenset(
    ("not", "Not", "NOT", "except", "EXCEPT", "least", "false", "incorrect", "cannot", "never")
)
_MATHS = "=+*/^<>$\\"
_CODE = "{}()[];#"
_DIGITS = "0123456789"


def surface_features(texts: Sequence[str]) -> Floats:
    """Return float64 [B, 14], one column for each of ``FEATURES``; finite for every text, the empty one too."""
    values = np.array([_one(text[:MAX_CHARS]) for text in texts], dtype=np.float64).reshape(-1, len(FEATURES))
    values[:, :_LOGS] = np.log1p(values[:, :_LOGS])
    return values


def _one(text: str) -> tuple[float, ...]:
    options = list(OPTION.finditer(text))
    stem = (text[: options[0].start()] if len(options) > 1 else text).strip()
    words = stem.split()
    digits = _count(text, _DIGITS)
    chars = max(len(text), 1)
    return (
        len(stem),
        stem.count("\n"),
        len(_NUMBER.findall(stem)) if digits else 0,
        stem.count(". ") + stem.count("? ") + stem.count(".\n"),
        stem.count(","),
        _count(text, _MATHS),
        _count(text, _CODE),
        len(options) if len(options) > 1 else 0,
        len(stem) / (len(words) + 1),
        digits / chars,
        0.0 if text.isascii() else 1 - len(text.encode("ascii", "ignore")) / chars,
        float(stem.endswith("?")),
        min(sum(map(_NEGATIONS.__contains__, words)), 3),
        float("__" in stem),
    )


def _count(text: str, marks: str) -> int:
    return sum(map(text.count, marks))  # Several times faster than a regular expression.
