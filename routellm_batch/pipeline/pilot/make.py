"""Making a pilot, step by step on storage: score, sample, ask, grade, fit. A step whose result exists is not repeated.

Both models answer the sample through ordinary runs of the pipeline below the pilot's folder (``runs/strong``,
``runs/weak``), and a judge grades through such runs too; so ledger, caps and resume are those of every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.budget.pricing import usd_text, usd_to_nano
from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.config.graders import PilotConfig, columns_of
from routellm_batch.config.job import Config
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import InterruptedRunError
from routellm_batch.core.events import Notice, Sink, StageFinished, StageStarted
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.pipeline.ask import AskBudget, AskResult
from routellm_batch.pipeline.pilot.answers import (
    affordable,
    answers_table,
    ask_both,
    calls_and_warnings,
    judge_nano,
)
from routellm_batch.pipeline.pilot.draw import TOKENS, draw_rows, sample_table
from routellm_batch.pipeline.pilot.fit import Fitted, fit, save_router
from routellm_batch.pipeline.pilot.grade import grade_sample
from routellm_batch.pipeline.pilot.place import pilot_digest
from routellm_batch.pipeline.pilot.report import write_report
from routellm_batch.pipeline.references import gradable_rows, naming_of
from routellm_batch.reporting.text import count
from routellm_batch.routers.checkpoint import MANIFEST
from routellm_batch.stages.call.reuse import ANSWERS
from routellm_batch.stages.score.loop import run_score_stage
from routellm_batch.stages.score.task import STAGE as SCORE
from routellm_batch.storage.pilots import OUTCOMES, pilot_use
from routellm_batch.storage.run import SUCCESS, open_run
from routellm_batch.storage.store import FsStore, read_json
from routellm_batch.storage.tables import from_parquet, to_parquet

SAMPLE, CALIBRATION, ROUTER = "sample.parquet", "calibration.json", "router"
DRAW = "draw.json"
"""What the sample was drawn from; pilots of older versions have none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A pilot's folder, and the job that the pilot is made for."""

    config: Config
    """The job."""
    pilot: PilotConfig
    """The job's ``pilot``."""
    uri: str
    """Of the folder."""
    id: str
    """Of the run that makes the pilot."""
    today: str
    """UTC date, YYYY-MM-DD."""

    @property
    def store(self) -> FsStore:
        """The store whose root is the folder."""
        return FsStore(self.uri, single_writer=self.config.run.single_writer)


def make_pilot(place: Place, runner: Runner, sink: Sink, halt: Halt) -> dict[str, Any] | None:
    """Make a pilot, or resume that.

    Args:
        place: the pilot's folder.
        runner: scores the rows to draw from.
        sink: receives the events.
        halt: stops it; says why where it is stopped from within.

    Returns:
        The pilot's ``_SUCCESS``; None where it was stopped.

    Raises:
        InputError: the config or the input is invalid, a reference column is missing, or ``pilot.usd`` is too low.
        BudgetStopError: what is left of ``pilot.usd`` does not pay for a step.
        EndpointStopError: an endpoint can't be reached.

    """
    sample = _sample(place, runner, sink, halt)
    if sample is None:
        return None
    config = place.config.model_copy(update={"cluster": _ask_cluster(place.config.cluster)})
    kept = round(judge_nano(config.endpoints, place.pilot.grader, _mean_tokens(sample)) * sample.num_rows)
    budget = AskBudget(config, place.store, usd_to_nano(place.pilot.usd), calls_and_warnings(sink))
    budget.title = "pilot: "
    answers = ask_both(budget, place.store.uri(SAMPLE), kept, sink)
    if isinstance(answers, AskResult):
        _stop(answers, halt)
        return None
    label = config.label.column if config.label else None
    place.store.create(ANSWERS, to_parquet(answers_table(answers, label)))
    named = (read_json(place.store, DRAW) or {}).get("named")
    graded = grade_sample(config.input, place.pilot.grader, sample, answers, budget, named)
    if graded.stopped is not None:
        _stop(graded.stopped, halt)
        return None
    place.store.create(OUTCOMES, to_parquet(graded.outcomes))
    fitted = fit(config.router.embedder, place.uri, graded.outcomes, place.pilot.seed)
    return _finish(place, sample, fitted, dict(graded.problems), sink)


