"""Battles: prompts that two models answered, and which answer was better.

``read_battles`` reads files of battles (RouteLLM's D_arena and D_judge, arXiv 2406.18665, §4). ``read_pairs`` takes any
labelled file and draws pairs of models from outcomes and score matrices too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.routers.training.formats import VOTES, read_training_table
from routellm_batch.routers.training.rows import (
    BATTLE_COLUMNS,
    OUTCOME_COLUMNS,
    Source,
    matrix_models,
    outcome_scores,
    usable,
)
from routellm_batch.storage.labelled import labels, numbers, require, texts

MIN_CHARS = 16
"""Shorter prompts say too little to learn from; RouteLLM drops them too (arXiv 2406.18665, §4)."""
PAIRS = 24
"""Pairs of models drawn for each prompt of a score matrix."""
OUTCOME_MODELS: tuple[str, str] = (STRONG, WEAK)
"""Names of the two models of an outcome."""

Row = tuple[str, str, str, float, bool]
"""Prompt, model_a, model_b, support for model_a, whether the row is held out."""


@dataclass(frozen=True, slots=True, eq=False)
class Battles:
    """N battles between M models on P distinct prompts."""

    models: Sequence[str]
    """Length M, sorted; each is in a battle."""
    prompts: Sequence[str]
    """Length P, distinct, in order of first appearance."""
    prompt: Ints
    """[N], index into ``prompts``."""
    model_a: Ints
    """[N], index into ``models``."""
    model_b: Ints
    """[N], index into ``models``."""
    support: Floats
    """[N] in [0, 1], for model_a: 1 it won, 0 it lost, 0.5 a tie."""
    held_out: NDArray[np.bool_]
    """[N], rows that the file marks ``dev``."""

    def __len__(self) -> int:
        return len(self.prompt)

    def tally(self) -> tuple[Floats, Ints]:
        """Return each model's wins (a tie is half a win), float64 [M], and its number of battles, int64 [M]."""
        count = len(self.models)
        wins = np.bincount(self.model_a, self.support, count).astype(np.float64)
        wins += np.bincount(self.model_b, 1 - self.support, count)
        battles: Ints = np.bincount(self.model_a, minlength=count) + np.bincount(
            self.model_b, minlength=count
        )
        return wins, battles


def read_battles(paths: Sequence[str]) -> Battles:
    """Return the battles of some files: ``prompt, model_a, model_b`` and ``preference`` (for model_a) or ``winner``.

    RouteLLM's own files and the Arena's are read too (``formats.py``).

    Rows that may not be trained on (see ``rows.usable``), self-pairs and prompts under ``MIN_CHARS`` are dropped.

    Raises:
        DataError: a file, column or row that can't be used, or no battle is left.

    """
    return join_rows([row for uri in paths for row in _rows(read_training_table(uri), uri)], paths[0])


def read_pairs(sources: Sequence[Source], *, seed: int) -> Battles:
    """Return sources as battles; ties stay in.

    An outcome is one battle between ``strong`` and ``weak``. From each prompt of a score matrix ``PAIRS`` pairs of its
    models are drawn, and the higher score wins.

    Args:
        sources: Parquet files, globs or folders of outcomes, battles or score matrices.
        seed: of the pairs drawn.

    Raises:
        DataError: a file, column or row that can't be used, or no battle is left.

    """
    rows: list[Row] = []
    for number, source in enumerate(sources):
        table = read_training_table(source.uri)
        require(table, ["prompt"], source.uri)
        names = set(table.column_names)
        if names.issuperset(BATTLE_COLUMNS[:3]):
            rows += _rows(table, source.uri)
        elif names.issuperset(OUTCOME_COLUMNS):
            scores = dict(zip(OUTCOME_MODELS, outcome_scores(table, source.uri), strict=True))
            rows += _drawn(table, source, scores, 1, [seed, number])
        else:
            models = matrix_models(table, source.uri)
            scores = {m: np.array(table.column(m).to_pylist(), dtype=np.float64) for m in models}
            rows += _drawn(table, source, scores, PAIRS, [seed, number])
    return join_rows(rows, sources[0].uri)


def _rows(table: pa.Table, uri: str) -> list[Row]:
    """Return the usable battles of one table of battles.

    Raises:
        DataError: a column or row that can't be used.

    """
    require(table, ["prompt", "model_a", "model_b"], uri)
    columns = [texts(table, name, uri) for name in ("prompt", "model_a", "model_b")]
    split = labels(table, "split" if "split" in table.column_names else "alpacaeval_split")
    kept = usable(table) & np.isin(split, ["train", "dev", ""])
    return [
        (prompt.strip(), a, b, support, split[row] == "dev")
        for row, (prompt, a, b, support) in enumerate(zip(*columns, _support(table, uri), strict=True))
        if kept[row] and a != b and len(prompt.strip()) >= MIN_CHARS
    ]


def _support(table: pa.Table, uri: str) -> Sequence[float]:
    """Return the support for model_a, in [0, 1], of each row of a table of battles."""
    if "preference" not in table.column_names:
        problem = f"no column says who won; there may be preference, winner, or {', '.join(VOTES)}"
        raise DataError(problem, file=uri)
    values = numbers(table, "preference", uri)
    bad = np.flatnonzero((values < 0) | (values > 1))
    if len(bad):
        raise DataError("is not in [0, 1]", file=uri, column="preference", row=int(bad[0]))
    return [float(v) for v in values]


def _drawn(
    table: pa.Table, source: Source, scores: dict[str, Floats], pairs: int, seed: Sequence[int]
) -> list[Row]:
    """Draw pairs of models for each prompt; the one with the higher score wins."""
    rng = np.random.default_rng(list(seed))
    prompts, category = texts(table, "prompt", source.uri), labels(table, "category")
    split = labels(table, source.split_column)
    kept = usable(table) & np.isin(split, ["train", "dev", ""]) & ~np.isin(category, list(source.without))
    models = list(scores)
    rows: list[Row] = []
    for number in np.flatnonzero(kept):
        prompt = prompts[number].strip()
        if len(prompt) < MIN_CHARS:
            continue
        for _ in range(pairs):
            a, b = (models[m] for m in rng.choice(len(models), 2, replace=False))
            score_a, score_b = scores[a][number], scores[b][number]
            if np.isfinite(score_a) and np.isfinite(score_b):
                support = 0.5 if score_a == score_b else float(score_a > score_b)
                rows.append((prompt, a, b, support, split[number] == "dev"))
    return rows


def join_rows(rows: Sequence[Row], uri: str) -> Battles:
    """Return rows as battles, with models and prompts numbered.

    Raises:
        DataError: there is no row.

    """
    if not rows:
        raise DataError("no battle may be trained on (see split, overlaps_eval, contaminated)", file=uri)
    models = sorted({name for _, a, b, _, _ in rows for name in (a, b)})
    index = {name: number for number, name in enumerate(models)}
    prompts: dict[str, int] = {}
    prompt_numbers = [prompts.setdefault(prompt, len(prompts)) for prompt, *_ in rows]
    return Battles(
        models=models,
        prompts=list(prompts),
        prompt=np.array(prompt_numbers),
        model_a=np.array([index[a] for _, a, _, _, _ in rows]),
        model_b=np.array([index[b] for _, _, b, _, _ in rows]),
        support=np.array([support for _, _, _, support, _ in rows]),
        held_out=np.array([dev for *_, dev in rows]),
    )
