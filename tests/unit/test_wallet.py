"""Escrow: what is spent and what may still be never exceed the grant, or the cap, in any order of events."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.core.types import Shard
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.score.allowance import EmbeddingBudget

END = st.sampled_from(["settle", "release", "presume"])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), END, st.floats(0, 1)), min_size=1, max_size=25),
)
def test_a_wallet_never_holds_more_than_its_grant(
    grant: int, calls: list[tuple[int, int, str, float]]
) -> None:
    """However calls overlap and end, the three sums stay within the grant, and every call ends."""

    async def play() -> tuple[Wallet, int]:
        wallet, paid = Wallet(grant), 0

        async def call(worst: int, turns: int, end: str, part: float) -> None:
            nonlocal paid
            if not await wallet.reserve(worst):
                return
            for _ in range(turns):
                assert wallet.settled_nano + wallet.presumed_nano + wallet.reserved_nano <= grant
                await asyncio.sleep(0)
            if end == "settle":
                wallet.settle(worst, int(worst * part))
                paid += int(worst * part)
            elif end == "release":
                wallet.release(worst)
            else:
                wallet.presume(worst)
                paid += worst

        await asyncio.wait_for(asyncio.gather(*(call(*one) for one in calls)), 10)
        return wallet, paid

    wallet, paid = asyncio.run(play())
    assert (0, paid) == (wallet.reserved_nano, wallet.settled_nano + wallet.presumed_nano)
    assert paid <= grant


def test_a_call_waits_while_an_open_one_may_give_back() -> None:
    """What does not fit beside an open call is paid for once that call has cost less than its worst."""

    async def play() -> tuple[bool, bool, int]:
        wallet = Wallet(100)
        assert await wallet.reserve(80)
        second = asyncio.create_task(wallet.reserve(60))
        await asyncio.sleep(0)
        waited = not second.done()
        wallet.settle(80, 10)
        return waited, await second, wallet.left_nano

    assert asyncio.run(play()) == (True, True, 30)


def test_what_can_never_be_paid_for_is_refused_and_noted() -> None:
    """With nothing open, a call above what is left is refused, and the wallet says that it is empty."""

    async def play() -> tuple[bool, bool, bool]:
        wallet = Wallet(10)
        return wallet.empty, await wallet.reserve(11), wallet.empty

    assert asyncio.run(play()) == (False, False, True)


def test_an_overrun_leaves_less_than_nothing() -> None:
    """A bill above the reservation is booked as it is, and nothing more is paid for."""

    async def play() -> tuple[int, bool]:
        wallet = Wallet(10)
        await wallet.reserve(10)
        wallet.settle(10, 25)
        return wallet.left_nano, await wallet.reserve(1)

    assert asyncio.run(play()) == (-15, False)


def test_without_a_cap_everything_is_paid_for() -> None:
    """No grant, no refusal; what was spent is still counted."""

    async def play() -> int:
        wallet = Wallet(None)
        for _ in range(3):
            assert await wallet.reserve(10**15)
            wallet.settle(10**15, 7)
        return wallet.settled_nano

    assert asyncio.run(play()) == 21


NANO = st.integers(0, 50)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NANO, NANO), min_size=1, max_size=6),
    NANO,
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.floats(0, 1)), max_size=12),
)
def test_embeddings_never_cost_more_than_the_cap(
    shards: list[tuple[int, int]], spare: int, moves: list[tuple[int, int, float]]
) -> None:
    """What is paid, what running tasks may pay and what waiting shards need stay within the cap, whoever ends when."""
    paid, worst = sum(before for before, _ in shards), {n: nano for n, (_, nano) in enumerate(shards)}
    cap = paid + sum(worst.values()) + spare
    budget = EmbeddingBudget(cap, {n: before for n, (before, _) in enumerate(shards)}, worst)
    running: list[tuple[list[Shard], int]] = []
    for begun, which, part in moves:
        if mine := [Shard(n, 0, 0, 1) for n in list(worst)[:begun]]:
            granted, known = budget.grant(mine)
            assert sum(shards[shard.index][0] for shard in mine) == known
            assert granted >= sum(worst.pop(shard.index) for shard in mine)
            running.append((mine, granted))
        elif running:
            mine, granted = running.pop(which % len(running))
            budget.settle(mine, int(granted * part))
            paid += int(granted * part)
        assert paid + sum(granted for _, granted in running) + sum(worst.values()) <= cap
