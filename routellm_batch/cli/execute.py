"""What the commands do with a config: run the job with its progress on stderr, print its closing lines on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from routellm_batch.config.job import Config, load_config
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.pipeline.jobs import (
    RunResult,
    export_rows,
    judge_pairs,
    newest_run,
    pilot_job,
    plan_job,
    report_job,
    run_job,
)
from routellm_batch.reporting.progress import open_progress
from routellm_batch.reporting.text import hanging

Overrides = Sequence[str] | None
"""``KEY=VALUE`` pairs of the command line."""


def run_config(path: Path, overrides: Overrides, *, retry_failed: bool = False) -> int:
    """Run the whole job, or resume it, and return its exit code."""
    return _run(load_config(path, overrides or ()), retry_failed=retry_failed)


def label_config(path: Path, overrides: Overrides, *, retry_failed: bool = False) -> int:
    """Run a label job, or resume it, and return its exit code.

    Raises:
        ConfigError: the config has no ``label``.

    """
    config = load_config(path, overrides or ())
    if config.label is None:
        problem = "is missing: a label job needs label.values or label.schema"
        raise ConfigError("label", problem, source=str(path))
    return _run(config, retry_failed=retry_failed)


def judge_config(path: Path, overrides: Overrides) -> int:
    """Have a judge compare both models' answers, or resume that, and return the exit code."""
    return execute(load_config(path, overrides or ()), judge_pairs)


def plan_config(path: Path, overrides: Overrides) -> int:
    """Score and plan, and return the exit code."""
    return execute(load_config(path, overrides or ()), plan_job)


def pilot_config(path: Path, overrides: Overrides) -> int:
    """Make the job's pilot, or resume it, and return the exit code."""
    return execute(load_config(path, overrides or ()), pilot_job)


def report_run(run_uri: str) -> None:
    """Write a run's report again, and print what it says.

    Args:
        run_uri: its folder, or the path of its config.

    """
    _show(report_job(_run_of(run_uri)))


def export_run(run_uri: str, target: str, *, force: bool, failed: bool) -> int:
    """Write a run's rows as one file, and return the exit code.

    Args:
        run_uri: its folder, or the path of its config.
        target: the file.
        force: whether a file that is there is replaced.
        failed: whether to write the rows without an answer instead.

    """
    result = export_rows(_run_of(run_uri), target, force=force, failed=failed)
    _show(result)
    return result.exit_code


def _run_of(run_uri: str) -> str:
    """Return a run's folder; that of the newest run of a config where a config is given."""
    if not run_uri.lower().endswith((".yaml", ".yml")) or "://" in run_uri:
        return run_uri
    return newest_run(load_config(Path(run_uri)))


def execute(config: Config, job: Callable[[Config, Sink], RunResult]) -> int:
    """Run a job with progress on stderr and its closing lines on stdout; return its exit code."""
    with open_progress(sys.stderr) as progress:
        result = job(config, progress.sink)
    _show(result)
    return result.exit_code


def _run(config: Config, *, retry_failed: bool) -> int:
    return execute(config, lambda c, sink: run_job(c, sink, retry_failed=retry_failed))


def _show(result: RunResult) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False, markup=False)
    width = console.width if console.is_terminal else None
    if result.outputs.plan is not None:
        from routellm_batch.reporting.plan.table import plan_table

        console.print(plan_table(result.outputs.plan))
    for line in result.outputs.lines:
        console.print(hanging(line, width))
