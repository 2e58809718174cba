"""Grading a run's own answers, shard by shard: what was achieved, beside what the pilot foretold.

Where both endpoints replay recorded answers, both models' answers to every graded row are known, and so is the part of
the gap between them that the run recovered: a backtest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from routellm_batch.config import Config
from routellm_batch.config_endpoints import EndpointConfig, ReplayConfig
from routellm_batch.grading import Grade, Grader, Question, make_graders
from routellm_batch.prediction import Quality
from routellm_batch.reporting.views import Achieved, QualityView
from routellm_batch.stages.respond import read_shard_responses
from routellm_batch.stages.rows import Prompt, decode_ids, decode_prompts, input_columns
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.run import Run
from routellm_batch.training.reading import read_table, require
from routellm_batch.types import ROUTES, Route, Shard

Z90 = 1.645
"""Half width of a 90 % interval, in standard errors."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One answered row."""

    question: Question
    route: Route
    answer: str | None


def quality_of(config: Config, run: Run, predicted: Quality | None) -> QualityView | None:
    """Grade all answers of a run; None where nothing is to be graded and nothing was foretold.

    Args:
        config: the job.
        run: its folder.
        predicted: what the pilot foretold of the plan.

    Raises:
        DataError: the input changed since, or lacks the reference column; labels that can't be used.

    """
    if config.grade is None:
        return None if predicted is None else QualityView(predicted)
    graders, recorded = make_graders(config.grade), _recorded(config)
    own: list[float] = []
    both: dict[Route, list[float]] = {route: [] for route in ROUTES}
    problems: Counter[str] = Counter()
    for row in _rows(config, run):
        grade = graders[row.route].grade(row.question, row.answer)
        if grade.problem is not None:
            problems[str(grade.problem)] += 1
        if grade.score is None:
            continue
        own.append(grade.score)
        for route, known in recorded.items():
            found = _of_recorded(graders[route], row.question, known)
            both[route].append(math.nan if found.score is None else found.score)
    strong, weak = (_mean(both[route]) for route in ROUTES)
    achieved = _achieved(own)
    pgr = None
    if achieved is not None and strong is not None and weak is not None and strong > weak:
        pgr = (achieved.mean - weak) / (strong - weak)
    return QualityView(predicted, achieved, strong, weak, pgr, dict(sorted(problems.items())))


def _achieved(grades: list[float]) -> Achieved | None:
    if not grades:
        return None
    values = np.array(grades)
    mean, error = float(values.mean()), float(values.std() / math.sqrt(len(values)))
    return Achieved(len(values), mean, mean - Z90 * error, mean + Z90 * error)


def _mean(grades: list[float]) -> float | None:
    """Return the mean; None where there is none, or a row's answer is not known."""
    return None if not grades or any(map(math.isnan, grades)) else float(np.mean(grades))


def _recorded(config: Config) -> dict[Route, Mapping[str, str | None]]:
    """Return both models' recorded answers by prompt, where both endpoints replay; else nothing."""
    ends: dict[Route, EndpointConfig] = {route: getattr(config.endpoints, route) for route in ROUTES}
    replays = {route: end.replay for route, end in ends.items() if isinstance(end.replay, ReplayConfig)}
    if len(replays) < len(ROUTES):
        return {}
    return {route: _answers(replay) for route, replay in replays.items()}


def _answers(replay: ReplayConfig) -> dict[str, str | None]:
    table = read_table(replay.uri)
    require(table, [replay.prompt, replay.answer], replay.uri)
    columns = (table.column(name).to_pylist() for name in (replay.prompt, replay.answer))
    return dict(zip(*columns, strict=True))


def _of_recorded(grader: Grader, question: Question, known: Mapping[str, str | None]) -> Grade:
    return grader.grade(question, known.get(question.text))


def _rows(config: Config, run: Run) -> Iterator[_Row]:
    reference = getattr(config.grade, "reference", None)
    for shard in run.shards:
        answers = read_shard_responses(run, shard.name, ["route", "status", "answer"])
        if answers is None:
            continue
        asked = _questions(config, run, shard, reference)
        for row in answers.to_pylist():
            yield _Row(asked[row["id"]], row["route"], row["answer"] if row["status"] == "ok" else None)


def _questions(config: Config, run: Run, shard: Shard, reference: str | None) -> dict[Any, Question]:
    names = [*input_columns(config.input.columns), *([reference] if reference else [])]
    file = run.files[shard.file]
    table: pa.Table = read_rows(file, shard.start, shard.rows, list(dict.fromkeys(names)))
    ids = decode_ids(table.column(config.input.columns.id), file, shard, config.input.columns.id)
    prompts = decode_prompts(table, config.input, None)
    values = table.column(reference).to_pylist() if reference else [None] * len(ids)
    return {
        row_id: Question(row_id, prompt.text, value)
        for row_id, prompt, value in zip(ids, prompts, values, strict=True)
        if row_id is not None and isinstance(prompt, Prompt)
    }
