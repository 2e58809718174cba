"""What is shown of a run while it goes on: rows once each, endpoints that are down, and its report so far."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from helpers.jobs import job_config, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, answering, in_turn, stub_server

from routellm_batch.core.events import CallProgress, Event, StageFinished, StageStarted
from routellm_batch.pipeline.jobs import RunResult, report_job
from routellm_batch.reporting.progress import StageProgress

ROWS = 30
PRICED_TO_STOP = {
    "endpoints__strong__estimate": {"output_tokens": 1},
    "endpoints__weak__estimate": {"output_tokens": 1},
    "budget__on_overrun": "stop",
    "budget__strong_share": 1,
    "budget__hard_cap_usd": Decimal("0.002"),
}
"""Answers are expected to be far shorter than they may be, so that the cap bites while running."""


def counted(events: Sequence[Event]) -> list[int]:
    """Return the rows that a display shows as done after each event of the call stage."""
    stage, seen = None, list[int]()
    for event in events:
        if isinstance(event, StageStarted) and event.stage == "call":
            stage = StageProgress(event, 0.0)
        elif isinstance(event, CallProgress) and stage is not None:
            stage.take(event)
        if stage is not None and not isinstance(event, StageFinished):
            seen.append(stage.done)
    return seen


def test_a_raised_cap_counts_each_row_once(tmp_path: Path) -> None:
    """A run that the budget stopped goes on where it was: never more rows than there are, and in the end all of them."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server(answering("x" * 40)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        first = run_job(job_config(tmp_path, **urls, **PRICED_TO_STOP))
        again = run_job(job_config(tmp_path, **urls, **{**PRICED_TO_STOP, "budget__hard_cap_usd": 1}))
    assert (4, 0) == (first.exit_code, again.exit_code)
    seen = counted(again.events)
    assert seen == sorted(seen)
    assert ROWS == seen[-1]
    assert len(first.rows) == next(done for done in seen if done >= len(first.rows))


def test_failed_rows_that_are_called_again_count_once(tmp_path: Path) -> None:
    """With --retry-failed the rows that are answered already are shown as done from the first."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    bad = in_turn(Answer(status=400), Answer("mended"))
    with stub_server() as stub:
        stub.script = lambda call: bad(call) if "Prompt 5:" in call.prompt else Answer("fine")
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
        assert run_job(config).exit_code == 3
        again = run_job(config, retry_failed=True)
    seen = counted(again.events)
    assert (ROWS - 8, ROWS) == (seen[0], seen[-1]), "a shard of eight rows is opened again"


def test_a_run_that_is_driven_is_reported_as_running(tmp_path: Path) -> None:
    """A report that is asked for while the run goes on says so, and one after its end says how it ended."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    reports: list[RunResult] = []

    def script(call: Call) -> Answer:
        if call.number == ROWS // 2:
            reports.append(report_job(str(tmp_path / "root" / "runs" / "job")))
        return Answer("fine")

    with stub_server(script) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    lines = reports[0].outputs.lines
    assert lines[0].startswith("Running in ")
    assert "drives it; these are its figures so far" in lines[0]
    assert not [line for line in lines if line.startswith("  next")]
    assert (0, "Finished") == (result.exit_code, report_job(result.run_uri).outputs.lines[0].split(" in ")[0])


@pytest.mark.parametrize("page", [True, False])
def test_a_run_writes_its_plan_as_a_page(tmp_path: Path, *, page: bool) -> None:
    """report.html links to plan.html, so a run writes it, and a report that is written again does where it is missing."""
    write_prompts(tmp_path / "in.parquet", prompts(4))
    with stub_server() as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url), page=page)
    plan = tmp_path / "root" / "runs" / "job" / "report" / "plan.html"
    assert page == ("Budgets to choose from" in plan.read_text())
    plan.unlink()
    report_job(result.run_uri)
    assert "Budgets to choose from" in plan.read_text()
    assert 'href="plan.html"' in (plan.parent / "report.html").read_text()
