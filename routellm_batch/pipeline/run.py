"""Composition: score → plan → call → report, each stage resumed from what storage holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.config.job import Config, check_config
from routellm_batch.core.errors import ConfigError, DataError, EndpointStopError, StopError, TaskError
from routellm_batch.core.events import Notice, Sink, StageFinished, StageStarted
from routellm_batch.core.halt import Halt, stopping_on_signals
from routellm_batch.core.protocols import Runner
from routellm_batch.core.registry import check_name
from routellm_batch.core.worker import this_worker
from routellm_batch.endpoints.servers import base_urls, check_keys, check_reachable, check_scoring_key
from routellm_batch.pipeline.outputs import (
    Outputs,
    finished_exit,
    rewrite_run_outputs,
    write_early_stop,
    write_plan_outputs,
    write_run_outputs,
)
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
from routellm_batch.storage.run import Run, newest_markers, open_existing, open_run
from routellm_batch.storage.tables import RESPONSE_COLUMNS

SOME_FAILED = 3
SINGLE_WRITER = (
    "run.single_writer is set: nothing keeps a second job from writing this run at the same time. "
    "If two do, answers that were paid for can be lost, and calls can be paid for twice"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job as its pilot changes it."""

    config: Config
    """With the router that it scores with."""
    facts: PilotFacts | None = None
    """What the plan takes from the pilot."""
    pilot: str | None = None
    """URI of the pilot, whose answers are taken over."""


Prepare = Callable[[Config, Run, Runner, Sink, Halt], Prepared | None]
"""Gives a run what its pilot knows; None where ``halt`` says why not."""


def without_pilot(config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> Prepared:
    """Take the job as it is."""
    del run, runner, sink, halt
    return Prepared(config)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a command ended."""

    exit_code: int
    run_uri: str
    outputs: Outputs


def run_job(
    config: Config, sink: Sink, *, retry_failed: bool = False, prepare: Prepare = without_pilot
) -> RunResult:
    """Run the whole job, or resume it; ``prepare`` gives it what a pilot knows.

    Raises:
        InputError: bad config or input; nothing was spent.
        EndpointStopError: an endpoint can't be reached and nothing was sent, or the embedder's failed for good.
        BudgetStopError: the cap pays for no further embeddings.

    """
    begun = time.monotonic()
    halt = Halt(None if config.run.deadline_s is None else begun + config.run.deadline_s)
    with stopping_on_signals(halt):  # to the end: a signal while the report is written must not cut it off
        return _run(config, sink, halt, begun, prepare, retry_failed=retry_failed)


def _run(
    config: Config, sink: Sink, halt: Halt, begun: float, prepare: Prepare, *, retry_failed: bool
) -> RunResult:
    check_names(config)
    check_keys(config.endpoints)
    check_scoring_key(config.router.embedder)
    run = _open(config, sink, retry_failed=retry_failed)
    ended, plan = finished_exit(run), load_plan(run)
    if plan is not None and ended is not None and not (retry_failed and ended == SOME_FAILED):
        sink(Notice(f"{run.uri} is finished already; nothing is called"))
        return RunResult(ended, run.uri, rewrite_run_outputs(config, run, plan))
    sharing, worker = Sharing(), this_worker()
    hearing = sharing.listening(sink, worker.clock.monotonic)
    with driving(run, sink, halt, worker) as start, runner_of(config.cluster, hearing, start.token) as runner:
        with _early_stop_told(config, run, begun):
            made = prepare(config, run, runner, sink, halt)
            plan = None if made is None else _score_and_plan(made, run, runner, sink, halt)
        if made is None or plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun)
        config = made.config
        with (
            _stop_told(config, run, plan, begun),
            base_urls(config.endpoints, config.cluster.address) as urls,
        ):
            if config.cluster.kind != "address":
                check_reachable(urls)
            calls = sum(totals.calls for totals in plan.endpoints.values())
            job = CallJob(
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
                pilot=made.pilot,
            )
            stage = CallStage(job, plan, runner, halt, worker, retry_failed, sink=sink, sharing=sharing)
            _call(stage, sink)
        state, reason = halt.state, stop_words(halt.reason, config)  # whatever is heard from here on
    outputs = write_run_outputs(config, run, plan, state, reason, time.monotonic() - begun)
    return RunResult(outputs.exit_code, run.uri, outputs)


def _call(stage: CallStage, sink: Sink) -> None:
    job, plan = stage.job, stage.plan
    done = sum(job.run.shards[int(name)].rows for name in newest_markers(job.run))
    sink(
        StageStarted(
            "call", plan.valid, 0 if stage.retry_failed else min(done, plan.valid), plan.planned_nano
        )
    )
    try:
        stage.run()
    finally:
        close_pool(job.token, stage.worker)
    sink(StageFinished("call"))


def plan_job(config: Config, sink: Sink, *, prepare: Prepare = without_pilot) -> RunResult:
    """Score and plan; call neither model. A ``remote`` embedder is the router's own: it is called, and paid.

    Raises:
        InputError: bad config or input.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    begun, halt = time.monotonic(), Halt()
    with stopping_on_signals(halt):
        check_names(config)
        check_scoring_key(config.router.embedder)
        with _begun(config, sink, halt, begun) as (run, runner):
            made = prepare(config, run, runner, sink, halt)
            plan = None if made is None else _score_and_plan(made, run, runner, sink, halt)
        if made is None or plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun)
        return RunResult(0, run.uri, write_plan_outputs(made.config, run, plan, made.facts))


