"""Training rows from three kinds of files: outcomes, score matrices and battles.

Whatever the file, a row says for one prompt how well a strong and a weak model did, each in [0, 1]:

* an *outcome* holds both scores; scores beyond [0, 1] are scaled by the file's range;
* a *score matrix* has a column for each model: by their mean scores the best two are "strong" and the middle third
  "weak"; a row holds the mean of either group, which is less noisy than a single pair;
* a *battle* is between two models: the one that wins more in the file is "strong"; its support and the other's are the
  two scores, averaged over the battles of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import DataError
from routellm_batch.routers.training.formats import read_training_table
from routellm_batch.storage.labelled import labels, numbers, require, texts

OUTCOME_COLUMNS = ("prompt", "strong_score", "weak_score")
BATTLE_COLUMNS = ("prompt", "model_a", "model_b", "preference")
MATRIX_MODELS = 6
"""A score matrix has at least this number of models."""
MATRIX_STRONG = 2
"""The mean of this number of models, the best, stands for the strong model."""


@dataclass(frozen=True, slots=True)
class Source:
    """One training file, and which part of it is used."""

    uri: str
    """A Parquet file, a glob or a folder."""
    weight: float = 1.0
    """Weight of one of its rows."""
    without: frozenset[str] = frozenset()
    """Values of ``category`` that are left out."""
    tasks: bool = False
    """Whether its categories are separate tasks, each graded in its own way; else the whole file is one task."""
    split_column: str = "split"
    """Column that assigns a row: ``train`` to training, ``dev`` to the rows held out, else unused; without it all train."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """N rows, ready to be trained on."""

    prompts: Sequence[str]
    """Length N."""
    strong: Floats
    """[N], how well the strong model did, in [0, 1]."""
    weak: Floats
    """[N], how well the weak model did, in [0, 1]."""
    weight: Floats
    """[N], weight of each row; positive."""
    file: Ints
    """[N], index of the source."""
    task: Sequence[str]
    """Length N; rows of one task were graded in the same way, so their order can be compared."""
    held_out: NDArray[np.bool_]
    """[N], True for the rows that choose hyper-parameters and are not trained on."""

    def __len__(self) -> int:
        return len(self.prompts)


def read_sources(sources: Sequence[Source]) -> TrainingRows:
    """Return the rows of all sources, in their order.

    Raises:
        DataError: a file, column or row that can't be used, or no usable training row at all.

    """
    parts = [_read_source(number, source) for number, source in enumerate(sources)]
    rows = TrainingRows(
        prompts=[prompt for part in parts for prompt in part.prompts],
        strong=np.concatenate([part.strong for part in parts]),
        weak=np.concatenate([part.weak for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        file=np.concatenate([part.file for part in parts]),
        task=[task for part in parts for task in part.task],
        held_out=np.concatenate([part.held_out for part in parts]),
    )
    if rows.held_out.all():
        raise DataError(
            "no row may be trained on (see split, overlaps_eval, from_mmlu, contaminated)",
            file=sources[0].uri,
        )
    return rows


def _read_source(number: int, source: Source) -> TrainingRows:
    table = read_training_table(source.uri)
    require(table, ["prompt"], source.uri)
    names = set(table.column_names)
    if names.issuperset(OUTCOME_COLUMNS):
        strong, weak = outcome_scores(table, source.uri)
    elif names.issuperset(BATTLE_COLUMNS):
        strong, weak = _battles(table, source.uri)
    else:
        strong, weak = _matrix(table, source.uri)
    prompts = texts(table, "prompt", source.uri)
    category = labels(table, "category")
    kept = usable(table) & np.array([name not in source.without for name in category])
    split = np.array(labels(table, source.split_column))
    if source.split_column in names:
        kept &= np.isin(split, ["train", "dev"])
    kept &= np.isfinite(strong) & np.isfinite(weak)
    first = _first_of_each(prompts, kept) if names.issuperset(BATTLE_COLUMNS) else np.flatnonzero(kept)
    return TrainingRows(
        prompts=[prompts[row] for row in first],
        strong=strong[first],
        weak=weak[first],
        weight=np.full(len(first), source.weight),
        file=np.full(len(first), number),
        task=[f"{number} {category[row]}" if source.tasks else str(number) for row in first],
        held_out=split[first] == "dev",
    )


def usable(table: pa.Table) -> NDArray[np.bool_]:
    """Return whether each row may be trained on, bool [N]: its prompt is in no evaluation set.

    A row with ``contaminated`` or ``from_mmlu`` true, or with a non-empty ``overlaps_eval``, may not.
    """
    kept = np.array([value == "" for value in labels(table, "overlaps_eval")])
    for name in ("contaminated", "from_mmlu"):
        kept &= np.array([value != "true" for value in labels(table, name)])
    return kept


def outcome_scores(table: pa.Table, uri: str) -> tuple[Floats, Floats]:
    """Return the scores of the strong and of the weak model, float64 [N] each, in [0, 1].

    Raises:
        DataError: a score is missing or not a number.

    """
    strong, weak = numbers(table, "strong_score", uri), numbers(table, "weak_score", uri)
    return to_unit(strong, weak)


def to_unit(strong: Floats, weak: Floats) -> tuple[Floats, Floats]:
    """Return two columns of scores, float64 [N] each, scaled to [0, 1] by their common range unless they are within it."""
    low = min(strong.min(), weak.min())
    high = max(strong.max(), weak.max())
    if low >= 0 and high <= 1:
        return strong, weak
    return (strong - low) / (high - low), (weak - low) / (high - low)


def matrix_models(table: pa.Table, uri: str) -> list[str]:
    """Return the models of a score matrix: the names of its columns of floating-point numbers.

    Raises:
        DataError: there are fewer than ``MATRIX_MODELS``.

    """
    models = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    if len(models) < MATRIX_MODELS:
        others = f"outcomes ({', '.join(OUTCOME_COLUMNS)}), battles ({', '.join(BATTLE_COLUMNS)})"
        problem = f"neither {others} nor a score matrix (a column of numbers for each of {MATRIX_MODELS} or more models)"
        raise DataError(problem, file=uri)
    return models


def _matrix(table: pa.Table, uri: str) -> tuple[Floats, Floats]:
    """Return the mean scores of the strong and of the weak group of models, [N] each; NaN where none answered."""
    models = matrix_models(table, uri)
    scores = np.array([table.column(name).to_pylist() for name in models], dtype=np.float64)  # [M, N]
    order = np.argsort(-np.nanmean(scores, axis=1), kind="stable")
    third = len(models) // 3
    with np.errstate(invalid="ignore"):
        return _mean(scores[order[:MATRIX_STRONG]]), _mean(scores[order[third : 2 * third]])


def _mean(scores: Floats) -> Floats:
    """Return the mean over models [M, N] → [N], of those that answered; NaN where none did."""
    answered = np.isfinite(scores)
    mean: Floats = np.where(answered, scores, 0).sum(axis=0) / answered.sum(axis=0)
    return mean


def _battles(table: pa.Table, uri: str) -> tuple[Floats, Floats]:
    """Return the mean support for the stronger and the weaker model of each row's prompt, [N] each."""
    first, second = texts(table, "model_a", uri), texts(table, "model_b", uri)
    support = numbers(table, "preference", uri)  # for model_a
    wins: dict[str, list[float]] = {}
    for a, b, value in zip(first, second, support, strict=True):
        wins.setdefault(a, []).append(value)
        wins.setdefault(b, []).append(1 - value)
    rate: Mapping[str, float] = {model: float(np.mean(values)) for model, values in wins.items()}
    better = np.array([rate[a] >= rate[b] for a, b in zip(first, second, strict=True)])
    strong = np.where(better, support, 1 - support)
    prompts = texts(table, "prompt", uri)
    usable_rows = usable(table)
    sums: dict[str, list[float]] = {}
    for prompt, value, use in zip(prompts, strong, usable_rows, strict=True):
        if use:
            sums.setdefault(prompt, []).append(value)
    mean = np.array([np.mean(sums.get(prompt, [np.nan])) for prompt in prompts])
    return mean, 1 - mean


def _first_of_each(prompts: Sequence[str], kept: NDArray[np.bool_]) -> Ints:
    """Return the first kept row of each distinct prompt, ascending."""
    first: dict[str, int] = {}
    for row in np.flatnonzero(kept):
        first.setdefault(prompts[int(row)], int(row))
    return np.array(sorted(first.values()), dtype=np.int64)
