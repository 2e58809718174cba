"""The command line: arguments in, exit code out; the work is done elsewhere.

Only typer is imported here. Each command imports what it needs when it runs, so that ``--help`` and ``--version``
answer at once.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from routellm_batch import __version__
from routellm_batch.cli.endpoints import endpoint_app
from routellm_batch.cli.routers import evaluate, train

app = typer.Typer(
    name="routellm-batch",
    help="Answer prompt datasets with two models, sending only what needs it to the strong one, within a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help takes longer to import than everything else here together.
)
app.add_typer(endpoint_app, name="endpoint")


def read_overrides(context: typer.Context, values: list[str] | None) -> list[str] | None:
    """Return overrides without leading dashes.

    Raises:
        typer.BadParameter: one is an unknown option.

    """
    for value in values or ():
        if value.startswith("-") and "=" not in value:
            known = [name for one in context.command.params for name in one.opts if name.startswith("--")]
            close = difflib.get_close_matches(value, known, n=1)
            like = (
                f"did you mean {close[0]}?" if close else f"overrides are written {value.lstrip('-')}=VALUE"
            )
            raise typer.BadParameter(f"there is no option {value}; {like}")
    return None if values is None else [value.removeprefix("--") for value in values]


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the job.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides, e.g. budget.usd=5.", callback=read_overrides),
]
TAKES_OVERRIDES = {"ignore_unknown_options": True}
"""Settings of a command that takes overrides: ``--run.id=a`` is one too, and any other unknown option is refused there."""
RunUri = Annotated[
    str, typer.Argument(metavar="RUN_URI", help="A run's folder, or the config that it was begun with.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Call a finished run's failed rows again.")]


@app.command(context_settings=TAKES_OVERRIDES)
def run(config: ConfigPath, overrides: Overrides = None, *, retry_failed: RetryFailed = False) -> None:
    """Run or resume the whole job.

    Score, plan, call, report; the same command resumes it.
    """
    from routellm_batch.cli.execute import run_config

    raise typer.Exit(run_config(config, overrides, retry_failed=retry_failed))


@app.command(context_settings=TAKES_OVERRIDES)
def label(config: ConfigPath, overrides: Overrides = None, *, retry_failed: RetryFailed = False) -> None:
    """Label a data set.

    Every answer is one of a few labels, or JSON that holds to a schema.

    An answer that is no label is shown to the model again, with what is wrong, as often as label.reask says.
    """
    from routellm_batch.cli.execute import label_config

    raise typer.Exit(label_config(config, overrides, retry_failed=retry_failed))


@app.command(context_settings=TAKES_OVERRIDES)
def judge(config: ConfigPath, overrides: Overrides = None) -> None:
    """Have a judge compare answers.

    It compares both models' answers and writes outcomes and battles, which every trainer reads. The same command resumes it.
    """
    from routellm_batch.cli.execute import judge_config

    raise typer.Exit(judge_config(config, overrides))


@app.command(context_settings=TAKES_OVERRIDES)
def plan(config: ConfigPath, overrides: Overrides = None) -> None:
    """Show what each budget buys.

    Scores and plans; calls no endpoint, needs no key.
    """
    from routellm_batch.cli.execute import plan_config

    raise typer.Exit(plan_config(config, overrides))


@app.command(context_settings=TAKES_OVERRIDES)
def pilot(config: ConfigPath, overrides: Overrides = None) -> None:
    """Fit the router to this very job.

    Both models answer a sample, which is graded. A run of the same config takes the pilot, and asks no row of it again.
    """
    from routellm_batch.cli.execute import pilot_config

    raise typer.Exit(pilot_config(config, overrides))


app.command("evaluate")(evaluate)
app.command("train")(train)


@app.command()
def report(run_uri: RunUri) -> None:
    """Write a run's report again.

    From what its storage holds; nothing is called.
    """
    from routellm_batch.cli.execute import report_run

    report_run(run_uri)


@app.command()
def export(
    run_uri: RunUri,
    *,
    to: Annotated[
        str,
        typer.Option("--to", metavar="FILE", help="File to write: its ending is .parquet, .csv or .jsonl."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Write the failed and the invalid rows, and why, instead.")
    ] = False,
) -> None:
    """Write a run's answers as one file.

    Every valid row once, its newest revision. Exits with 3 where the run is not finished and rows are missing.
    """
    from routellm_batch.cli.execute import export_run

    raise typer.Exit(export_run(run_uri, to, force=force, failed=failed))


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
    from routellm_batch.core.logs import set_up_logging

    set_up_logging()


def main() -> None:
    """Run the command line; every expected error is one message and an exit code."""
    guard(app)


def job(command: Callable[..., None]) -> None:
    """Run one command as a program of its own, for the scripts in ``jobs/``: the same options, the same exit codes."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    settings = TAKES_OVERRIDES if "overrides" in inspect.signature(command).parameters else {}
    text = sys.modules["__main__"].__doc__
    single.command(no_args_is_help=True, help=text, context_settings=settings)(command)
    options(version=False)  # a program of one command has no options before it
    guard(single)


def guard(command: Callable[[], Any]) -> None:
    """Turn this package's errors into a message on stderr and their exit code."""
    from routellm_batch.core.errors import RoutellmBatchError

    try:
        command()
    except RoutellmBatchError as error:
        sys.stderr.write(f"error: {error}\n")
        logging.getLogger(__name__).debug("stopped by %s", type(error).__name__)
        sys.exit(error.exit_code)
