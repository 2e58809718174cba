"""Signals of free texts: how much two answers agree is the cosine of their embeddings, not whether they are equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_batch.answers.signals import VALUE, Signals
from routellm_batch.answers.surface import surface
from routellm_batch.core.arrays import Floats
from routellm_batch.core.protocols import Embedder


def text_signals(
    prompts: Sequence[str],
    answers: Sequence[str | None],
    others: Sequence[Sequence[str | None]],
    embedder: Embedder,
) -> Signals:
    """Return the signals of B free texts; 1 − cosine, clipped to [0, 1], takes the place of "differs".

    Args:
        prompts: B prompts.
        answers: the weak model's answers; None where there is none.
        others: K other answers to each prompt; None for one that did not come. An empty one differs wholly.
        embedder: embeds the answers.

    """
    usable = np.array([bool((answer or "").strip()) for answer in answers], dtype=np.bool_)
    own = _unit(embedder.embed([answer or "" for answer in answers]))
    width = len(others[0]) if len(others) else 0
    columns = [[row[i] for row in others] for i in range(width)]
    vectors = [_unit(embedder.embed([text or "" for text in column])) for column in columns]
    came = [np.array([text is not None for text in column]) for column in columns]
    single = [_differ(own, vectors[i], came[i]) for i in range(width)]
    pairs = [_differ(vectors[i], vectors[j], came[i] & came[j]) for i in range(width) for j in range(i)]
    look = surface(prompts, [answer or "" for answer in answers])
    return Signals(
        usable=usable,
        differs=_side_by_side(single, len(usable)),
        others_differ=_side_by_side(pairs, len(usable)),
        look=np.hstack([look, np.zeros((len(usable), len(VALUE)))]),
    )


def _unit(vectors: NDArray[np.floating]) -> Floats:
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = wide / np.where(length > 0, length, 1)
    return unit


def _differ(one: Floats, other: Floats, came: NDArray[np.bool_]) -> Floats:
    cosine = np.clip((one * other).sum(axis=1), 0, 1)
    return np.where(came, 1 - cosine, np.nan)


def _side_by_side(columns: Sequence[Floats], rows: int) -> Floats:
    return np.column_stack(columns) if columns else np.empty((rows, 0))
