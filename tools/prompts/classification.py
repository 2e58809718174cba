"""Short texts to label (sentiment, topic, spam, support desk); the labels are named in the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from prompts.common import NAMES, Prompt, graded, texts_of


def _sentiment(texts: Any, r: Random) -> Iterator[tuple[str, str, float]]:
    """One clause; a clause and an aside; the opposite from somebody else, then the reviewer's own verdict."""
    groups = (("positive", "praise", "blame"), ("negative", "blame", "praise"), ("neutral", "plain", "plain"))
    for label, own, opposite in groups:
        for number, clause in enumerate(texts[own]):
            thing, aside = r.choice(texts["things"]), r.choice(texts["asides"])
            yield f"The {thing} {clause}.", label, 0.08
            if label == "neutral":
                yield f"The price is printed on the back. The {thing} {clause}.", label, 0.24
                continue
            yield f"{aside} The {r.choice(texts['things'])} {clause}.", label, 0.24
            other = texts[opposite][(number + 1) % len(texts[opposite])]
            text = f"My cousin had told me that the {thing} {other}. {aside} Perhaps hers was another one,"
            yield f"{text} because the one that I had {clause}, and that is what counts for me.", label, 0.52


def _listed(texts: Any, r: Random, levels: tuple[float, ...]) -> Iterator[tuple[str, str, float]]:
    for label, found in texts["texts"].items():
        for text, level in zip(found, levels, strict=True):
            yield text.format(name=r.choice(NAMES)), label, level


def make(r: Random) -> list[Prompt]:
    """Return the labelled texts; one that hints at another label, or says two things, is graded harder."""
    texts = texts_of("classification")
    groups = {
        "sentiment": _sentiment(texts["sentiment"], r),
        "topic": _listed(texts["topic"], r, (0.1, 0.1, 0.1, 0.46, 0.46, 0.46)),
        "spam": _listed(texts["spam"], r, (0.06, 0.06, 0.06, 0.06, 0.06, 0.38, 0.38, 0.38)),
        "desk": _listed(texts["desk"], r, (0.14, 0.14, 0.3, 0.4, 0.5)),
    }
    return [
        Prompt(
            f"{texts[group]['ask']}\n\n{text}",
            "classification",
            graded(level + len(text) / 2000),
            label,
            "exact",
        )
        for group, found in groups.items()
        for text, label, level in found
    ]
