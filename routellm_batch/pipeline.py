"""Composition: score → plan → call → report, each stage resumed from what storage holds."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from routellm_batch.call_stage import CallStage
from routellm_batch.config import Config, check_config
from routellm_batch.dispatch import run_score_stage
from routellm_batch.errors import (
    ConfigError,
    DataError,
    EndpointStopError,
    InterruptedRunError,
    StopError,
    TaskError,
)
from routellm_batch.events import Notice, Sink, StageFinished, StageStarted
from routellm_batch.halt import Halt, stop_words, stopping_on_signals
from routellm_batch.ledger import epoch
from routellm_batch.ledger.liveness import lease_s
from routellm_batch.outputs import (
    Outputs,
    finished_exit,
    rewrite_run_outputs,
    write_early_stop,
    write_plan_outputs,
    write_run_outputs,
)
from routellm_batch.pricing import usd_to_nano
from routellm_batch.protocols import Runner
from routellm_batch.reporting.cost import EXIT_CODES
from routellm_batch.runtime import open_runner
from routellm_batch.servers import base_urls, check_keys, check_reachable, check_scoring_key
from routellm_batch.sharing import Sharing
from routellm_batch.stages.job import CallJob, close_pool
from routellm_batch.stages.plan import Plan, load_plan, make_plan
from routellm_batch.stages.score import STAGE as SCORE
from routellm_batch.storage.progress import newest_markers
from routellm_batch.storage.run import Run, open_existing, open_run
from routellm_batch.tables import RESPONSE_COLUMNS

SOME_FAILED = 3
TAKEN_OVER = "another start of this run has taken it over"
SINGLE_WRITER = (
    "run.single_writer is set: nothing keeps a second job from writing this run at the same time. "
    "If two do, answers that were paid for can be lost, and calls can be paid for twice"
)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a command ended."""

    exit_code: int
    run_uri: str
    outputs: Outputs


def run_job(config: Config, sink: Sink, *, retry_failed: bool = False) -> RunResult:
    """Run the whole job, or resume it.

    Raises:
        InputError: bad config or input; nothing was spent.
        EndpointStopError: an endpoint can't be reached and nothing was sent, or the embedder's failed for good.
        BudgetStopError: the cap pays for no further embeddings.

    """
    begun = time.monotonic()
    halt = Halt(None if config.run.deadline_s is None else begun + config.run.deadline_s)
    with stopping_on_signals(halt):  # to the end: a signal while the report is written must not cut it off
        return _run(config, sink, halt, begun, retry_failed=retry_failed)


def _run(config: Config, sink: Sink, halt: Halt, begun: float, *, retry_failed: bool) -> RunResult:
    check_columns(config)
    check_keys(config)
    check_scoring_key(config)
    run = _open(config, sink, retry_failed=retry_failed)
    ended, plan = finished_exit(run), load_plan(run)
    if plan is not None and ended is not None and not (retry_failed and ended == SOME_FAILED):
        sink(Notice(f"{run.uri} is finished already; nothing is called"))
        return RunResult(ended, run.uri, rewrite_run_outputs(config, run, plan))
    sharing = Sharing()
    hearing = sharing.listening(sink, time.monotonic)
    with _driving(run, sink, halt) as start, _runner(config, hearing, start.token) as runner:
        with _early_stop_told(config, run, begun):
            plan = _score_and_plan(config, run, runner, sink, halt)
        if plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun)
        with _stop_told(config, run, plan, begun), base_urls(config) as urls:
            if config.cluster.kind != "address":
                check_reachable(urls)
            calls = sum(totals.calls for totals in plan.endpoints.values())
            names = (start.token, start.epoch, lease_s())
            job = CallJob(config, run, plan.cut, urls, runner.workers, calls, *names)
            stage = CallStage(job, plan, runner, halt, retry_failed, sink=sink, sharing=sharing)
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
        close_pool(job.token)
    sink(StageFinished("call"))


