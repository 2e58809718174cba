"""Grading a run's own answers, shard by shard: the quality that was achieved, beside the pilot's prediction.

Where both endpoints replay recorded answers, both models' answers to every graded row are known, and so is the part of
the gap between them that the run recovered: a backtest. The pilot's router was fitted on the grades of the pilot's rows,
so the other rows are reported separately too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from routellm_batch.budget.quality.prediction import Quality
from routellm_batch.config.graders import columns_of
from routellm_batch.config.job import Config, EndpointsConfig, InputConfig
from routellm_batch.core.types import ROUTES, Route, Shard
from routellm_batch.endpoints.servers import server_spec
from routellm_batch.endpoints.simulator.replay import ReplayModel, load_replay
from routellm_batch.endpoints.simulator.spec import ReplaySpec
from routellm_batch.evaluation.graders import Question, make_graders
from routellm_batch.evaluation.graders.questions import questions
from routellm_batch.pipeline.references import naming_of
from routellm_batch.reporting.quality_view import Achieved, QualityView
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.pilots import labelled_prompts
from routellm_batch.storage.prompts import decode_ids, input_columns
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import Run

Z90 = 1.645
"""Half width of a 90 % interval, in standard errors."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One answered row."""

    question: Question
    """What was asked."""
    route: Route
    """The model that answered."""
    answer: str | None
    """None where the call failed."""


def quality_of(config: Config, run: Run, predicted: Quality | None) -> QualityView | None:
    """Return the quality of a run's answers; None where the job has no grader and the pilot predicted nothing.

    Args:
        config: the job.
        run: its run.
        predicted: the pilot's prediction for the plan.

    Raises:
        DataError: the input changed since the run began, lacks the reference column, or people's labels can't be read.

    """
    if config.grade is None:
        return None if predicted is None else QualityView(predicted)
    graders = make_graders(config.grade, naming_of(config.grade, run))
    recorded, seen = _recorded(config.endpoints), labelled_prompts(run)
    own: list[float] = []
    both: dict[Route, list[float]] = {route: [] for route in ROUTES}
    fresh: list[bool] = []
    problems: Counter[str] = Counter()
    for row in _rows(config.input, config.grade, run):
        grade = graders[row.route].grade(row.question, row.answer)
        if grade.problem is not None:
            problems[str(grade.problem)] += 1
        if grade.score is None:
            continue
        own.append(grade.score)
        fresh.append(row.question.text not in seen)
        for route, known in recorded.items():
            recorded_grade = graders[route].grade(row.question, known.recorded(row.question.text))
            both[route].append(math.nan if recorded_grade.score is None else recorded_grade.score)
    strong, weak = (_mean(both[route]) for route in ROUTES)
    view = QualityView(predicted, _achieved(own), strong, weak, _pgr(own, both))
    if not all(fresh):
        rest = [list(compress(grades, fresh)) for grades in (own, *both.values())]
        unseen_both = dict(zip(both, rest[1:], strict=True))
        view = replace(view, unseen=_achieved(rest[0]), unseen_pgr=_pgr(rest[0], unseen_both))
    return replace(view, problems=dict(sorted(problems.items())))


def _pgr(own: list[float], both: Mapping[Route, list[float]]) -> float | None:
    """Return the part of the gap that was recovered; None where there is no gap, or a grade of either model is unknown."""
    achieved, strong, weak = _mean(own), *(_mean(both[route]) for route in ROUTES)
    if achieved is None or strong is None or weak is None or strong <= weak:
        return None
    return (achieved - weak) / (strong - weak)


def _achieved(grades: list[float]) -> Achieved | None:
    if not grades:
        return None
    values = np.array(grades)
    mean, error = float(values.mean()), float(values.std() / math.sqrt(len(values)))
    return Achieved(len(values), mean, mean - Z90 * error, mean + Z90 * error)


def _mean(grades: list[float]) -> float | None:
    """Return the mean; None where there are no grades, or one is unknown."""
    return None if not grades or any(map(math.isnan, grades)) else float(np.mean(grades))


def _recorded(endpoints: EndpointsConfig) -> dict[Route, ReplayModel]:
    """Return the recorded answers of both models; empty unless both endpoints replay."""
    specs = {route: server_spec(endpoints.of(route)) for route in ROUTES}
    replays = {route: spec for route, spec in specs.items() if isinstance(spec, ReplaySpec)}
    return (
        {route: load_replay(spec) for route, spec in replays.items()} if len(replays) == len(ROUTES) else {}
    )


def _rows(inputs: InputConfig, grader: BaseModel, run: Run) -> Iterator[_Row]:
    for shard in run.shards:
        answers = read_shard_responses(run, shard.name, ["route", "status", "answer"])
        if answers is None:
            continue
        asked = _questions(inputs, run, shard, grader)
        for row in answers.to_pylist():
            yield _Row(asked[row["id"]], row["route"], row["answer"] if row["status"] == "ok" else None)


def _questions(inputs: InputConfig, run: Run, shard: Shard, grader: BaseModel) -> dict[Any, Question]:
    names, file = input_columns(inputs.columns, columns_of(grader)), run.files[shard.file]
    table: pa.Table = read_rows(file, shard.start, shard.rows, names)
    ids = decode_ids(table.column(inputs.columns.id), file, shard, inputs.columns.id)
    return {asked.id: asked for asked in questions(inputs, table, ids, grader) if asked is not None}
