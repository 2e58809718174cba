"""The exact selection against brute force, tied and untied."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.budget.frontier import frontier
from routellm_batch.budget.selection import cut as planning
from routellm_batch.budget.selection.cut import (
    NONE_STRONG,
    RankedRows,
    cut_by_count,
    cut_by_spend,
    in_chunks,
    score_key,
    strong_rows,
)


def make_rows(n: int, *, levels: int | None, seed: int = 0) -> RankedRows:
    """Return n random rows, their scores in a few levels if asked."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n, dtype=np.float32)
    if levels is not None:
        scores = (np.floor(scores * levels) / levels).astype(np.float32)
    return RankedRows(
        score_key(scores),
        rng.integers(0, 2**64, n, dtype=np.uint64),
        rng.integers(0, 1000, n, dtype=np.int64),
    )


def ranked(rows: RankedRows) -> np.ndarray:
    """Return the rows' positions, highest rank first."""
    return np.lexsort((rows.tie, rows.key))[::-1]


@pytest.fixture(params=[1, 65_536], ids=["all-passes", "gathers"])
def _gather(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "GATHER_ROWS", request.param)


@pytest.mark.usefixtures("_gather")
@pytest.mark.parametrize("levels", [None, 7, 1])
@pytest.mark.parametrize("count", [0, 1, 260, 999, 1000, 5000])
def test_count_is_exact(levels: int | None, count: int) -> None:
    """Exactly the K highest rows by (score, hash) go strong, however many scores tie."""
    rows = make_rows(1000, levels=levels)
    cut = cut_by_count(lambda: in_chunks(rows, 100), count)
    strong = np.flatnonzero(cut.strong(rows.key, rows.tie))
    assert set(ranked(rows)[:count].tolist()) == set(strong.tolist())


@pytest.mark.usefixtures("_gather")
@pytest.mark.parametrize("levels", [None, 7, 1])
@pytest.mark.parametrize("nano", [-1, 0, 999, 123_456, 10**9])
def test_spend_takes_the_longest_prefix_that_fits(levels: int | None, nano: int) -> None:
    """The rows taken cost at most the budget, and the next one would not fit."""
    rows = make_rows(1000, levels=levels, seed=1)
    cut = cut_by_spend(lambda: in_chunks(rows, 128), nano)
    spent = np.cumsum(rows.delta[ranked(rows)])
    expected = 0 if nano < 0 else int(np.searchsorted(spent, nano, side="right"))
    assert expected == int(cut.strong(rows.key, rows.tie).sum())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=40, unique_by=lambda p: p[1]),
    st.integers(0, 45),
)
def test_count_agrees_with_sorting(pairs: list[tuple[int, int]], count: int) -> None:
    """Radix select picks what a full sort picks."""
    scores = np.array([p[0] / 3 for p in pairs], dtype=np.float32)
    rows = RankedRows(
        score_key(scores),
        np.array([p[1] for p in pairs], dtype=np.uint64),
        np.ones(len(pairs), dtype=np.int64),
    )
    strong = cut_by_count(lambda: [rows], count).strong(rows.key, rows.tie)
    assert set(ranked(rows)[:count].tolist()) == set(np.flatnonzero(strong).tolist())


def test_share_is_floored_as_a_decimal() -> None:
    """floor(N · share) is taken of the share as written, where floats would lose a row."""
    assert (29, 3650, 0, 7) == (
        strong_rows(Decimal("0.29"), 100),
        strong_rows(Decimal("0.26"), 14_042),
        strong_rows(Decimal(0), 5),
        strong_rows(Decimal(1), 7),
    )


def test_nothing_strong_has_no_threshold() -> None:
    """A cut that sends nothing to the strong model says so instead of giving a number."""
    assert (None, 0) == (NONE_STRONG.threshold, int(NONE_STRONG.strong(*_two()).sum()))


def _two() -> tuple[np.ndarray, np.ndarray]:
    return score_key(np.array([0.5, 1.0], dtype=np.float32)), np.array([1, 2], dtype=np.uint64)


def test_frontier_runs_from_all_weak_to_all_strong() -> None:
    """The frontier starts at the base cost, ends at the cost of sending all, and never falls."""
    rows = make_rows(5000, levels=None, seed=2)
    points = frontier(lambda: [rows], 1_000)
    costs = [p.planned_nano for p in points]
    assert (50, 1_000, 1_000 + int(rows.delta.sum()), sorted(costs)) == (
        len(points),
        costs[0],
        costs[-1],
        costs,
    )
