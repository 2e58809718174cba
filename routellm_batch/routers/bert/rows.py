"""Rows to train a three-class router on: whose answer was better, the strong or the weak model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.routers.training.battles import Battles, read_battles
from routellm_batch.routers.training.rows import Source, read_sources
from routellm_batch.storage.labelled import read_table

STRONG, TIE, WEAK = 0, 1, 2
"""The published order: who wins."""
HELD_OUT = 0.05
"""Part of the prompts that is held out where no row is marked."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierRows:
    """N labelled prompts; no prompt is both trained on and held out."""

    prompts: Sequence[str]
    """Length N."""
    labels: NDArray[np.int64]
    """[N], 0 the strong model wins, 1 a tie, 2 the weak model wins."""
    held_out: NDArray[np.bool_]
    """[N], rows that are not trained on."""

    def __len__(self) -> int:
        return len(self.prompts)


def read_classifier_rows(paths: Sequence[str], *, seed: int) -> ClassifierRows:
    """Read battles, outcomes or score matrices; of battles, the model that wins more in its file is the strong one.

    Held out are the prompts of rows marked ``dev``; where there are none, 5 % of the prompts.

    Raises:
        DataError: a file, column or row that can't be used, or too few prompts to hold some out.

    """
    battles = [uri for uri in paths if {"model_a", "model_b"} <= set(read_table(uri).column_names)]
    others = [uri for uri in paths if uri not in battles]
    prompts: list[str] = []
    margins: list[NDArray[np.float64]] = []
    marked: list[NDArray[np.bool_]] = []
    for uri in battles:
        found = read_battles([uri])
        prompts += [found.prompts[n] for n in found.prompt]
        margins.append(strong_support(found) - 0.5)
        marked.append(found.held_out)
    if others:
        rows = read_sources([Source(uri) for uri in others])
        prompts += rows.prompts
        margins.append(rows.strong - rows.weak)
        marked.append(rows.held_out)
    labels = TIE - np.sign(np.concatenate(margins)).astype(np.int64)
    held_out = _whole_prompts(prompts, np.concatenate(marked), seed)
    if held_out.all():
        raise DataError(
            "every prompt is held out; give rows to train on, of two prompts or more", file=paths[0]
        )
    return ClassifierRows(prompts, labels, held_out)


def strong_support(battles: Battles) -> NDArray[np.float64]:
    """Return the support for the stronger model of each battle, float64 [N]: the one that wins more in all of them."""
    wins = np.bincount(battles.model_a, battles.support, len(battles.models))
    wins += np.bincount(battles.model_b, 1 - battles.support, len(battles.models))
    fought = np.bincount(np.concatenate([battles.model_a, battles.model_b]), minlength=len(battles.models))
    # Equal rates: the first by name, so that a pair has one strong model whichever way round it is written.
    rank = np.lexsort((np.arange(len(fought)), -wins / fought)).argsort()
    better: NDArray[np.bool_] = rank[battles.model_a] < rank[battles.model_b]
    return np.where(better, battles.support, 1 - battles.support)


def _whole_prompts(prompts: Sequence[str], marked: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    _, prompt = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    if marked.any():
        return np.isin(prompt, prompt[marked])
    count = int(prompt.max()) + 1
    chosen = np.random.default_rng(seed).permutation(count)[: max(1, round(HELD_OUT * count))]
    return np.isin(prompt, chosen)
