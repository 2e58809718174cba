"""The benchmarks run; how fast is for docs/benchmarks.md, not for a test."""

from __future__ import annotations

import os
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
def test_pilot_benchmarks_print_tables(repo: Path, shared: Callable[[str], Path]) -> None:
    """Coverage and dollars, at a tiny size, end with lines of figures for the sets that they read."""
    command = [sys.executable, "-m", "benchmarks", "coverage", "gain_per_dollar", "--quick"]
    environment = {**os.environ, "ROUTELLM_SHARED": str(shared("data").parent)}
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True, env=environment)
    names = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    names = [name for name in names if not name.startswith(":")]
    assert ["set", "GSM8K", "set", "MT-Bench", "MT-Bench"] == names
