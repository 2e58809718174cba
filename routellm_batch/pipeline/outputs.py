"""The outputs of a job: the report folder, ``_SUCCESS``, and the closing lines on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import takewhile
from typing import Any

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.spend.summary import CallSummary, add_all
from routellm_batch.config.job import Config, EndpointsConfig
from routellm_batch.core.encoding import to_json
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.core.worker import this_worker
from routellm_batch.pipeline.label_counts import label_facts
from routellm_batch.pipeline.quality import quality_of
from routellm_batch.reporting.plan.html import plan_facts, render_plan
from routellm_batch.reporting.plan.table import frontier_table
from routellm_batch.reporting.quality_view import PilotView
from routellm_batch.reporting.run.cost_json import cost_json
from routellm_batch.reporting.run.facts import RunFacts, State, run_facts, with_embedding
from routellm_batch.reporting.run.html import render_report
from routellm_batch.reporting.run.wording import closing_lines, failing_words, length_details, ranked_by
from routellm_batch.reporting.text import count, public_uri, rows, usd
from routellm_batch.stages.call.degrade import load_degrades
from routellm_batch.stages.call.tally import tallies
from routellm_batch.stages.plan.files import empty_plan
from routellm_batch.storage.ledger.epoch import driver
from routellm_batch.storage.paid import embedding_use
from routellm_batch.storage.pilots import PINNED, pilot_use, read_success
from routellm_batch.storage.run import SUCCESS, Run
from routellm_batch.storage.tables import to_parquet

COST = "report/cost.json"
HTML = "report/report.html"
PLAN_HTML = "report/plan.html"
FRONTIER = "report/frontier.parquet"
FINISHED_CODES = frozenset({0, 3})


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a job shows at its end."""

    exit_code: int = 0
    """Of the command."""
    lines: Sequence[str] = field(default_factory=list)
    """Closing lines, for a user."""
    plan: Plan | None = None
    """A plan to show as a table."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a job ended."""

    exit_code: int
    """Of the command."""
    run_uri: str
    """Folder of its run."""
    outputs: Outputs
    """What it shows a user."""


def finished_exit(run: Run) -> int | None:
    """Return the exit code of a finished run, or None where it is not finished."""
    newest = _newest_success(run)
    return None if newest is None else int((run.read_json(newest) or {})["exit_code"])


def _newest_success(run: Run) -> str | None:
    names = (SUCCESS, *(f"{SUCCESS}.r{n}" for n in range(1, 1000)))
    written = list(takewhile(run.store.exists, names))  # they are written one after another
    return written[-1] if written else None


def write_run_outputs(
    config: Config, run: Run, plan: Plan, state: State, reason: str | None, wall_s: float
) -> Outputs:
    """Write cost.json and report.html, and ``_SUCCESS`` where the run is finished.

    A run of which an endpoint failed every row is not: it ends as one that was stopped by errors. Where
    ``max_error_rate`` is 1 it is, as then no share of failed rows stops a run.

    Args:
        config: the job.
        run: its run.
        plan: the run's plan.
        state: how the run ended.
        reason: why it stopped, where it did.
        wall_s: seconds that this start took.

    """
    facts = _facts(config, run, plan, state, reason, wall_s)
    if state == "finished" and config.retry.max_error_rate < 1 and finished_exit(run) is None:
        facts = _judged(facts, config.endpoints)
    run.store.replace(COST, to_json(cost_json(facts)))
    run.store.replace(HTML, render_report(facts).encode("utf-8"))
    if facts.exit_code in FINISHED_CODES:
        _write_success(run, facts)
    return Outputs(facts.exit_code, closing_lines(facts, run.store.uri(HTML)))


def _judged(facts: RunFacts, endpoints: EndpointsConfig) -> RunFacts:
    """Return the facts of a run that has ended: stopped by errors, where an endpoint failed every row."""
    one_for_both = endpoints.of(STRONG) == endpoints.of(WEAK)  # as in an ask, which may be the judge's
    failing = [
        failing_words("endpoint" if one_for_both else f"{route} endpoint", facts.calls.routes[route])
        for route in facts.calls.failing
    ]
    return replace(facts, state="errors", stop_reason="; ".join(failing), quality=None) if failing else facts


def write_early_stop(
    config: Config, run: Run, reason: str | None, wall_s: float, state: State = "interrupted"
) -> Outputs:
    """Write cost.json of a start that stopped before there was a plan.

    Args:
        config: the job.
        run: its run.
        reason: why it stopped.
        wall_s: seconds that this start took.
        state: how it ended.

    """
    facts = _facts(config, run, empty_plan(config.budget), state, reason, wall_s)
    run.store.replace(COST, to_json(cost_json(facts)))
    spent = f"{usd(facts.spent_nano)} was spent on embeddings" if facts.spent_nano else "Nothing was spent"
    lines = [f"Stopped while scoring: {reason}. {spent}.", "Run the same command again: it resumes."]
    return Outputs(facts.exit_code, lines)


