"""Sequences of faults that once went wrong, or nearly: played in the simulated world, move by move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.sim.audit import Auditor
from helpers.sim.inside import inside
from helpers.sim.parts import Copy, Driver, Trap
from helpers.sim.plans import planned
from helpers.sim.provider import Call, Fate
from helpers.sim.world import LEASE_S, World

from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.run import STAGE, marker_name, newest_markers

Stage = Callable[[str, int | None], World]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """``stage(kind, cap)``: a world with a planned run that nobody has started."""
    with ExitStack() as stack:

        def build(kind: str, cap_nano: int | None) -> World:
            world = World(planned(kind), tmp_path, cap_nano)
            stack.enter_context(inside(world))
            return world

        yield build


def started(world: World, host: int = 0) -> Driver:
    """Start the run, and let it go as far as it can."""
    driver = world.start(world.hosts[host])
    world.settle()
    return driver


def copy_of(driver: Driver, shard: int) -> Copy:
    """Return a shard's task where it was run last."""
    return next(job for job in driver.runner.jobs if job.task.shard.index == shard).copies[-1]


def answer(world: World, fate: Fate = Fate.ANSWERED) -> None:
    """Let all that waits come to something."""
    for call in world.provider.waiting:
        world.provider.end(call, fate)
    world.settle()


def finished(world: World, driver: Driver) -> bool:
    """Answer everything from now on; return whether the start ends, and all the time what must hold holds."""
    auditor = Auditor(world)
    world.provider.automatic = True
    answer(world)
    for _ in range(60):
        world.advance(1.0)
        auditor.check()
        if driver.ended:
            return driver.error is None and driver.halt.state == "finished"
    return False


def test_a_copy_that_wakes_late_spends_nothing_of_what_was_given_back(stage: Stage) -> None:
    """A task ran on a frozen process and again elsewhere; when the first copy wakes its turn is over."""
    world = stage("stop", 5_000_000)
    for worker in world.workers:
        worker.frozen = True
    driver = started(world)
    copy = copy_of(driver, 2)
    other = next(worker for worker in world.workers if worker is not copy.process)
    other.frozen = False
    world.run_copy(copy.job, other)
    world.settle()
    for _ in range(2):
        answer(world, Fate.DEAR)
    assert copy.job not in driver.runner.jobs, "its grant pays for one of two calls, and it comes back"
    copy.process.frozen = False
    world.settle()
    assert (None, True) == (copy.wallet, copy.turn.ended)
    assert finished(world, driver)


def test_a_seal_reaches_a_runner_that_waits_for_its_predecessor(stage: Stage) -> None:
    """A new start seals a shard while a copy of a task waits for a frozen one: neither of them writes an intent."""
    world = stage("stop", 6_000_000)
    driver = started(world)
    copy = copy_of(driver, 2)
    copy.process.frozen = True
    other = next(worker for worker in world.workers if worker is not copy.process)
    world.run_copy(copy.job, other)
    world.kill(driver.process)
    world.settle()
    started(world)
    seals = len(world.provider.log("000002"))
    world.advance(2 * LEASE_S)
    copy.process.frozen = False
    world.advance(1.0)
    Auditor(world).check()
    log = world.provider.log("000002")
    assert "seal" == log[seals - 1].kind
    assert set() == {entry.runner for entry in log[seals:] if entry.epoch == 1}


def test_a_start_that_only_plans_hides_no_runner(stage: Stage) -> None:
    """A start was killed, and another one ended without a call: the next one seals what the first left running."""
    world = stage("stop", 6_000_000)
    driver = started(world)
    world.kill(driver.process)
    assert world.start(world.hosts[0], calls=False)
    world.settle()
    assert [False, True] == [one.process.alive for one in [world.drivers[-1], started(world)]]
    sealed = [shard.name for shard in world.scene.run.shards if _sealed(world, shard.name, epoch=3)]
    assert ["000000", "000001", "000002"] == sealed


def _sealed(world: World, shard: str, *, epoch: int) -> bool:
    return any(entry.kind == "seal" and entry.epoch == epoch for entry in world.provider.log(shard))


def test_a_runner_that_was_passed_over_sends_nothing_more(stage: Stage) -> None:
    """A frozen runner whose successor has begun to send gets a late reply, and leaves its other rows to that one."""
    world = stage("open", None)
    driver = started(world)
    copy = copy_of(driver, 2)
    copy.process.frozen = True
    run_beside(world, copy)
    mine, others = sending(world, copy), sending(world, copy.job.copies[-1])
    assert (True, True) == (bool(mine), bool(others))
    world.provider.end(mine[0], Fate.ANSWERED)
    copy.process.frozen = False
    world.advance(1.0)
    assert [] == sending(world, copy)[len(mine) :]
    assert finished(world, driver)


def test_a_copy_that_begins_late_calls_nothing(stage: Stage) -> None:
    """A second copy of a task begins once the first has come back: rows that failed are not called again by it."""
    world = stage("open", None)
    driver = started(world)
    copy = copy_of(driver, 2)
    other = next(worker for worker in world.workers if worker is not copy.process)
    other.frozen = True
    world.run_copy(copy.job, other)
    for _ in range(10):
        answer(world, Fate.LOST)
        world.advance(1.0)
    sent = sending(world, copy)
    assert (True, True) == (copy.turn.ended, bool(sent))
    other.frozen = False
    world.advance(1.0)
    assert sent == [call for call in world.provider.calls if call.shard == "000002"]


