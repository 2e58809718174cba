"""Numbers as people read them: dollars, counts, shares, seconds. Pure."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping

from routellm_batch.budget.pricing import nano_to_usd

CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")
LONGEST_ID = 120
LABEL = 10
"""Columns of the labels of closing lines."""
DIGITS = 3
"""Significant digits of a sum of money that people read."""


def usd(nano: int) -> str:
    """Return dollars with three significant digits, e.g. ``$1,230,000``, ``$18.5``, ``$1.74``, ``$0.123``, ``$0.00125``.

    From a cent to ten dollars there are at least two decimals. Exact sums are in ``cost.json``; ``price`` writes those
    that were configured.
    """
    size = abs(nano)
    if size == 0:
        return "$0"
    digits = len(str(size))
    unit = 10 ** max(0, digits - DIGITS)
    rounded = (size + unit // 2) // unit * unit  # half up
    places = max(0, min(9, 9 + DIGITS - len(str(rounded))))
    text = f"{nano_to_usd(rounded):,.{places}f}"
    if places > 2:
        text = text.rstrip("0")
        text += "0" * max(0, 2 - len(text.partition(".")[2]))
    return f"−${text}" if nano < 0 else f"${text}"


def by_kind(numbers: Mapping[str, int]) -> str:
    """Return how many there are of each kind, most first, in brackets after a space; nothing for none."""
    most_first = sorted(numbers.items(), key=lambda one: (-one[1], one[0]))
    return f" ({', '.join(f'{count(number)} {kind}' for kind, number in most_first)})" if most_first else ""


def price(nano: int) -> str:
    """Return a price with all of its decimals, at least two, e.g. ``$2.50``, ``$0.075``."""
    whole, _, decimals = f"{nano_to_usd(nano):,.9f}".partition(".")
    return f"${whole}.{decimals[:2]}{decimals[2:].rstrip('0')}"


def count(number: int) -> str:
    """Return a whole number with thousands separators."""
    return f"{number:,}"


def rows(number: int) -> str:
    """Return ``1 row`` or ``1,024 rows``."""
    return "1 row" if number == 1 else f"{number:,} rows"


def percent(share: float) -> str:
    """Return a share as a percentage with at most two decimals; only 0 and 1 read as 0% and 100%."""
    if 0 < share < 0.0001:
        return "under 0.01%"
    if 0.9999 < share < 1:
        return "over 99.99%"
    text = f"{100 * share:,.2f}"
    return f"{text.rstrip('0').rstrip('.')}%"


def seconds(value: float) -> str:
    """Return a latency or a short time, e.g. ``850 ms``, ``1.23 s``, ``2m10s``."""
    if value <= 0:
        return "0 s"
    if value < 0.001:
        return "under 1 ms"
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    return f"{value:.3g} s" if value < 59.95 else duration(value)


def duration(value: float) -> str:
    """Return a span of time in whole seconds, two units at most, e.g. ``8s``, ``2m10s``, ``1h02m``, ``3d04h``."""
    whole = max(0, round(value))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400:,}d{whole % 86_400 // 3600:02}h"


def rate(per_second: float) -> str:
    """Return rows per second with three significant digits, or as a whole number from a hundred."""
    return f"{per_second:,.0f} rows/s" if per_second >= 100 else f"{per_second:.3g} rows/s"


def compact(number: float) -> str:
    """Return a number for an axis, e.g. ``250``, ``1.5k``, ``2M``."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.6g}{unit}"
    return f"{number:.6g}"


def axis_usd(dollars: float, step: float) -> str:
    """Return dollars for an axis whose ticks are ``step`` dollars apart, all with as many decimals as the step needs."""
    if dollars == 0:
        return "$0"
    if step >= 1:
        return f"${compact(dollars)}"
    return f"${dollars:.{max(2, -math.floor(math.log10(step)))}f}"


def hanging(line: str, width: int | None) -> str:
    """Return a line broken between words for a terminal, with what follows below its text; paths are never broken.

    Args:
        line: a sentence, or a label of at most ten columns and text, as the closing lines have it.
        width: columns of the terminal; None for no breaks.

    """
    if width is None or len(line) <= width:
        return line
    indent = " " * LABEL if line.startswith("  ") else ""
    return textwrap.fill(
        line, max(width, 2 * LABEL), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def shown_id(row_id: object) -> str:
    """Return a row id that is safe to display: unprintable characters are replaced, a very long id is shortened."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(row_id))
    return text if len(text) <= LONGEST_ID else f"{text[: LONGEST_ID - 1]}…"


def public_uri(uri: str) -> str:
    """Return a URI without user and password and, for http(s), without its query."""
    bare = CREDENTIALS.sub("", uri)
    return bare.partition("?")[0] if bare.startswith(("http://", "https://")) else bare
