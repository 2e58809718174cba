"""The order of a call stage: grants, tasks that come back, shards that nothing pays for, new cuts and the last pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.types import Shard
from routellm_batch.stages.call.queue import (
    LEARNING_PARTS,
    MOST_FENCED,
    CallReceipt,
    ShardQueue,
    ShardTask,
    grant_for,
)
from routellm_batch.stages.tasks import WINDOW


def task(index: int, **fields: bool) -> ShardTask:
    return ShardTask(Shard(index, 0, 10 * index, 10), **fields)


def queue_of(shards: int, cap_nano: int | None = None, slots: int = 1) -> ShardQueue:
    queue = ShardQueue(slots, cap_nano)
    for index in range(shards):
        queue.add(task(index))
    return queue


def begin(
    queue: ShardQueue, *, learning: bool = False, degradable: bool = False
) -> list[tuple[int, int | None]]:
    """Begin what is to be begun now; returns each shard with its grant."""
    begun = queue.begin(learning=learning, degradable=degradable)
    return [(one.shard.index, one.grant_nano) for one in begun]


def back(
    queue: ShardQueue,
    shard: int,
    *,
    unsent: int = 0,
    total: int = 0,
    committed: bool = False,
    short: bool = False,
) -> None:
    """Take a shard's task back."""
    receipt = CallReceipt(shard, committed, unsent, total, None, short)
    queue.take(receipt, ahead=False, stopped=False)


def test_shards_go_out_in_order_and_as_many_as_fit() -> None:
    """Without a cap nothing is granted; the next shard goes out once one has come back."""
    queue = queue_of(4, slots=1)
    assert [(0, None), (1, None)] == begin(queue)
    assert [] == begin(queue)
    back(queue, 0, committed=True)
    assert [(2, None)] == begin(queue)


@pytest.mark.parametrize(("tasks", "grant"), [(1, 900), (2, 450), (100, 225)])
def test_a_grant_is_an_even_part_over_the_tasks_that_may_run(tasks: int, grant: int) -> None:
    """What is left is split over the tasks that there are, or over as many as two slots run."""
    assert grant == grant_for(900, tasks, slots=2)


def test_grants_and_spending_stay_within_the_cap() -> None:
    """The second grant is of what the first one left, and what came back unspent is granted anew."""
    queue = queue_of(3, cap_nano=1000)
    assert [(0, 500), (1, 250)] == begin(queue)
    back(queue, 0, total=100, committed=True)
    assert [(2, 325)] == begin(queue)
    assert (100, {1, 2}) == (queue.spent_nano, set(queue.running))


