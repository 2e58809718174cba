"""How long a command takes to answer, to reach its first row, and a local cluster to open; and what was imported."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.prompts import REPO
from benchmarks.table import Table

RUNS = 7
CHILD = "benchmarks.start_child"
CONFIG = str(REPO / "configs" / "quickstart.yaml")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    name: str
    words: tuple[str, ...]
    """What Python is started with."""
    reports: bool = False
    """Whether the process itself prints its seconds, as JSON; else they end with the process."""


CASES = (
    Case("python -c 'import typer, rich'", ("-c", "import typer, rich")),
    Case("routellm-batch --version", ("-m", "routellm_batch.cli", "--version")),
    Case("routellm-batch --help", ("-m", "routellm_batch.cli", "--help")),
    Case("routellm-batch run --help", ("-m", "routellm_batch.cli", "run", "--help")),
    Case("plan of the quickstart, to its first row", ("-m", CHILD, "plan", CONFIG), reports=True),
    Case("run of the quickstart, to its first row", ("-m", CHILD, "run", CONFIG), reports=True),
    Case("local cluster of 2 workers, open", ("-m", CHILD, "cluster"), reports=True),
    Case("the same, to the end of a task on each", ("-m", CHILD, "cluster", "task"), reports=True),
)


def run(*, quick: bool) -> Table:
    """Start each command in fresh processes, the commands in turns."""
    runs = 1 if quick else RUNS
    results: list[list[dict[str, Any]]] = [[] for _ in CASES]
    for _ in range(runs):
        for result, case in zip(results, CASES, strict=True):
            result.append(_start(case))
    peer = statistics.median(one["seconds"] for one in results[0])
    rows = [_line(case, result, peer) for case, result in zip(CASES, results, strict=True)]
    notes = [
        f"Medians, n = {runs}, in turns, a new process each; modules as counted at that moment.",
        "First row: when the router is first asked for scores. The run folder is on a local disk.",
    ]
    return Table("Start", ["what", "seconds", "times the first line", "modules"], rows, notes)


def _start(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="routellm-bench-") as folder:
        words = [*case.words, f"run.root={folder}"] if CONFIG in case.words else list(case.words)
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=REPO, timeout=120
        )
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise RuntimeError(f"{case.name}: {done.stderr[-500:]}")
        if case.reports:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return result
    return {"seconds": seconds}


def _modules(case: Case) -> int:
    """Return how many modules a process has imported that does not count them itself."""
    done = subprocess.run(  # noqa: S603 - the same
        [sys.executable, "-X", "importtime", *case.words],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    return sum(line.startswith("import time:") for line in done.stderr.splitlines()) - 1


def _line(case: Case, results: list[dict[str, Any]], peer: float) -> list[str]:
    seconds = statistics.median(one["seconds"] for one in results)
    modules = results[0]["modules"] if case.reports else _modules(case)
    return [case.name, f"{seconds:.2f}", f"{seconds / peer:.1f}", str(modules)]
