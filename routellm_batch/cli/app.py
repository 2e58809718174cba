"""The command line (design §7): arguments in, exit code out; the work is done elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from routellm_batch import __version__
from routellm_batch.cli.endpoints import endpoint_app
from routellm_batch.cli.routers import evaluate, train
from routellm_batch.config.job import Config, load_config
from routellm_batch.core.errors import RoutellmBatchError
from routellm_batch.core.events import Sink
from routellm_batch.core.logs import set_up_logging
from routellm_batch.pipeline.jobs import RunResult, pilot_job, plan_job, report_job, run_job
from routellm_batch.reporting.plan.table import plan_table
from routellm_batch.reporting.progress import open_progress

app = typer.Typer(
    name="routellm-batch",
    help="Answer prompt datasets with two models, sending only what needs it to the strong one, within a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(endpoint_app, name="endpoint")
app.command("evaluate")(evaluate)
app.command("train")(train)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the job.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, e.g. budget.usd=5.")
]


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Call a finished run's failed rows again.")
    ] = False,
) -> None:
    """Run the whole job: score, plan, call, report. The same command resumes it."""
    result = execute(
        load_config(config, overrides or ()), lambda c, sink: run_job(c, sink, retry_failed=retry_failed)
    )
    raise typer.Exit(result.exit_code)


@app.command()
def plan(config: ConfigPath, overrides: Overrides = None) -> None:
    """Score and plan, and show what each budget buys. Calls no endpoint, needs no key."""
    result = execute(load_config(config, overrides or ()), plan_job)
    raise typer.Exit(result.exit_code)


@app.command()
def pilot(config: ConfigPath, overrides: Overrides = None) -> None:
    """Have both models answer a sample, grade it, and fit the router to this very job; a run of the config takes it."""
    result = execute(load_config(config, overrides or ()), pilot_job)
    raise typer.Exit(result.exit_code)


@app.command()
def report(run_uri: Annotated[str, typer.Argument(metavar="RUN_URI", help="A run's folder.")]) -> None:
    """Write the report of a run anew from what its storage holds."""
    _say(report_job(run_uri))


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options before the command."""
    del version
    set_up_logging()


def execute(config: Config, job: Callable[[Config, Sink], RunResult]) -> RunResult:
    """Run a job with progress on stderr and its closing lines on stdout; for the CLI and ``jobs/``."""
    with open_progress(sys.stderr) as progress:
        result = job(config, progress.sink)
    _say(result)
    return result


def _say(result: RunResult) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if result.outputs.plan is not None:
        console.print(plan_table(result.outputs.plan))
    for line in result.outputs.lines:
        console.print(line)


def main() -> None:
    """Run the command line; every expected error is one message and an exit code."""
    guard(app)


def guard(command: Callable[[], object]) -> None:
    """Turn this package's errors into a message on stderr and their exit code; for the CLI and ``jobs/``."""
    try:
        command()
    except RoutellmBatchError as error:
        sys.stderr.write(f"error: {error}\n")
        logging.getLogger(__name__).debug("stopped by %s", type(error).__name__)
        sys.exit(error.exit_code)