def test_a_grant_is_small_while_costs_are_being_learned() -> None:
    """A task gets at most an eighth of what is left, so that what it teaches comes early."""
    assert [(0, 1000 // LEARNING_PARTS), (1, 875 // LEARNING_PARTS)] == begin(
        queue_of(2, cap_nano=1000), learning=True
    )


def test_a_task_knows_what_was_spent_before_and_its_turn() -> None:
    """What the ledger holds beyond the known spending comes off a grant; a copy of a task has the same turn."""
    queue = queue_of(1, cap_nano=1000)
    queue.book(0, 40)
    first = queue.begin(learning=False, degradable=False)[0]
    assert (40, 0, 960) == (first.known_nano, first.turn, first.grant_nano)
    back(queue, 0, unsent=1, total=60)
    second = queue.begin(learning=False, degradable=False)[0]
    assert (60, 1, 940, True) == (second.known_nano, second.turn, second.grant_nano, second.again)
    assert 2 == queue.turn(0)


def test_who_could_pay_for_nothing_is_offered_all_that_is_left_alone() -> None:
    """It waits until nothing else runs; a second time and the shard is stuck, and then left out and finished."""
    queue = queue_of(2, cap_nano=100)
    assert [(0, 50), (1, 25)] == begin(queue)
    back(queue, 0, unsent=3, short=True)
    assert ([], False) == (begin(queue), queue.unfunded)
    back(queue, 1, total=20, committed=True)
    assert [(0, 80)] == begin(queue)
    back(queue, 0, unsent=3, short=True)
    assert ([], True) == (begin(queue), queue.unfunded)
    assert not queue.open
    queue.finish()
    last = queue.begin(learning=False, degradable=False)[0]
    assert (0, "finish", None) == (last.shard.index, last.mode, last.grant_nano)


def test_a_higher_cut_is_asked_for_before_anything_is_left_out() -> None:
    """Where a cut may pay for what is stuck, it is due; one that helps sends it out again, else it is left out."""
    for helped in (True, False):
        queue = queue_of(1, cap_nano=100)
        begin(queue)
        back(queue, 0, unsent=3, short=True)
        begin(queue)
        back(queue, 0, unsent=3, short=True)
        assert ([], "worst_case") == (begin(queue, degradable=True), queue.due)
        assert [0] == [one.shard.index for one in queue.pending]
        queue.recut(helped=helped)
        assert (None, not helped, helped) == (queue.due, queue.unfunded, queue.open)


def test_spending_ahead_of_the_plan_asks_for_a_cut_once() -> None:
    """The first reason stands; rows that were called back for it wait in line, however little was spent."""
    queue = queue_of(2, cap_nano=1000)
    begin(queue)
    queue.take(CallReceipt(0, committed=False, unsent=2, total_nano=50, stop=None), ahead=True, stopped=False)
    back(queue, 1, unsent=2)
    assert ("burn", [0, 1]) == (queue.due, [one.shard.index for one in queue.pending])
    queue.recut(helped=False)
    assert (None, False, [0, 1]) == (queue.due, queue.unfunded, [shard for shard, _ in begin(queue)])


def test_rows_that_need_a_call_after_a_stop_are_left_to_the_next_start() -> None:
    """Nothing is put back once the run stops, and what waits can be dropped."""
    queue = queue_of(3)
    begin(queue)
    receipt = CallReceipt(0, committed=False, unsent=5, total_nano=7, stop=None)
    queue.take(receipt, ahead=False, stopped=True)
    queue.drop()
    assert ([], {1}, True) == (list(queue.pending), set(queue.running), queue.open)
    back(queue, 1, committed=True)
    assert (False, 7) == (queue.open, queue.spent_nano)


def test_a_shard_that_waits_for_others_is_written_in_the_last_pass() -> None:
    """A shard without a missing call that is not committed is finished at the end, like one that was behind."""
    queue = queue_of(1)
    queue.add_unfinished(task(1, has_copies=True))
    begin(queue)
    back(queue, 0, unsent=0)
    assert not queue.open
    queue.finish()
    begun = queue.begin(learning=False, degradable=False)
    assert [(1, "finish"), (0, "finish")] == [(one.shard.index, one.mode) for one in begun]
    for one in begun:
        back(queue, one.shard.index, committed=True)
    assert not queue.open


def test_a_shard_that_is_lost_to_copies_again_and_again_is_told() -> None:
    """It is put back each time; after too often it is said that this won't help."""
    queue = queue_of(1)
    answers = []
    for _ in range(MOST_FENCED + 1):
        begin(queue)
        answers.append(queue.put_back(queue.lose(0)))
    assert [*[True] * MOST_FENCED, False] == answers
    assert [True] == [one.again for one in queue.pending]


@dataclass
class Bill:
    """Shards whose rows cost what they cost, called by tasks that spend no more than their grant."""

    rows: dict[int, list[int]]
    """Shard → worst costs of the rows that need a call."""
    spent: dict[int, int] = field(default_factory=dict)

    def call(self, one: ShardTask) -> CallReceipt:
        """Do a task: pay for each row in order that the grant pays for."""
        shard, left = one.shard.index, one.grant_nano
        unpaid: list[int] = []
        for cost in self.rows[shard] if one.mode == "call" else ():
            if left is not None and cost > left:
                unpaid.append(cost)
                continue
            left = None if left is None else left - cost
            self.spent[shard] = self.spent.get(shard, 0) + cost
        if one.mode == "call":
            self.rows[shard] = unpaid
        committed = one.mode == "finish" or not unpaid
        return CallReceipt(shard, committed, len(unpaid), self.spent.get(shard, 0), None, short=bool(unpaid))


@given(
    rows=st.lists(st.lists(st.integers(1, 60), max_size=5), min_size=1, max_size=6),
    cap_nano=st.none() | st.integers(0, 400),
    slots=st.integers(1, 3),
    learning=st.booleans(),
    data=st.data(),
)
def test_every_shard_is_finished_within_the_cap(
    rows: list[list[int]], cap_nano: int | None, slots: int, data: st.DataObject, *, learning: bool
) -> None:
    """In whatever order tasks end: no shard runs twice at once, the cap holds, and all that can be paid for is."""
    queue, bill = queue_of(len(rows), cap_nano, slots), Bill(dict(enumerate(rows)))
    committed: set[int] = set()
    for _ in range(2):
        while queue.open:
            running = set(queue.running)
            begun = queue.begin(learning=learning, degradable=False)
            assert set() == running & {one.shard.index for one in begun}
            assert len(queue.running) <= WINDOW * slots
            granted = sum(one.grant_nano or 0 for one in queue.running.values())
            assert cap_nano is None or queue.spent_nano + granted <= cap_nano
            if queue.running:
                receipt = bill.call(queue.running[data.draw(st.sampled_from(sorted(queue.running)))])
                committed |= {receipt.shard} if receipt.committed else set()
                queue.take(receipt, ahead=False, stopped=False)
        queue.finish()
    assert set(range(len(rows))) == committed
    assert sum(bill.spent.values()) == queue.spent_nano
    left = [cost for costs in bill.rows.values() for cost in costs]
    assert queue.unfunded == bool(left)
    assert all(cost > (cap_nano or 0) - queue.spent_nano for cost in left)


def test_a_shard_whose_worker_died_is_called_again() -> None:
    """It is handed out as long as it gets further; eight deaths in a row to no avail are enough."""
    queue, found = queue_of(1), []
    for done in (0, *[3] * 9):
        begun = queue.begin(learning=False, degradable=False)
        found.append((len(begun), queue.suspect(0)))
        if begun:
            queue.bury(queue.lose(0), 1, done)
    assert [(1, False), (1, True), (1, False), *[(1, True)] * 7] == found
    assert ([], False) == (list(queue.begin(learning=False, degradable=False)), queue.open)
