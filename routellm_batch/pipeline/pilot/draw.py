"""Drawing a pilot's rows from a scored run, and taking them out of the input: ``sample.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.config.job import ColumnsConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import Shard
from routellm_batch.pipeline.pilot.sample import Drawn, Part, Sampler
from routellm_batch.pipeline.references import Gradable
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.prompts import input_columns
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

STRATUM, WEIGHT, SCORE, TOKENS = "pilot_stratum", "pilot_weight", "pilot_score", "pilot_tokens"
"""Columns that a sample has besides those of the input."""
FEWEST = 2
"""Least number of rows of a pilot."""
_COLUMNS = ["row", "kind", "score", "tie", "content"]


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample, and how many rows it was drawn from."""

    rows: Sequence[Drawn]
    """The sample, in the order of the input."""
    valid: int
    """Valid rows of the input."""
    ungradable: int
    """Those of them that the grader can't grade, of which none is drawn."""


def draw_rows(run: Run, rows: int, seed: int, gradable: Gradable) -> Draw:
    """Return a sample of the valid rows of a run whose shards are scored.

    Rows are drawn among those that can be graded, and stand for all valid rows of their stratum.

    Args:
        run: the run.
        rows: how many to draw; their prompts are distinct.
        seed: of the draw.
        gradable: says which rows can be graded.

    Raises:
        ConfigError: the input has fewer distinct prompts than that. Where some can't be graded, fewer than asked for are
            drawn, and it is raised for fewer than two.

    """
    sampler = Sampler(rows, seed)
    valid = ungradable = 0
    for shard in run.shards:
        scores = _valid(run, shard, ["kind", "score"]).column("score").to_numpy()
        sampler.count(scores)
        valid += len(scores)
    for shard in run.shards:
        part, left_out = _part(run, shard, gradable(shard))
        sampler.add(part)
        ungradable += left_out
    drawn = sampler.draw()
    if ungradable and len(drawn) < FEWEST:
        problem = (
            f"can grade only {len(drawn)} distinct prompts of {valid:,} valid rows; the others have no usable "
            "reference or label"
        )
        raise ConfigError("pilot.grader", problem)
    if valid < rows or (len(drawn) < rows and not ungradable):
        most = f"{valid} valid rows" if ungradable else f"{len(drawn)} distinct valid prompts"
        problem = f"is {rows}, but the input has only {most}; ask for that many or fewer"
        raise ConfigError("pilot.rows", problem)
    return Draw(drawn, valid, ungradable)


def sample_table(
    run: Run, drawn: Sequence[Drawn], columns: ColumnsConfig, also: Sequence[str] = ()
) -> pa.Table:
    """Return the drawn rows with their input columns, and their stratum, weight, score and estimated tokens.

    Args:
        run: the scored run.
        drawn: its rows, in the order of the input.
        columns: names of the input columns.
        also: further input columns.

    Raises:
        DataError: the input changed or was damaged since it was scored.

    """
    names = input_columns(columns, also)
    parts: list[pa.Table] = []
    for index, of_shard in groupby(drawn, key=lambda one: one.shard):
        mine = list(of_shard)
        shard, at = run.shards[index], pa.array([one.row for one in mine])
        table = read_rows(run.files[shard.file], shard.start, shard.rows, names).take(at)
        tokens = _scored(run, shard, ["tokens"]).column("tokens").take(at)
        table = table.append_column(STRATUM, pa.array([one.stratum for one in mine], pa.int32()))
        table = table.append_column(WEIGHT, pa.array([one.weight for one in mine], pa.float64()))
        table = table.append_column(SCORE, pa.array([one.score for one in mine], pa.float32()))
        parts.append(table.append_column(TOKENS, tokens))
    return pa.concat_tables(parts, promote_options="permissive").combine_chunks()


def _part(run: Run, shard: Shard, gradable: NDArray[np.bool_]) -> tuple[Part, int]:
    """Return a shard's valid rows that can be graded, and the number of the other valid ones."""
    valid = _valid(run, shard, _COLUMNS)
    table = valid.filter(pa.array(gradable[valid.column("row").to_numpy()]))
    content = b"".join(table.column("content").to_pylist())
    part = Part(
        shard.index,
        table.column("row").to_numpy(),
        table.column("score").to_numpy(),
        table.column("tie").to_numpy(),
        np.frombuffer(content, dtype="<u8").reshape(-1, 2),
    )
    return part, valid.num_rows - table.num_rows


def _valid(run: Run, shard: Shard, columns: list[str]) -> pa.Table:
    table = _scored(run, shard, columns)
    return table.filter(table.column("kind").is_null())


def _scored(run: Run, shard: Shard, columns: list[str]) -> pa.Table:
    return from_parquet(run.store.read(f"score/{shard.name}.parquet"), columns)
