"""The rows that a pilot asks about: distinct prompts, spread evenly over the scores, each with its weight. Pure.

Rows are cut into strata of equal size by score, and each stratum gives its part of the sample: the rows with the lowest
keyed hash, which is a simple random sample that any process draws alike. Rows are passed in parts, twice: first their
scores, then the rows themselves; what is kept does not grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

STRATA = 10
BINS = 65_536
"""Steps of the score at which strata may be cut."""
CANDIDATE = np.dtype(
    [("hash", "<u8"), ("first", "<u8"), ("second", "<u8"), ("shard", "<i4"), ("row", "<i4"), ("score", "<f4")]
)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some valid rows; arrays of one length B."""

    shard: int
    """Number of their shard."""
    row: NDArray[np.int32]
    """Row in the shard."""
    score: NDArray[np.float32]
    """In [0, 1]."""
    tie: NDArray[np.uint64]
    """Keyed hash of the id."""
    content: NDArray[np.uint64]
    """[B, 2], digest of the prompt."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row of the sample."""

    shard: int
    """Number of its shard."""
    row: int
    """Row in the shard."""
    score: float
    """In [0, 1]."""
    stratum: int
    """From 0, the lowest scores."""
    weight: float
    """Valid rows that it represents, over their mean: 1 where the strata gave even parts."""


@dataclass
class Sampler:
    """Draws a pilot of at most ``rows`` distinct prompts."""

    rows: int
    """How many."""
    seed: int
    """Of the draw."""
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    """Valid rows in each bin of the score, [BINS]."""
    _kept: dict[int, NDArray[np.void]] = field(default_factory=dict)
    """Stratum → its candidates so far, lowest hash first."""

    def count(self, scores: NDArray[np.float32]) -> None:
        """Take the scores of some rows; those of all rows come before the first ``add``."""
        self._counts += np.bincount(_bins(scores), minlength=BINS)

    def add(self, part: Part) -> None:
        """Take some rows as candidates."""
        strata = self._strata[_bins(part.score)]
        new = np.empty(len(part.row), dtype=CANDIDATE)
        new["hash"] = _mixed(part.tie, self.seed)
        new["first"], new["second"] = part.content[:, 0], part.content[:, 1]
        new["shard"], new["row"], new["score"] = part.shard, part.row, part.score
        for stratum in np.unique(strata):
            known = self._kept.get(int(stratum), np.empty(0, dtype=CANDIDATE))
            self._kept[int(stratum)] = _lowest(np.concatenate([known, new[strata == stratum]]), self.rows)

    def draw(self) -> list[Drawn]:
        """Return the sample, in the order of shards and rows; fewer rows where there are fewer distinct prompts."""
        sizes = np.bincount(self._strata, weights=self._counts, minlength=STRATA).astype(np.float64)
        kept = self._without_repeats()
        parts = _parts(self.rows, sizes, np.array([len(kept[s]) for s in range(STRATA)]))
        mean = sizes[parts > 0].sum() / max(1, parts.sum())
        drawn = [
            Drawn(int(c["shard"]), int(c["row"]), float(c["score"]), s, float(sizes[s] / parts[s] / mean))
            for s in range(STRATA)
            for c in kept[s][: parts[s]]
        ]
        return sorted(drawn, key=lambda one: (one.shard, one.row))

    @cached_property
    def _strata(self) -> NDArray[np.int64]:
        """Each bin's stratum, [BINS], by the middle of its rows' ranks; read once all scores are counted."""
        after = np.cumsum(self._counts)
        middle = (after - self._counts / 2) / max(1, after[-1])
        strata: NDArray[np.int64] = np.minimum((middle * STRATA).astype(np.int64), STRATA - 1)
        return strata

    def _without_repeats(self) -> list[NDArray[np.void]]:
        """Return each stratum's candidates, lowest hash first; a prompt that is in several strata is kept in one."""
        kept = [self._kept.get(s, np.empty(0, dtype=CANDIDATE)) for s in range(STRATA)]
        every = np.concatenate(kept)
        stratum = np.repeat(np.arange(STRATA), [len(part) for part in kept])
        order = np.argsort(every["hash"], kind="stable")
        _, first = np.unique(every[order][["first", "second"]], return_index=True)
        chosen = order[np.sort(first)]
        return [every[chosen[stratum[chosen] == s]] for s in range(STRATA)]


def _bins(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    bins: NDArray[np.int64] = np.minimum(scores.astype(np.float64) * BINS, BINS - 1).astype(np.int64)
    return bins


def _lowest(candidates: NDArray[np.void], count: int) -> NDArray[np.void]:
    """Return the distinct prompts with the lowest hashes, lowest first."""
    ordered = candidates[np.argsort(candidates["hash"], kind="stable")]
    _, first = np.unique(ordered[["first", "second"]], return_index=True)
    return ordered[np.sort(first)[:count]]


def _parts(rows: int, sizes: NDArray[np.float64], available: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many rows each stratum gives: in proportion to its size; what one lacks, the others give."""
    parts = np.zeros(len(sizes), dtype=np.int64)
    wanted = min(rows, int(available.sum()))
    while parts.sum() < wanted:
        open_sizes = np.where(parts < available, sizes, 0.0)
        exact = (wanted - parts.sum()) * open_sizes / open_sizes.sum()
        more = np.minimum(np.floor(exact).astype(np.int64), available - parts)
        if not more.any():  # largest remainder first, one row at a time
            more[int(np.argmax(exact))] = 1
        parts += more
    return parts


def _mixed(tie: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return another hash of the ids (splitmix64), so that the sample is independent of where ties are cut."""
    with np.errstate(over="ignore"):
        z = tie + np.uint64((0x9E3779B97F4A7C15 * (2 * seed + 1)) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
