"""Taking a shard over: what a dead runner left on this machine, and what a living one still writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from routellm_batch.core.protocols import Store
from routellm_batch.core.types import Route
from routellm_batch.core.worker import Worker
from routellm_batch.storage.ledger.liveness import AtWork, is_dead, is_myself
from routellm_batch.storage.ledger.local import abandoned, frames
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.state import Entry, LedgerState


def sent_line(row: int) -> bytes:
    """Return what the local log says right before a row is sent."""
    return b"%d" % row


def adopt(store: Store, folder: Path, shard: str | None = None) -> int:
    """Put what dead runners left in this machine's local logs on storage; returns the number of records.

    Rows that were named in an intent and never sent get an unsent record, so only calls in flight stay open.
    """
    adopted = 0
    for name, runner, path, data in abandoned(folder, shard):
        ledger = ShardLedger(store, name)
        while True:
            lines, number = _left_behind(ledger, runner, data)
            if not lines or ledger.add_results(runner, number, lines):
                break  # else the object that the runner wrote last has arrived only now
        path.unlink(missing_ok=True)
        adopted += len(lines)
    return adopted


def _left_behind(ledger: ShardLedger, runner: str, data: bytes) -> tuple[list[str], int]:
    """Return the records of a dead runner that storage lacks, and the number of its next results object."""
    log, objects = ledger.read_runner(runner)
    # Compared by content, not counted: an object in the middle may not have been written.
    stored = Counter(line for lines in objects for line in lines)
    known = Counter(CallRecord.from_json(line).row for line in stored.elements())
    lines: list[str] = []
    in_flight: set[int] = set()
    for frame in frames(data):
        if frame.isdigit():
            in_flight.add(int(frame))
            continue
        line = frame.decode("utf-8")
        row = CallRecord.from_json(line).row
        in_flight.discard(row)
        if stored[line]:
            stored[line] -= 1
        else:
            lines.append(line)
            known[row] += 1
    named: dict[int, list[Route]] = {}
    for entry in log:
        for row, _ in entry.rows:
            named.setdefault(row, []).append(entry.route)
    for row, routes in named.items():
        if row not in in_flight:
            lines += [CallRecord(row, route, "unsent", "").to_json() for route in routes[known[row] :]]
    return lines, len(objects)


def wait_for_predecessors(
    ledger: ShardLedger,
    state: LedgerState,
    adopt_here: Callable[[], Collection[str]],
    *,
    lease_s: float,
    worker: Worker,
    stopping: Callable[[], bool],
) -> LedgerState:
    """Wait until no runner before this one can still write; returns what the ledger holds then.

    A runner that lives sees this one's claim within a beat, sends nothing more, and writes what it still gets. One
    that is silent for a lease is passed over: what it had open is presumed spent. ``adopt_here`` adopts what it can of
    the dead on this machine, and returns the runners whose logs lie here all the same: others are adopting them.

    Args:
        ledger: of the runner that waits; it has claimed the shard.
        state: what the ledger held after the claim.
        adopt_here: see above.
        lease_s: how long a silent runner is waited for.
        worker: this process.
        stopping: whether the run stops; then nobody is waited for.

    """
    last_sign: dict[str, tuple[int, float]] = {}
    passed: set[str] = set()
    now_s, active = worker.clock.monotonic, worker.kept(AtWork).runners
    while state.open_runners:
        writing = {runner for runner, claim in state.open_runners.items() if _may_live(runner, claim, active)}
        writing.update(adopt_here())
        state = ledger.load(sure=True)  # only now: for a runner that nobody writes for any more, this is all
        waits = [runner for runner in state.open_runners if runner in writing and runner not in passed]
        if not waits or stopping():
            break
        for runner in waits:
            trace = ledger.trace(runner)
            if trace != last_sign.get(runner, (-1, 0.0))[0]:
                last_sign[runner] = (trace, now_s())
            if ledger.has_ended(runner) or now_s() - last_sign[runner][1] > lease_s:
                passed.add(runner)
        worker.clock.sleep(worker.settings.look_s)
    return state


def _may_live(runner: str, claim: Entry, active: Collection[str]) -> bool:
    if is_myself(claim.who):
        return runner in active
    return not is_dead(claim.who)
