"""The grader ``numeric``: the number that an answer gives, however it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from routellm_batch.config.graders import NumericConfig

MAX_DIGITS = 100
"""A longer run of digits is not read as a number."""
_SCALES = {
    "%": Fraction(1, 100),
    "percent": Fraction(1, 100),
    "thousand": Fraction(10**3),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_NUMBER = re.compile(
    r"(?P<before>[-−+$€£¥₹]{0,3})"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)"
    r"(?::(?P<sixtieths>[0-5]\d)(?![\d:]))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?![\w.])|\s?[×*]\s?10\^\{?(?P<power>-?\d{1,3})\}?)?"
    r"(?:(?P<mixed>\s\d{1,9})?\s?/\s?(?P<under>\d{1,20})(?![\d/]))?"
    r"(?:\s?(?P<scale>%|(?:percent|thousand|million|billion|trillion)\b))?",
    re.IGNORECASE,
)
_PHRASE = re.compile(r"\banswer\b[\s*_\"'`]{0,4}(?:is|are|was|would be|=|:)[^\d\n]{0,24}?$", re.IGNORECASE)
_PHRASE_CHARS = 48
_OPERATOR = re.compile(r"\s?(?:[-+*/×÷=<]|\\times|\\div)")
_BOXED = re.compile(r"\\boxed\s?\{")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s?\{(\d{1,20})\}\s?\{(\d{1,20})\}"), r" \1/\2"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<=\d)(?:\{,\}|\\,|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\times|\\cdot"), "*"),
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text."""

    value: Fraction
    """As written, before ``scale``."""
    scale: Fraction
    """What a sign or word after the number multiplies it by: 1/100 for %, 10^6 for "million"; 1 where there is none."""
    start: int
    """Index of its first character in the text."""
    end: int
    """Index after its last character."""


def plain(text: str) -> str:
    """Return a text whose numbers are in plain digits, without the markup of LaTeX and the spaces of typographers."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def numbers_in(text: str) -> list[Number]:
    """Return every number of a plain text, in order."""
    return [number for match in _NUMBER.finditer(text) if (number := _number(text, match)) is not None]


def _number(text: str, match: re.Match[str]) -> Number | None:
    digits = match["number"].replace(",", "")
    ahead = text[match.start() - 1] if match.start() else " "
    glued = not match["before"] and (ahead.isalpha() or ahead == "_")
    if len(digits) > MAX_DIGITS or glued:
        return None
    value = Fraction(Decimal(digits))
    if match["sixtieths"]:  # of a time of day, so that 2:00 and 3:00 differ
        value += Fraction(int(match["sixtieths"]), 60)
    power = match["e"] or match["power"]
    if power:
        value *= Fraction(10) ** int(power)
    if match["under"]:
        under = int(match["under"])
        if not under:
            return None
        value = value + Fraction(int(match["mixed"]), under) if match["mixed"] else value / under
    # After a digit, a letter or a bracket a minus subtracts; it does not negate.
    minus = "-" in match["before"] or "−" in match["before"]
    if minus and not (ahead.isalnum() or ahead in ")]}%._"):
        value = -value
    scale = _SCALES[match["scale"].lower()] if match["scale"] else Fraction(1)
    return Number(value, scale, match.start(), match.end())


def same_number(answer: Number, reference: Number, tolerance: Fraction) -> bool:
    """Whether two numbers are equal within a tolerance, relative above 1 and absolute below.

    Where only one of them has a % or a "million", the other may have been meant with or without it.
    """
    if answer.scale == 1 and reference.scale != 1:
        pairs = [(answer.value, reference.value), (answer.value, reference.value * reference.scale)]
    elif answer.scale != 1 and reference.scale == 1:
        pairs = [(answer.value, reference.value), (answer.value * answer.scale, reference.value)]
    else:
        pairs = [(answer.value * answer.scale, reference.value * reference.scale)]
    return any(abs(a - b) <= tolerance * max(Fraction(1), abs(b)) for a, b in pairs)


class NumericReader:
    """Reads the number that an answer gives, from the place that the config names."""

    def __init__(self, config: NumericConfig) -> None:
        self._config = config
        self._tolerance = Fraction(str(config.tolerance))

    def reference(self, value: object) -> Number | None:
        """Return the right number, read as from an answer, so that a reference may be a whole solution."""
        return self.answer(str(value))

    def answer(self, text: str) -> Number | None:
        """Return the number that an answer gives; None where it holds none."""
        text = plain(text)
        read = self._config.read
        if read in {"auto", "marker"}:
            _, marker, rest = text.rpartition(self._config.marker)
            marked = numbers_in(rest) if marker else []
            if marked or read == "marker":
                return marked[0] if marked else None
        if read in {"auto", "boxed"}:
            boxed = _boxed(text)
            if boxed or read == "boxed":
                return boxed[-1] if boxed else None
        numbers = numbers_in(text)
        if not numbers:
            return None
        if read == "first":
            return numbers[0]
        return (_after_phrase(text, numbers) if read == "auto" else None) or numbers[-1]

    def same(self, answer: Number, reference: Number) -> bool:
        """Whether answer and reference are the same number, within the configured tolerance."""
        return same_number(answer, reference, self._tolerance)


def _boxed(text: str) -> list[Number]:
    r"""Return the numbers in the last ``\boxed{…}``."""
    opened = list(_BOXED.finditer(text))
    return numbers_in(text[opened[-1].end() :].partition("}")[0]) if opened else []


def _after_phrase(text: str, numbers: Sequence[Number]) -> Number | None:
    """Return the last number right after "answer is" or "answer:" that does not begin a calculation."""
    for number in reversed(numbers):
        before = text[max(0, number.start - _PHRASE_CHARS) : number.start]
        if _PHRASE.search(before) and not _OPERATOR.match(text, number.end):
            return number
    return None
