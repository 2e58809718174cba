"""Drawing a pilot's rows from a scored run, and taking them out of the input: ``sample.parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from routellm_batch.config.job import ColumnsConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import Shard
from routellm_batch.pipeline.pilot.sample import Drawn, Part, Sampler
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.prompts import input_columns
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import from_parquet

STRATUM, WEIGHT, SCORE, TOKENS = "pilot_stratum", "pilot_weight", "pilot_score", "pilot_tokens"
"""Columns that a sample has besides those of the input."""
_COLUMNS = ["row", "kind", "score", "tie", "content"]


def draw_rows(run: Run, rows: int, seed: int) -> list[Drawn]:
    """Return a sample of all valid rows of a run whose shards are scored, in the order of the input.

    Args:
        run: the run.
        rows: how many to draw; their prompts are distinct.
        seed: of the draw.

    Raises:
        ConfigError: the input has fewer distinct prompts than that.

    """
    sampler = Sampler(rows, seed)
    for shard in run.shards:
        sampler.count(_valid(run, shard, ["kind", "score"]).column("score").to_numpy())
    for shard in run.shards:
        sampler.add(_part(run, shard))
    drawn = sampler.draw()
    if len(drawn) < rows:
        problem = f"is {rows}, but the input has only {len(drawn)} distinct valid prompts; ask for that many or fewer"
        raise ConfigError("pilot.rows", problem)
    return drawn


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


def _part(run: Run, shard: Shard) -> Part:
    table = _valid(run, shard, _COLUMNS)
    content = b"".join(table.column("content").to_pylist())
    return Part(
        shard.index,
        table.column("row").to_numpy(),
        table.column("score").to_numpy(),
        table.column("tie").to_numpy(),
        np.frombuffer(content, dtype="<u8").reshape(-1, 2),
    )


def _valid(run: Run, shard: Shard, columns: list[str]) -> pa.Table:
    table = _scored(run, shard, columns)
    return table.filter(table.column("kind").is_null())


def _scored(run: Run, shard: Shard, columns: list[str]) -> pa.Table:
    return from_parquet(run.store.read(f"score/{shard.name}.parquet"), columns)
