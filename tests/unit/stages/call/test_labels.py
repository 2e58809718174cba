"""The words that ask a model again for a label."""

from __future__ import annotations

import pytest

from routellm_batch.config.job import LabelConfig
from routellm_batch.stages.call.labels import ask_again


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LabelConfig(values=("Spam", "ham", "U.S.", "a", "A")), "exactly one of: Spam, ham, U.S., a, A"),
        (LabelConfig(schema={"type": "object"}), "JSON that holds to the schema"),
    ],
)
def test_the_second_question_says_what_is_wanted(config: LabelConfig, words: str) -> None:
    """The follow-up names the problem and what would do."""
    text = ask_again(config, "it is odd.")
    assert ["it is odd." in text, words in text] == [True, True]
