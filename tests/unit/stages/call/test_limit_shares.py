"""The endpoints' limits over processes: no two may ever use the same call, whatever is lost, late or dead."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.core.events import CallProgress, Event, Notice
from routellm_batch.stages.call.limit_shares import (
    CLOSING_S,
    QUIET_S,
    SPLIT_S,
    VALID_S,
    Allotment,
    Sharing,
    split_calls,
    split_shares,
)
from routellm_batch.storage.ledger.liveness import myself

LIMIT = 8
TIMEOUT_S = 20.0


def sharing(limit: int = LIMIT, expected: int = 1) -> Sharing:
    """Return a split of endpoints that take so many calls at once."""
    both = ("strong", "weak")
    return Sharing(dict.fromkeys(both, limit), dict.fromkeys(both, TIMEOUT_S), "start", expected)


def report(process: str, said_s: float, weak: int = 30, sent: int = 0, **fields: Any) -> CallProgress:
    """Return what a process says that has calls of the weak endpoint in hand."""
    known = {
        "start": "start",
        "said_s": said_s,
        "demand": {"strong": 0, "weak": weak},
        "sent": {"weak": sent},
    }
    return CallProgress(0, 0, 0, 0, 0, process, **{**known, **fields})


def calls(split: Sharing, now_s: float) -> dict[str, int]:
    """Return the calls of the weak endpoint that each process is allotted now."""
    return {name: one.parts["weak"].calls for name, one in (split.due(now_s) or {}).items()}


def test_every_event_is_passed_on() -> None:
    """Events reach whoever listens behind, whatever they are; those of another start are not listened to."""
    passed: list[Event] = []
    split = sharing()
    events = [Notice("words"), report("a", 1.0, start="another")]
    for event in events:
        split.listening(passed.append, lambda: 1.0)(event)
    assert (events, None) == (passed, split.due(1.0))


def test_a_process_that_calls_alone_has_all_calls() -> None:
    """It is told as soon as it reports, again every few seconds, and not in between."""
    split = sharing()
    found = []
    for tenth in range(101):
        split.note(report("a", tenth / 10), tenth / 10)
        found.append(calls(split, tenth / 10))
    assert ({"a": LIMIT}, 3) == (found[0], sum(map(bool, found)))


def test_some_is_kept_for_processes_that_will_report_soon() -> None:
    """Of two that are expected the first to report begins with half."""
    split = sharing(expected=2)
    split.note(report("a", 0.0), 0.0)
    assert {"a": 4} == calls(split, 0.0)
    split.note(report("a", SPLIT_S), SPLIT_S)
    assert {"a": LIMIT} == calls(split, SPLIT_S)


def test_a_part_is_given_on_once_it_was_let_go_of() -> None:
    """A newcomer gets nothing before the other one has applied its smaller part, and its open calls have ended."""
    split = sharing()
    split.note(report("a", 0.0), 0.0)
    assert {"a": LIMIT} == calls(split, 0.0)
    split.note(report("b", 1.0), 1.0)
    assert {"a": 4, "b": 0} == calls(split, 1.0)
    split.note(report("a", 2.0, sent=8, allotment=1), 2.0)
    assert {} == calls(split, 2.0)
    split.note(report("a", 3.0, sent=6, allotment=2), 3.0)
    assert {"a": 4, "b": 2} == calls(split, 3.0)
    split.note(report("a", 4.0, sent=4, allotment=2), 4.0)
    assert {"a": 4, "b": 4} == calls(split, 4.0)


def test_an_idle_process_gives_all_back() -> None:
    """What is on its way to it then is void, so others have it at once."""
    split = sharing()
    split.note(report("a", 0.0), 0.0)
    calls(split, 0.0)
    split.note(report("b", 1.0), 1.0)
    calls(split, 1.0)
    split.note(report("a", 2.0, weak=0, idle=True, period=1), 2.0)
    assert {"b": LIMIT} == calls(split, 2.0)


def test_a_dead_process_leaves_its_part_to_others() -> None:
    """One whose process is known to be dead holds nothing; its system has closed its connections."""
    split = sharing()
    dead = {**myself(), "pid": os.getpid(), "started": -1.0}
    split.note(report("a", 0.0, sent=5, who=dead), 0.0)
    split.note(report("b", 0.0), 0.0)
    assert {"b": 3} == calls(split, 0.0)
    assert {"b": LIMIT} == calls(split, CLOSING_S)


def test_a_silent_process_is_waited_for() -> None:
    """One on another machine may use its part for a while, and its calls may be open for their timeout after that."""
    split = sharing()
    away = {**myself(), "host": "another"}
    split.note(report("a", 0.0, who=away), 0.0)
    assert {"a": LIMIT} == calls(split, 0.0)
    until_s = VALID_S + TIMEOUT_S
    found = {}
    for second in range(1, int(until_s) + 2):
        split.note(report("b", float(second), who=away), float(second))
        found[second] = calls(split, float(second)).get("b", 0)
    assert {0} == {number for second, number in found.items() if second <= until_s}
    assert LIMIT == found[int(until_s) + 1]
    assert QUIET_S < until_s


def test_calls_of_an_earlier_start_are_waited_for() -> None:
    """Nothing is allotted while a process may have calls open for it: until it reports, or its time is over."""
    split, away = sharing(), {**myself(), "host": "another"}
    split.wait_for({"a": away, "b": away}, 0.0)
    split.note(report("a", 1.0, sent=3, who=away), 1.0)
    assert {"a": 0} == calls(split, 1.0)
    split.note(report("b", 2.0, who=away), 2.0)
    assert {"a": 4, "b": 1} == calls(split, 2.0)
    late = sharing()
    late.wait_for({"a": away}, 0.0)
    late.note(report("b", VALID_S + TIMEOUT_S, who=away), VALID_S + TIMEOUT_S)
    assert {"b": LIMIT} == calls(late, VALID_S + TIMEOUT_S)


@pytest.mark.parametrize(
    ("limit", "demands", "expected"),
    [
        (8, {}, {}),
        (8, {"a": 0, "b": 0}, {"a": 4, "b": 4}),
        (8, {"a": 90, "b": 0}, {"a": 8, "b": 0}),
        (8, {"a": 900, "b": 1}, {"a": 7, "b": 1}),
        (1, {"a": 5, "b": 9}, {"a": 0, "b": 1}),
        (7, {"a": 5, "b": 5}, {"a": 4, "b": 3}),
    ],
)
def test_calls_are_split_by_demand(limit: int, demands: dict[str, int], expected: dict[str, int]) -> None:
    """Whole calls, together the limit; who has any in hand gets one, as far as the limit goes."""
    assert expected == split_calls(limit, demands)


@given(st.integers(1, 40), st.dictionaries(st.integers().map(str), st.integers(0, 500), min_size=1))
def test_split_calls_are_the_limit(limit: int, demands: dict[str, int]) -> None:
    """Neither more nor fewer than the endpoint takes are allotted."""
    found = split_calls(limit, demands)
    assert (limit, demands.keys(), True) == (
        sum(found.values()),
        found.keys(),
        all(number >= 0 for number in found.values()),
    )


def test_rates_are_split_by_demand() -> None:
    """Together the parts are all of a rate; who has none in hand can begin."""
    found = split_shares({"a": 0, "b": 60, "c": 20})
    assert (pytest.approx(1), True) == (sum(found.values()), 0 < found["a"] < found["c"] < found["b"])


@dataclass
class Fake:
    """A process that sends as many calls as it may, as ``EndpointPool`` and ``Pace`` do."""

    name: str
    opened: list[float] = field(default_factory=list)
    """When each open call was sent."""
    applied: int = 0
    most: int = 0
    said_s: float = -VALID_S
    alive: bool = True
    inbox: list[Allotment] = field(default_factory=list)

    def take(self, allotment: Allotment) -> None:
        """Apply an allotment."""
        if allotment.number >= self.applied:
            self.applied, self.said_s = allotment.number, allotment.said_s
            self.most = allotment.parts["weak"].calls

    def send(self, now_s: float) -> None:
        """Send what may be sent, after the calls that are too late have ended."""
        self.opened = [at_s for at_s in self.opened if now_s - at_s < TIMEOUT_S]
        while self.alive and len(self.opened) < self.most and now_s < self.said_s + VALID_S:
            self.opened.append(now_s)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_never_more_open_than_the_endpoint_takes(data: st.DataObject) -> None:
    """Whatever is late, lost, frozen or ends: all processes together never have more open than the limit."""
    limit = data.draw(st.integers(1, 9))
    split, fakes, now_s = sharing(limit, expected=2), [Fake("0"), Fake("1")], 0.0
    for _ in range(data.draw(st.integers(5, 60))):
        now_s += data.draw(st.sampled_from([0.2, 0.5, 3.0, 12.0]))
        for fake in fakes:
            heard = data.draw(st.integers(0, 3))
            if fake.alive and heard:
                fake.send(now_s)
                said = report(fake.name, now_s, sent=len(fake.opened), allotment=fake.applied)
                said = replace(said, who={"host": "another"})
                split.note(said, now_s)
            if heard == 1 and fake.inbox:
                fake.take(fake.inbox.pop(0))
            ended = data.draw(st.integers(0, len(fake.opened)))
            fake.opened = fake.opened[ended:] if fake.alive else fake.opened
        for name, allotment in (split.due(now_s) or {}).items():
            if data.draw(st.booleans()):
                fakes[int(name)].inbox.append(allotment)
        if data.draw(st.integers(0, 9)) == 0:  # its machine is lost, and nobody knows
            fakes[data.draw(st.integers(0, len(fakes) - 1))].alive = False
            fakes.append(Fake(str(len(fakes))))
        for fake in fakes:
            fake.send(now_s)
        assert sum(len(fake.opened) for fake in fakes) <= limit
