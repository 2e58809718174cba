"""One run, from its first stage to its report: score, plan, call, report; each resumes from what storage holds.

``pipeline/jobs.py`` has the jobs that callers start, which bring a pilot; a run inside a job brings none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.config.job import BudgetConfig, Config, RunConfig, check_config
from routellm_batch.core.errors import ConfigError, DataError, EndpointStopError, StopError, TaskError
from routellm_batch.core.events import Notice, Sink, StageFinished, StageStarted
from routellm_batch.core.halt import Halt, stopping_on_signals
from routellm_batch.core.protocols import Runner
from routellm_batch.core.registry import check_name
from routellm_batch.core.worker import this_worker
from routellm_batch.endpoints.servers import (
    base_urls,
    check_keys,
    check_reachable,
    check_scoring_key,
    plain_http_words,
)
from routellm_batch.pipeline.outputs import (
    Outputs,
    RunResult,
    finished_exit,
    rewrite_run_outputs,
    write_early_stop,
    write_plan_outputs,
    write_plan_page,
    write_run_outputs,
)
from routellm_batch.pipeline.references import check_references
from routellm_batch.pipeline.start import driving, runner_of
from routellm_batch.reporting.run.facts import EXIT_CODES, State
from routellm_batch.reporting.run.wording import stop_words
from routellm_batch.routers import ROUTERS
from routellm_batch.stages.call.job import CallJob, close_pool
from routellm_batch.stages.call.limit_shares import Sharing
from routellm_batch.stages.call.loop import CallStage
from routellm_batch.stages.plan.files import load_plan
from routellm_batch.stages.plan.make import make_plan
from routellm_batch.stages.plan.past_run import pin_lengths
from routellm_batch.stages.score.loop import run_score_stage
from routellm_batch.stages.score.task import STAGE as SCORE
from routellm_batch.storage.changes import adopt_change, is_changed
from routellm_batch.storage.ledger.epoch import earlier_callers
from routellm_batch.storage.run import Run, open_existing, open_run
from routellm_batch.storage.tables import RESPONSE_COLUMNS

SOME_FAILED = 3
SINGLE_WRITER = (
    "run.single_writer is set: nothing keeps a second job from writing this run at the same time. "
    "If two do, answers that were paid for can be lost, and calls can be paid for twice"
)
EARLIER_CALLS = (
    "an earlier start of this run may still have calls open; nothing is sent before they have ended, as the limits are "
    "the endpoints'"
)


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job with what its pilot brings."""

    config: Config
    """With the router that the run scores with."""
    facts: PilotFacts | None = None
    """What the plan takes from the pilot."""
    pilot: str | None = None
    """URI of the pilot, whose answers are reused."""


