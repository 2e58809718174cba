"""What happens during a run, as frozen events; progress displays and logs subscribe to them.

Events carry numbers, names and kinds: never a prompt, an answer or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from routellm_batch.core.types import Route


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins."""

    stage: str
    """score | plan | call | report."""
    total_rows: int
    """Rows that the stage has to do, in all starts."""
    done_rows: int
    """Rows that an earlier start of this run has done already."""
    planned_nano: int = 0
    """What the plan expects all calls to cost, in nano-dollars; 0 where the stage calls nothing."""
    title: str = ""
    """What it is called on a display, where that is not its own name, e.g. in a pilot."""


@dataclass(frozen=True, slots=True)
class RowsScored:
    """A score task has finished."""

    rows: int
    """Rows of the task."""


@dataclass(frozen=True, slots=True)
class CallProgress:
    """How one call shard stands; each event replaces the shard's one before."""

    shard: int
    """Its index."""
    answered: int
    """Rows with an answer or a final failure, from this start of the run."""
    failed: int
    """Those of them that failed for good."""
    in_flight: int
    """Rows that are sent or wait for their turn."""
    spent_nano: int
    """Settled by this start of the run."""
    process: str = ""
    """Names the process that calls."""
    demand: Mapping[Route, int] = field(default_factory=dict)
    """Its calls of each endpoint, of all its shards: sent or waiting."""
    earlier: int = 0
    """Rows of the shard that were answered, or had failed for good, before its process began with it."""
    down: Mapping[Route, str] = field(default_factory=dict)
    """Endpoints that its process finds dead, each with how it failed last: one call at a time asks whether it is back."""
    start: str = ""
    """Names the start of the run that it calls for."""
    sent: Mapping[Route, int] = field(default_factory=dict)
    """The process's open calls of each endpoint, for that start."""
    allotment: int = 0
    """Number of the newest allotment of calls that the process has applied; 0 before the first."""
    period: int = 0
    """Number of times that the process has had nothing to call; what it was allotted then is void."""
    idle: bool = False
    """It has nothing to call any more, and gives back what it was allotted."""
    said_s: float = 0.0
    """When this was said, on the process's monotonic clock."""
    who: Mapping[str, Any] = field(default_factory=dict)
    """The process, as others can find out whether it runs."""


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage has ended, whole or not."""

    stage: str
    """score | plan | call | report."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should read."""

    text: str
    """In full sentences."""
    warning: bool = False
    """Whether something may be wrong."""


Event = StageStarted | RowsScored | CallProgress | StageFinished | Notice
Sink = Callable[[Event], None]

_KINDS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (StageStarted, RowsScored, CallProgress, StageFinished, Notice)
}


def to_plain(event: Event) -> dict[str, Any]:
    """Return an event as plain values, to send from one process to another."""
    return {"event": type(event).__name__, **asdict(event)}


def from_plain(fields: dict[str, Any]) -> Event:
    """Return the event of plain values."""
    return _KINDS[fields["event"]](**{name: value for name, value in fields.items() if name != "event"})