def test_a_late_answer_is_not_given_up_for_a_failure(stage: Stage) -> None:
    """A runner that was passed over hears an answer to a row that its successor failed: the row is answered."""
    world = stage("open", None)
    driver = started(world)
    copy = copy_of(driver, 2)
    copy.process.frozen = True
    run_beside(world, copy)
    for call in sending(world, copy.job.copies[-1]):
        world.provider.end(call, Fate.REJECTED)
    world.settle()
    late = sending(world, copy)[0]
    world.provider.end(late, Fate.ANSWERED)
    copy.process.frozen = False
    world.advance(1.0)
    assert "ok" == ShardLedger(world.store, "000002").load().records[late.row].status
    assert finished(world, driver)


def test_an_intent_that_is_heard_of_late_lets_nobody_send(stage: Stage) -> None:
    """While a runner waited to hear that its intent is on storage another one took over: it sends nothing."""
    world = stage("open", None)
    world.traps.append((Trap.HANGS, 0, "call/000002/000001.json"))
    driver = started(world)
    copy = copy_of(driver, 2)
    run_beside(world, copy)
    world.stalls.pop().released = True
    world.advance(1.0)
    assert ([], True) == (sending(world, copy), bool(sending(world, copy.job.copies[-1])))
    assert finished(world, driver)


def test_what_storage_did_not_take_waits_in_the_local_log(stage: Stage) -> None:
    """A start is interrupted while results can't be stored: the next one finds them on the machine, and calls none."""
    world = stage("open", None)
    driver = started(world)
    copy = copy_of(driver, 2)
    mine = sending(world, copy)
    world.traps.append((Trap.FAILS, 0, f"{mine[0].runner}.r"))
    driver.halt.stop("interrupted", "SIGTERM")
    world.advance(1.0)
    answer(world)
    world.advance(1.0)
    assert (True, []) == (driver.ended, world.traps)
    assert finished(world, started(world))
    assert mine == [call for call in world.provider.calls if call.shard == "000002"]


@pytest.mark.parametrize("part", ["responses/000001", "commit/call/000001"])
def test_who_writes_a_shard_late_takes_nothing_from_it(stage: Stage, part: str) -> None:
    """A start dies while its worker writes rows that failed; the next one answers them, and that is what stays."""
    world = stage("open", None)
    world.traps.append((Trap.STALLS, 0, part))
    driver = started(world)
    for _ in range(10):
        for call in world.provider.waiting:
            world.provider.end(call, Fate.LOST if call.shard == "000001" else Fate.ANSWERED)
        world.advance(1.0)
    (late,) = world.stalls
    world.kill(driver.process)
    other = started(world)
    assert finished(world, other)
    late.released = True
    world.advance(1.0)
    auditor = Auditor(world)
    auditor.check()
    auditor.check_end(other)


def test_who_finds_all_rows_answered_ends_the_runner_at_work_on_them(stage: Stage) -> None:
    """A task's first copy answers late what its second one is sending; the third, with nothing to call, ends the second."""
    world = stage("stop", 40_000_000)
    driver = started(world)
    copy = copy_of(driver, 2)
    copy.process.frozen = True
    run_beside(world, copy)
    second = copy.job.copies[-1]
    for call in sending(world, copy):
        world.provider.end(call, Fate.ANSWERED)
    copy.process.frozen = False
    world.advance(1.0)
    run_beside(world, second)
    assert (True, "seal") == (bool(sending(world, second)), world.provider.log("000002")[-1].kind)
    calls = len(world.provider.calls)
    for call in world.provider.waiting:
        world.provider.end(call, Fate.BROKEN if call.shard == "000002" else Fate.ANSWERED)
    world.advance(1.0)
    assert [] == [call for call in world.provider.calls[calls:] if call.shard == "000002"]
    assert finished(world, driver)


def test_rows_that_were_mended_and_not_counted_are_counted_by_the_next_start(stage: Stage) -> None:
    """A start tries failed rows again and tells their answers, and storage fails before it has counted them."""
    world = stage("open", None)
    first = started(world)
    for _ in range(9):
        for call in world.provider.waiting:
            world.provider.end(call, Fate.REJECTED if call.row == 1 else Fate.ANSWERED)
        world.advance(1.0)
    assert finished(world, first)
    world.traps.append((Trap.FAILS, 0, "commit/call/000000.r1"))
    world.start(world.hosts[0], retry_failed=True)
    world.advance(5.0)
    assert ([], True) == (world.traps, "responses/000000.r1.parquet" in world.store.objects)
    assert finished(world, started(world))
    run = world.scene.run
    markers = [run.marker(STAGE, marker_name(*newest)) for newest in newest_markers(run).items()]
    assert [0, 0, 0] == [marker["summary"]["failed"] for marker in markers]


def run_beside(world: World, copy: Copy) -> None:
    """Have the other worker run a task, until its first runner is passed over."""
    other = next(worker for worker in world.workers if worker is not copy.process)
    world.run_copy(copy.job, other)
    world.advance(2 * LEASE_S)


def sending(world: World, copy: Copy) -> list[Call]:
    """Return the requests that a runner has sent."""
    assert copy.ledger is not None
    return [call for call in world.provider.calls if call.runner == copy.ledger.runner]