class PilotSource(Protocol):
    """Brings a run its pilot, before the run scores."""

    def prepare(self, config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> PreparedJob | None:
        """Return the job with what its pilot brings; None where ``halt`` stopped it, and says why."""


class NoPilot:
    """The source of runs that take no pilot."""

    def prepare(self, config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> PreparedJob:
        """Return the job as it is."""
        del run, runner, sink, halt
        return PreparedJob(config)


def complete_run(config: Config, sink: Sink, pilots: PilotSource, *, retry_failed: bool = False) -> RunResult:
    """Take a run from its first stage to its report, or resume it.

    Args:
        config: the job.
        sink: receives the events.
        pilots: brings the pilot.
        retry_failed: whether a finished run calls its failed rows again.

    Raises:
        InputError: the config or the input is invalid; nothing was spent.
        EndpointStopError: an endpoint can't be reached and nothing was sent, or the embedder's failed for good.
        BudgetStopError: the cap pays for no further embeddings.

    """
    begun_s = time.monotonic()
    halt = _deadline_halt(config.run, begun_s)
    with stopping_on_signals(halt):  # to the end: a signal while the report is written must not cut it off
        return _run(config, sink, halt, begun_s, pilots, retry_failed=retry_failed)


def _run(
    config: Config, sink: Sink, halt: Halt, begun_s: float, pilots: PilotSource, *, retry_failed: bool
) -> RunResult:
    _check_before_calls(config)
    run = _open(config, sink, retry_failed=retry_failed)
    ended, plan = finished_exit(run), load_plan(run)
    again = ended == SOME_FAILED and (retry_failed or is_changed(run.store, config))
    if plan is not None and ended is not None and not again:
        sink(Notice(f"{run.uri} is finished already, so no model is called"))
        return RunResult(ended, run.uri, rewrite_run_outputs(config, run, plan))
    sharing, worker = Sharing.of(config.endpoints), this_worker()
    shared_sink = sharing.listening(sink, worker.clock.monotonic)
    with (
        driving(run, sink, halt, worker) as start,
        runner_of(config.cluster, shared_sink, start.token) as runner,
    ):
        changed = adopt_change(run.store, config)
        with _reporting_early_stop(config, run, begun_s):
            job = pilots.prepare(config, run, runner, sink, halt)
            plan = None if job is None else _score_and_plan(job, run, runner, sink, halt)
        if job is None or plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun_s)
        config = job.config
        write_plan_page(config, run, plan, job.facts)
        sharing.start, sharing.expected = start.token, runner.workers
        earlier = earlier_callers(run.store, start.epoch) if halt.loose else {}
        sharing.wait_for(earlier, worker.clock.monotonic())
        if earlier:
            sink(Notice(EARLIER_CALLS))
        with (
            _reporting_stop(config, run, plan, begun_s),
            base_urls(config.endpoints, config.cluster.address) as urls,
        ):
            if config.cluster.kind != "address":
                check_reachable(urls, config.endpoints)
            calls = sum(totals.calls for totals in plan.endpoints.values())
            calling = CallJob(
                config=config,
                run=run,
                cut=plan.cut,
                base_urls=urls,
                workers=runner.workers,
                calls=calls,
                token=start.token,
                epoch=start.epoch,
                lease_s=start.lease_s,
                ranker=plan.ranker,
                prices=plan.run_prices,
                pilot=job.pilot,
                alone=runner.alone and not earlier,
            )
            stage = CallStage(
                calling, plan, runner, halt, worker, retry_failed, sink=sink, sharing=sharing, changed=changed
            )
            _call(stage, sink)
        state = halt.state  # a signal from here on comes too late to change it
        reason = stop_words(halt.reason, config.retry.max_error_rate)
    outputs = write_run_outputs(config, run, plan, state, reason, time.monotonic() - begun_s)
    return RunResult(outputs.exit_code, run.uri, outputs)


def _call(stage: CallStage, sink: Sink) -> None:
    try:
        stage.run()
    finally:
        close_pool(stage.job.token, stage.worker)
    sink(StageFinished("call"))


def plan_run(config: Config, sink: Sink, pilots: PilotSource) -> RunResult:
    """Score and plan; call neither model. A ``remote`` embedder is the router's own: it is called, and paid.

    Args:
        config: the job.
        sink: receives the events.
        pilots: brings the pilot.

    Raises:
        InputError: the config or the input is invalid.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    begun_s, halt = time.monotonic(), Halt()
    with stopping_on_signals(halt):
        check_names(config)
        check_scoring_key(config.router.embedder)
        with _driven(config, sink, halt, begun_s) as (run, runner):
            job = pilots.prepare(config, run, runner, sink, halt)
            plan = None if job is None else _score_and_plan(job, run, runner, sink, halt)
        if job is None or plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun_s)
        return RunResult(0, run.uri, write_plan_outputs(job.config, run, plan, job.facts))


def prepare_run(config: Config, sink: Sink, pilots: PilotSource) -> tuple[RunResult, PreparedJob | None]:
    """Begin a run and bring its pilot, no more; the run resumes from there.

    Args:
        config: the job.
        sink: receives the events.
        pilots: brings the pilot.

    Returns:
        How it ended, and the job with what its pilot brings; None where it was stopped.

    Raises:
        InputError: the config or the input is invalid.
        EndpointStopError: an endpoint can't be reached.

    """
    begun_s = time.monotonic()
    halt = _deadline_halt(config.run, begun_s)
    with stopping_on_signals(halt):
        _check_before_calls(config)
        with _driven(config, sink, halt, begun_s) as (run, runner):
            job = pilots.prepare(config, run, runner, sink, halt)
        if job is None:
            return _interrupted(config, run, halt, time.monotonic() - begun_s), None
        return RunResult(0, run.uri, Outputs()), job


def rewrite_report(run_uri: str) -> RunResult:
    """Write the report of a run again from what its storage holds.

    Raises:
        DataError: no run is at this URI, or it has no plan yet.

    """
    run, manifest = open_existing(run_uri)
    plan = load_plan(run)
    if plan is None:
        raise DataError("this run has no plan yet, so there is nothing to report", file=run_uri)
    config = check_config(manifest["job"], source=run.store.uri("run.json"))
    return RunResult(0, run.uri, rewrite_run_outputs(config, run, plan))


def _deadline_halt(run: RunConfig, begun_s: float) -> Halt:
    return Halt(None if run.deadline_s is None else begun_s + run.deadline_s)


def _check_before_calls(config: Config) -> None:
    """Refuse what can be refused before a run is opened: names, and keys that are not set."""
    check_names(config)
    check_keys(config.endpoints)
    check_scoring_key(config.router.embedder)


def check_names(config: Config) -> None:
    """Refuse output columns that would share a name, and an unknown router.

    Raises:
        ConfigError: with the key and the column.

    """
    check_name(ROUTERS, config.router.name, key="router.name")
    label = config.label.column if config.label else None
    if label in RESPONSE_COLUMNS:
        raise ConfigError("label.column", f"{label!r} is a column of responses/ already; choose another name")
    for name in config.label.fields if config.label else ():
        if name in RESPONSE_COLUMNS or name == label or name in config.input.keep:
            problem = (
                f"the field {name!r} of label.schema is a column of responses/ already; rename one of them"
            )
            raise ConfigError("label.columns", problem)
    for name in config.input.keep:
        if name in RESPONSE_COLUMNS or name == label:
            problem = f"{name!r} is a column of responses/ already; rename it in the input"
            raise ConfigError("input.keep", problem)


def _score_and_plan(job: PreparedJob, run: Run, runner: Runner, sink: Sink, halt: Halt) -> Plan | None:
    """Return the run's plan, making what is missing; None if it was interrupted before there was one."""
    config = job.config
    known = load_plan(run)
    if known is not None:
        known = _with_current_cap(known, config.budget)
        cap = known.calls_cap_nano
        if cap is None or known.planned_nano <= cap or run.store.folders("call"):
            return known
        # Planned before there was this cap, and nothing is called yet.
        return _with_current_cap(make_plan(config, run, pilot=job.facts), config.budget)
    pin_lengths(config, run)
    rows = sum(shard.rows for shard in run.shards)
    done = sum(run.shards[int(name)].rows for name in run.committed(SCORE))
    sink(StageStarted("score", rows, done))
    run_score_stage(config, run, runner, sink, halt)
    sink(StageFinished("score"))
    if halt.stopped:
        return None
    sink(StageStarted("plan", rows, rows))
    plan = make_plan(config, run, pilot=job.facts)
    sink(StageFinished("plan"))
    return plan


def _with_current_cap(plan: Plan, budget: BudgetConfig) -> Plan:
    """Return the plan with the cap that the config has now: it may be raised between starts."""
    cap = budget.hard_cap_usd
    return replace(plan, cap_nano=None if cap is None else usd_to_nano(cap))


@contextmanager
def _driven(config: Config, sink: Sink, halt: Halt, begun_s: float) -> Iterator[tuple[Run, Runner]]:
    """Begin a run or resume it, as its one driver; what stops it before its calls is reported."""
    run = _open(config, sink)
    with (
        driving(run, sink, halt, this_worker()) as start,
        runner_of(config.cluster, sink, start.token) as runner,
        _reporting_early_stop(config, run, begun_s),
    ):
        adopt_change(run.store, config)
        yield run, runner


@contextmanager
def _reporting_early_stop(config: Config, run: Run, begun_s: float) -> Iterator[None]:
    """Write cost.json where an error stops the run before its calls: embeddings may have been paid for."""
    try:
        yield
    except StopError as error:
        state = next(state for state, code in EXIT_CODES.items() if code == error.exit_code)
        write_early_stop(config, run, str(error), time.monotonic() - begun_s, state)
        raise


@contextmanager
def _reporting_stop(config: Config, run: Run, plan: Plan, begun_s: float) -> Iterator[None]:
    """Write the report where an error ends the calls: some may have been paid for."""
    try:
        yield
    except (EndpointStopError, TaskError) as error:
        write_run_outputs(config, run, plan, "errors", str(error), time.monotonic() - begun_s)
        raise


def _interrupted(config: Config, run: Run, halt: Halt, wall_s: float) -> RunResult:
    state: State = "errors" if halt.state == "errors" else "interrupted"
    outputs = write_early_stop(
        config, run, stop_words(halt.reason, config.retry.max_error_rate), wall_s, state
    )
    return RunResult(outputs.exit_code, run.uri, outputs)


def _open(config: Config, sink: Sink, *, retry_failed: bool = False) -> Run:
    if config.run.single_writer:
        sink(Notice(SINGLE_WRITER, warning=True))
    for words in plain_http_words(config):
        sink(Notice(words, warning=True))
    return open_run(
        config,
        today=datetime.now(UTC).date().isoformat(),
        retry_failed=retry_failed,
        check=lambda files: check_references(config, files, sink),
    )
