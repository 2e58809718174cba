"""The benchmarks run; how fast is for docs/benchmarks.md, not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_planning_benchmark_prints_a_table(repo: Path) -> None:
    """The planning benchmark, at a tiny size, ends with a line of figures."""
    command = [sys.executable, "-m", "benchmarks", "planning", "--quick"]
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True)
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| strong_share")]
    assert ["20,000"] == [cells[2].strip() for cells in lines]
