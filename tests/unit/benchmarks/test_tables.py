"""The benchmarks run; how fast is for docs/benchmarks.md, not for a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pilots import pilot_of


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


def test_quality_table_has_a_line_for_router_and_baseline(repo: Path, tmp_path: Path) -> None:
    """The quality command, on a made-up set in the place of GSM8K, shows the fitted router beside prompt length."""
    made = pilot_of(90)
    columns = {
        "prompt_id": [str(n) for n in range(90)],
        "prompt": list(made.prompts),
        "strong_score": made.strong,
        "weak_score": made.weak,
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data" / "outcomes_gsm8k_gpt4-1106_vs_mixtral.parquet")
    command = [
        sys.executable,
        "-m",
        "benchmarks.quality",
        "pilot",
        "--set",
        "gsm8k",
        "--rows",
        "40",
        "--seeds",
        "1",
    ]
    shared = {**os.environ, "ROUTELLM_SHARED": str(tmp_path)}
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True, env=shared)
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| GSM8K")]
    assert [("outcome", "50"), ("length", "50")] == [(c[2].strip(), c[3].strip()) for c in lines]


@pytest.mark.shared
def test_pilot_benchmarks_print_tables(repo: Path, shared: Callable[[str], Path]) -> None:
    """Coverage and dollars, at a tiny size, end with lines of figures for the sets that they read."""
    command = [sys.executable, "-m", "benchmarks", "coverage", "gain_per_dollar", "--quick"]
    environment = {**os.environ, "ROUTELLM_SHARED": str(shared("data").parent)}
    done = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True, env=environment)
    names = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    names = [name for name in names if not name.startswith(":")]
    assert ["set", "GSM8K", "set", "MT-Bench", "MT-Bench"] == names