def rewrite_run_outputs(config: Config, run: Run, plan: Plan) -> Outputs:
    """Write the report of an earlier start again, from what storage holds.

    Args:
        config: the job, as the run's manifest or the command line has it.
        run: its run.
        plan: the run's plan.

    """
    earlier: dict[str, Any] = run.read_json(COST) or {}
    state: State = earlier.get("state", "interrupted")
    reason = earlier.get("stop_reason", "the run has not ended")
    if (who := driver(run.store, this_worker())) is not None:
        where = f"process {who.get('pid')} on {who.get('name')} drives it"
        state, reason = "running", f"{where}; these are its figures so far"
    elif finished_exit(run) is not None:  # however a later pass over its failed rows ended
        state, reason = "finished", None
    elif state == "running":  # it was, when a report was asked for
        state, reason = "interrupted", "the run has not ended"
    if "cap_usd" in earlier:  # it may have changed since the plan was made
        cap = earlier["cap_usd"]
        plan = replace(plan, cap_nano=None if cap is None else usd_to_nano(Decimal(cap)))
    facts = _facts(config, run, plan, state, reason, float(earlier.get("wall_s", 0)))
    if not run.store.exists(PLAN_HTML):
        write_plan_page(config, run, plan)
    run.store.replace(COST, to_json(cost_json(facts)))
    run.store.replace(HTML, render_report(facts).encode("utf-8"))
    return Outputs(facts.exit_code, closing_lines(facts, run.store.uri(HTML)))


def write_plan_page(config: Config, run: Run, plan: Plan, pilot: PilotFacts | None = None) -> None:
    """Write the frontier as a page, with what the pilot predicts; ``report.html`` links to it."""
    facts = plan_facts(config, run_id=run.id, run_uri=run.uri, plan=plan, pilot=pilot)
    run.store.replace(PLAN_HTML, render_plan(facts).encode("utf-8"))


def write_plan_outputs(config: Config, run: Run, plan: Plan, pilot: PilotFacts | None = None) -> Outputs:
    """Write the frontier as a page and as Parquet, with what the pilot predicts.

    Args:
        config: the job.
        run: its run.
        plan: the run's plan.
        pilot: what the plan took from the pilot, where there is one.

    """
    write_plan_page(config, run, plan, pilot)
    run.store.replace(FRONTIER, to_parquet(frontier_table(plan)))
    paid = embedding_use(run)
    called = f"No model was called; embeddings cost {usd(paid.spent_nano)}" if paid else "Nothing was called"
    strong = f"{count(plan.strong)} of {rows(plan.valid)} strong, the highest by {ranked_by(plan)}"
    lines = [
        f"{strong}, expected to cost {usd(plan.planned_nano)}. {called}.",
        *(f"{label}: {text}" for label, text in length_details(plan)),
        f"Plan: {run.store.uri(PLAN_HTML)}",
    ]
    return Outputs(0, lines, plan)


def _facts(config: Config, run: Run, plan: Plan, state: State, reason: str | None, wall_s: float) -> RunFacts:
    calls = run_summary(run)
    left = plan.valid - calls.ok - calls.failed
    calls = replace(calls, unfunded=left if state == "budget" else 0)
    facts = run_facts(
        config,
        run_id=run.id,
        run_uri=run.uri,
        plan=plan,
        calls=calls,
        wall_s=wall_s,
        state=state,
        stop_reason=reason,
    )
    facts = replace(facts, degrades=load_degrades(run), pilot=_pilot_view(run))
    facts = replace(facts, labels=label_facts(config, run, calls.reasked))
    if state == "finished":
        predicted = None if plan.outlook is None else plan.outlook.quality
        facts = replace(facts, quality=quality_of(config, run, predicted))
    return with_embedding(facts, config.router.embedder, embedding_use(run))


def _pilot_view(run: Run) -> PilotView | None:
    """Return the pilot that a run took, or is still making; None where it has none."""
    pinned = run.read_json(PINNED)
    if pinned is None:
        return None
    uri = str(pinned["uri"])
    return pilot_view(uri, read_success(uri) or {}, here=bool(pinned["here"]))


def pilot_view(uri: str, stated: Mapping[str, Any], *, here: bool) -> PilotView:
    """Return a pilot as reports show it.

    Args:
        uri: of the pilot.
        stated: its ``_SUCCESS``; empty where it is not finished.
        here: whether the run that shows it made it.

    """
    used = pilot_use(uri)
    return PilotView(
        uri=public_uri(uri),
        made=stated.get("made", ""),
        rows=stated.get("rows", 0),
        labelled=stated.get("labelled", 0),
        grader=stated.get("grader", ""),
        chosen=stated.get("chosen") or "none",
        reason=stated.get("reason") or "it is not finished",
        note=stated.get("note"),
        spent_nano=used.spent_nano,
        presumed_nano=used.presumed_nano,
        here=here,
        ungradable=stated.get("ungradable", 0),
    )


def run_summary(run: Run) -> CallSummary:
    """Return the sums of all calls of a run."""
    return add_all(tally.summary for tally in tallies(run))


def _write_success(run: Run, facts: RunFacts) -> None:
    newest = _newest_success(run)
    number = 0 if newest is None else int(newest.removeprefix(SUCCESS).removeprefix(".r") or 0) + 1
    rows = cost_json(facts)["rows"]
    body = json.dumps({"exit_code": facts.exit_code, "run_id": run.id, "rows": rows}, sort_keys=True)
    run.store.create(SUCCESS if number == 0 else f"{SUCCESS}.r{number}", f"{body}\n".encode())
