"""Phrases with one usual translation, and sentences that can be put in several ways."""

from __future__ import annotations

from random import Random

from prompts.common import Prompt, graded, texts_of

LANGUAGES = ("French", "German", "Spanish")


def make(_: Random) -> list[Prompt]:
    """Return every phrase and every sentence in every language."""
    texts = texts_of("translation")
    rows = []
    for phrase in texts["phrases"]:
        for language in LANGUAGES:
            prompt = f"Translate into {language}. Reply with the translation only.\n\n{phrase['English']}"
            level = graded(0.05 + len(phrase["English"]) / 100)
            rows.append(Prompt(prompt, "translation", level, phrase[language], "exact"))
    for sentence in texts["sentences"]:
        for language in LANGUAGES:
            prompt = f"Translate the following into natural {language}.\n\n{sentence['English']}"
            rows.append(Prompt(prompt, "translation", graded(sentence["level"]), None, "none"))
    return rows
