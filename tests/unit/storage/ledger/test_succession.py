"""Taking over: a shard from a dead or silent runner, a run from a dead or silent driver."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.patience import patience

from routellm_batch.core.errors import BusyRunError, StoreError
from routellm_batch.core.process import SystemClock
from routellm_batch.core.worker import Worker
from routellm_batch.storage.ledger import epoch
from routellm_batch.storage.ledger.liveness import AtWork, is_dead, is_running, myself
from routellm_batch.storage.ledger.local import LocalLog, abandoned, frames, left_here, local_folder
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.state import LedgerState
from routellm_batch.storage.ledger.succession import adopt, sent_line, wait_for_predecessors
from routellm_batch.storage.ledger.writer import LedgerWriter
from routellm_batch.storage.store import FsStore

ELSEWHERE = {"host": "another machine", "name": "node-7", "pid": 4, "started": 1.0}


@pytest.fixture
def store() -> FsStore:
    """A fresh store in memory."""
    return FsStore(f"memory://takeover-{uuid.uuid4().hex}")


@dataclass
class Clock(SystemClock):
    """Time that passes only by sleeping, and what happens meanwhile."""

    now_s: float = 0.0
    events: dict[float, Callable[[], object]] = field(default_factory=dict)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        for at_s in [at_s for at_s in sorted(self.events) if at_s <= self.now_s]:
            self.events.pop(at_s)()


def dead_process() -> dict[str, object]:
    """Return what named a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    who = {**myself(), "pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    assert is_running(who)
    child.communicate(b"\n", timeout=patience(30))
    return who


def test_a_process_is_told_from_another_with_its_number() -> None:
    """A dead process is known as dead at once, this one lives, and one elsewhere is never surely dead."""
    assert (True, False, False) == (is_dead(dead_process()), is_dead(myself()), is_dead(ELSEWHERE))
    assert is_dead({**myself(), "started": 1.0})


def test_a_torn_log_is_read_up_to_the_tear(tmp_path: Path) -> None:
    """Whole frames before a torn or damaged one are kept, nothing after it is believed."""
    log = LocalLog(tmp_path, "000000", "a" * 16)
    for payload in (b"one", b"", b"three"):
        log.append(payload)
    log.close(remove=False)
    ((shard, runner, path, data),) = abandoned(tmp_path)
    assert ("000000", "a" * 16, [b"one", b"", b"three"]) == (shard, runner, list(frames(data)))
    assert [b"one", b""] == list(frames(data[:-1]))
    assert [] == list(frames(b"\x03\x00\x00\x00\x00\x00\x00\x00one" + data))
    assert path.exists()


def test_a_log_in_use_is_nobodys_to_adopt(tmp_path: Path) -> None:
    """The lock of a living writer keeps others off; closing it gives the log away."""
    log = LocalLog(tmp_path, "000000", "a" * 16)
    log.append(b"one")
    assert [] == list(abandoned(tmp_path))
    log.close(remove=True)
    assert [] == list(tmp_path.iterdir())


def test_local_logs_are_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers wait in a private folder, apart for each run; one that can't be made is an error that says what to do."""
    monkeypatch.setenv("ROUTELLM_LOCAL_DIR", str(tmp_path / "here"))
    folder = local_folder("s3://bucket/run")
    assert (0o700, True) == (folder.stat().st_mode & 0o777, folder != local_folder("s3://bucket/other"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROUTELLM_LOCAL_DIR", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="ROUTELLM_LOCAL_DIR"):
        local_folder("s3://bucket/run")


@pytest.mark.parametrize("where", ["base", "leaf"])
@pytest.mark.parametrize("how", ["open", "link", "theirs"])
def test_somebody_elses_folder_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, how: str
) -> None:
    """In a place for everybody, a folder that others may write to, or have put there, holds no logs of ours."""
    monkeypatch.delenv("ROUTELLM_LOCAL_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = local_folder("s3://bucket/run")
    assert (0o700, 0o700) == (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777)
    found = folder if where == "leaf" else folder.parent
    if how == "open":
        found.chmod(0o777)
    elif how == "link":
        found.rename(tmp_path / "elsewhere")
        found.symlink_to(tmp_path / "elsewhere")
    else:
        lstat = Path.lstat

        def foreign(path: Path) -> os.stat_result:
            fields = list(lstat(path))
            fields[4] += path == found
            return os.stat_result(fields)

        monkeypatch.setattr(Path, "lstat", foreign)
    with pytest.raises(StoreError, match="only this user can write to"):
        local_folder("s3://bucket/run")


def killed_runner(store: FsStore, folder: Path) -> ShardLedger:
    """Leave what a runner leaves that was killed: rows stored, answered, in flight, and named but not sent."""
    ledger = ShardLedger(store, "000000")
    ledger.claim()
    ledger.write_intent("weak", [(row, 70) for row in range(4)])
    log = LocalLog(folder, "000000", ledger.runner)
    for row in range(2):
        line = CallRecord(row, "weak", "ok", f"key{row}", answer="Yes.", cost_nano=5).to_json()
        log.append(sent_line(row))
        log.append(line.encode())
        if row == 0:
            ledger.write_results([line])
    log.append(sent_line(2))
    log.close(remove=False)
    return ledger


def test_only_calls_in_flight_are_lost_with_a_killed_process(store: FsStore, tmp_path: Path) -> None:
    """What was answered is adopted once, what was not sent is free, what was in flight is presumed spent."""
    killed_runner(store, tmp_path)
    assert (2, 0) == (adopt(store, tmp_path), adopt(store, tmp_path))
    state = ShardLedger(store, "000000").load()
    assert {0: "ok", 1: "ok", 3: "unsent"} == {row: r.status for row, r in state.records.items()}
    assert ({"weak": (1, 70)}, 80, []) == (state.orphans, state.spent_nano, list(tmp_path.iterdir()))


def test_a_log_that_was_half_adopted_is_adopted_once(store: FsStore, tmp_path: Path) -> None:
    """An adopter that died after storing and before removing the log does no harm."""
    killed_runner(store, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    adopt(store, tmp_path)
    for path, data in kept.items():
        path.write_bytes(data)
    assert (0, 80) == (adopt(store, tmp_path), ShardLedger(store, "000000").load().spent_nano)


def twice_sent(folder: Path, ledger: ShardLedger) -> list[str]:
    """Leave the local log of a runner that sent a row twice: once perhaps billed in vain, once refused."""
    ledger.claim()
    records = [
        CallRecord(0, "weak", "unsent", "key0", attempts=1, presumed_nano=70),
        CallRecord(0, "weak", "unsent", "key0", attempts=1),
    ]
    log = LocalLog(folder, "000000", ledger.runner)
    for record in records:
        ledger.write_intent("weak", [(0, 70)])
        log.append(sent_line(0))
        log.append(record.to_json().encode())
    log.close(remove=False)
    return [record.to_json() for record in records]


@pytest.mark.parametrize("stored", [0, 1])
def test_records_that_storage_lacks_are_told_by_what_they_say(
    store: FsStore, tmp_path: Path, stored: int
) -> None:
    """Of two records of one row storage may lack either: a failed write in the middle takes no spending away."""
    ledger = ShardLedger(store, "000000")
    lines = twice_sent(tmp_path, ledger)
    ledger.write_results(lines[stored : stored + 1])
    assert 1 == adopt(store, tmp_path)
    state = ShardLedger(store, "000000").load()
    assert (70, 2, {}) == (state.spent_nano, state.records[0].attempts, state.orphans)


def test_what_a_dead_runner_wrote_last_may_arrive_late(
    store: FsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that reaches storage while its runner's log is being adopted is there once."""
    ledger = ShardLedger(store, "000000")
    lines = twice_sent(tmp_path, ledger)
    create, late = store.create, [lines[:1]]

    def create_after(path: str, data: bytes) -> bool:
        if late:
            ledger.write_results(late.pop())
        return create(path, data)

    monkeypatch.setattr(store, "create", create_after)
    adopt(store, tmp_path)
    state = ShardLedger(store, "000000").load()
    assert (70, 2, {}) == (state.spent_nano, state.records[0].attempts, state.orphans)


def succeed(
    store: FsStore,
    clock: Clock,
    *,
    stopping: bool = False,
    adopt_here: Callable[[], Collection[str]] = tuple,
    worker: Worker | None = None,
) -> tuple[LedgerState, float]:
    """Claim the shard and wait for whoever was before; returns what there is then, and when."""
    ledger = ShardLedger(store, "000000")
    state = wait_for_predecessors(
        ledger,
        ledger.claim(),
        adopt_here,
        lease_s=30,
        worker=worker or Worker(clock=clock),
        stopping=lambda: stopping,
    )
    return state, clock.now_s


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever claims does so on another machine."""
    monkeypatch.setattr("routellm_batch.storage.ledger.shard.myself", lambda: ELSEWHERE)


@pytest.mark.usefixtures("elsewhere")
def test_a_living_runner_is_waited_for(store: FsStore) -> None:
    """A runner elsewhere that was shut out still gets its replies; none of its rows is sent again."""
    first = ShardLedger(store, "000000")
    first.claim()
    first.write_intent("weak", [(0, 70), (1, 70)])
    lines = [CallRecord(row, "weak", "ok", "key", cost_nano=5).to_json() for row in range(2)]
    events = {20.0: lambda: first.write_results(lines[:1]), 45.0: lambda: first.write_results(lines[1:])}
    state, at_s = succeed(store, Clock(events=events))
    assert ({0, 1}, {}, 45.0) == (set(state.records), state.orphans, at_s)


@pytest.mark.usefixtures("elsewhere")
def test_a_silent_runner_is_passed_over_after_a_lease(store: FsStore) -> None:
    """What it had open is presumed spent; no clock but the waiter's own is looked at."""
    first = ShardLedger(store, "000000")
    first.claim()
    first.write_intent("weak", [(0, 70)])
    state, at_s = succeed(store, Clock(now_s=1e6))
    assert ({"weak": (1, 70)}, 30.5) == (state.orphans, pytest.approx(at_s - 1e6, abs=0.5))


@pytest.mark.usefixtures("elsewhere")
def test_a_run_that_stops_waits_for_nobody(store: FsStore) -> None:
    """A drain ends the wait; nothing is sent afterwards."""
    ledger = ShardLedger(store, "000000")
    ledger.claim()
    ledger.write_intent("weak", [(0, 70)])
    assert 0 == succeed(store, Clock(), stopping=True)[1]


def test_a_runner_of_this_process_lives_while_it_is_at_work(store: FsStore) -> None:
    """A runner that this process gave up is not waited for; one that it still drives is."""
    ledger = ShardLedger(store, "000000")
    ledger.claim()
    ledger.write_intent("weak", [(0, 70)])
    clock = Clock()
    worker = Worker(clock=clock)
    runners = worker.kept(AtWork).runners
    runners.add(ledger.runner)
    clock.events[5.0] = lambda: runners.discard(ledger.runner)
    assert 5.0 == succeed(store, clock, worker=worker)[1]


def test_a_log_that_another_is_adopting_is_waited_for(
    store: FsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the lock of a dead runner's log is held its replies are not on storage, and no row of it is sent again."""
    who = dead_process()
    with monkeypatch.context() as patched:
        patched.setattr("routellm_batch.storage.ledger.shard.myself", lambda: who)
        killed_runner(store, tmp_path)
    others = abandoned(tmp_path)
    next(others)

    def go_on() -> None:
        others.close()
        adopt(store, tmp_path)

    def adopt_here() -> set[str]:
        adopt(store, tmp_path)
        return left_here(tmp_path, "000000")

    state, at_s = succeed(store, Clock(events={5.0: go_on}), adopt_here=adopt_here)
    assert ({0: "ok", 1: "ok", 3: "unsent"}, 5.0) == (
        {row: r.status for row, r in state.records.items()},
        at_s,
    )


def test_what_a_runner_wrote_before_it_died_is_seen(store: FsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that is found dead only after its ledger was read is read anew: its last reply may have come between."""
    first = ShardLedger(store, "000000")
    first.claim()
    first.write_intent("weak", [(0, 70)])

    def look(who: object) -> bool:
        first.write_results([CallRecord(0, "weak", "ok", "key", cost_nano=5).to_json()])
        return True

    monkeypatch.setattr("routellm_batch.storage.ledger.succession.is_myself", lambda _: False)
    monkeypatch.setattr("routellm_batch.storage.ledger.succession.is_dead", look)
    state, _ = succeed(store, Clock())
    assert ({}, 5) == (state.orphans, state.spent_nano)


@pytest.mark.parametrize("claimed", [False, True])
def test_results_that_are_stored_do_not_make_a_silent_runner_sure(
    store: FsStore, tmp_path: Path, *, claimed: bool
) -> None:
    """After two thirds of a lease a runner sends nothing until it has looked whether anybody had claimed."""
    clock = Clock()
    ledger = ShardLedger(store, "000000")
    ledger.claim()
    if claimed:
        ShardLedger(store, "000000").claim()

    async def play() -> list[bool]:
        writer = LedgerWriter(ledger, tmp_path, lease_s=30, worker=Worker(clock=clock))
        clock.now_s = 21.0
        await writer._write(lambda: False, ledger.write_results, ["{}"])
        told = [writer.silent()]
        await writer.intend("weak", [(0, 70)], lambda: False)
        writer.finish()
        writer.close()
        return [*told, writer.silent()]

    assert [True, claimed] == asyncio.run(play())


def held(store: FsStore, who: object, *, ended: bool = False) -> None:
    """Leave the epoch of a start."""
    store.create(epoch.epoch_path(1), json.dumps({"token": "t", "who": who}).encode())
    if ended:
        epoch.end(store, 1)


def took(store: FsStore, clock: Clock) -> tuple[int, bool]:
    """Take the run."""
    return epoch.take(store, "mine", 30, Worker(clock=clock), lambda _: None)


def test_a_run_that_ended_or_whose_driver_is_dead_is_taken_at_once(store: FsStore) -> None:
    """The first start takes epoch 1; after a clean end nobody is left behind, after a death somebody may be."""
    clock = Clock()
    assert (1, True) == took(store, clock)
    epoch.end(store, 1)
    assert (2, True) == took(store, clock)
    other = FsStore(f"memory://takeover-{uuid.uuid4().hex}")
    held(other, dead_process())
    assert (2, False) == took(other, clock)
    assert 0 == clock.now_s


def test_a_stale_listing_hides_no_start(store: FsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a listing shows no epoch at all, the next one is still the next, and no start waits for ever."""
    held(store, dead_process(), ended=True)
    monkeypatch.setattr(FsStore, "list", lambda *_: [])
    assert (2, True) == took(store, Clock())


def test_a_driver_that_lives_is_left_alone(store: FsStore) -> None:
    """On this machine that is known at once; the error names the process and says that nothing was called."""
    parent = os.getppid()
    import psutil

    held(store, {**myself(), "pid": parent, "started": psutil.Process(parent).create_time()})
    with pytest.raises(BusyRunError, match=rf"process {parent} .* nothing was called"):
        took(store, Clock())


def test_a_driver_elsewhere_is_listened_for(store: FsStore) -> None:
    """One beat within a lease and it lives; a lease of silence and the run is taken over; an end frees it."""
    held(store, ELSEWHERE)
    with pytest.raises(BusyRunError, match="node-7"):
        took(store, Clock(events={10.0: lambda: store.create("epoch/000001.b000003", b"alive")}))
    clock = Clock()
    assert ((2, False), 30) == (took(store, clock), pytest.approx(clock.now_s))


def test_of_two_that_take_over_one_does(store: FsStore) -> None:
    """The epoch is created exclusively: the loser finds the winner alive."""
    held(store, ELSEWHERE)
    events: dict[float, Callable[[], object]] = {
        29.0: lambda: store.create(
            epoch.epoch_path(2), json.dumps({"token": "u", "who": ELSEWHERE}).encode()
        ),
        45.0: lambda: store.create("epoch/000002.b000000", b"alive"),
    }
    with pytest.raises(BusyRunError):
        took(store, Clock(events=events))


def test_a_driver_that_was_taken_over_is_told(store: FsStore) -> None:
    """The beat that finds a newer epoch says so, once."""
    number, _ = took(store, Clock())
    lost: list[bool] = []
    with epoch.holding(store, "mine", number, 0.06, lambda: lost.append(True), Worker()):
        for _ in wait():
            if store.list("epoch") and any(".b" in o.path for o in store.list("epoch")):
                break
        store.create(epoch.epoch_path(2), b"{}")
        for _ in wait():
            if lost:
                break
    assert [True] == lost


def wait() -> Iterator[None]:
    """Look again and again, for a while."""
    import time

    until = time.monotonic() + patience(10)
    while time.monotonic() < until:
        yield
        time.sleep(0.01)
    pytest.fail("it did not happen in time")
