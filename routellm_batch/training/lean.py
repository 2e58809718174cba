"""How far shipped scores should lean towards long questions, chosen with each task left out of training in turn.

A training set knows a few tasks; a job is another one. The length of the question needs no training and can't overfit
it, so from the best lean on, a stronger one is taken for as long as the tasks left out can't tell it from the best (the
one-standard-error rule, Hastie et al., The Elements of Statistical Learning, §7.10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.metrics import Ranking, resample
from routellm_batch.routers.heads import Lean
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.training.fitting import Choice, fit_heads
from routellm_batch.routers.training.rows import TrainingRows

LEANS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Weights of the standardised log length beside a standardised score."""
SAMPLES = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeanChoice:
    """What was chosen, and from what."""

    weight: float
    """The one taken."""
    weights: Sequence[float]
    """Those compared."""
    quality: Sequence[float]
    """Part of the gain recovered with each on tasks that were left out, averaged over all strong shares."""
    behind: Sequence[float]
    """By how much each is behind the best."""
    error: Sequence[float]
    """Standard error of that difference, by a bootstrap over prompts."""


def lean(
    router: OutcomeRouter, rows: TrainingRows, described: Floats, choice: Choice, *, seed: int
) -> tuple[OutcomeRouter, LeanChoice]:
    """Return the router with its scores leaning, and how far.

    Args:
        router: heads fitted on the rows.
        rows: all rows, of several tasks.
        described: [N, D + F], as the heads read them.
        choice: how the heads were fitted.
        seed: of the bootstrap.

    """
    fitted = ~rows.held_out
    known = router.heads.score(described[fitted])
    constants = (float(known.mean()), float(known.std()))
    _, task = np.unique(np.array(rows.task), return_inverse=True)
    leaned = np.empty((len(LEANS), len(rows)))
    for number in range(int(task.max()) + 1):
        mine = task == number
        heads = fit_heads(rows, described, fitted & ~mine, choice.penalties, choice.alpha)
        for which, weight in enumerate(LEANS):
            blind = OutcomeRouter(heads, router.embedder, Lean(weight, *constants))
            leaned[which, mine] = blind.judge(described[mine])
    found = _choose(rows, leaned, task, seed)
    return OutcomeRouter(router.heads, router.embedder, Lean(found.weight, *constants)), found


def _choose(rows: TrainingRows, leaned: Floats, task: NDArray[np.int64], seed: int) -> LeanChoice:
    members = [np.flatnonzero(task == number) for number in range(int(task.max()) + 1)]
    rankings = [[Ranking(scores[mine]) for mine in members] for scores in leaned]
    gain = (rows.strong - rows.weak) * rows.weight
    draws = [np.ones(len(rows)), *resample(len(rows), seed=seed, replicates=SAMPLES)]
    found = np.array(
        [[_recovered(r, gain, count, members) for r in rankings] for count in draws]
    )  # [1 + S, L]
    best = int(np.argmax(found[0]))
    behind = found[0, best] - found[0]
    error = (found[1:, [best]] - found[1:]).std(axis=0)
    taken = best
    while taken + 1 < len(LEANS) and behind[taken + 1] <= error[taken + 1]:
        taken += 1
    return LeanChoice(
        weight=LEANS[taken],
        weights=LEANS,
        quality=found[0].tolist(),
        behind=behind.tolist(),
        error=error.tolist(),
    )


def _recovered(
    rankings: Sequence[Ranking], gain: Floats, count: Floats, members: Sequence[NDArray[np.int64]]
) -> float:
    """Gain recovered over all shares, each task ranked by itself, as a part of all there is to gain."""
    recovered = total = 0.0
    for ranking, mine in zip(rankings, members, strict=True):
        if not count[mine].any():
            continue
        sent, gained = ranking.curve(gain[mine], count[mine])
        recovered += float(np.trapezoid(gained, sent) / sent[-1])
        total += float(gained[-1])
    return recovered / total
