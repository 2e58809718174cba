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
    """Return what is measured; each case is one run folder or shares it with the one before."""
    small, large = (20_000, 60_000) if quick else (MEGA, 10 * MEGA)
    wide = 4_096 if quick else 65_536
    sizes = [
        Case(rows, wide, ties, mode)
        for ties in (False, True)
        for mode in (("strong_share",) if quick else ("strong_share", "usd"))
        for rows in (small, large)
    ]
    return sizes if quick else [*sizes, Case(small, 1_024, False, "strong_share")]


def run(*, quick: bool) -> Table:
    """Measure each case in fresh processes."""
    runs, folder = 1 if quick else RUNS, Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    todo = cases(quick=quick)
    try:
        found = [_measure(case, folder, runs) for case in todo]
    finally:
        shutil.rmtree(folder)
    base = {(c.ties, c.mode): f for c, f in reversed(list(zip(todo, found, strict=True))) if c.rows == todo[0].rows}
    rows = []
    for case, (seconds, peak) in zip(todo, found, strict=True):
        what = "20 % ties, 10 % repeated prompts" if case.ties else "all distinct"
        growth = peak / base[case.ties, case.mode][1]
        figures = [f"{seconds:.2f}", f"{case.rows / seconds / 1e6:.2f} M", f"{peak / 1e6:.0f}", f"{growth:.2f}"]
        rows.append([f"{case.mode}, {what}", f"{case.rows:,}", f"{case.shard_rows:,}", *figures])
    headings = ["budget, rows", "rows", "rows a shard", "seconds", "rows/s", "peak MB", "peak, times the first size"]
    note = f"Medians of {runs} runs, each in a fresh process, score shards on a local disk; the peak includes the interpreter."
    return Table("Planning", headings, rows, [note])


def _measure(case: Case, folder: Path, runs: int) -> tuple[float, float]:
    """Return the medians of seconds and peak bytes."""
    scored = folder / f"{case.rows}-{case.shard_rows}-{case.ties}"
    if not scored.exists():
        make_run(scored, case.rows, case.shard_rows, ties=case.ties)
    done = [_plan(case, scored) for _ in range(runs)]
    return statistics.median(d["seconds"] for d in done), statistics.median(d["peak_bytes"] for d in done)


def _plan(case: Case, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_child", str(folder), case.mode, case.budget()]
    done = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True)
    (folder / "plan.json").unlink()
    shutil.rmtree(folder / "copies", ignore_errors=True)
    return dict(json.loads(done.stdout))
