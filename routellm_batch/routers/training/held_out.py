"""How a trainer compares candidates: rows held out, or folds, and the part of the gain that a ranking recovers.

Rows of one prompt are always on the same side, so that no prompt is both fitted and tested on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.metrics import Ranking
from routellm_batch.routers.training.rows import TrainingRows

FOLDS = 5
"""Folds of cross-validation, where no row is marked as held out."""
HELD_OUT = 0.05
"""Default share of the prompts that ``held_out_prompts`` draws."""

Mask = NDArray[np.bool_]
"""bool [N], one entry for each row."""


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One way to score the rows that are held out."""

    splits: Sequence[tuple[Mask, Mask]]
    """Pairs of (rows to fit on, rows to test on), bool [N] each."""
    ranked: Ints
    """int64 [N]; rows with the same number are ranked together."""

    @property
    def tested(self) -> Mask:
        """Bool [N], the rows that any split tests."""
        either: Mask = np.logical_or.reduce([tested for _, tested in self.splits])
        return either


def rounds(rows: TrainingRows, seed: int) -> Iterator[Round]:
    """Yield the rounds in which candidates are compared; a candidate's quality is its mean over them.

    Where no row is marked as held out there is one round, of five folds. Where rows are marked, the first round fits on
    the others and ranks the marked rows file by file. With several tasks there is a second round: each task is left out of
    the fit in turn, and its marked rows are ranked by themselves. So what carries over to a new kind of prompt counts as
    much as what fits the known kinds.

    Args:
        rows: all N rows.
        seed: of the folds.

    """
    if not rows.held_out.any():
        fold = prompt_folds(rows.prompts, FOLDS, seed)
        yield Round([(fold != number, fold == number) for number in range(FOLDS)], rows.file)
        return
    yield Round([(~rows.held_out, rows.held_out)], rows.file)
    names, task = np.unique(np.array(rows.task), return_inverse=True)
    if len(names) > 1:
        tested = np.unique(task[rows.held_out])
        yield Round([(~rows.held_out & (task != t), rows.held_out & (task == t)) for t in tested], task)


def quality(rows: TrainingRows, scores: Floats, a_round: Round) -> float:
    """Return the part of the gain that a ranking recovers, averaged over all strong shares; NaN without any gain.

    This is RouteLLM's APGR (arXiv 2406.18665, §3) with groups weighted by their gain: in each group the area under the
    curve of gain over strong share, summed over the groups, divided by the gain of sending all rows strong. A random
    order has 0.5.

    Args:
        rows: all N rows.
        scores: float64 [N]; only those of tested rows count.
        a_round: says which rows are tested, and which are ranked together.

    """
    gain, tested = rows.strong - rows.weak, a_round.tested
    recovered = total = 0.0
    for group in np.unique(a_round.ranked[tested]):
        members = tested & (a_round.ranked == group)
        sent, gained = Ranking(scores[members]).curve(gain[members] * rows.weight[members])
        recovered += float(np.trapezoid(gained, sent) / sent[-1])
        total += float(gained[-1])
    return recovered / total if total > 0 else math.nan


def prompt_folds(prompts: Sequence[str], folds: int, seed: int) -> Ints:
    """Return the fold of each row, int64 [N] in [0, folds); rows of one prompt are in one fold.

    Args:
        prompts: length N.
        folds: how many there are.
        seed: of the random assignment.

    """
    prompt = _prompt_numbers(prompts)
    fold: Ints = np.random.default_rng(seed).permutation(int(prompt.max()) + 1)[prompt] % folds
    return fold


def held_out_prompts(prompts: Sequence[str], marked: Mask, seed: int, *, share: float = HELD_OUT) -> Mask:
    """Return the rows to hold out, bool [N]: those whose prompt is marked, else those of a random share of the prompts.

    At least one prompt is drawn, and of two or more at least one is left to train on.

    Args:
        prompts: length N.
        marked: rows that the data marks as held out.
        seed: of the draw.
        share: part of the distinct prompts to draw, in (0, 1).

    """
    prompt = _prompt_numbers(prompts)
    if marked.any():
        return np.isin(prompt, prompt[marked])
    distinct = int(prompt.max()) + 1
    count = max(1, min(round(distinct * share), distinct - 1))
    return np.isin(prompt, np.random.default_rng(seed).permutation(distinct)[:count])


def _prompt_numbers(prompts: Sequence[str]) -> Ints:
    """Return a number for each row's prompt, int64 [N], in sorted order of the distinct prompts."""
    _, numbers = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    return numbers
