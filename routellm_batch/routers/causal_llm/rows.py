"""What a causal-LLM classifier is trained on: a prompt, and how good the weak model's answer was, from 1 to 5.

* An *outcome* or a *score matrix* says it itself: the weak score, scaled to 1…5 by the file's range and rounded.
* A *battle* says who won: the weak model 5, a tie 4 (its answer was good enough), the strong model 1. Of the two
  models the one that wins more in the file is the strong one. Preferences between these are interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.routers.training.battles import read_battles
from routellm_batch.routers.training.rows import OUTCOME_COLUMNS, Source, read_sources
from routellm_batch.storage.labelled import read_table


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """N prompts with points."""

    prompts: Sequence[str]
    """Length N."""
    points: NDArray[np.int64]
    """[N], 1…5."""
    gain: NDArray[np.float64]
    """[N], quality strong − weak in [−1, 1]."""
    held_out: NDArray[np.bool_]
    """[N], rows that are not trained on; rows of one prompt are all on one side."""


def read_labelled(paths: Sequence[str], *, held_out_share: float, seed: int) -> LabelledRows:
    """Read outcomes, score matrices and battles.

    Where no row is marked as held out, a share of the prompts is drawn.

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
    held_out = set(np.array(rows.prompts, dtype=object)[rows.held_out])
    if not held_out:
        distinct = sorted(set(rows.prompts))
        count = min(max(1, round(len(distinct) * held_out_share)), len(distinct) - 1)
        held_out = {distinct[n] for n in np.random.default_rng(seed).permutation(len(distinct))[:count]}
    apart = np.array([prompt in held_out for prompt in rows.prompts])
    return LabelledRows(rows.prompts, rows.points, rows.gain, apart)


def _read(path: str) -> LabelledRows:
    names = set(read_table(path).column_names)
    if {"model_a", "model_b"} <= names and not names.issuperset(OUTCOME_COLUMNS):
        return _from_battles(path)
    rows = read_sources([Source(path)])
    points = 1 + np.floor(4 * rows.weak + 0.5).astype(np.int64)
    return LabelledRows(rows.prompts, points, rows.strong - rows.weak, rows.held_out)


def _from_battles(path: str) -> LabelledRows:
    battles = read_battles([path])
    count = len(battles.models)
    won = np.bincount(battles.model_a, battles.support, count)
    won += np.bincount(battles.model_b, 1 - battles.support, count)
    fought = np.bincount(battles.model_a, minlength=count) + np.bincount(battles.model_b, minlength=count)
    rate = won / np.maximum(fought, 1)
    better = rate[battles.model_a] >= rate[battles.model_b]
    weak = np.where(better, 1 - battles.support, battles.support)
    points = np.floor(np.interp(weak, [0, 0.5, 1], [1, 4, 5]) + 0.5).astype(np.int64)
    prompts = [battles.prompts[n] for n in battles.prompt]
    return LabelledRows(prompts, points, 1 - 2 * weak, battles.held_out)


def balanced(rows: NDArray[np.int64], points: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return a random part of some rows in which each of the points that occurs is as frequent as the rarest.

    Args:
        rows: indices.
        points: [N], of all rows.
        seed: of the draw.

    """
    random = np.random.default_rng(seed)
    groups = [rows[points[rows] == k] for k in np.unique(points[rows])]
    least = min(map(len, groups))
    return np.sort(np.concatenate([random.permutation(group)[:least] for group in groups]))
