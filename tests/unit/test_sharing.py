"""The split of the endpoints' limits over processes, as it follows what they tell."""

from __future__ import annotations

import pytest

from routellm_batch.core.events import CallProgress, Event, Notice
from routellm_batch.stages.call.limit_shares import QUIET_S, SPLIT_S, Sharing


def told(process: str, strong: int, weak: int) -> CallProgress:
    return CallProgress(0, 0, 0, 0, 0, process, {"strong": strong, "weak": weak})


def test_a_split_follows_what_processes_have_in_hand() -> None:
    """Each endpoint is split by itself, and wholly; events still reach whoever listens behind."""
    passed: list[Event] = []
    sharing = Sharing()
    sink = sharing.listening(passed.append, lambda: 1.0)
    events = [told("a", 0, 30), told("a", 0, 60), told("b", 8, 20), Notice("words")]
    for event in events:
        sink(event)
    shares = sharing.due(1.0)
    assert shares is not None
    assert (events, True, True) == (
        passed,
        shares["a"]["weak"] > 2 * shares["b"]["weak"],
        shares["b"]["strong"] > 0.9,
    )
    assert [pytest.approx(1)] * 2 == [
        sum(one[route] for one in shares.values()) for route in ("strong", "weak")
    ]


def test_a_process_that_died_leaves_its_part_to_the_others() -> None:
    """Who is silent is left out of the next split, and who comes new is in it; without anybody there is none."""
    sharing = Sharing()
    assert sharing.due(0.0) is None
    sharing.note(told("a", 4, 4), SPLIT_S)
    sharing.note(told("b", 4, 4), SPLIT_S)
    first = sharing.due(SPLIT_S)
    later = SPLIT_S + QUIET_S + 1
    sharing.note(told("b", 4, 4), later)
    sharing.note(told("c", 4, 4), later)
    second = sharing.due(later)
    assert first is not None
    assert second is not None
    assert ({"a", "b"}, {"b", "c"}) == (set(first), set(second))
    assert {"strong": 0.5, "weak": 0.5} == second["c"]
    assert sharing.due(later + 2 * QUIET_S) is None


def test_limits_are_split_anew_every_few_seconds() -> None:
    """Between two splits there is none, however often it is asked."""
    sharing = Sharing()
    sharing.note(told("a", 1, 1), 0.0)
    found = [sharing.due(at / 10) is not None for at in range(101)]
    assert (True, 3) == (found[0], sum(found))
