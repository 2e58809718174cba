"""LLM-judge augmentation: from prompts, both models' answers and a judge to outcomes and battles for the trainers.

Everything lies in ``<run.root>/judged/<run id>/``: ``job.json`` (what it is, with its input pinned), ``runs/strong``,
``runs/weak``, ``runs/judge``, ``runs/judge-again`` (ordinary runs), ``outcomes.parquet``, ``battles.parquet``,
``unlabelled.parquet``, ``cost.json`` and ``_SUCCESS``. The same command resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.budget.pricing import nano_to_usd, usd_to_nano
from routellm_batch.config.graders import JudgePairsConfig
from routellm_batch.config.identity import identity, without_models
from routellm_batch.config.job import Config, InputConfig, RunConfig
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import BudgetError, BudgetStopError, ConfigError, DataError, RunMismatchError
from routellm_batch.core.events import Sink
from routellm_batch.core.types import ENDPOINTS, JUDGE, ROUTES, STRONG, WEAK, EndpointName, Route, RowId
from routellm_batch.endpoints.servers import check_secrets
from routellm_batch.evaluation.graders.judge import Pair, Verdicts
from routellm_batch.evaluation.graders.references import check_reference, shown_to_judge, values
from routellm_batch.pipeline.ask import Ask, AskBudget, AskResult, plan_ask
from routellm_batch.pipeline.judge.tables import Judged, cost_facts, judged_lines, write_tables
from routellm_batch.pipeline.judge.verdicts import ask_judge, judge_estimate_nano
from routellm_batch.pipeline.outputs import Outputs, RunResult
from routellm_batch.storage.arrow_types import is_text, value_type
from routellm_batch.storage.inputs import find_files, pin_files
from routellm_batch.storage.labelled import read_table, require
from routellm_batch.storage.prompts import Prompt, decode_prompts
from routellm_batch.storage.run import SUCCESS
from routellm_batch.storage.store import FsStore, read_json

JOB, COST = "job.json", "cost.json"
CHARS_PER_ANSWER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class _Input:
    """The rows to be judged."""

    ids: Sequence[RowId]
    """One for each row, distinct."""
    questions: Sequence[str | None]
    """Routing text; None for an invalid prompt."""
    references: Sequence[str | None]
    """What the judge is shown as a right answer; None where there is none."""
    recorded: Mapping[Route, Sequence[str | None]]
    """Route → recorded answers, for the routes that have a column."""


def judge_pairs(config: Config, sink: Sink) -> RunResult:
    """Have missing answers made and all pairs judged, and write outcomes and battles; or resume that.

    A job that the cap stops returns with the exit code of ``BudgetStopError``.

    Args:
        config: the job, with ``judge``.
        sink: receives the events.

    Raises:
        InputError: the config or the input is invalid; nothing was spent.
        EndpointStopError: an endpoint can't be reached.

    """
    judge, cap_nano = _checked(config)
    store = FsStore(_folder(config.run), single_writer=config.run.single_writer)
    rows = _read(config.input, judge)
    _pin(store, config)
    budget = AskBudget(config, store, cap_nano, sink)
    if not any(store.folders(f"runs/{route}/call") for route in ENDPOINTS):
        _refuse_above_cap(budget, rows, judge)
    try:
        for route in ROUTES:
            if route not in rows.recorded:
                result = budget.ask(route, route, config.input.uri)
                if not result.finished:
                    return _stopped(budget, result.exit_code, result.lines)
        pairs = _pairs(rows, budget.done)
        verdicts = ask_judge(budget, pairs, judge)
    except BudgetStopError as error:
        return _stopped(budget, error.exit_code, [f"Stopped by the budget: {error}."])
    if isinstance(verdicts, AskResult):
        return _stopped(budget, verdicts.exit_code, verdicts.lines)
    return _written(budget, pairs, verdicts)


def _checked(config: Config) -> tuple[JudgePairsConfig, int]:
    if config.judge is None:
        raise ConfigError("judge", "is missing: write judge: {} for the built-in pairwise judge")
    if config.budget.hard_cap_usd is None:
        raise ConfigError("budget.hard_cap_usd", "is missing: it caps what all three endpoints cost together")
    if config.endpoints.strong.model == config.endpoints.weak.model:
        raise ConfigError(
            "endpoints.weak.model",
            "is the strong endpoint's model too, so no battle could name a winner; give another model",
        )
    if "{date}" in config.run.id and config.run.date is None:
        raise ConfigError(
            "run.id", "has {date}: give run.date=YYYY-MM-DD, so that the same command resumes the job"
        )
    recorded: dict[EndpointName, str | None] = {
        STRONG: config.judge.strong_answer,
        WEAK: config.judge.weak_answer,
        JUDGE: None,
    }
    for name in (name for name, column in recorded.items() if column is None):
        # Before the first ask: once one key proves missing, others would have been paid for.
        check_secrets(config.endpoints.of(name), f"endpoints.{name}")
    return config.judge, usd_to_nano(config.budget.hard_cap_usd)


def _folder(run: RunConfig) -> str:
    run_id = run.id.replace("{date}", run.date or "")
    return f"{run.root.rstrip('/')}/judged/{run_id}"


def _read(inputs: InputConfig, judge: JudgePairsConfig) -> _Input:
    """Return the rows.

    Raises:
        DataError: a column is missing, a reference or recorded answer can't be used, or an id is null or occurs twice.

    """
    uri, columns = inputs.uri, inputs.columns
    table = read_table(uri)
    names = {STRONG: judge.strong_answer, WEAK: judge.weak_answer}
    wanted = [columns.id, columns.prompt or columns.messages, columns.system, *names.values()]
    require(table, [name for name in wanted if name is not None], uri)
    if judge.reference is not None:
        check_reference(table, judge.reference, uri)
    ids = table.column(columns.id).to_pylist()
    seen: dict[RowId, int] = {}
    for row, row_id in enumerate(ids):
        if row_id is None:
            raise DataError("is null", file=uri, column=columns.id, row=row)
        if seen.setdefault(row_id, row) != row:
            problem = f"is the id of row {seen[row_id]} too; ids must differ"
            raise DataError(problem, file=uri, column=columns.id, row=row)
    prompts = decode_prompts(table, inputs, None)
    nothing = [None] * table.num_rows
    return _Input(
        ids,
        [one.text if isinstance(one, Prompt) else None for one in prompts],
        nothing
        if judge.reference is None
        else [shown_to_judge(value) for value in values(table.column(judge.reference))],
        {route: _answer_texts(table, name, uri) for route in ROUTES if (name := names[route]) is not None},
    )


def _answer_texts(table: pa.Table, name: str, uri: str) -> list[str | None]:
    """Return a column of recorded answers, null where there is none.

    Raises:
        DataError: the column is not text, or an answer is not UTF-8.

    """
    kind = value_type(table.schema.field(name).type)
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise DataError(f"is {kind}; recorded answers must be text", file=uri, column=name)
    answers: list[str | None] = []
    for row, value in enumerate(table.column(name)):
        try:
            answer = value.as_py()
            answers.append(answer.decode("utf-8") if isinstance(answer, bytes) else answer)
        except UnicodeDecodeError:
            raise DataError("the answer is not UTF-8", file=uri, column=name, row=row) from None
    return answers


def _pin(store: FsStore, config: Config) -> None:
    """Store what this job is, or check that the job that was begun is the same.

    Raises:
        RunMismatchError: it has another config or input.

    """
    files = [
        {"uri": f.uri, "size": f.size, "pin": f.pin}
        for f in pin_files(find_files(config.input.uri), config.input)
    ]
    facts = {"config": identity(config), "files": files}
    known: dict[str, Any] = facts if store.create(JOB, to_json(facts)) else read_json(store, JOB) or {}
    # Whether an endpoint may have changed, its own ask decides, which knows what it has answered.
    if (known["files"], without_models(known["config"])) != (files, without_models(identity(config))):
        message = f"{store.uri(JOB)} was begun with another config or input; put them back, or choose another run.id"
        raise RunMismatchError(message)


def _refuse_above_cap(budget: AskBudget, rows: _Input, judge: JudgePairsConfig) -> None:
    """Refuse a job that is expected to cost more than the cap, before anything is spent.

    Raises:
        BudgetError: it is; the text has the expected cost of each endpoint.

    """
    config = budget.config
    planned: dict[str, int] = {}
    for route in ROUTES:
        if route not in rows.recorded:
            cap = nano_to_usd(budget.cap_nano)
            asked = Ask(config, config.input.uri, route, budget.store.root, route, cap)
            planned[route] = plan_ask(asked, budget.sink)
    filler = {
        route: "?" * (CHARS_PER_ANSWER_TOKEN * config.endpoints.of(route).expected_output_tokens - at)
        for at, route in enumerate(ROUTES)  # of different lengths, as equal answers are not judged
    }
    guessed = [
        Pair(
            pair.id,
            pair.question,
            pair.strong or filler[STRONG],
            pair.weak or filler[WEAK],
            pair.reference,
        )
        for pair in _pairs(rows, {})
        if pair.question
    ]
    planned[JUDGE] = judge_estimate_nano(config.endpoints.of(JUDGE), guessed, judge)
    if sum(planned.values()) > budget.cap_nano:
        parts = ", ".join(f"{name} {nano_to_usd(nano):.4f}" for name, nano in planned.items())
        total, cap = nano_to_usd(sum(planned.values())), nano_to_usd(budget.cap_nano)
        message = (
            f"the job is expected to cost {total:.4f} USD ({parts}), above budget.hard_cap_usd of {cap:.4f} USD; "
            "raise it, or judge fewer rows"
        )
        raise BudgetError(message)


def _pairs(rows: _Input, done: Mapping[str, AskResult]) -> list[Pair]:
    """Return each row with its answers so far."""
    strong, weak = (_answers(route, rows, done.get(route)) for route in ROUTES)
    return [
        Pair(row_id, question, strong.get(row_id), weak.get(row_id), reference)
        if question is not None
        else Pair(row_id, "", None, None, reference)
        for row_id, question, reference in zip(rows.ids, rows.questions, rows.references, strict=True)
    ]


def _answers(route: Route, rows: _Input, result: AskResult | None) -> dict[RowId, str | None]:
    if route in rows.recorded:
        return dict(zip(rows.ids, rows.recorded[route], strict=True))
    if result is None or result.rows is None:
        return {}
    rows_asked = result.rows.select(["id", "answer", "status"]).to_pylist()
    return {row["id"]: row["answer"] for row in rows_asked if row["status"] == "ok"}


def _written(budget: AskBudget, pairs: Sequence[Pair], verdicts: Verdicts) -> RunResult:
    judged = Judged(budget.config, pairs, verdicts, budget.done)
    write_tables(budget.store, judged)
    code = 3 if judged.unlabelled else 0
    budget.store.replace(COST, to_json(cost_facts(judged, budget.cap_nano, code)))
    budget.store.create(SUCCESS, to_json({"exit_code": code}))
    return RunResult(code, budget.store.root, Outputs(code, judged_lines(judged, budget.store)))


def _stopped(budget: AskBudget, code: int, lines: Sequence[str]) -> RunResult:
    judged = Judged(budget.config, [], Verdicts({}, []), budget.done)
    budget.store.replace(COST, to_json(cost_facts(judged, budget.cap_nano, code)))
    return RunResult(
        code, budget.store.root, Outputs(code, [*lines, "Run the same command again: it resumes."])
    )
