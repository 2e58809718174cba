"""What must hold of a simulated world after every move: read off storage, bills and what may still be spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from helpers.sim.parts import Copy, Driver
from helpers.sim.provider import Call, Fate
from helpers.sim.world import World

from routellm_batch.budget.spend.summary import CallSummary
from routellm_batch.stages.call.responses import FINAL
from routellm_batch.stages.call.task import CallTask, is_wanted
from routellm_batch.storage.ledger.local import left_here
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.state import Entry, LedgerState
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import STAGE, marker_name, newest_markers


@dataclass
class Auditor:
    """Looks a world over, again and again."""

    world: World
    states: dict[str, LedgerState] = field(default_factory=dict)
    """Shard → its ledger as it was last read."""
    _seen: dict[str, int] = field(default_factory=dict)
    """Shard → objects that it had then."""
    _answers: dict[tuple[str, int], str] = field(default_factory=dict)
    """(shard, row) → its answer on storage."""
    _done: dict[str, set[int]] = field(default_factory=dict)
    """Runner → rows of its shard that were answered on storage before it wrote its first intent."""
    _calls: int = 0
    """Requests looked at."""
    _stored: set[Call] = field(default_factory=set)
    """Requests whose answers are known to be on storage."""
    _markers: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Check all of it."""
        assert [] == self.world.problems
        for shard in self.world.scene.run.shards:
            self._check_shard(shard.name)
        self._check_limits()
        self._check_calls()
        self._check_answers()
        self._check_starts()
        if self.world.cap_nano is not None:
            self._check_escrow(self.world.cap_nano)
        self._check_markers()

    def _check_shard(self, shard: str) -> None:
        """I1-I5 of the ledger: a log without gaps that one writes, bills that are booked, answers that stay."""
        objects = self.world.store.objects
        inside = [path for path in objects if path.startswith(f"call/{shard}/")]
        if self._seen.get(shard) != len(inside):
            self._seen[shard] = len(inside)
            numbers = sorted(path for path in inside if path.endswith(".json"))
            assert [f"call/{shard}/{n:06d}.json" for n in range(len(numbers))] == numbers
            log = self.world.provider.log(shard)
            self._check_log(log)
            self.states[shard] = ShardLedger(self.world.store, shard).load()
            self._check_records(shard)
        for runner in {entry.runner for entry in self.world.provider.log(shard)} & self.world.begun:
            self._done.setdefault(runner, {row for name, row in self._answers if name == shard})
        state, billed = self.states[shard], self.world.provider.may_bill_nano(shard)
        assert state.spent_nano >= billed, (
            f"shard {shard}: {billed} are or may yet be billed, {state.spent_nano} are booked"
        )
        for (name, row), answer in self._answers.items():
            if name == shard:
                record = state.records.get(row)
                assert record is not None, f"the answer to row {row} of shard {shard} is gone"
                assert ("ok", answer) == (record.status, record.answer)
        self._answers |= {
            (shard, row): record.answer or ""
            for row, record in state.records.items()
            if record.status == "ok"
        }

    def _check_log(self, log: list[Entry]) -> None:
        """Only the last to claim writes intents, and nobody whom a seal or a later start has shut out."""
        for number, entry in enumerate(log):
            if entry.kind == "intent":
                holder = _holder(log[:number])
                assert holder == entry.runner, f"{entry.runner} writes an intent, {holder or 'nobody'} may"

    def _check_records(self, shard: str) -> None:
        """A runner has at most one record of a row for each time that it named it, and no answer is given up."""
        log = self.world.provider.log(shard)
        named = Counter((entry.runner, row) for entry in log for row, _ in entry.rows)
        for runner in {entry.runner for entry in log}:
            found = self._records(shard, runner)
            for row, records in Counter(one.row for one in found).items():
                assert records <= named[runner, row], (
                    f"row {row} has {records} records for {named[runner, row]}"
                )
            answered = [one.row for one in found if one.status == "ok"]
            assert {"ok"} >= {self.states[shard].records[row].status for row in answered}

    def _records(self, shard: str, runner: str) -> list[CallRecord]:
        """Return a runner's records on storage."""
        lines = ShardLedger(self.world.store, shard).read_runner(runner)[1]
        return [CallRecord.from_json(line) for part in lines for line in part]

    def _check_limits(self) -> None:
        """All processes together have no more calls open at an endpoint than it takes at once."""
        provider, endpoints = self.world.provider, self.world.scene.config.endpoints
        opened = Counter(call.route for call in provider.waiting if call.alive())
        for route, calls in opened.items():
            most = endpoints.of(route).limits.concurrency
            assert calls <= most, f"{calls} calls are open at {route}, which takes {most}"

    def _check_calls(self) -> None:
        """No row is sent whose answer its runner could read before it named it."""
        for call in self.world.provider.calls[self._calls :]:
            done = self._done[call.runner]
            assert call.row not in done, (
                f"row {call.row} of shard {call.shard} is answered, and is sent again"
            )
        self._calls = len(self.world.provider.calls)

    def _check_answers(self) -> None:
        """Each answer that arrived is on storage, or its runner's local log is there, if its machine is."""
        here = {
            runner
            for host in self.world.hosts
            for shard in self.world.scene.run.shards
            for runner in left_here(host.folder, shard.name)
        }
        for call in self.world.provider.calls:
            if call.booked and call.fate in {Fate.ANSWERED, Fate.DEAR} and call not in self._stored:
                records = self._records(call.shard, call.runner)
                if any((call.row, "ok") == (one.row, one.status) for one in records):
                    self._stored.add(call)
                else:
                    lost = f"the answer to row {call.row} of shard {call.shard} is lost"
                    assert call.runner in here | self.world.lost, lost

    def _check_starts(self) -> None:
        """No two starts hold one epoch."""
        epochs = [driver.epoch for driver in self.world.drivers if driver.epoch]
        assert len(epochs) == len(set(epochs))

    def _check_escrow(self, cap_nano: int) -> None:
        """I1: all that anybody may still spend, and all that may have been billed, is within the cap."""
        for driver in self.world.drivers:
            if driver.stage is not None and not driver.ended and driver.epoch == self._epoch():
                stage = driver.stage
                # A runner may name more than it can pay for, so what is presumed of one that is lost may pass its grant.
                spent = sum(
                    min(nano, self._may_bill_nano(index)) for index, nano in stage.queue.spent.items()
                )
                granted = sum(task.grant_nano or 0 for task in stage.queue.running.values())
                cap = stage.plan.calls_cap_nano or 0
                assert spent + granted <= cap, f"{spent} are spent, {granted} granted, {cap} is the cap"
                known = set() if driver.halt.stopped or stage._error else stage.queue.spent.keys()
                for index in known - stage.queue.running.keys():
                    booked = self.states[self.world.scene.run.shards[index].name].spent_nano
                    assert stage.queue.spent[index] >= booked, (
                        f"{booked} of shard {index} are spent, {stage.queue.spent}"
                    )
        may_spend, unfenced = 0, Counter[str]()
        for copy in self.world.copies:
            task = copy.job.task
            if task.work.mode != "call":
                continue
            shard = task.shard.name
            if copy.wallet is None:
                unfenced[shard] = max(unfenced[shard], self._may_claim_nano(task))
            elif copy.ledger is None or copy.ledger.runner != _holder(self.world.provider.log(shard)):
                may_spend += min(max(0, copy.wallet.left_nano), self._unsent_nano(copy))
            else:
                unfenced[shard] = max(unfenced[shard], copy.wallet.left_nano)
        total = self.world.provider.might_bill_nano() + may_spend + unfenced.total()
        assert total <= cap_nano, f"up to {total} may be billed, {cap_nano} is the cap"

    def _may_bill_nano(self, index: int) -> int:
        return self.world.provider.may_bill_nano(self.world.scene.run.shards[index].name)

    def _may_claim_nano(self, task: CallTask) -> int:
        """Return what a task may spend that has not claimed its shard yet: nothing, if its turn is over."""
        state = self.states[task.shard.name]
        rows = [row for shard, row in self.world.scene.places.values() if shard == task.shard.name]
        ended = state.turn > (task.job.epoch, task.work.turn) or task.job.epoch < self._epoch()
        if ended or not any(is_wanted(task.work, state.records.get(row)) for row in rows):
            return 0
        return max(0, (task.work.grant_nano or 0) - max(0, state.spent_nano - task.work.known_nano))

    def _epoch(self) -> int:
        return max((driver.epoch for driver in self.world.drivers), default=0)

    def _unsent_nano(self, copy: Copy) -> int:
        """Return the worst cost of rows that a runner has named and may still send."""
        assert copy.ledger is not None
        shard, runner = copy.ledger.shard, copy.ledger.runner
        records = self._records(shard, runner)
        used = Counter(one.row for one in records)
        # Sends that it has no record of yet.
        used += self.world.provider.used(shard, runner) - Counter(one.row for one in records if _sent(one))
        unsent = 0
        for entry in self.world.provider.log(shard):
            for row, worst in entry.rows if entry.runner == runner else ():
                unsent += worst if used[row] <= 0 else 0
                used[row] -= 1
        return unsent

    def _check_markers(self) -> None:
        """A finished shard has every row exactly once: answered or failed in responses, or counted as left out."""
        run = self.world.scene.run
        for name in run.committed(STAGE) - self._markers:
            self._markers.add(name)
            shard = run.shards[int(name.partition(".")[0])]
            summary = CallSummary.from_dict(run.marker(STAGE, name)["summary"])
            assert shard.rows == summary.ok + summary.failed + summary.unfunded
            table = read_shard_responses(run, shard.name, ["id"])
            ids = [] if table is None else table.column("id").to_pylist()
            assert len(ids) == len(set(ids))
            if (
                name == f"{shard.name}.r{newest_markers(run)[shard.name]}"
                or newest_markers(run)[shard.name] == 0
            ):
                assert summary.ok + summary.failed == len(ids)

    def check_end(self, driver: Driver) -> None:
        """Of a run that has ended: every row once, answered or failed, or left out as nothing is left to pay for it."""
        assert driver.error is None, f"the last start ended with {driver.error!r}"
        assert driver.halt.state in {"finished", "budget"}, f"the run does not end: {driver.halt.reason}"
        run, cap = self.world.scene.run, self.world.cap_nano
        newest = newest_markers(run)
        assert {shard.name for shard in run.shards} == newest.keys()
        left_out = 0
        for shard in run.shards:
            name = marker_name(shard.name, newest[shard.name])
            summary = CallSummary.from_dict(run.marker(STAGE, name)["summary"])
            left_out += summary.unfunded
            table = read_shard_responses(run, shard.name, ["id", "status", "answer"])
            rows = {} if table is None else {row["id"]: row for row in table.to_pylist()}
            later, late = self._after(shard.name, name)
            if not later:
                told = Counter(row["status"] for row in rows.values())
                assert (summary.ok, summary.failed) == (told["ok"], told["failed"])
            for row, record in self.states[shard.name].records.items():
                if record.status in FINAL and row not in late:
                    found = rows[f"r{shard.start + row:04d}"]
                    assert (record.status, record.answer) == (found["status"], found["answer"])
        assert (left_out > 0) == (driver.halt.state == "budget")
        assert left_out == 0 or cap is not None

    def _after(self, shard: str, marker: str) -> tuple[bool, set[int]]:
        """Return what came to storage only after a shard was counted: whether responses did, and records of which rows."""
        objects = self.world.store.objects
        paths = list(objects)
        after = paths[paths.index(f"commit/{STAGE}/{marker}.json") :]
        records = [path for path in after if path.startswith(f"call/{shard}/") and path.endswith(".jsonl")]
        lines = [line for path in records for line in objects[path].decode("utf-8").split("\n")]
        later = any(path.startswith(f"responses/{shard}.") for path in after)
        return later, {CallRecord.from_json(line).row for line in lines}


def _sent(record: CallRecord) -> bool:
    return record.cost_nano + record.presumed_nano > 0 or record.status in FINAL


def _holder(log: Sequence[Entry]) -> str:
    """Return the runner that may write intents: the last to claim, unless a seal has shut it out."""
    last = next((entry for entry in reversed(log) if entry.kind != "intent"), None)
    return last.runner if last is not None and last.kind == "claim" else ""
