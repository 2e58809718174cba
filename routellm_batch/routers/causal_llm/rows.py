"""Rows to train the causal-LLM classifier on: a prompt, and the points of the weak model's answer, from 1 to 5.

* An *outcome* or a row of a *score matrix* holds the weak score: it is scaled to 1…5 by the file's range and rounded.
* A *battle* gives 5 points if the weak model won, 4 for a tie (its answer was good enough) and 1 if the strong model won;
  preferences in between are interpolated. The strong model is the one of the two that wins more in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.routers.training.battles import read_battles
from routellm_batch.routers.training.formats import read_training_table
from routellm_batch.routers.training.held_out import held_out_prompts
from routellm_batch.routers.training.rows import OUTCOME_COLUMNS, Source, read_sources


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """N prompts with points."""

    prompts: Sequence[str]
    """Length N."""
    points: Ints
    """[N], 1…5."""
    gain: Floats
    """[N], quality strong − weak in [−1, 1]."""
    held_out: NDArray[np.bool_]
    """[N], rows that are not trained on; rows of one prompt are all on one side."""


def read_labelled(paths: Sequence[str], *, held_out_share: float, seed: int) -> LabelledRows:
    """Return the rows of outcomes, score matrices and battles.

    Held out are the prompts of rows marked ``dev``; where there are none, a share of the prompts is drawn.

    Args:
        paths: Parquet files, globs or folders (paths or URIs).
        held_out_share: part of the distinct prompts to draw, in (0, 1).
        seed: of the prompts drawn.

    Raises:
        DataError: a file, column or row that can't be used, or none that may be trained on.

    """
    parts = [_read(path) for path in paths]
    rows = LabelledRows(
        prompts=[prompt for part in parts for prompt in part.prompts],
        points=np.concatenate([part.points for part in parts]),
        gain=np.concatenate([part.gain for part in parts]),
        held_out=np.concatenate([part.held_out for part in parts]),
    )
    held_out = held_out_prompts(rows.prompts, rows.held_out, seed, share=held_out_share)
    return replace(rows, held_out=held_out)


def _read(path: str) -> LabelledRows:
    names = set(read_training_table(path).column_names)
    if {"model_a", "model_b"} <= names and not names.issuperset(OUTCOME_COLUMNS):
        return _from_battles(path)
    rows = read_sources([Source(path)])
    points = 1 + np.floor(4 * rows.weak + 0.5).astype(np.int64)
    return LabelledRows(rows.prompts, points, rows.strong - rows.weak, rows.held_out)


def _from_battles(path: str) -> LabelledRows:
    battles = read_battles([path])
    wins, fought = battles.tally()
    rate = wins / fought
    better = rate[battles.model_a] >= rate[battles.model_b]
    weak = np.where(better, 1 - battles.support, battles.support)
    points = np.floor(np.interp(weak, [0, 0.5, 1], [1, 4, 5]) + 0.5).astype(np.int64)
    prompts = [battles.prompts[n] for n in battles.prompt]
    return LabelledRows(prompts, points, 1 - 2 * weak, battles.held_out)


def balanced(rows: Ints, points: Ints, *, seed: int) -> Ints:
    """Return a random part of some rows, int64 ascending, in which all points that occur are as frequent as the rarest.

    Args:
        rows: int64, indices to draw from.
        points: int64 [N], of all rows.
        seed: of the draw.

    """
    rng = np.random.default_rng(seed)
    groups = [rows[points[rows] == k] for k in np.unique(points[rows])]
    least = min(map(len, groups))
    return np.sort(np.concatenate([rng.permutation(group)[:least] for group in groups]))
