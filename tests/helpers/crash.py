"""A small job that is killed at chosen points and started again, over and over, quickly."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from helpers.lab import REPO, WORD, Lab

KILLED = -9
MOST_LANES = 4
ROWS = 18
SAME_AS = {2: 5, 8: 1, 13: 3, 15: 3}
"""Rows whose prompt is another row's, of their own shard and of others."""
EMPTY_ROW = 10
"""Its prompt is no prompt."""
SHARD_ROWS = 6
CONCURRENCY = 2
"""Of each endpoint."""

Moment = Literal["before", "within", "after"]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a start is killed."""

    moment: Moment
    operation: str
    """Its name, or ``any``."""
    number: int
    """Which one of that name, from 1."""

    def __str__(self) -> str:
        """In words."""
        return f"{self.moment} {self.operation} ({self.number})"


Case = tuple[Point, ...]
"""Where the starts of one job are killed, one after the other; those that follow are not."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a start ended."""

    status: int
    """Exit code, or minus the signal."""
    operations: Sequence[tuple[str, int]]
    """What it did to storage and to its local logs: name, and number among those of that name."""
    in_flight: int
    """Calls that were sent and not answered when it was killed."""
    said: str


class Lane:
    """Endpoints, and a process that forks starts; works on one job at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.lab = Lab(folder)
        prompts = [f"{WORD} {n} {'x' * n}" for n in range(ROWS)]
        for row, other in SAME_AS.items():
            prompts[row] = prompts[other]
        prompts[EMPTY_ROW] = ""
        self.lab.write_input(prompts)
        self.lab.env = {
            "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}",
            "ROUTELLM_LEASE_S": "30",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.lab.changes = {
            "input__shard_rows": SHARD_ROWS,
            "budget__strong_share": "0.4",
            "endpoints__strong__limits": {"concurrency": CONCURRENCY},
            "endpoints__weak__limits": {"concurrency": CONCURRENCY},
        }
        self._jobs = 0
        self._starts = 0
        self._billed_before = 0

    @contextmanager
    def open(self) -> Iterator[Lane]:
        """Start what the starts need."""
        try:
            self.lab.serve(latency_ms=2)
            with (
                (self.lab.folder / "zygote.err").open("wb") as errors,
                subprocess.Popen(
                    [sys.executable, "-m", "helpers.zygote"],
                    cwd=self.lab.folder,
                    env=dict(self.lab.environment()),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                ) as self._zygote,
            ):
                yield self  # at its end the pipe closes, and with it the process ends
        finally:
            self.lab.close()

    def new_job(self) -> None:
        """Begin a job of which storage holds nothing."""
        self._jobs += 1
        self._billed_before = self._log_size()
        self.folder = self.lab.folder / f"job{self._jobs:03d}"
        self.folder.mkdir()
        self.run = self.folder / "root" / "runs" / "job"

    def start(self, at: Point | None = None, **changes: Any) -> Ended:
        """Start the job, or go on with it, to its end or until it is killed."""
        self._starts += 1
        trace, said = (self.folder / f"start{self._starts}.{kind}" for kind in ("trace", "out"))
        order = {
            "config": str(self.lab.config(run__root=str(self.folder / "root"), **changes)),
            "trace": str(trace),
            "said": str(said),
            "at": at and [at.moment, at.operation, at.number],
        }
        self._zygote.stdin.write(f"{json.dumps(order)}\n")
        self._zygote.stdin.flush()
        reply = self._zygote.stdout.readline()
        assert reply, (self.lab.folder / "zygote.err").read_text()
        notes = [tuple(json.loads(line)) for line in trace.read_text().splitlines()]
        in_flight = notes.pop()[1] if int(reply) == KILLED else 0
        return Ended(int(reply), notes, in_flight, said.read_text())

    def bills(self) -> Path:
        """Return a billing log of this job alone."""
        path = self.folder / "billing.log"
        with self.lab.log.open("rb") as log:
            log.seek(self._billed_before)
            path.write_bytes(log.read())
        return path

    def _log_size(self) -> int:
        return self.lab.log.stat().st_size if self.lab.log.exists() else 0


class Lanes:
    """As many lanes as there are processors, working side by side."""

    def __init__(self, lanes: Iterable[Lane], pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    def each(self, work: Callable[[Lane, Case], None], cases: Iterable[Case]) -> list[str]:
        """Do each case with a new job; returns those that failed, and how."""
        return [problem for problem in self._pool.map(lambda case: self._one(work, case), cases) if problem]

    def _one(self, work: Callable[[Lane, Case], None], case: Case) -> str | None:
        name, lane = ", ".join(map(str, case)), self._free.get()
        try:
            lane.new_job()
            work(lane, case)
        except AssertionError as error:
            return f"{name}: {error}"
        except Exception as error:
            error.add_note(name)
            raise
        finally:
            self._free.put(lane)
        return None


@contextmanager
def open_lanes(folder: Path) -> Iterator[Lanes]:
    """Open a lane for each processor, four at most."""
    count = min(MOST_LANES, len(os.sched_getaffinity(0)))
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        lanes = [Lane(folder / f"lane{number}") for number in range(count)]
        yield Lanes(pool.map(lambda lane: stack.enter_context(lane.open()), lanes), pool)
