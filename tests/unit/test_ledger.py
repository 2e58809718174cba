"""The call ledger of a shard: what was going to be sent, what came of it, and what nobody knows."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.core.errors import FencedError
from routellm_batch.core.types import Usage
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.store import FsStore


@pytest.fixture
def store() -> FsStore:
    """A fresh store in memory."""
    return fresh()


def fresh() -> FsStore:
    return FsStore(f"memory://ledger-{uuid.uuid4().hex}")


def record(row: int, status: str = "ok", **fields: object) -> CallRecord:
    base = CallRecord(row, "weak", status, f"key{row}", attempts=1, usage=Usage(10, 2, 5, 1), cost_nano=100)
    return replace(base, **fields)


def claimed(store: FsStore, epoch: int = 0) -> ShardLedger:
    """Return the ledger of a new runner of the shard."""
    ledger = ShardLedger(store, "000000", epoch=epoch)
    ledger.claim()
    return ledger


def put(ledger: ShardLedger, *records: CallRecord) -> None:
    ledger.write_results([one.to_json() for one in records])


def test_an_untouched_shard_has_an_empty_ledger(store: FsStore) -> None:
    """Nothing was sent, nothing was spent, and nobody wrote."""
    state = ShardLedger(store, "000000").load()
    assert ({}, {}, 0, 0) == (state.records, state.orphans, state.entries, state.spent_nano)


def test_results_close_their_intents(store: FsStore) -> None:
    """Rows of an intent with a result are known; those without one are orphans at their worst cost, by route."""
    ledger = claimed(store)
    ledger.write_intent("weak", [(0, 70), (1, 80)])
    ledger.write_intent("strong", [(2, 900), (3, 1000)])
    put(ledger, record(0), record(2, route="strong", cost_nano=500))
    state = ShardLedger(store, "000000").load()
    assert {0: 100, 2: 500} == {row: found.cost_nano for row, found in state.records.items()}
    assert ({"weak": (1, 80), "strong": (1, 1000)}, {ledger.runner}, 1680) == (
        state.orphans,
        set(state.open_runners),
        state.spent_nano,
    )


def test_each_intent_authorises_one_send(store: FsStore) -> None:
    """A row that is sent again is named again, and each send without a record is presumed at its own worst cost."""
    ledger = claimed(store)
    ledger.write_intent("weak", [(0, 70)])
    put(ledger, record(0, "unsent", cost_nano=0, presumed_nano=70))
    ledger.write_intent("weak", [(0, 90)])
    state = ShardLedger(store, "000000").load()
    assert ({"weak": (1, 90)}, 160) == (state.orphans, state.spent_nano)


def test_results_after_a_lost_reply_are_all_kept(store: FsStore) -> None:
    """An object that seemed not to be written, and was, does not swallow the records that come after it."""
    ledger = ShardLedger(store, "000000")
    ledger.claim()
    ledger.write_intent("weak", [(0, 7), (1, 7)])
    lines = [CallRecord(row, "weak", "ok", "k", cost_nano=5).to_json() for row in range(2)]
    assert ledger.add_results(ledger.runner, 0, lines[:1])  # its reply was lost, and the writer gave it up
    ledger.write_results(lines[1:])
    assert ({0, 1}, 10) == (set(ledger.load().records), ledger.load().spent_nano)


def test_orphans_stay_orphans(store: FsStore) -> None:
    """A later runner's result does not undo what an earlier one may have sent."""
    claimed(store).write_intent("weak", [(0, 70)])
    second = claimed(store)
    second.write_intent("weak", [(0, 70)])
    put(second, record(0))
    state = ShardLedger(store, "000000").load()
    assert ({"weak": (1, 70)}, 170) == (state.orphans, state.spent_nano)


def test_a_claim_shuts_the_earlier_runner_out(store: FsStore) -> None:
    """Who has not read a newer claim can't write an intent, so one row never has two live runners."""
    first = claimed(store)
    first.write_intent("weak", [(0, 70)])
    second = claimed(store)
    for forbidden in (lambda: first.write_intent("weak", [(1, 70)]), first.beat):
        with pytest.raises(FencedError):
            forbidden()
    second.write_intent("weak", [(1, 70)])
    put(first, record(0))  # what it still gets is not lost
    state = ShardLedger(store, "000000").load()
    assert ({0}, {second.runner}) == (set(state.records), set(state.open_runners))


def test_two_claims_at_once_leave_one_runner(store: FsStore) -> None:
    """Of two that found the same log, the later claim counts."""
    one, other = ShardLedger(store, "000000"), ShardLedger(store, "000000")
    for ledger in (one, other):
        ledger.load()
    for ledger in (one, other):
        ledger.claim()
    with pytest.raises(FencedError):
        one.write_intent("weak", [(0, 70)])
    other.write_intent("weak", [(0, 70)])


