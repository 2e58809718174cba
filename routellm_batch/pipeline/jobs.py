"""The verbs of a job that may have a pilot; the command line and ``jobs/`` call these."""

from __future__ import annotations

from dataclasses import replace

from routellm_batch.config.job import Config
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.pipeline import run as pipeline
from routellm_batch.pipeline.pilot.report import closing_lines
from routellm_batch.pipeline.pilot.use import Pilots
from routellm_batch.pipeline.run import RunResult


def run_job(config: Config, sink: Sink, *, retry_failed: bool = False) -> RunResult:
    """Run the whole job, its pilot first where it has none that is fresh; or resume it.

    Raises:
        InputError: bad config or input.
        StopError: as ``pipeline.run_job``.

    """
    return pipeline.run_job(config, sink, retry_failed=retry_failed, prepare=Pilots(makes=True))


def plan_job(config: Config, sink: Sink) -> RunResult:
    """Score and plan; call neither model. With a pilot in the config there must be one already.

    Raises:
        InputError: bad config or input, or no pilot yet.
        StopError: as ``pipeline.plan_job``.

    """
    return pipeline.plan_job(config, sink, prepare=Pilots(makes=False))


def pilot_job(config: Config, sink: Sink) -> RunResult:
    """Make the job's pilot, or go on with it; the run of the same config takes it.

    Raises:
        InputError: bad config or input, or a config without a pilot.
        StopError: as ``pipeline.run_job``.

    """
    if config.pilot is None:
        raise ConfigError("pilot", "is missing: say how many rows, what they may cost and who grades them")
    result, made = pipeline.prepare_job(config, sink, prepare=Pilots(makes=True, plans=False))
    if made is None or made.pilot is None:
        return result
    return replace(result, outputs=replace(result.outputs, lines=closing_lines(made.pilot)))
