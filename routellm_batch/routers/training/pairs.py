"""Battles out of any labelled file: between the models of a battle file, of outcomes, or of a score matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.routers.training.battles import MIN_CHARS, Battles, Row, battle_rows, join_rows
from routellm_batch.routers.training.rows import (
    BATTLE_COLUMNS,
    MATRIX_MODELS,
    OUTCOME_COLUMNS,
    Source,
    outcome_scores,
    usable,
)
from routellm_batch.storage.labelled import labels, read_table, require, texts

PAIRS = 24
"""Pairs of models drawn for each prompt of a score matrix."""
OUTCOME_MODELS = (STRONG, WEAK)
"""What the two models of outcomes are called."""


def read_pairs(sources: Sequence[Source], *, seed: int) -> Battles:
    """Read sources as battles; ties stay in.

    Args:
        sources: Parquet files, globs or folders.
        seed: of the pairs drawn from score matrices.

    Raises:
        DataError: a file, column or row that can't be used, or no battle is left.

    """
    rows: list[Row] = []
    for number, source in enumerate(sources):
        table = read_table(source.uri)
        require(table, ["prompt"], source.uri)
        names = set(table.column_names)
        if names.issuperset(BATTLE_COLUMNS[:3]):
            rows += battle_rows(table, source.uri)
        elif names.issuperset(OUTCOME_COLUMNS):
            strong, weak = outcome_scores(table, source.uri)
            rows += _drawn(
                table, source, dict(zip(OUTCOME_MODELS, (strong, weak), strict=True)), 1, [seed, number]
            )
        else:
            models = [field.name for field in table.schema if pa.types.is_floating(field.type)]
            if len(models) < MATRIX_MODELS:
                raise DataError("neither outcomes, battles nor a score matrix", file=source.uri)
            scores = {m: np.array(table.column(m).to_pylist(), dtype=np.float64) for m in models}
            rows += _drawn(table, source, scores, PAIRS, [seed, number])
    return join_rows(rows, sources[0].uri)


def _drawn(
    table: pa.Table, source: Source, scores: dict[str, np.ndarray], pairs: int, seed: Sequence[int]
) -> list[Row]:
    """Draw pairs of models for each prompt; the one with the higher score wins."""
    rng = np.random.default_rng(list(seed))
    prompts, category = texts(table, "prompt", source.uri), labels(table, "category")
    split = labels(table, source.split_column)
    kept = usable(table) & np.isin(split, ["train", "dev", ""]) & ~np.isin(category, list(source.without))
    models, found = list(scores), []
    for row in np.flatnonzero(kept):
        prompt = prompts[row].strip()
        if len(prompt) < MIN_CHARS:
            continue
        for _ in range(pairs):
            a, b = (models[m] for m in rng.choice(len(models), 2, replace=False))
            ours, theirs = scores[a][row], scores[b][row]
            if np.isfinite(ours) and np.isfinite(theirs):
                support = 0.5 if ours == theirs else float(ours > theirs)
                found.append((prompt, a, b, support, split[row] == "dev"))
    return found
