"""Graders that compare texts: ``exact``, and ``regex``, which compares what a pattern finds."""

from __future__ import annotations

import unicodedata

import re2

from routellm_batch.config.graders import ExactConfig, RegexConfig


def normal(text: str, *, case: bool, punctuation: bool) -> str:
    """Return a text without what does not count: space around, runs of space, and what the flags leave out."""
    text = unicodedata.normalize("NFKC", text)
    if not case:
        text = text.casefold()
    if not punctuation:
        text = "".join(" " if unicodedata.category(sign).startswith("P") else sign for sign in text)
    return " ".join(text.split())


class ExactReader:
    """Reads the whole answer."""

    def __init__(self, config: ExactConfig) -> None:
        self._config = config

    def reference(self, value: object) -> str | None:
        """Return what the right answer says; None where nothing is left of it."""
        return self._normal(str(value)) or None

    def answer(self, text: str) -> str | None:
        """Return what an answer says."""
        return self._normal(text) or None

    def same(self, answer: str, reference: str) -> bool:
        """Compare the two."""
        return answer == reference

    def _normal(self, text: str) -> str:
        return normal(text, case=self._config.case, punctuation=self._config.punctuation)


class RegexReader:
    """Reads the group of a pattern, with RE2, whose time is linear in the text whatever the pattern."""

    def __init__(self, config: RegexConfig) -> None:
        self._config = config
        before = "(?s:.*)" if config.match == "last" else "(?s:.*?)"
        self._whole = re2.compile(f"^{before}(?:{config.pattern})(?s:.*)$")

    def reference(self, value: object) -> str | None:
        """Return the right answer, as it is to be found by the pattern."""
        return self._normal(str(value)) or None

    def answer(self, text: str) -> str | None:
        """Return what the pattern finds in an answer; None where it finds nothing."""
        match = self._whole.match(text)
        group = match[1] if match else None
        return None if group is None else self._normal(group) or None

    def same(self, answer: str, reference: str) -> bool:
        """Compare the two."""
        return answer == reference

    def _normal(self, text: str) -> str:
        return normal(text, case=self._config.case, punctuation=True)
