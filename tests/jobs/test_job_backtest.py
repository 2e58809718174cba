"""A backtest: both endpoints replay recorded answers, the run is graded, and both models' quality is known."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, quick_waits
from helpers.stub import served_here

from routellm_batch.config.job import check_config
from routellm_batch.core.events import Event
from routellm_batch.pipeline.jobs import run_job

ROWS = 40


def backtest(folder: Path, share: str, **changes: Any) -> Finished:
    """Run a job whose strong model is right on every row and whose weak one on every fourth, and grade it."""
    prompts = [f"What is {n} plus 1?{' Say why.' * n}" for n in range(ROWS)]
    table = {
        "id": [f"r{n:03d}" for n in range(ROWS)],
        "prompt": prompts,
        "solution": [str(n + 1) for n in range(ROWS)],
        "strong": [f"It is {n + 1}." for n in range(ROWS)],
        "weak": [f"It is {n + 1 if n % 4 == 0 else 999}." for n in range(ROWS)],
    }
    pq.write_table(pa.table(table), folder / "in.parquet")
    # An endpoint gives the first of two answers to one prompt; so must who grades it.
    twice = {name: [*table[name], *table[name]] for name in ("prompt", "strong", "weak")}
    twice["strong"][ROWS:] = twice["weak"][ROWS:] = ["It is 0."] * ROWS
    pq.write_table(pa.table(twice), folder / "recorded.parquet")

    def end(name: str) -> dict[str, Any]:
        return {
            "kind": "replay",
            "model": name,
            "price": {"input": 1, "output": 1},
            "params": {"max_completion_tokens": 64},
            "replay": {"uri": str(folder / "recorded.parquet"), "prompt": "prompt", "answer": name},
        }

    tree = {
        "run": {"id": "job", "root": str(folder / "root")},
        "input": {"uri": str(folder / "in.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "router": {"name": "length"},
        "budget": {"strong_share": Decimal(share)},
        "grade": {"kind": "numeric", "reference": "solution"},
        "endpoints": {"strong": end("strong"), "weak": end("weak")},
        "cluster": {"kind": "serial"},
        **changes,
    }
    events: list[Event] = []
    with quick_waits(), served_here():
        result = run_job(check_config(tree, source="job.yaml"), events.append)
    return Finished(result.exit_code, result.run_uri, result.outputs.lines, events)


@pytest.mark.parametrize(("share", "mean", "pgr"), [("0", 0.25, 0.0), ("0.5", 0.625, 0.5), ("1", 1.0, 1.0)])
def test_what_a_plan_would_have_brought(tmp_path: Path, share: str, mean: float, pgr: float) -> None:
    """The report has the run's own mean grade, both models', and the part of the gap that was recovered."""
    done = backtest(tmp_path, share)
    found = done.cost["quality"]
    assert (0, None, {}) == (done.exit_code, found["predicted"], found["problems"])
    assert (ROWS, mean) == (found["achieved"]["rows"], pytest.approx(found["achieved"]["mean"]))
    assert (1.0, 0.25, None) == (found["strong_mean"], found["weak_mean"], found["unseen"])
    assert pgr == pytest.approx(found["pgr"])
    assert any("quality graded" in line for line in done.lines)


def test_rows_that_the_pilot_knew_are_told_apart(tmp_path: Path) -> None:
    """Where the run's pilot was drawn from the same rows, grade and recovered part stand there without them too."""
    grader = {"kind": "numeric", "reference": "solution"}
    done = backtest(tmp_path, "0.4", pilot={"rows": 24, "usd": 1, "grader": grader})
    outcomes = pq.read_table(tmp_path / "root" / "pilots" / "job" / "outcomes.parquet")
    known = set(outcomes.column("prompt_id").to_pylist())
    rest = [row for row in done.rows if row["id"] not in known]
    weak = [float(int(row["id"][1:]) % 4 == 0) for row in rest]
    own = [1.0 if row["route"] == "strong" else right for row, right in zip(rest, weak, strict=True)]
    found = done.cost["quality"]
    assert (ROWS, len(rest)) == (found["achieved"]["rows"], found["unseen"]["rows"])
    assert sum(own) / len(own) == pytest.approx(found["unseen"]["mean"])
    assert (sum(own) - sum(weak)) / (len(rest) - sum(weak)) == pytest.approx(found["unseen_pgr"])
    assert found["unseen_pgr"] != pytest.approx(found["pgr"])