def test_a_runner_of_an_earlier_start_can_not_claim(store: FsStore) -> None:
    """A zombie of a start that was taken over is shut out: by a seal, by a newer claim, by the epoch alone."""
    ShardLedger(store, "000000", epoch=2).seal()
    store.create("epoch/000006.json", b"{}")
    for epoch in (1, 5):
        with pytest.raises(FencedError):
            claimed(store, epoch)
    assert (6, 0) == claimed(store, 6).load().turn


def test_a_seal_stops_a_runner_at_work(store: FsStore) -> None:
    """The next intent after a seal is refused."""
    ledger = claimed(store, 1)
    ledger.write_intent("weak", [(0, 70)])
    ShardLedger(store, "000000", epoch=2).seal()
    with pytest.raises(FencedError):
        ledger.write_intent("weak", [(1, 70)])


@pytest.mark.parametrize("kind", ["claim", "seal"])
def test_who_reads_on_is_shut_out_all_the_same(store: FsStore, kind: str) -> None:
    """A runner that finds a later claim or seal while it waits for its predecessor writes no intent past it."""
    ledger = claimed(store)
    getattr(ShardLedger(store, "000000", epoch=2), kind)()
    assert 2 == ledger.load(sure=True).entries
    with pytest.raises(FencedError):
        ledger.write_intent("weak", [(0, 70)])


def test_no_copy_of_a_finished_task_can_claim(store: FsStore) -> None:
    """Once a runner has ended its task's turn, a late copy of the task is shut out, and the next task is not."""
    first = ShardLedger(store, "000000", epoch=1, turn=0)
    first.claim()
    first.finish()
    with pytest.raises(FencedError):
        ShardLedger(store, "000000", epoch=1, turn=0).claim()
    assert (1, 1) == ShardLedger(store, "000000", epoch=1, turn=1).claim().turn
    assert (2, 0) == ShardLedger(store, "000000", epoch=2, turn=0).claim().turn


def test_a_task_does_not_end_beside_a_copy_of_it(store: FsStore) -> None:
    """A runner that lost the shard to a copy of its task can't end the turn, as the copy may be spending its grant."""
    first, copy = (ShardLedger(store, "000000", epoch=1, turn=0) for _ in range(2))
    first.claim()
    copy.claim()
    with pytest.raises(FencedError):
        first.finish()
    copy.write_intent("weak", [(0, 70)])
    copy.finish()


def test_who_never_claimed_ends_nothing(store: FsStore) -> None:
    """A task that had nothing to call writes nothing to the log."""
    ShardLedger(store, "000000", epoch=1).finish()
    assert [] == list(store.list("call"))


def test_a_stale_listing_hides_nothing_that_was_paid(store: FsStore) -> None:
    """A claim asks for the objects after the listed ones, entries and results alike."""
    first = claimed(store)
    first.write_intent("weak", [(0, 70), (1, 70)])
    put(first, record(0))
    put(first, record(1))
    real = store.list
    store.list = lambda folder: [o for o in real(folder) if "000000." in o.path]  # type: ignore[method-assign]
    found = ShardLedger(store, "000000").claim()
    assert ({0, 1}, {}) == (set(found.records), found.orphans)


def test_records_of_a_row_add_up(store: FsStore) -> None:
    """Spending, tokens and attempts are summed over the tries; the answer is the last one's."""
    for answer, status in ((None, "failed"), ("Yes.", "ok")):
        ledger = claimed(store)
        ledger.write_intent("weak", [(0, 70)])
        put(ledger, record(0, status, answer=answer, presumed_nano=30))
    found = ShardLedger(store, "000000").load().records[0]
    assert ("ok", "Yes.", 2, 200, 60, Usage(20, 4, 10, 2)) == (
        found.status,
        found.answer,
        found.attempts,
        found.cost_nano,
        found.presumed_nano,
        found.usage,
    )


def test_an_answer_is_not_given_up_for_a_failure() -> None:
    """A zombie's late failure costs, and takes no answer away."""
    found = record(0, "failed", cost_nano=1).after(record(0, answer="Yes."))
    assert ("ok", "Yes.", 101) == (found.status, found.answer, found.cost_nano)


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
    claimed(store).write_intent("weak", [(0, 70)])
    intent = json.loads(store.read("call/000000/000001.json"))
    assert ({"kind", "route", "runner", "rows"}, [[0, 70]]) == (intent.keys(), intent["rows"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_any_answer_comes_back(answers: list[str]) -> None:
    """Line separators, control characters and every script survive the ledger's lines."""
    store = fresh()
    ledger = claimed(store)
    clean = [text.encode("utf-8", "replace").decode() for text in answers]
    ledger.write_intent("weak", [(n, 1) for n in range(len(clean))])
    put(ledger, *(record(n, answer=text) for n, text in enumerate(clean)))
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
        ledger = claimed(store)
        ledger.write_intent("weak", [(row, 1000)])
        if status == "lost":
            spent += 1000
            continue
        put(ledger, record(row, status, cost_nano=7, presumed_nano=3))
        spent += 10
    state = ShardLedger(store, "000000").load()
    assert (spent, 2 * len(tries)) == (state.spent_nano, state.entries)
