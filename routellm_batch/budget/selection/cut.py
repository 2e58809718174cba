"""The plan's decision, exact and in bounded memory: which rows go to the strong model.

Rows are ordered by (score, keyed hash of the id), highest first; or by another number in [0, 1] in the score's place
(``ranking``). A *cut* is a point in that order, and a row is strong iff it lies at or above it. That is a pure function of
(row, plan), so no table of assignments is needed and every worker agrees.

The cut is found by radix select. A row's rank is a 96-bit number: its float32 score's bits (order-preserving, as scores
are not negative), then the 64-bit hash. Each pass over the rows counts the next 16 bits under the prefix found so far,
until few enough rows are left to sort. Two passes do, unless scores tie.

Pure: no I/O, no clock, no randomness. Memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

DIGIT_BITS = 16
"""Bits of a rank that one pass counts."""
DIGITS = 6
"""Passes that a whole rank takes."""
GATHER_ROWS = 65_536
"""So few rows are sorted outright."""
GRID = 65_536
"""Bins of the frontier's score axis."""
NOTHING = 1 << 32
"""A key above that of every float32: a cut here sends nothing to the strong model."""


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Some rows as planning sees them; three arrays of one length."""

    key: NDArray[np.uint32]
    """Order-preserving bits of the value that rows are ranked by: their score as a rule."""
    tie: NDArray[np.uint64]
    """Keyed hash of the id."""
    delta: NDArray[np.int64]
    """Nano-dollars that the row costs more if it goes strong; never negative."""


Source = Callable[[], Iterable[RankedRows]]
"""Starts one pass over all rows."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A point in the order of rows: a row is strong iff its (key, tie) ≥ this one."""

    key: int
    """Order-preserving bits, as in ``RankedRows``; above all of them where nothing goes strong."""
    tie: int
    """Keyed hash of an id."""

    @property
    def threshold(self) -> float | None:
        """The value that rows are ranked by, at the cut: a score as a rule; None where nothing goes strong."""
        return None if self.key >= NOTHING else float(np.array(self.key, np.uint32).view(np.float32))

    def strong(self, key: NDArray[np.uint32], tie: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return bool [B]: which rows go to the strong model."""
        if self.key >= NOTHING:
            return np.zeros(len(key), dtype=bool)
        edge = np.uint32(self.key)
        above: NDArray[np.bool_] = (key > edge) | ((key == edge) & (tie >= np.uint64(self.tie)))
        return above


NONE_STRONG = Cut(NOTHING, 0)
ALL_STRONG = Cut(0, 0)


def score_key(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the order-preserving bits of scores in [0, 1]."""
    return np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32)


def strong_rows(share: Decimal, valid: int) -> int:
    """Return the number of strong rows, K = floor(N · share), exactly."""
    return int((share * valid).to_integral_value(ROUND_FLOOR))


def cut_by_count(rows: Source, count: int) -> Cut:
    """Return the cut above which exactly ``count`` rows lie (all rows, if there are fewer)."""
    if count <= 0:
        return NONE_STRONG
    return _select(rows, count, lambda part: np.ones(len(part.key), dtype=np.int64))


def cut_by_spend(rows: Source, nano: int) -> Cut:
    """Return the cut of the longest prefix of the order whose deltas sum to at most ``nano``."""
    if nano < 0:
        return NONE_STRONG
    return _select(rows, nano, lambda part: part.delta)


def _select(rows: Source, budget: int, weigh: Callable[[RankedRows], NDArray[np.int64]]) -> Cut:
    """Find the longest prefix whose weights sum to at most ``budget``."""
    prefix, left = 0, budget
    for digit in range(DIGITS):
        counts, weights = _histogram(rows, digit, prefix, weigh)
        above = np.cumsum(weights[::-1])[::-1]  # [2^16] weight of this digit value and all higher ones
        over = np.flatnonzero(above > left)
        if not len(over):  # all that share the prefix fit
            return _cut(prefix << DIGIT_BITS, digit + 1)
        crossing = int(over[-1])
        left -= int(above[crossing] - weights[crossing])
        prefix = (prefix << DIGIT_BITS) | crossing
        if counts[crossing] <= GATHER_ROWS:
            return _finish(rows, digit + 1, prefix, left, weigh)
    return _cut(prefix + 1, DIGITS)  # Rows with one hash have no order, so none of them is taken.


def _histogram(
    rows: Source, digit: int, prefix: int, weigh: Callable[[RankedRows], NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count rows and sum weights by the next 16 bits, among the rows that share the prefix."""
    counts = np.zeros(1 << DIGIT_BITS, dtype=np.int64)
    weights = np.zeros(1 << DIGIT_BITS, dtype=np.int64)
    for part in rows():
        inside = _inside(part, digit, prefix)
        value = _digit(part, digit)[inside]
        counts += np.bincount(value, minlength=1 << DIGIT_BITS)
        np.add.at(weights, value, weigh(part)[inside])  # not bincount: its float weights would round
    return counts, weights


def _digit(part: RankedRows, digit: int) -> NDArray[np.int64]:
    if digit < 2:
        return ((part.key >> np.uint32(16 * (1 - digit))) & np.uint32(0xFFFF)).astype(np.int64)
    return ((part.tie >> np.uint64(16 * (DIGITS - 1 - digit))) & np.uint64(0xFFFF)).astype(np.int64)


def _inside(part: RankedRows, digit: int, prefix: int) -> NDArray[np.bool_]:
    inside = np.ones(len(part.key), dtype=bool)
    for earlier in range(digit):
        wanted = (prefix >> (DIGIT_BITS * (digit - 1 - earlier))) & 0xFFFF
        inside &= _digit(part, earlier) == wanted
    return inside


def _finish(
    rows: Source, digits: int, prefix: int, left: int, weigh: Callable[[RankedRows], NDArray[np.int64]]
) -> Cut:
    """Sort the few rows that share the prefix and walk down as far as the budget reaches."""
    parts = [(p.key[i], p.tie[i], weigh(p)[i]) for p in rows() for i in [_inside(p, digits, prefix)]]
    key, tie, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((tie, key))[::-1]
    spent = np.cumsum(weight[order])
    fitting = int(np.searchsorted(spent, left, side="right"))
    if fitting == 0:
        return _cut(prefix + 1, digits)
    last = order[fitting - 1]
    return Cut(int(key[last]), int(tie[last]))


def _cut(prefix: int, digits: int) -> Cut:
    rank = prefix << (DIGIT_BITS * (DIGITS - digits))
    return Cut(rank >> 64, rank & ((1 << 64) - 1))


def in_chunks(rows: RankedRows, size: int) -> Iterator[RankedRows]:
    """Yield a large set of rows in parts of at most ``size``."""
    for start in range(0, len(rows.key), size):
        part = slice(start, start + size)
        yield RankedRows(rows.key[part], rows.tie[part], rows.delta[part])


def higher(one: Cut, other: Cut) -> Cut:
    """Return the cut that sends fewer rows to the strong model."""
    return max(one, other, key=lambda cut: (cut.key, cut.tie))


def pick_cut(strong: Source, weak_nano: int, room: int, now: Cut) -> Cut:
    """Return the lowest cut, not below ``now``, with which the pending rows fit; that of no strong row if none does.

    Args:
        strong: the pending rows that go strong now; ``delta`` is what each costs more there.
        weak_nano: what all pending rows would cost, all weak.
        room: nano-dollars that all pending rows may cost.
        now: the cut that is followed now.

    """
    return higher(now, cut_by_spend(strong, room - weak_nano))
