"""The grader ``numeric``: the number that an answer gives, however it is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial

from routellm_batch.answers.wrappings import bare
from routellm_batch.config.answers import NumericOptions

MAX_DIGITS = 100
"""A longer run of digits is not read as a number."""
_SCALES = {
    "%": Fraction(1, 100),
    "percent": Fraction(1, 100),
    "k": Fraction(10**3),
    "thousand": Fraction(10**3),
    "lakh": Fraction(10**5),
    "m": Fraction(10**6),
    "mn": Fraction(10**6),
    "million": Fraction(10**6),
    "crore": Fraction(10**7),
    "b": Fraction(10**9),
    "bn": Fraction(10**9),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
_NUMBER = re.compile(
    r"(?P<before>[-−–+$€£¥₹]{0,3})"
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)"
    r"(?::(?P<sixtieths>[0-5]\d)(?![\d:]))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?![\w.])|\s?[×*x]\s?10\^\{?(?P<power>[-−–]?\d{1,3})\}?|\^\{?(?P<exponent>\d{1,2})(?!\d)\}?)?"
    r"(?:(?P<mixed>\s\d{1,9})?\s?/\s?(?P<under>\d{1,20})(?![\d/]))?"
    r"(?:\s?(?P<scale>%|percent\b|(?:thousand|lakh|million|crore|billion|trillion)(?=s?\b))"
    r"|(?P<suffix>(?-i:[kKMB]|[mb]n)(?![\w^])))?",
    re.IGNORECASE,
)
_PHRASE = re.compile(r"\banswer\b[\s*_\"'`]{0,4}(?:is|are|was|would be|=|:)[^\d\n]{0,24}?$", re.IGNORECASE)
_PHRASE_CHARS = 48
_OPERATOR = re.compile(r"\s?(?:[=<]|(?:[-−–+*/×÷]|\\times|\\div)\s?[-−–$(\\]{0,2}(?:\d|[a-z]\b))")
"""What follows a number that begins a calculation; a dash before a word is not a minus."""
_OPENS = re.compile(r"[\s*_\"'`(]{0,6}")
_EXPLAINED = re.compile(r"[*_\"'`]{0,3}\s?(?:[-–—]\s(?=[A-Za-z])|[,;]?\s(?:which|because|since)\b)")
"""What follows a number that opens an answer of one line, and is explained after it."""
_BOXED = re.compile(r"\\boxed\s?\{")
_FRACTION = re.compile(
    r"([-−–]\s?)?\\[dt]?frac\s?(?:\{\s?([-−–]?)\s?(\d{1,20})\s?\}|(\d))\s?(?:\{\s?(\d{1,20})\s?\}|(\d))"
)
_VULGAR = re.compile(r"[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]")
_LATEX = (
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<=\d)(?:\{,\}|\\[,!]|,\\!|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\times|\\cdot"), "*"),
    (re.compile(r"(?<=[A-Za-z}])\^(?:\{-?\d{1,2}\}|-?\d{1,2})"), ""),  # of a unit, as in "m^2"
    (re.compile(r"((?:[:={]|\bis) ?)[-−–] (?=[\d.])"), r"\1-"),
)
_GROUPED: Sequence[tuple[re.Pattern[str], Sequence[tuple[str, str]]]] = (
    # 1.234,56 and 1.234.567, with commas for decimals
    (re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+,\d{1,9}(?![\d,]|\.\d)"), [(".", ""), (",", ".")]),
    (re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d,]|\.\d)"), [(".", "")]),
    (re.compile(r"(?<![\d.,(\[])(?:0,\d{1,9}(?![\d,])|\d{1,9},\d{1,2}(?![\d,.)\]]))"), [(",", ".")]),
    # 12,34,567, as in India
    (re.compile(r"(?<![\d.,])\d{1,2}(?:,\d{2})+,\d{3}(?!\d|,\d)"), [(",", "")]),
    # 1 234 567, 1'234'567 and 1_234_567
    *(
        (
            re.compile(rf"(?<![\w.,/])(?<!\d{sign})\d{{1,3}}(?:{sign}\d{{3}})+(?!\d|{sign}\d|\s?/\s?\d)"),
            [(sign, "")],
        )
        for sign in " '’_"
    ),
)
"""How the thousands of a number are set apart elsewhere, with the replacements that leave plain digits."""


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
    """Return a text whose numbers are in plain digits, without the markup of LaTeX and the signs between thousands."""
    text = _VULGAR.sub(_written_out, text)
    text = _FRACTION.sub(_in_line, text)
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    for pattern, signs in _GROUPED:
        text = pattern.sub(partial(_replaced, signs), text)
    return text


def _written_out(match: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", match[0]).partition("\u2044")
    return f"\\frac{{{over}}}{{{under}}}"


def _in_line(match: re.Match[str]) -> str:
    """Return a fraction on one line, with a space before it only where it may follow a whole number."""
    before, inner = match[1], match[2] or ""
    over, under = match[3] or match[4], match[5] or match[6]
    whole = match.string[: match.start()].rstrip()[-1:].isdigit()
    if before and inner:
        return f"{over}/{under}"
    if whole:
        return f"{before or ' '}{inner}{over}/{under}"
    return f"{(before or '').strip()}{inner}{over}/{under}"


def _replaced(signs: Sequence[tuple[str, str]], match: re.Match[str]) -> str:
    text = match[0]
    for sign, replacement in signs:
        text = text.replace(sign, replacement)
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
        value *= Fraction(10) ** int(power.replace("−", "-").replace("–", "-"))
    if match["exponent"]:
        value **= int(match["exponent"])
    if match["under"]:
        under = int(match["under"])
        if not under:
            return None
        value = value + Fraction(int(match["mixed"]), under) if match["mixed"] else value / under
    # After a digit, a letter or a bracket a minus subtracts; it does not negate.
    minus = any(sign in match["before"] for sign in "-−–")
    if minus and not (ahead.isalnum() or ahead in ")]}%._"):
        value = -value
    name = match["scale"] or match["suffix"]
    scale = _SCALES[name.lower()] if name else Fraction(1)
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

    def __init__(self, config: NumericOptions) -> None:
        self._config = config
        self._tolerance = Fraction(str(config.tolerance))

    def reference(self, value: object) -> Number | None:
        """Return the right number, read as from an answer, so that a reference may be a whole solution."""
        return self.answer(str(value))

    def answer(self, text: str) -> Number | None:
        """Return the number that an answer gives; None where it holds none."""
        text = plain(bare(text))
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
        given = (_after_phrase(text, numbers) or _explained(text, numbers[0])) if read == "auto" else None
        return given or numbers[-1]

    def same(self, answer: Number, reference: Number) -> bool:
        """Whether answer and reference are the same number, within the configured tolerance."""
        return same_number(answer, reference, self._tolerance)


def _boxed(text: str) -> list[Number]:
    r"""Return the numbers in the last ``\boxed{…}``, whose braces may hold others."""
    opened = list(_BOXED.finditer(text))
    if not opened:
        return []
    inside = text[opened[-1].end() :]
    depth = 1
    for at, sign in enumerate(inside):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return numbers_in(inside[:at])
    return numbers_in(inside.partition("}")[0])


def _after_phrase(text: str, numbers: Sequence[Number]) -> Number | None:
    """Return the last number right after "answer is" or "answer:" that does not begin a calculation."""
    for number in reversed(numbers):
        before = text[max(0, number.start - _PHRASE_CHARS) : number.start]
        if _PHRASE.search(before) and not _OPERATOR.match(text, number.end):
            return number
    return None


def _explained(text: str, first: Number) -> Number | None:
    """Return the number that opens an answer of one line, where words explain it: "18 - which is 3 less than 21"."""
    opens = _OPENS.fullmatch(text, 0, first.start)
    one_line = "\n" not in text.strip() and "=" not in text
    return first if opens and one_line and _EXPLAINED.match(text, first.end) else None
