"""Graders that compare texts: ``exact`` (the whole answer) and ``regex`` (the group of a pattern)."""

from __future__ import annotations

import unicodedata

import re2

from routellm_batch.answers.wrappings import bare
from routellm_batch.config.answers import ExactOptions, RegexOptions


def normal(text: str, *, case: bool, punctuation: bool) -> str:
    """Return a text in the form in which it is compared: NFKC, with single spaces, and none at the ends.

    Args:
        text: any text.
        case: whether upper and lower case differ.
        punctuation: whether punctuation counts; if not, each sign becomes a space.

    """
    text = unicodedata.normalize("NFKC", text)
    if not case:
        text = text.casefold()
    if not punctuation:
        text = "".join(" " if unicodedata.category(sign).startswith("P") else sign for sign in text)
    return " ".join(text.split())


class ExactReader:
    """Reads the whole answer."""

    def __init__(self, config: ExactOptions) -> None:
        self._config = config

    def reference(self, value: object) -> str | None:
        """Return the reference in the form in which it is compared; None where it is empty."""
        return self._normal(bare(str(value))) or None

    def answer(self, text: str) -> str | None:
        """Return the answer in the form in which it is compared; None where it is empty."""
        return self._normal(bare(text)) or None

    def same(self, answer: str, reference: str) -> bool:
        """Whether answer and reference are the same text."""
        return answer == reference

    def _normal(self, text: str) -> str:
        return normal(text, case=self._config.case, punctuation=self._config.punctuation)


class RegexReader:
    """Reads the group of a pattern with RE2, which takes time linear in the text whatever the pattern is."""

    def __init__(self, config: RegexOptions) -> None:
        self._config = config
        before = "(?s:.*)" if config.match == "last" else "(?s:.*?)"
        self._whole = re2.compile(f"^{before}(?:{config.pattern})(?s:.*)$")

    def reference(self, value: object) -> str | None:
        """Return the reference in the form in which it is compared, without the pattern; None where it is empty."""
        return self._normal(bare(str(value))) or None

    def answer(self, text: str) -> str | None:
        """Return the pattern's group in an answer, in the form in which it is compared; None where nothing matches."""
        match = self._whole.match(bare(text))
        group = match[1] if match else None
        return None if group is None else self._normal(group) or None

    def same(self, answer: str, reference: str) -> bool:
        """Whether answer and reference are the same text."""
        return answer == reference

    def _normal(self, text: str) -> str:
        return normal(text, case=self._config.case, punctuation=True)