def _stop(asked: AskResult, halt: Halt) -> None:
    """Stop the pilot as its ask stopped."""
    reason = "; ".join([asked.lines[0], *asked.halts])
    halt.stop("interrupted" if asked.exit_code == InterruptedRunError.exit_code else "errors", reason)


def _sample(place: Place, runner: Runner, sink: Sink, halt: Halt) -> pa.Table | None:
    """Return the sample, which is drawn where there is none yet; None where scoring was stopped."""
    store = place.store
    if store.exists(SAMPLE):
        return from_parquet(store.read(SAMPLE))
    config = place.config
    run_config = config.run.model_copy(update={"root": place.uri, "id": "score", "date": None})
    changes: dict[str, Any] = {"run": run_config, "pilot": None}
    if config.router.embedder.name == "remote":  # else all rows would be embedded, and paid for, twice
        changes["router"] = config.router.model_copy(
            update={
                "name": "length",
                "checkpoint": None,
                "options": {},
                "embedder": type(config.router.embedder)(),
            }
        )
    scoring = config.model_copy(update=changes)
    run = open_run(scoring, today=place.today)
    sink(StageStarted(SCORE, sum(shard.rows for shard in run.shards), 0, title="pilot: score"))
    run_score_stage(scoring, run, runner, sink, halt)
    sink(StageFinished(SCORE))
    if halt.stopped:
        return None
    grader = place.pilot.grader
    gradable = gradable_rows(config.input, grader, run)
    draw = draw_rows(run, place.pilot.rows, place.pilot.seed, gradable)
    if len(draw.rows) < place.pilot.rows:
        text = f"{count(len(draw.rows))} distinct prompts can be graded, and pilot.rows is {count(place.pilot.rows)}"
        sink(Notice(f"pilot: only {text}; so many are sampled", warning=True))
    columns = columns_of(grader)
    sample = sample_table(run, draw.rows, config.input.columns, columns)
    rows = affordable(config.endpoints, place.pilot, _mean_tokens(sample))
    if rows < len(draw.rows):
        text = f"pilot.usd={place.pilot.usd} pays for {count(rows)} of {count(place.pilot.rows)} rows"
        sink(Notice(f"pilot: {text}; so many are sampled", warning=True))
        draw = draw_rows(run, rows, place.pilot.seed, gradable)
        sample = sample_table(run, draw.rows, config.input.columns, columns)
    facts = {"valid": draw.valid, "ungradable": draw.ungradable, "named": naming_of(grader, run)}
    store.create(DRAW, to_json(facts))
    store.create(SAMPLE, to_parquet(sample))
    return from_parquet(store.read(SAMPLE))


def _ask_cluster(cluster: ClusterConfig) -> ClusterConfig:
    """Return where a pilot's asks run: in this process, as a few hundred calls are too few to start workers for."""
    return cluster if cluster.kind == "address" else ClusterConfig(kind="serial")


def _mean_tokens(sample: pa.Table) -> float:
    """Return the expected input tokens of a sampled row."""
    return float(sample.column(TOKENS).to_numpy().mean())


def _finish(
    place: Place, sample: pa.Table, fitted: Fitted, problems: dict[str, int], sink: Sink
) -> dict[str, Any]:
    store = place.store
    paid = pilot_use(place.uri)
    stated: dict[str, Any] = {
        "digest": pilot_digest(place.config),
        "id": place.id,
        "made": place.today,
        "rows": sample.num_rows,
        "ungradable": (read_json(store, DRAW) or {}).get("ungradable", 0),
        "labelled": fitted.labelled,
        "grader": place.pilot.grader.kind,
        "problems": problems,
        "fitted": fitted.fit is not None,
        "chosen": fitted.fit.chosen if fitted.fit else None,
        "reason": fitted.fit.reason if fitted.fit else fitted.note,
        "note": fitted.note,
        "spent_usd": usd_text(paid.spent_nano),
        "presumed_usd": usd_text(paid.presumed_nano),
    }
    if fitted.fit is not None and fitted.facts is not None:
        if not store.exists(f"{ROUTER}/{MANIFEST}"):
            save_router(store.uri(ROUTER), fitted.fit, stated)
        store.create(CALIBRATION, fitted.facts.to_json())
    if fitted.note:
        sink(Notice(f"pilot: {fitted.note}", warning=True))
    outcomes = from_parquet(store.read(OUTCOMES))
    write_report(place.config.endpoints, place.pilot, store, stated, outcomes, fitted)
    store.create(SUCCESS, to_json(stated))
    return stated
