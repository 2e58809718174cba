"""A start is killed at each of its operations on storage and on the local log, and the same command goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from helpers.crash import KILLED, Case, Lane, Lanes, Moment, Point, open_lanes
from helpers.door import ANY, READS, WRITES
from helpers.jobs import billing, nano
from helpers.oracle import (
    answers,
    check_accounted,
    check_cap,
    check_every_row_once,
    check_same,
    cost,
)

from routellm_batch.core.errors import DataError
from routellm_batch.pipeline.outputs import run_summary
from routellm_batch.storage.run import open_existing

pytestmark = pytest.mark.timeout(400)
"""A test is some dozens of jobs."""
CAP = "budget__hard_cap_usd"
AMPLE = {CAP: "0.01", "budget__on_overrun": "stop"}
TIGHT = {CAP: "0.002"}
"""Pays for the undisturbed job, and not always for what a kill leaves in doubt too."""
LOCAL = ("send", "record", "close")
SEED = 7
BOTH: Sequence[Moment] = ("before", "after")


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What the job does and leaves where nothing goes wrong."""

    operations: Sequence[tuple[str, int]]
    answers: Sequence[dict[str, Any]]
    cost: dict[str, Any]
    worst_nano: int
    """The most that one of its calls can cost."""

    def points(self, kinds: Sequence[str], moments: Sequence[Moment]) -> list[Point]:
        """Return a point before or after each operation of some kinds."""
        mine = [one for one in self.operations if one[0].partition(" ")[0] in kinds]
        return [Point(moment, *one) for one in mine for moment in moments]


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """Yield what runs the cases."""
    with open_lanes(tmp_path_factory.mktemp("crash")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(lanes: Lanes) -> Undisturbed:
    """Return what the job does where nothing goes wrong."""
    found: list[Undisturbed] = []

    def run(lane: Lane, _: Case) -> None:
        end = lane.start(**AMPLE)
        assert 0 == end.status, end.said
        intents = [json.loads(path.read_bytes()) for path in lane.run.glob("call/*/*.json")]
        worst = max(worst for intent in intents for _, worst in intent.get("rows", ()))
        found.append(Undisturbed(end.operations, answers(lane.run), cost(lane.run), worst))

    assert [] == lanes.each(run, [()])
    return found[0]


class Crashes:
    """Kills starts of jobs and checks what became of them; ``changes`` are of the config, up to the last kill."""

    def __init__(self, lanes: Lanes, undisturbed: Undisturbed, **changes: Any) -> None:
        self._lanes = lanes
        self._undisturbed = undisturbed
        self._changes = {**AMPLE, **changes}
        self._codes = {0} if self._changes == AMPLE else {0, 4}
        self.kills: list[int] = []
        """Calls in flight at each."""

    def check(self, cases: Sequence[Case], *, most_missed: float = 0.1) -> None:
        """Fail with all cases that went wrong; a point that is not reached, as timing has it, leaves a run like any."""
        problems = self._lanes.each(self._crash_and_finish, cases)
        assert [] == problems, "\n".join(problems)
        assert len(self.kills) >= (1 - most_missed) * sum(map(len, cases))

    def _crash_and_finish(self, lane: Lane, case: Case) -> None:
        in_flight = 0
        for point in case:
            end = lane.start(point, **self._changes)
            assert end.status in {KILLED, *self._codes}, end.said
            if end.status == KILLED:
                self.kills.append(end.in_flight)
            in_flight += end.in_flight
            check_ledgers(lane)
        if self._changes != AMPLE:
            self._go_on_in_need(lane, in_flight)
        end = lane.start(**AMPLE)
        assert 0 == end.status, end.said
        self._check_finished(lane, in_flight)
        requests = len(billing(lane.bills()))
        again = lane.start(**AMPLE)
        assert (0, requests) == (again.status, len(billing(lane.bills()))), again.said

    def _go_on_in_need(self, lane: Lane, in_flight: int) -> None:
        """Go on under a cap that may not pay for all any more: rows may be left out, and it holds."""
        end = lane.start(**self._changes)
        assert end.status in self._codes, end.said
        bills, found, cap_usd = lane.bills(), cost(lane.run), self._changes[CAP]
        check_cap(bills, cap_usd)
        check_accounted(lane.run, bills, most=in_flight)
        assert nano(found["spent_usd"]) + nano(found["presumed_usd"]) <= nano(cap_usd)

    def _check_finished(self, lane: Lane, in_flight: int) -> None:
        """Hold what a finished run left, after kills with so many calls in flight, against the undisturbed one."""
        bills, expected, found = lane.bills(), self._undisturbed, cost(lane.run)
        check_every_row_once(lane.run, lane.lab.ids)
        check_cap(bills, AMPLE[CAP])
        check_accounted(lane.run, bills, most=in_flight)
        assert nano(found["presumed_usd"]) <= in_flight * expected.worst_nano
        if self._changes == AMPLE:  # all in one go: no row has a second outcome
            assert [] == list(lane.run.glob("responses/*.r*.parquet"))
        if self._changes["budget__on_overrun"] == "degrade":  # rows may have gone weak
            return
        check_same(lane.run, expected.answers)
        for name in ("rows", "spent_usd", "state", "exit_code"):
            assert (name, expected.cost[name]) == (name, found[name])


def check_ledgers(lane: Lane) -> None:
    """What was billed so far must be in the ledgers on storage, as spent or as possibly spent."""
    billed = sum(line["nano"] for line in billing(lane.bills()))
    try:
        summary = run_summary(open_existing(str(lane.run))[0])
    except DataError:  # killed before there was a run
        assert 0 == billed
    else:
        assert billed <= summary.spent_nano + summary.presumed_nano


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_crash_point_at_each_write(lanes: Lanes, undisturbed: Undisturbed, moment: Moment) -> None:
    """Whichever object a start writes last, or does not come to write, the next one ends the job as if undisturbed."""
    crashes = Crashes(lanes, undisturbed)
    crashes.check([(point,) for point in undisturbed.points(WRITES, [moment])])


def test_crash_point_at_each_local_note(lanes: Lanes, undisturbed: Undisturbed) -> None:
    """A kill between a local note and the send or the reply that it tells of loses no more than the calls in flight."""
    crashes = Crashes(lanes, undisturbed)
    crashes.check([(point,) for point in undisturbed.points(LOCAL, BOTH)])
    assert max(crashes.kills) > 1


def test_crash_point_before_each_read(lanes: Lanes, undisturbed: Undisturbed) -> None:
    """A kill while a start looks at storage costs nothing but what is in flight."""
    crashes = Crashes(lanes, undisturbed)
    crashes.check([(point,) for point in undisturbed.points(READS, ["before"])])


def test_crash_point_in_a_resume(lanes: Lanes, undisturbed: Undisturbed) -> None:
    """A start that goes on after a kill may be killed as well, wherever that is."""
    rng, crashes = random.Random(SEED), Crashes(lanes, undisturbed)
    first = rng.sample(undisturbed.points((*WRITES, *LOCAL), BOTH), 40)
    second = [Point(rng.choice(BOTH), ANY, rng.randint(1, 80)) for _ in first]
    crashes.check(list(zip(first, second, strict=True)), most_missed=0.3)


@pytest.mark.parametrize("on_overrun", ["stop", "degrade"])
def test_crash_point_under_a_tight_cap(lanes: Lanes, undisturbed: Undisturbed, on_overrun: str) -> None:
    """Where the cap does not pay for what a kill leaves in doubt too, rows are left out or go weak, and the cap holds."""
    crashes = Crashes(lanes, undisturbed, **TIGHT, budget__on_overrun=on_overrun)
    points = undisturbed.points((*WRITES, *LOCAL), BOTH)
    crashes.check([(point,) for point in random.Random(SEED).sample(points, 16)])
