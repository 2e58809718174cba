"""Seconds and peak memory of planning, at a million scored rows and at ten."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fake_run import make_run
from benchmarks.prompts import REPO
from benchmarks.table import Table

RUNS = 3
MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    rows: int
    shard_rows: int
    ties: bool
    mode: str
    usd_per_row: float = 0.0005

    def budget(self) -> str:
        """Return the budget's value."""
        return "0.26" if self.mode == "strong_share" else f"{self.rows * self.usd_per_row:.2f}"


def cases(*, quick: bool) -> list[Case]:
    """Return what is measured."""
    if quick:
        return [Case(20_000, 4_096, ties=True, mode="strong_share")]
    pairs = [
        Case(rows, 65_536, ties=ties, mode=mode)
        for ties in (False, True)
        for mode in ("strong_share", "usd")
        for rows in (MEGA, 10 * MEGA)
    ]
    return [*pairs, Case(MEGA, 1_024, ties=False, mode="strong_share")]


def run(*, quick: bool) -> Table:
    """Measure each case in fresh processes."""
    runs, folder = 1 if quick else RUNS, Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    todo = cases(quick=quick)
    try:
        found = [_measure(case, folder, runs) for case in todo]
    finally:
        shutil.rmtree(folder)
    rows, base = [], 1.0
    for case, (seconds, peak) in zip(todo, found, strict=True):
        base = peak if case.rows == todo[0].rows else base
        what = "20 % ties, 10 % repeated prompts" if case.ties else "all distinct"
        speed, growth = f"{case.rows / seconds / 1e6:.2f} M", f"{peak / base:.2f}"
        figures = [
            f"{case.rows:,}",
            f"{case.shard_rows:,}",
            f"{seconds:.2f}",
            speed,
            f"{peak / 1e6:.0f}",
            growth,
        ]
        rows.append([f"{case.mode}, {what}", *figures])
    headings = [
        "budget, rows",
        "rows",
        "rows a shard",
        "seconds",
        "rows/s",
        "peak MB",
        "times the line above",
    ]
    notes = [
        f"Medians, n = {runs}, each in a fresh process, score shards on a local disk.",
        "The peak is the process's, interpreter and libraries included (about 140 MB).",
    ]
    return Table("Planning", headings, rows, notes)


def _measure(case: Case, folder: Path, runs: int) -> tuple[float, float]:
    """Return the medians of seconds and peak bytes."""
    scored = folder / f"{case.rows}-{case.shard_rows}-{case.ties}"
    if not scored.exists():
        make_run(scored, case.rows, case.shard_rows, ties=case.ties)
    done = [_plan(case, scored) for _ in range(runs)]
    return statistics.median(d["seconds"] for d in done), statistics.median(d["peak_bytes"] for d in done)


def _plan(case: Case, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_child", str(folder), case.mode, case.budget()]
    done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    (folder / "plan.json").unlink()
    shutil.rmtree(folder / "copies", ignore_errors=True)
    return dict(json.loads(done.stdout))