def plan_job(config: Config, sink: Sink) -> RunResult:
    """Score and plan; call neither model. A ``remote`` embedder is the router's own: it is called, and paid.

    Raises:
        InputError: bad config or input.
        StopError: the embedder's endpoint failed for good, or the cap pays for no further request.

    """
    begun, halt = time.monotonic(), Halt()
    with stopping_on_signals(halt):
        check_columns(config)
        check_scoring_key(config)
        run = _open(config, sink)
        with (
            _driving(run, sink, halt) as start,
            _runner(config, sink, start.token) as runner,
            _early_stop_told(config, run, begun),
        ):
            plan = _score_and_plan(config, run, runner, sink, halt)
        if plan is None:
            return _interrupted(config, run, halt, time.monotonic() - begun)
        return RunResult(0, run.uri, write_plan_outputs(config, run, plan))


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


def check_columns(config: Config) -> None:
    """Refuse output columns that would share a name.

    Raises:
        ConfigError: naming the key and the column.

    """
    label = config.label.column if config.label else None
    if label in RESPONSE_COLUMNS:
        raise ConfigError("label.column", f"{label!r} is a column of responses/ already; choose another name")
    for name in config.input.keep:
        if name in RESPONSE_COLUMNS or name == label:
            raise ConfigError(
                "input.keep", f"{name!r} is a column of responses/ already; rename it in the input"
            )


def _score_and_plan(config: Config, run: Run, runner: Runner, sink: Sink, halt: Halt) -> Plan | None:
    """Return the run's plan, making what is missing; None if interrupted before it stands."""
    known = load_plan(run)
    if known is not None:
        known = _under_todays_cap(known, config)
        cap = known.calls_cap_nano
        if cap is None or known.planned_nano <= cap or run.store.folders("call"):
            return known
        # Planned before there was this cap, and nothing is called yet.
        return _under_todays_cap(make_plan(config, run), config)
    rows = sum(shard.rows for shard in run.shards)
    done = sum(run.shards[int(name)].rows for name in run.committed(SCORE))
    sink(StageStarted("score", rows, done))
    run_score_stage(config, run, runner, sink, halt)
    sink(StageFinished("score"))
    if halt.stopped:
        return None
    sink(StageStarted("plan", rows, rows))
    plan = make_plan(config, run)
    sink(StageFinished("plan"))
    return plan


def _under_todays_cap(plan: Plan, config: Config) -> Plan:
    """Return the plan with the cap that the config has now: it may be raised between starts."""
    cap = config.budget.hard_cap_usd
    return replace(plan, cap_nano=None if cap is None else usd_to_nano(cap))


@dataclass(frozen=True, slots=True)
class _Start:
    """This start of the run."""

    token: str
    epoch: int


@contextmanager
def _driving(run: Run, sink: Sink, halt: Halt) -> Iterator[_Start]:
    """Be the one start that drives the run.

    Raises:
        BusyRunError: another one does.
        InterruptedRunError: storage failed.

    """
    token, lease = secrets.token_hex(6), lease_s()
    number, clean = epoch.take(run.store, token, lease, time.sleep, lambda text: sink(Notice(text)))
    halt.loose = not clean  # until they are shut out
    with epoch.holding(run.store, token, number, lease, lambda: halt.stop("interrupted", TAKEN_OVER)):
        try:
            yield _Start(token, number)
            if not halt.loose:
                epoch.end(run.store, number)
        except OSError as error:
            message = (
                f"storage or the network failed ({type(error).__name__}); run the same command again to go on"
            )
            raise InterruptedRunError(message) from None


@contextmanager
def _runner(config: Config, sink: Sink, token: str) -> Iterator[Runner]:
    runner = open_runner(config.cluster, sink, token)
    try:
        yield runner
    finally:
        runner.close()


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
    outputs = write_early_stop(config, run, halt.reason, wall_s)
    return RunResult(outputs.exit_code, run.uri, outputs)


def _open(config: Config, sink: Sink, *, retry_failed: bool = False) -> Run:
    if config.run.single_writer:
        sink(Notice(SINGLE_WRITER, warning=True))
    return open_run(config, today=datetime.now(UTC).date().isoformat(), retry_failed=retry_failed)
