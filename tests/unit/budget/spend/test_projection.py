"""Spending against plan: learned ratios, projections, and cuts that fit what is left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.budget.selection.cut import ALL_STRONG, NONE_STRONG, Cut, RankedRows, higher, pick_cut
from routellm_batch.budget.spend.projection import (
    WHOLE,
    FinishedCalls,
    RouteSpending,
    projected_nano,
    room_nano,
    too_dear,
)

MONEY = st.integers(0, 10**12)
SPENDING = st.builds(RouteSpending, st.integers(0, 10**6), st.integers(0, 10**12), MONEY, MONEY)


def test_a_ratio_is_learned_slowly() -> None:
    """Without an answer the ratio is one; three times the cost is believed more with every answer."""
    ratios = [RouteSpending(n, n * 1000, n * 3000, 1).ratio_ppm for n in (0, 1, 8, 100, 10**6)]
    assert (WHOLE, 1_222_223, 2 * WHOLE, 2_851_852) == tuple(ratios[:4])
    assert 3 * WHOLE - 100 < ratios[4] <= 3 * WHOLE


@given(SPENDING, MONEY, MONEY, MONEY)
def test_a_projection_grows_with_what_it_is_made_of(
    route: RouteSpending, spent: int, more: int, pending: int
) -> None:
    """More spent, more settled or more to come never lowers the projection, and it is at least what is spent."""
    dearer = RouteSpending(route.answered, route.expected_nano, route.settled_nano + more, route.pending_nano)
    longer = RouteSpending(
        route.answered, route.expected_nano, route.settled_nano, route.pending_nano + pending
    )
    least = projected_nano(spent, [route])
    assert spent <= least
    assert all(least <= projected_nano(spent, [other]) for other in (dearer, longer))
    assert least <= projected_nano(spent + more, [route])


@given(SPENDING, MONEY, MONEY, MONEY)
def test_a_higher_cap_is_never_too_low_before_a_lower_one(
    route: RouteSpending, spent: int, cap: int, more: int
) -> None:
    """What is too dear for a cap is too dear for each lower one, and what fits is never too dear."""
    assert too_dear(spent, [route], cap) or not too_dear(spent, [route], cap + more)
    assert not too_dear(spent, [route], projected_nano(spent, [route]))


def test_a_projection_may_pass_the_cap_by_its_slack() -> None:
    """A fiftieth of the pending cost above the cap is let pass, and no more."""
    late = [too_dear(0, [RouteSpending(0, 0, 0, pending)], 100) for pending in (100, 102, 103)]
    assert [False, False, True] == late


ROWS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 2**64 - 1), st.integers(0, 10**6)),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[:2],
)
CUTS = st.one_of(
    st.just(ALL_STRONG), st.just(NONE_STRONG), st.builds(Cut, st.integers(0, 20), st.integers(0, 2**64 - 1))
)


@given(ROWS, st.integers(0, 10**7), st.integers(0, 4 * 10**7), CUTS)
def test_a_cut_fits_what_is_left(rows: list[tuple[int, int, int]], weak: int, room: int, now: Cut) -> None:
    """The pending rows never cost more than the room unless all are weak; one row more would not fit."""
    columns = zip(*rows, strict=True)
    kinds = (np.uint32, np.uint64, np.int64)
    key, tie, delta = (np.array(c, kind) for c, kind in zip(columns, kinds, strict=True))
    now_strong = now.strong(key, tie)
    pending = RankedRows(key[now_strong], tie[now_strong], delta[now_strong])

    def source() -> Iterator[RankedRows]:
        yield pending

    cut = pick_cut(source, weak, room, now)
    strong = cut.strong(key, tie)
    assert cut == higher(cut, now)
    assert not (strong & ~now_strong).any()
    cost = weak + int(delta[strong].sum())
    assert cost <= room or not strong.any()
    moved = sorted((int(k), int(t), int(d)) for k, t, d in zip(key, tie, delta, strict=True))
    left = [
        row for row in moved if now.strong(key[:1] * 0 + np.uint32(row[0]), np.array([row[1]], np.uint64))[0]
    ]
    weakened = [
        row for row in left if not cut.strong(np.array([row[0]], np.uint32), np.array([row[1]], np.uint64))[0]
    ]
    assert not weakened or cost + weakened[-1][2] > room


def test_room_keeps_a_margin() -> None:
    """A twenty-fifth of what is left and two weak calls at their worst are kept back; it is never below nothing."""
    assert (940, 0) == (room_nano(1_000, 10), room_nano(10, 100))


@given(*(st.builds(FinishedCalls, *[st.integers(0, 99)] * 5),) * 2)
def test_what_ended_adds_and_is_taken_away(one: FinishedCalls, other: FinishedCalls) -> None:
    """What was counted before comes off again."""
    assert one == (one + other).minus(other)