def prepare_job(config: Config, sink: Sink, *, prepare: Prepare) -> tuple[RunResult, Prepared | None]:
    """Begin a run and do no more than ``prepare`` does; the run goes on from there.

    Raises:
        InputError: bad config or input.
        EndpointStopError: an endpoint can't be reached.

    """
    begun = time.monotonic()
    halt = Halt(None if config.run.deadline_s is None else begun + config.run.deadline_s)
    with stopping_on_signals(halt):
        check_names(config)
        check_keys(config.endpoints)
        check_scoring_key(config.router.embedder)
        with _begun(config, sink, halt, begun) as (run, runner):
            made = prepare(config, run, runner, sink, halt)
        if made is None:
            return _interrupted(config, run, halt, time.monotonic() - begun), None
        return RunResult(0, run.uri, Outputs()), made


def report_job(run_uri: str) -> RunResult:
    """Write the report of a run anew from what its storage holds.

    Raises:
        DataError: no run is there, or it has no plan yet.

    """
    run, manifest = open_existing(run_uri)
    plan = load_plan(run)
    if plan is None:
        raise DataError("this run has no plan yet, so there is nothing to report", file=run_uri)
    config = check_config(manifest["job"], source=run.store.uri("run.json"))
    return RunResult(0, run.uri, rewrite_run_outputs(config, run, plan))


def check_names(config: Config) -> None:
    """Refuse output columns that would share a name, and a router that there is not.

    Raises:
        ConfigError: naming the key and the column.

    """
    check_name(ROUTERS, config.router.name, key="router.name")
    label = config.label.column if config.label else None
    if label in RESPONSE_COLUMNS:
        raise ConfigError("label.column", f"{label!r} is a column of responses/ already; choose another name")
    for name in config.input.keep:
        if name in RESPONSE_COLUMNS or name == label:
            problem = f"{name!r} is a column of responses/ already; rename it in the input"
            raise ConfigError("input.keep", problem)


def _score_and_plan(made: Prepared, run: Run, runner: Runner, sink: Sink, halt: Halt) -> Plan | None:
    """Return the run's plan, making what is missing; None if interrupted before it stands."""
    config = made.config
    known = load_plan(run)
    if known is not None:
        known = _under_todays_cap(known, config)
        cap = known.calls_cap_nano
        if cap is None or known.planned_nano <= cap or run.store.folders("call"):
            return known
        # Planned before there was this cap, and nothing is called yet.
        return _under_todays_cap(make_plan(config, run, pilot=made.facts), config)
    pin_lengths(config, run)
    rows = sum(shard.rows for shard in run.shards)
    done = sum(run.shards[int(name)].rows for name in run.committed(SCORE))
    sink(StageStarted("score", rows, done))
    run_score_stage(config, run, runner, sink, halt)
    sink(StageFinished("score"))
    if halt.stopped:
        return None
    sink(StageStarted("plan", rows, rows))
    plan = make_plan(config, run, pilot=made.facts)
    sink(StageFinished("plan"))
    return plan


def _under_todays_cap(plan: Plan, config: Config) -> Plan:
    """Return the plan with the cap that the config has now: it may be raised between starts."""
    cap = config.budget.hard_cap_usd
    return replace(plan, cap_nano=None if cap is None else usd_to_nano(cap))


@contextmanager
def _begun(config: Config, sink: Sink, halt: Halt, begun_s: float) -> Iterator[tuple[Run, Runner]]:
    """Begin a run, or go on with it, as its one driver; what stops it before its calls is reported."""
    run = _open(config, sink)
    with (
        driving(run, sink, halt, this_worker()) as start,
        runner_of(config.cluster, sink, start.token) as runner,
        _early_stop_told(config, run, begun_s),
    ):
        yield run, runner


@contextmanager
def _early_stop_told(config: Config, run: Run, begun_s: float) -> Iterator[None]:
    """Write cost.json where scoring stops the run: embeddings may have been paid for."""
    try:
        yield
    except StopError as error:
        state = next(state for state, code in EXIT_CODES.items() if code == error.exit_code)
        write_early_stop(config, run, str(error), time.monotonic() - begun_s, state)
        raise


@contextmanager
def _stop_told(config: Config, run: Run, plan: Plan, begun_s: float) -> Iterator[None]:
    """Write the report where the calls end in an error: some may have been paid for."""
    try:
        yield
    except (EndpointStopError, TaskError) as error:
        write_run_outputs(config, run, plan, "errors", str(error), time.monotonic() - begun_s)
        raise


def _interrupted(config: Config, run: Run, halt: Halt, wall_s: float) -> RunResult:
    state: State = "errors" if halt.state == "errors" else "interrupted"
    outputs = write_early_stop(config, run, stop_words(halt.reason, config), wall_s, state)
    return RunResult(outputs.exit_code, run.uri, outputs)


def _open(config: Config, sink: Sink, *, retry_failed: bool = False) -> Run:
    if config.run.single_writer:
        sink(Notice(SINGLE_WRITER, warning=True))
    return open_run(config, today=datetime.now(UTC).date().isoformat(), retry_failed=retry_failed)
