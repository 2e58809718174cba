"""Sums that an answer writes down, such as ``3 * 4 + 2 = 14``: how many there are, and how many do not hold.

Nothing is executed: a text is cut into numbers, signs and anything else, and a run of numbers and signs between two other
things is worked out with fractions. What is in brackets or has a power is left alone, as half an expression says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

MAX_CHARS = 1 << 16
"""Characters of an answer that are read."""
MAX_DIGITS = 30
"""A longer number is no part of a sum."""
TOLERANCE = Fraction(11, 1000)
"""Allowed difference, as a share of the result (of 1 where that is smaller): results are written rounded."""
_TOKEN = re.compile(
    r"(?P<number>\d+(?:,\d{3})*(?:\.\d+)?)(?P<joined>(?!x\s?[$€£]?\d)[A-Za-z_])?"
    r"|(?P<sign>\\times|\\cdot|\\div|[-−–+*/×÷·=]|(?<=[\d\s])x(?=\s?[$€£]?\d))|(?P<skip>[\s$€£¥]+)|(?P<other>[\s\S])"
)
_TIMES, _OVER = frozenset(("\\times", "\\cdot", "*", "×", "·", "x")), frozenset(("\\div", "/", "÷"))
_MINUS = frozenset("-−–")


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums in one text."""

    checked: int
    """How many equations between numbers the text holds, with a calculation on at least one side."""
    wrong: int
    """How many of them do not hold."""


def find_sums(text: str) -> Sums:
    """Return how many sums a text writes down and how many of them do not hold; takes time linear in the text."""
    checked = wrong = 0
    for run in _runs(text[:MAX_CHARS]):
        sides = list(_split(run))
        for left, right in pairwise(sides):
            if len(left) + len(right) == 2:
                continue  # "x = 3 = 3" calculates nothing
            one, other = _value(left), _value(right)
            if one is None or other is None:
                continue
            checked += 1
            wrong += abs(one - other) > TOLERANCE * max(Fraction(1), abs(one))
    return Sums(checked, wrong)


def _runs(text: str) -> Iterator[Sequence[str]]:
    """Yield each run of numbers and signs that nothing else cuts short."""
    run: list[str] = []
    clean = True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "skip":
            continue
        if kind == "other" or match["joined"]:
            if run and clean:
                yield run
            # After a bracket, a power or a percentage the next number is part of what was left alone.
            run, clean = [], match[0] not in ")]}^%"
            continue
        run.append(match[0])
    if run and clean:
        yield run


def _split(run: Sequence[str]) -> Iterator[list[str]]:
    side: list[str] = []
    for token in run:
        if token == "=":  # noqa: S105 - a sign of a sum
            yield side
            side = []
        else:
            side.append(token)
    yield side


def _value(side: Sequence[str]) -> Fraction | None:
    """Return the value of numbers and signs, products before sums; None where they are no calculation."""
    tokens = list(side)
    if tokens and tokens[0] in _MINUS:
        tokens = ["0", *tokens]
    if len(tokens) % 2 == 0:
        return None
    total, product, negative = Fraction(0), _number(tokens[0]), False
    for sign, text in zip(tokens[1::2], tokens[2::2], strict=True):
        number = _number(text)
        if product is None or number is None or (sign in _OVER and not number):
            return None
        if sign in _TIMES:
            product *= number
        elif sign in _OVER:
            product /= number
        elif sign == "+" or sign in _MINUS:
            total += -product if negative else product
            product, negative = number, sign in _MINUS
        else:
            return None
    return None if product is None else total + (-product if negative else product)


def _number(text: str) -> Fraction | None:
    digits = text.replace(",", "")
    return Fraction(Decimal(digits)) if digits[:1].isdigit() and len(digits) <= MAX_DIGITS else None
