"""The benchmarks run; how fast is for docs/benchmarks.md, not for a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_planning_benchmark_prints_a_table(repo: Path) -> None:
    """The planning benchmark, at a tiny size, ends with a line of figures."""
    command = [sys.executable, "-m", "benchmarks", "planning", "--quick"]
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True)
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| strong_share")]
    assert ["20,000"] == [cells[2].strip() for cells in lines]


@pytest.mark.shared
def test_commercial_scores_are_the_published_ones(repo: Path, shared: Callable[[str], Path]) -> None:
    """Martian's and Unify's MT-Bench scores come out as published, and random needs about half the calls for Unify's."""
    shared("data/commercial_mtbench_martian_unify.parquet")
    command = [sys.executable, "-m", "benchmarks", "commercial", "--quick"]
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True)
    rows = [line.split("|") for line in done.stdout.splitlines() if "all 80 questions" in line]
    assert ["8.3125", "8.75786"] == [cells[2].strip() for cells in rows]
    assert ["4.2", "51.4"] == [cells[7].split()[0] for cells in rows]
