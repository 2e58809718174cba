"""How an answer looks, as columns."""

from __future__ import annotations

import numpy as np
import pytest

from routellm_batch.answers.surface import SURFACE, surface


def column(name: str, answer: str, prompt: str = "How many?") -> float:
    """Return one column of one answer."""
    return float(surface([prompt], [answer])[0, SURFACE.index(name)])


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [
        ("log_bytes", "ab", "a longer answer"),
        ("log_lines", "one", "one\ntwo"),
        ("log_numbers", "5", "5 and 6"),
        ("digit_share", "five", "5"),
        ("log_hedges", "It is 5.", "It might be 5, probably."),
        ("has_marker", "5", "#### 5"),
        ("has_marker", "5", "So the answer is 5"),
        ("has_marker", "my answer would have to wait, as it is long", "Answer: 5"),
        ("log_sums", "5", "2 + 3 = 5"),
        ("has_wrong_sum", "2 + 3 = 5", "2 + 3 = 6"),
        ("wrong_sums", "2 + 3 = 6 and 1 + 1 = 2", "2 + 3 = 6"),
        ("distinct_words", "a a a a", "a b c d"),
        ("ends_with_question", "Yes.", "Do you mean apples?"),
        ("log_decimals", "5", "5.5"),
    ],
)
def test_columns_grow(name: str, less: str, more: str) -> None:
    """Each column grows with what its name says."""
    assert column(name, less) < column(name, more)


@pytest.mark.parametrize("answer", ["", " ", "\ud83d", "0", "\x00" * 10, "1" * 5000, "é" * 100_000])
def test_every_answer_has_finite_columns(answer: str) -> None:
    """No text gives a number that is not finite."""
    assert np.isfinite(surface(["", "?"], [answer, answer])).all()
