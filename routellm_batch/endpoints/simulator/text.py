"""The texts of a simulated model: filler of a given length, and answers that are wrong in a plausible way. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from routellm_batch.budget.pricing import CHARS_PER_TOKEN

ANSWER_MARK = "Answer: "
"""Opens the last line of a reply that has a definite answer."""
_SENTENCES = (
    "This text comes from a simulated model and stands in for a real reply.",
    "The request was read in full before any of this was written.",
    "First the wording was considered, then what it seems to ask for.",
    "Some details matter more than others, so they are taken one at a time.",
    "Each step follows from the one before it, as far as this goes.",
    "Where several readings are possible, the simplest one was preferred.",
    "A short check at the end makes sure that nothing was left out.",
    "Real models vary in length and tone, and these sentences do so too.",
    "Nothing here should be taken as advice about the subject itself.",
    "What remains is to put the result in a form that is easy to find.",
)
_LONGEST_CHARS = 256 * 1024
_ROUND = " ".join(_SENTENCES) + " "
_FILLER = _ROUND * (_LONGEST_CHARS // len(_ROUND) + 2)
_STARTS = tuple(_ROUND.index(sentence) for sentence in _SENTENCES)
_NUMBER = re.compile(r"^(-?)(\d[\d,]*)(\.\d+)?$")
_NEAR_MISSES = (1, -1, 2, 10, -2, 5, -10)


def filler(chars: int, draw: int) -> str:
    """Return neutral text of at most ``chars`` characters that ends with a whole word where one fits.

    ``draw`` selects the sentence that it begins with. The text has no digit, so that no grader takes one for an answer.
    """
    start = _STARTS[draw % len(_STARTS)]
    chars = min(chars, _LONGEST_CHARS)
    text = _FILLER[start : start + chars]
    if _FILLER[start + chars] != " " and " " in text:
        text = text[: text.rindex(" ")]
    return text.rstrip()


def answer_text(
    answer: str, tokens: int, max_tokens: int | None, draw: int, mark: str = ANSWER_MARK
) -> tuple[str, bool]:
    """Return a reply of about ``tokens`` tokens whose last line is the answer, and whether it is complete.

    Where ``max_tokens`` leaves too little room, the filler is dropped first, then the mark, then the end of the answer.
    """
    last = mark + answer
    chars = max(tokens * CHARS_PER_TOKEN, len(last))
    if max_tokens is not None:
        chars = min(chars, max_tokens * CHARS_PER_TOKEN)
    room = chars - len(last) - 1
    if room >= len(_SENTENCES[0]):
        return f"{filler(room, draw)}\n{last}", True
    if room >= -1:
        return last, True
    return answer[:chars], len(answer) <= chars


def wrong_answer(answer: str, others: Sequence[str], prompt: str, draw: int) -> str:
    """Return a wrong answer: a nearby number, or one of the others, preferably one that the prompt mentions."""
    number = _NUMBER.match(answer)
    if number:
        return _near_number(number, draw)
    candidates = [other for other in others if other != answer]
    named = [other for other in candidates if other in prompt] or candidates
    return named[draw % len(named)] if named else "I am not sure"


def _near_number(number: re.Match[str], draw: int) -> str:
    value = Decimal(number[0].replace(",", ""))
    step = Decimal(_NEAR_MISSES[draw % len(_NEAR_MISSES)])
    if not number[1] and value + step < 0:
        step = -step
    near = value + step
    return f"{near:,}" if "," in number[2] else f"{near}"
