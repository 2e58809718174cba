"""Rows to train the three-class router on: whose answer was better, the strong or the weak model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import DataError
from routellm_batch.routers.training.battles import Battles, read_battles
from routellm_batch.routers.training.held_out import held_out_prompts
from routellm_batch.routers.training.rows import Source, read_sources
from routellm_batch.storage.labelled import read_table

STRONG, TIE, WEAK = 0, 1, 2
"""The classes in the published order: who wins."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierRows:
    """N labelled prompts; no prompt is both trained on and held out."""

    prompts: Sequence[str]
    """Length N."""
    labels: Ints
    """[N], 0 the strong model wins, 1 a tie, 2 the weak model wins."""
    held_out: NDArray[np.bool_]
    """[N], rows that are not trained on."""

    def __len__(self) -> int:
        return len(self.prompts)


def read_classifier_rows(paths: Sequence[str], *, seed: int) -> ClassifierRows:
    """Return the rows of battles, outcomes or score matrices; of battles, ``strong_support`` says which model is strong.

    Held out are the prompts of rows marked ``dev``; where there are none, 5 % of the prompts.

    Args:
        paths: Parquet files, globs or folders (paths or URIs).
        seed: of the prompts drawn.

    Raises:
        DataError: a file, column or row that can't be used, or too few prompts to hold some out.

    """
    battles = [uri for uri in paths if {"model_a", "model_b"} <= set(read_table(uri).column_names)]
    others = [uri for uri in paths if uri not in battles]
    prompts: list[str] = []
    margins: list[Floats] = []
    marked: list[NDArray[np.bool_]] = []
    for uri in battles:
        read = read_battles([uri])
        prompts += [read.prompts[n] for n in read.prompt]
        margins.append(strong_support(read) - 0.5)
        marked.append(read.held_out)
    if others:
        rows = read_sources([Source(uri) for uri in others])
        prompts += rows.prompts
        margins.append(rows.strong - rows.weak)
        marked.append(rows.held_out)
    labels = TIE - np.sign(np.concatenate(margins)).astype(np.int64)
    held_out = held_out_prompts(prompts, np.concatenate(marked), seed)
    if held_out.all():
        raise DataError(
            "every prompt is held out; give rows of two or more prompts, not all of them marked dev",
            file=paths[0],
        )
    return ClassifierRows(prompts, labels, held_out)


def strong_support(battles: Battles) -> Floats:
    """Return the support for the stronger model of each battle, float64 [N] in [0, 1].

    The stronger of two models is the one with the higher win rate over all battles; of equal rates, the first by name, so
    that a pair has one strong model whichever way round it is written.
    """
    wins, fought = battles.tally()
    rank = np.lexsort((np.arange(len(fought)), -wins / fought)).argsort()
    better: NDArray[np.bool_] = rank[battles.model_a] < rank[battles.model_b]
    return np.where(better, battles.support, 1 - battles.support)
