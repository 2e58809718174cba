"""A signal at any moment, and errors outside the calls: the exit code is the contract's, and a report is written."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers.jobs import job_config, prompts, run_job, write_prompts
from helpers.stub import Stub, stub_server

from routellm_batch.core.errors import InterruptedRunError, TaskError
from routellm_batch.pipeline import outputs
from routellm_batch.pipeline import run as pipeline
from routellm_batch.storage.run import open_existing


def _signalling(function: Any, number: signal.Signals) -> Any:
    """Return a function whose first call is preceded by a signal to this process."""
    sent: list[int] = []

    def with_a_signal(*args: Any, **kwargs: Any) -> Any:
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return with_a_signal


@pytest.fixture
def stub(tmp_path: Path) -> Any:
    """Input and a server that answers."""
    write_prompts(tmp_path / "in.parquet", prompts(16))
    with stub_server() as found:
        yield found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_report_is_written_does_not_cut_it_off(
    tmp_path: Path, stub: Stub, number: signal.Signals
) -> None:
    """All is done by then: the report and ``_SUCCESS`` are written and the exit code is 0."""
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
    with patch.object(outputs, "cost_json", _signalling(outputs.cost_json, number)):
        result = run_job(config)
    assert (0, "finished", True) == (result.exit_code, result.cost["state"], "_SUCCESS" in result.objects())


@pytest.mark.parametrize("step", ["open_run", "make_plan", "check_reachable"])
def test_a_signal_before_the_calls_stops_the_run_before_them(tmp_path: Path, stub: Stub, step: str) -> None:
    """While the input is pinned, the plan is made or the endpoints are looked up: exit 75, nothing is called."""
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
    with patch.object(pipeline, step, _signalling(getattr(pipeline, step), signal.SIGINT)):
        first = run_job(config)
    assert (75, "interrupted", []) == (first.exit_code, first.cost["state"], stub.calls)
    assert (0, 16) == (run_job(config).exit_code, len(stub.calls))


def test_storage_that_fails_while_scoring_is_told(tmp_path: Path, stub: Stub) -> None:
    """Exit 75 while scoring leaves cost.json, as every exit 75 does."""
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
    with (
        patch("routellm_batch.stages.score.task.score_shard", side_effect=ConnectionError("gone")),
        pytest.raises(InterruptedRunError),
    ):
        run_job(config)
    run, _ = open_existing(str(tmp_path / "root/runs/job"))
    told = run.read_json("report/cost.json") or {}
    assert (75, "interrupted") == (told["exit_code"], told["state"])


def test_an_unforeseen_error_tells_what_was_spent(tmp_path: Path, stub: Stub) -> None:
    """A task that fails for a reason of our own ends the run, and its report says what the others had spent."""
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, input__shard_rows=8)
    real = pipeline.CallStage.run

    def fail_at_the_end(stage: pipeline.CallStage) -> None:
        real(stage)
        raise TaskError("ValueError", "here")

    with patch.object(pipeline.CallStage, "run", fail_at_the_end), pytest.raises(TaskError):
        run_job(config)
    run, _ = open_existing(str(tmp_path / "root/runs/job"))
    told = run.read_json("report/cost.json") or {}
    assert ("errors", 16) == (told["state"], told["rows"]["ok"])
