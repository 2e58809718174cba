"""How an answer looks: cheap counts and marks, from which a pilot learns which answers tend to be wrong.

Each column is finite for every text. Lengths are in bytes, as those of prompts are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from routellm_batch.answers.sums import find_sums
from routellm_batch.core.arrays import Floats

MAX_CHARS = 1 << 16
"""Characters of an answer that are read."""
SURFACE = (
    "log_bytes",
    "log_ratio",
    "log_lines",
    "log_numbers",
    "digit_share",
    "log_hedges",
    "has_marker",
    "log_sums",
    "has_wrong_sum",
    "wrong_sums",
    "distinct_words",
    "ends_with_question",
    "log_decimals",
)
"""Names, in the order of the columns."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HEDGE = re.compile(
    r"\b(?:may|might|perhaps|possibly|probably|likely|assum\w{0,4}|approximately|about|unclear|not sure|cannot|can't|"
    r"however|seems?|appears?|sorry|unfortunately|none of)\b",
    re.IGNORECASE,
)
_MARKER = re.compile(r"####|\\boxed|\banswer\b[^\n]{0,20}?(?:\bis\b|:)|\"answer\"", re.IGNORECASE)
_TAIL = 50
"""Characters at the end in which a question mark is looked for."""


def surface(prompts: Sequence[str], answers: Sequence[str]) -> Floats:
    """Return float64 [B, F], one column for each of ``SURFACE``, for B prompts and the answers to them."""
    rows = [_one(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, len(SURFACE))


def _one(prompt: str, answer: str) -> tuple[float, ...]:
    size = len(answer.encode("utf-8", "replace"))
    text = answer[:MAX_CHARS]
    numbers = _NUMBER.findall(text)
    words = text.lower().split()
    sums = find_sums(text)
    return (
        np.log1p(size),
        np.log1p(size / (len(prompt.encode("utf-8", "replace")) + 1)),
        np.log1p(text.count("\n")),
        np.log1p(len(numbers)),
        sum(map(str.isdigit, text)) / (len(text) + 1),
        np.log1p(len(_HEDGE.findall(text))),
        float(_MARKER.search(text) is not None),
        np.log1p(sums.checked),
        float(sums.wrong > 0),
        sums.wrong / (sums.checked + 1),
        len(set(words)) / (len(words) + 1),
        float("?" in text[-_TAIL:]),
        np.log1p(sum("." in number for number in numbers)),
    )
