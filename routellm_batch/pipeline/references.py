"""The references of a job's input: refused before a run begins where they can't be used, and which rows can be graded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel

from routellm_batch.config.graders import (
    ChoiceConfig,
    GraderConfig,
    JudgeConfig,
    LabelsConfig,
    columns_of,
    reference_of,
)
from routellm_batch.config.job import Config, InputConfig
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.types import ROUTES, InputFile, Shard
from routellm_batch.evaluation.graders import Question, ReferenceConfig, make_graders
from routellm_batch.evaluation.graders.options import NamedOption, NamingTally
from routellm_batch.evaluation.graders.references import (
    ReferenceReader,
    Unusable,
    first_shown,
    right_answers,
    type_problem,
    values,
)
from routellm_batch.reporting.text import count
from routellm_batch.storage.inputs import read_rows, shards_of
from routellm_batch.storage.prompts import decode_ids
from routellm_batch.storage.run import Run

Compared = ReferenceConfig | JudgeConfig
"""Graders that read a column of references."""
Gradable = Callable[[Shard], NDArray[np.bool_]]
"""Shard → which of its rows the grader can grade, bool [rows]."""
WAYS_IN_WORDS = {
    "letter": "letters",
    "from_0": "numbers that count from 0",
    "from_1": "numbers that count from 1",
    "text": "texts of options",
}


@dataclass
class _Survey:
    """What the references of an input are like."""

    rows: int = 0
    missing: int = 0
    """Rows without a reference."""
    bad: int = 0
    """Rows whose reference can't be used."""
    first: tuple[str, int, Unusable] | None = None
    """File, row and value of the first of them."""

    @property
    def usable(self) -> int:
        """Rows whose reference can be used."""
        return self.rows - self.missing - self.bad


def check_references(config: Config, files: Sequence[InputFile], sink: Sink) -> None:
    """Check what the job's graders compare answers with, before a run begins.

    A run's own grader needs every reference that is there. A pilot asks only rows that can be graded, so where it grades by
    the same column, rows whose reference its grader can't read are left out, and a warning says how many.

    Args:
        config: the job.
        files: its input.
        sink: takes the warning.

    Raises:
        DataError: a reference can't be used, or there is none at all, or people's labels can't be read; the error names
            file, column, row and the value, cut short.
        ConfigError: references of ``choice`` can be understood in two ways.

    """
    pilot = config.pilot.grader if config.pilot else None
    graders: list[tuple[str, GraderConfig | None]] = [("pilot.grader", pilot), ("grade", config.grade)]
    if pilot == config.grade:
        graders.pop()
    for key, grader in graders:
        if isinstance(grader, LabelsConfig):
            make_graders(grader)
            continue
        column = reference_of(grader)
        if grader is not None and column is not None:
            mixed = column == reference_of(pilot)
            _check(key, grader, column, _Input(files, config.input.shard_rows), sink if mixed else None)


@dataclass(frozen=True, slots=True)
class _Input:
    """The input, to be read part by part."""

    files: Sequence[InputFile]
    shard_rows: int

    def parts(self, columns: Sequence[str]) -> Iterator[tuple[InputFile, Shard, pa.Table]]:
        for shard in shards_of(self.files, self.shard_rows):
            file = self.files[shard.file]
            yield file, shard, read_rows(file, shard.start, shard.rows, list(dict.fromkeys(columns)))


def _check(key: str, grader: Compared, column: str, given: _Input, sink: Sink | None) -> None:
    """Check the references of one grader; with a sink, some may be unusable."""
    named = _settled(key, grader, column, given) if isinstance(grader, ChoiceConfig) else None
    survey = _survey(grader, given, named)
    if survey.first is None:
        if not survey.usable:
            problem = "every reference is null, so no answer can be graded"
            raise DataError(problem, file=given.files[0].uri, column=column)
        return
    uri, row, unusable = survey.first
    if sink is None or not survey.usable:
        raise DataError(_refused(key, grader, survey, unusable), file=uri, column=column, row=row)
    sink(
        Notice(
            f"{count(survey.bad)} of {count(survey.rows)} rows have a reference that the grader {grader.kind} "
            f"can't use (the first: {uri}, row {row}: {unusable}); they are neither asked by the pilot nor graded",
            warning=True,
        )
    )


def _parts(grader: Compared, given: _Input) -> Iterator[tuple[InputFile, Shard, pa.Table]]:
    """Yield the columns that a grader reads, part by part.

    Raises:
        DataError: the column of references is of a type that can't hold any.

    """
    column = columns_of(grader)[0]
    for file, shard, table in given.parts(columns_of(grader)):
        problem = type_problem(table.schema.field(column).type, grader.kind)
        first = first_shown(table.column(column)) if problem else None
        if first is not None:
            row, shown = first
            text = f"{problem} (the first: {shown})"
            raise DataError(text, file=file.uri, column=column, row=shard.start + row)
        yield file, shard, table


