"""Worker processes that Dask does not bring back are started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Status

from routellm_batch.runtime.crew import GRACE_S, LONGEST_S, Crew, is_due


class FakeNanny:
    """Looks after one process, or after none."""

    def __init__(self, _address: str = "", *, name: str = "", alive: bool = True) -> None:
        self.name, self.status, self.pid = name, Status.running, None
        self.process = SimpleNamespace(is_alive=lambda: alive)
        self.closed = False

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - as Dask has it
        """End."""
        self.closed = timeout > 0

    def __await__(self) -> Iterator[Any]:
        return iter(())


def cluster_of(*here: str, **nannies: FakeNanny) -> Any:
    """Return a cluster of two workers, some of which have joined."""
    return SimpleNamespace(
        scheduler=SimpleNamespace(
            address="here", workers={name: SimpleNamespace(name=name) for name in here}
        ),
        worker_spec={name: {"cls": FakeNanny, "options": {}} for name in ("one", "two")},
        workers=dict(nannies),
    )


def tended(cluster: Any, *times_s: float) -> None:
    """Look after a cluster's workers at these times."""

    async def tend() -> None:
        crew = Crew(cluster)
        for now_s in times_s:
            crew.tend(now_s)

    asyncio.run(tend())


@pytest.mark.parametrize(
    ("missing_s", "tries", "gone", "due"),
    [
        (GRACE_S - 1, 0, True, False),
        (GRACE_S, 0, True, True),
        (GRACE_S, 1, True, False),
        (LONGEST_S, 99, True, True),
        (LONGEST_S - 1, 0, False, False),
        (LONGEST_S, 0, False, True),
    ],
)
def test_a_worker_is_given_time_to_come_back(missing_s: float, tries: int, *, gone: bool, due: bool) -> None:
    """Little where no process of it runs, more with each vain try, much where one starts."""
    assert due == is_due(missing_s, tries, gone=gone)


def test_who_is_missing_is_replaced() -> None:
    """A nanny that Dask has closed or forgotten, or whose process is dead, makes room for another; others stay."""
    closed, dead, well = FakeNanny(), FakeNanny(alive=False), FakeNanny()
    closed.status = Status.closed
    clusters = [cluster_of("two", one=nanny, two=well) for nanny in (closed, dead)]
    for cluster in (*clusters, cluster_of("two", two=well)):
        before = cluster.workers.get("one")
        tended(cluster, 0.0, GRACE_S)
        assert cluster.workers["one"] not in {before, None}
        assert well is cluster.workers["two"]


def test_who_starts_slowly_is_waited_for() -> None:
    """A busy machine takes long to start a process; it is not replaced as long as it may join."""
    slow = FakeNanny()
    cluster = cluster_of(one=slow, two=slow)
    tended(cluster, *map(float, range(int(LONGEST_S))))
    assert {slow} == set(cluster.workers.values())
