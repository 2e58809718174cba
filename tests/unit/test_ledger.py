"""The call ledger of a shard: what was going to be sent, what came of it, and what nobody knows."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.storage.ledger import CallRecord, ShardLedger
from routellm_batch.storage.store import FsStore
from routellm_batch.types import Usage


@pytest.fixture
def store() -> FsStore:
    """A fresh store in memory."""
    return fresh()


def fresh() -> FsStore:
    return FsStore(f"memory://ledger-{uuid.uuid4().hex}")


def record(row: int, status: str = "ok", **fields: object) -> CallRecord:
    base = CallRecord(row, "weak", status, f"key{row}", attempts=1, usage=Usage(10, 2, 5, 1), cost_nano=100)
    return replace(base, **fields)


def test_an_untouched_shard_has_an_empty_ledger(store: FsStore) -> None:
    """Nothing was sent, nothing was spent, and there was no writer."""
    state = ShardLedger(store, "000000").load()
    assert ({}, {}, 0, 0) == (state.records, state.orphans, state.writers, state.spent_nano)


def test_results_close_their_intents(store: FsStore) -> None:
    """Rows of an intent with a result are known; those without one are orphans at their worst cost, by route."""
    ledger = ShardLedger(store, "000000")
    ledger.write_intent("weak", [(0, 70), (1, 80)])
    ledger.write_intent("strong", [(2, 900), (3, 1000)])
    ledger.write_results([record(0), record(2, route="strong", cost_nano=500)])
    state = ShardLedger(store, "000000").load()
    assert {0: 100, 2: 500} == {row: found.cost_nano for row, found in state.records.items()}
    assert ({"weak": (1, 80), "strong": (1, 1000)}, 1, 1680) == (
        state.orphans,
        state.writers,
        state.spent_nano,
    )


def test_orphans_stay_orphans(store: FsStore) -> None:
    """A later writer's result does not undo what an earlier writer may have sent."""
    first = ShardLedger(store, "000000")
    first.write_intent("weak", [(0, 70)])
    second = ShardLedger(store, "000000")
    assert 1 == second.load().writers
    second.write_intent("weak", [(0, 70)])
    second.write_results([record(0)])
    state = ShardLedger(store, "000000").load()
    assert ({"weak": (1, 70)}, 170, 2) == (state.orphans, state.spent_nano, state.writers)


def test_two_writers_never_share_a_number(store: FsStore) -> None:
    """Both that found the ledger empty write to it, and nothing of either is lost."""
    one, other = ShardLedger(store, "000000"), ShardLedger(store, "000000")
    for ledger in (one, other):
        ledger.load()
    for ledger, row in ((one, 0), (other, 1)):
        ledger.write_intent("weak", [(row, 70)])
    for ledger, row in ((one, 0), (other, 1)):
        ledger.write_results([record(row)])
    state = ShardLedger(store, "000000").load()
    assert ({0, 1}, 2, {}) == (set(state.records), state.writers, state.orphans)
    assert (1, 2, 2) == (one.writers, other.writers, ShardLedger(store, "000000").count_writers())


def test_records_of_a_row_add_up(store: FsStore) -> None:
    """Spending, tokens and attempts are summed over the tries; the answer is the last one's."""
    for answer, status in ((None, "failed"), ("Yes.", "ok")):
        ledger = ShardLedger(store, "000000")
        ledger.load()
        ledger.write_intent("weak", [(0, 70)])
        ledger.write_results([record(0, status, answer=answer, presumed_nano=30)])
    found = ShardLedger(store, "000000").load().records[0]
    assert ("ok", "Yes.", 2, 200, 60, Usage(20, 4, 10, 2)) == (
        found.status,
        found.answer,
        found.attempts,
        found.cost_nano,
        found.presumed_nano,
        found.usage,
    )


def test_a_row_that_was_not_sent_after_all_keeps_its_outcome() -> None:
    """An unsent try leaves the earlier status and answer, and adds what it cost."""
    found = record(0, "unsent", presumed_nano=9, cost_nano=0).after(record(0, "failed", error_kind="timeout"))
    assert ("failed", "timeout", 100, 9, 2) == (
        found.status,
        found.error_kind,
        found.cost_nano,
        found.presumed_nano,
        found.attempts,
    )


def test_intents_hold_no_text(store: FsStore) -> None:
    """An intent is row numbers, sums and a nonce."""
    ShardLedger(store, "000000").write_intent("weak", [(0, 70)])
    intent = json.loads(store.read("call/000000/000.i000000.json"))
    assert ({"route", "nonce", "rows"}, [[0, 70]]) == (intent.keys(), intent["rows"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_any_answer_comes_back(answers: list[str]) -> None:
    """Line separators, control characters and every script survive the ledger's lines."""
    store = fresh()
    ledger = ShardLedger(store, "000000")
    clean = [text.encode("utf-8", "replace").decode() for text in answers]
    ledger.write_intent("weak", [(n, 1) for n in range(len(clean))])
    ledger.write_results([record(n, answer=text) for n, text in enumerate(clean)])
    state = ShardLedger(store, "000000").load()
    assert clean == [state.records[n].answer for n in range(len(clean))]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "failed", "unsent", "lost"])), max_size=14)
)
def test_no_cent_is_forgotten(tries: list[tuple[int, str]]) -> None:
    """Whatever order tries and deaths come in, spent is the sum of all results and of all lost intents."""
    store, spent = fresh(), 0
    for row, status in tries:
        ledger = ShardLedger(store, "000000")
        ledger.load()
        ledger.write_intent("weak", [(row, 1000)])
        if status == "lost":
            spent += 1000
            continue
        ledger.write_results([record(row, status, cost_nano=7, presumed_nano=3)])
        spent += 10
    state = ShardLedger(store, "000000").load()
    assert (spent, len(tries)) == (state.spent_nano, state.writers)
