"""Tokens of a text by the scripts that it is written in, as an estimate before any endpoint has counted them. Pure.

The figures are of two public byte-pair vocabularies, ``cl100k_base`` (2022) and ``o200k_base`` (2024), each measured with
js-tiktoken 1.0.21 on Article 1 of the Universal Declaration of Human Rights and a sentence of instructions in each
language; between the two, nearer to the dearer, as providers use both kinds. What an endpoint really counts is learned
from its first answers (``budget.spend.projection``).

=====================  ===========  ==========  =====
script                 cl100k_base  o200k_base  taken
=====================  ===========  ==========  =====
ASCII (English, code)  .19 - .27    .19 - .27   .25
digits of tables       .71          .71         .85
Latin with marks       .8 - 2       .3 - 1.7    1.25
Greek                  .89          .37         .65
Cyrillic               .46 - .58    .25 - .34   .45
Armenian, Georgian     1.86         .30         1.2
Hebrew                 1.01         .39         .75
Arabic, Persian        .71 - .74    .30 - .37   .6
Indic                  .96 - 1.83   .29 - .50   .9
Thai, Lao              1.03         .48         .8
Burmese, Khmer         1.65 - 1.95  .52 - .60   1.2
Ethiopic and others    2.41         1.82        2
kana                   .88 - 1.05   .63 - .79   .9
Han                    1.14 - 1.46  .75 - .87   1
Hangul                 .96          .57         .85
punctuation, symbols   .86          .84         1
emoji                  2.55         1.50        2
=====================  ===========  ==========  =====

A mark counts beside the plain letters of its word, so Latin's figures are those of the marked letters alone. Numbers in
prose are in the figure of English; only digits beyond one in eight characters count as those of a table.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from routellm_batch.budget.pricing import CHARS_PER_TOKEN, estimate_tokens

if TYPE_CHECKING:  # Every command reads prices, and English needs no NumPy.
    import numpy as np
    from numpy.typing import NDArray

HUNDREDTHS = 100
"""Weights are whole hundredths of a token."""
ASCII = HUNDREDTHS // CHARS_PER_TOKEN
"""Of a character of English or code."""
TABLE_DIGIT = 60
"""What a digit of a table counts beyond any other ASCII character."""
PROSE_DIGITS = 8
"""One digit in so many characters is prose."""
OTHER = 200
"""Of a character of a script that is not named."""
SCRIPTS: tuple[tuple[int, int, int], ...] = (
    (0x0000, 0x007F, ASCII),
    (0x0080, 0x00BF, 100),  # Latin-1 punctuation
    (0x00C0, 0x036F, 125),  # Latin with marks; combining marks
    (0x0370, 0x03FF, 65),  # Greek
    (0x0400, 0x052F, 45),  # Cyrillic
    (0x0530, 0x058F, 120),  # Armenian
    (0x0590, 0x05FF, 75),  # Hebrew
    (0x0600, 0x077F, 60),  # Arabic
    (0x08A0, 0x08FF, 60),
    (0x0900, 0x0DFF, 90),  # Devanagari to Sinhala
    (0x0E00, 0x0EFF, 80),  # Thai, Lao
    (0x1000, 0x109F, 120),  # Burmese
    (0x10A0, 0x10FF, 120),  # Georgian
    (0x1100, 0x11FF, 85),  # Hangul, letter by letter
    (0x1780, 0x17FF, 120),  # Khmer
    (0x1E00, 0x1EFF, 125),  # Latin with marks, as in Vietnamese
    (0x1F00, 0x1FFF, 65),  # Greek with marks
    (0x2000, 0x2BFF, 100),  # punctuation, arrows, mathematics
    (0x2E00, 0x2E7F, 100),
    (0x2E80, 0x2FDF, 100),  # Han radicals
    (0x3000, 0x303F, 100),  # Han punctuation
    (0x3040, 0x30FF, 90),  # kana
    (0x3100, 0x9FFF, 100),  # Han
    (0xAC00, 0xD7FF, 85),  # Hangul
    (0xF900, 0xFAFF, 100),  # Han
    (0xFB50, 0xFDFF, 60),  # Arabic forms
    (0xFE00, 0xFE0F, 100),  # variation selectors, as in emoji
    (0xFE70, 0xFEFE, 60),  # Arabic forms
    (0xFF00, 0xFFEF, 100),  # full-width forms
    (0x20000, 0x3FFFF, 100),  # Han
)
"""First and last code point of a block, and hundredths of a token that a character of it counts; none above its bytes."""
_LAST = 0x40000
"""Code points from here on count like each other."""


def chat_tokens(text: str, turns: int) -> int:
    """Return the expected input tokens of a chat of some turns with this text in all, parts that are no text aside."""
    return estimate_tokens(english_chars(text), turns)


def english_chars(text: str) -> int:
    """Return how many characters of English text have as many tokens as a text; those of an ASCII text are its own."""
    weight = _ascii_weight(text) if text.isascii() else _weight(text)
    return -(-weight // ASCII)


def _ascii_weight(text: str) -> int:
    data = text.encode()
    return ASCII * len(data) + _table_digits(len(data) - len(data.translate(None, b"0123456789")), len(data))


def _table_digits(digits: int, chars: int) -> int:
    return TABLE_DIGIT * max(0, digits - chars // PROSE_DIGITS)


def _weight(text: str) -> int:
    import numpy as np  # late: see above

    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    counted = int(_weights()[np.minimum(points, _LAST)].sum(dtype=np.int64))
    digits = int(((points >= ord("0")) & (points <= ord("9"))).sum())
    return counted + _table_digits(digits, len(points))


@lru_cache(maxsize=1)
def _weights() -> NDArray[np.uint8]:
    """Return what each code point counts, up to ``_LAST``, in hundredths of a token."""
    import numpy as np

    table = np.full(_LAST + 1, OTHER, dtype=np.uint8)
    for first, last, weight in SCRIPTS:
        table[first : last + 1] = weight
    return table