def _refused(key: str, grader: Compared, survey: _Survey, unusable: Unusable) -> str:
    others = f", as are {count(survey.bad - 1)} more" if survey.bad > 1 else ""
    text = f"{unusable}{others}; correct it, or make it null where the row has no right answer"
    if isinstance(grader, ChoiceConfig) and grader.options is None:
        text += f"; if it is an option's text, name the column of the options with {key}.options"
    return text


def _survey(grader: Compared, given: _Input, named: NamedOption | None) -> _Survey:
    survey = _Survey()
    for file, shard, table in _parts(grader, given):
        survey.rows += table.num_rows
        for row, one in enumerate(_readings(grader, table, named)):
            survey.missing += one is None
            if isinstance(one, Unusable):
                survey.bad += 1
                survey.first = survey.first or (file.uri, shard.start + row, one)
    return survey


def _readings(
    grader: Compared, table: pa.Table, named: NamedOption | None
) -> Iterator[tuple[object, ...] | Unusable | None]:
    """Yield each row's right answers as the grader compares them, as ``ReferenceReader.read``."""
    reference, *options = (values(table.column(name)) for name in columns_of(grader))
    if isinstance(grader, JudgeConfig):
        yield from (tuple(right_answers(value)) or None for value in reference)
        return
    reader = ReferenceReader(grader, named)
    given = options[0] if options else [None] * table.num_rows
    for value, option in zip(reference, given, strict=True):
        yield reader.read(value, option)


def _settled(key: str, grader: ChoiceConfig, column: str, given: _Input) -> NamedOption:
    """Return how the references name an option.

    Raises:
        ConfigError: they can be understood in two ways.

    """
    tally = _tally(grader, _parts(grader, given))
    if tally.doubt is None:
        return tally.best
    one, other = WAYS_IN_WORDS[tally.best], WAYS_IN_WORDS[tally.doubt]
    problem = (
        f"the references in column {column!r} can be {one} or {other}, and the data don't tell which; "
        f"set {key}.reference_is={tally.best} or {key}.reference_is={tally.doubt}"
    )
    if tally.best == "from_0" and grader.options is None:
        problem += f" (or {key}.letters to the letters that there are, such as ABCD, if all rows have as many options)"
    raise ConfigError(f"{key}.reference_is", problem)


def _tally(grader: ChoiceConfig, parts: Iterator[tuple[InputFile, Shard, pa.Table]]) -> NamingTally:
    tally = NamingTally(grader)
    for _, _, table in parts:
        reference, *options = (values(table.column(name)) for name in columns_of(grader))
        for row, value in enumerate(reference):
            tally.add(right_answers(value), options[0][row] if options else None)
    return tally


def naming_of(grader: BaseModel | None, run: Run) -> NamedOption | None:
    """Return how the references of a run's input name an option; None for another grader than ``choice``."""
    if not isinstance(grader, ChoiceConfig):
        return None
    if grader.reference_is != "auto":
        return grader.reference_is
    tally = _tally(grader, _Input(run.files, run.shard_rows).parts(columns_of(grader)))
    return tally.best if tally.doubt is None else "letter"


def gradable_rows(
    inputs: InputConfig, grader: ReferenceConfig | LabelsConfig | JudgeConfig, run: Run
) -> Gradable:
    """Return what says which rows of a run's input a grader can grade: those with a usable reference, or both labels.

    Args:
        inputs: names the columns.
        grader: of the pilot.
        run: whose input it is.

    Raises:
        DataError: people's labels can't be read; and, when it is called, the input changed since the run began.

    """
    if isinstance(grader, JudgeConfig):
        return lambda shard: np.ones(shard.rows, dtype=np.bool_)
    if isinstance(grader, LabelsConfig):
        graders = make_graders(grader)

        def labelled(shard: Shard) -> NDArray[np.bool_]:
            file, name = run.files[shard.file], inputs.columns.id
            ids = decode_ids(read_rows(file, shard.start, shard.rows, [name]).column(name), file, shard, name)
            asked = [None if row_id is None else Question(row_id, "") for row_id in ids]
            return np.array(
                [
                    one is not None
                    and all(graders[route].grade(one, "").score is not None for route in ROUTES)
                    for one in asked
                ],
                dtype=np.bool_,
            )

        return labelled
    named = naming_of(grader, run)

    def referenced(shard: Shard) -> NDArray[np.bool_]:
        table = read_rows(run.files[shard.file], shard.start, shard.rows, columns_of(grader))
        return np.array([isinstance(one, tuple) for one in _readings(grader, table, named)], dtype=np.bool_)

    return referenced
