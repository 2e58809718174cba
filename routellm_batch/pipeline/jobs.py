"""The jobs that a caller starts: the command line, ``jobs/``, tests and benchmarks import from here alone.

Each takes the checked config and a sink for events, and returns how it ended. A job that was stopped is resumed by the
same call: storage says what is left to do.
"""

from __future__ import annotations

from dataclasses import replace

from routellm_batch.config.job import Config
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.pipeline.export import export_rows
from routellm_batch.pipeline.judge.job import judge_pairs
from routellm_batch.pipeline.outputs import RunResult
from routellm_batch.pipeline.pilot.report import closing_lines
from routellm_batch.pipeline.pilot.use import JobPilot
from routellm_batch.pipeline.run import complete_run, plan_run, prepare_run, rewrite_report
from routellm_batch.storage.run import newest_run

__all__ = [
    "RunResult",
    "export_rows",
    "judge_pairs",
    "newest_run",
    "pilot_job",
    "plan_job",
    "report_job",
    "run_job",
]


def run_job(config: Config, sink: Sink, *, retry_failed: bool = False) -> RunResult:
    """Run the whole job, or resume it; a job with a pilot makes the pilot first, unless a fresh one exists.

    Args:
        config: the job.
        sink: receives the events.
        retry_failed: whether a finished run calls its failed rows again.

    Raises:
        InputError: the config or the input is invalid; nothing was spent.
        EndpointStopError: an endpoint can't be reached and nothing was sent, or the embedder's failed for good.
        BudgetStopError: the cap pays for no further embeddings.

    """
    return complete_run(config, sink, JobPilot(may_make=True), retry_failed=retry_failed)


def plan_job(config: Config, sink: Sink) -> RunResult:
    """Score and plan; call neither model. A job with a pilot needs one that exists already.

    Raises:
        InputError: the config or the input is invalid, or there is no pilot yet.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    return plan_run(config, sink, JobPilot(may_make=False))


def pilot_job(config: Config, sink: Sink) -> RunResult:
    """Make the job's pilot, or resume making it; the run of the same config takes it.

    Raises:
        InputError: the config or the input is invalid, or the config has no pilot.
        EndpointStopError: an endpoint can't be reached.

    """
    if config.pilot is None:
        problem = "is missing: say how many rows, what they may cost and who grades them"
        raise ConfigError("pilot", problem)
    result, job = prepare_run(config, sink, JobPilot(may_make=True, plan_follows=False))
    if job is None or job.pilot is None:
        return result
    return replace(result, outputs=replace(result.outputs, lines=closing_lines(job.pilot)))


def report_job(run_uri: str) -> RunResult:
    """Write the report of a run again from what its storage holds.

    Raises:
        DataError: no run is at this URI, or it has no plan yet.

    """
    return rewrite_report(run_uri)
