"""How the shipped ``builtin:outcome-v2`` is made: the heads of ``outcome-v1``, leaning towards long questions.

``lean`` chooses the weight of length: each task of the training files is left out of the fit in turn, and its prompts are
ranked by heads that did not see it. From the weight that recovers most gain on, a larger weight is taken as long as it is
behind by no more than one standard error of the difference (after the one-standard-error rule of Breiman et al., 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.metrics import Ranking, resample
from routellm_batch.pipeline.recipes.outcome import LICENCES, LIMITS, builtin_sources, measured
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.heads import Lean
from routellm_batch.routers.outcome.fitting import Choice, fit_heads
from routellm_batch.routers.outcome.router import OutcomeRouter, design_matrix
from routellm_batch.routers.outcome.train import TrainReport, count_sources, fit_router, model_card
from routellm_batch.routers.outcome.weights import save_heads
from routellm_batch.routers.training.rows import TrainingRows, read_sources

NAME = "outcome-v2"
LEANS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Candidates: weights of the standardised log length beside a standardised score, ascending."""
SAMPLES = 400
"""Bootstrap samples behind a standard error."""

SELECTION = """\
## How choices were made

The heads are those of `builtin:outcome-v1`; its card says how they were chosen. What is new is the lean: each task of the
training files was left out of training in turn, and its prompts were ranked by heads that had not seen it, with the
standardised log length of the question (without its answer options) added with each weight below. From the best on, a
larger weight is taken for as long as it is behind by no more than one standard error of the difference: length needs no
training, so it can't be fitted to the training tasks.

{table}

No choice was made by a score on the evaluation sets, but they were not unknown: that prompt length does well on MMLU and
GSM8K was known since the first version and is why a lean was tried at all; and while the rule was being settled, the
figures of these weights on the evaluation sets had been printed (full-curve APGR on MMLU .557, .568, .573, .576, .577 and
on GSM8K .526, .550, .568, .589, .601 for weights 0, .25, .5, 1 and 2). The rule at first took the largest weight within
one standard error, whether or not those below it were; that gave .5 with dev rows among the training rows and 2 without,
and was replaced by the rule above, which gives .5 both ways. A larger weight would have looked better on MMLU and GSM8K,
and worse on MT-Bench.

    python jobs/train_router.py --recipe outcome-v2 --data DATA --out DIR"""


@dataclass(frozen=True, slots=True)
class LeanChoice:
    """The weight that was chosen, and the figures of the candidates."""

    weight: float
    """The weight that was taken."""
    weights: Sequence[float]
    """The candidates."""
    quality: Sequence[float]
    """Part of the gain recovered with each on tasks that were left out, averaged over all strong shares."""
    behind: Sequence[float]
    """Quality of the best candidate minus that of each."""
    error: Sequence[float]
    """Standard error of that difference, by a bootstrap over prompts."""


def train_builtin_lean(data: str, *, out: str, seed: int = 0) -> TrainReport:
    """Train ``outcome-v2`` and write it with its model card.

    Args:
        data: folder (path or URI) of the training and evaluation files.
        out: a new folder.
        seed: of the bootstraps; the training itself draws nothing.

    Raises:
        ConfigError: a checkpoint is at ``out`` already.
        DataError: a file is missing or can't be used.

    """
    sources = builtin_sources(data)
    rows = read_sources(sources)
    plain, choice = fit_router(rows, seed=seed)
    design = design_matrix(get_embedder("static"), rows.prompts)
    with threadpool_limits(limits=1, user_api="blas"):
        router, lean_choice = lean(plain, rows, design, choice, seed=seed)
    report = TrainReport(out, seed, count_sources(sources, rows), choice)
    trained: dict[str, Any] = {**report.fields(), "lean": asdict(lean_choice)}
    selection = SELECTION.format(table=_table(lean_choice))
    sections = [selection, measured(data, router, NAME, seed), LICENCES, LIMITS]
    save_heads(out, router, name=NAME, trained=trained, card=model_card(NAME, trained, sections=sections))
    return report


def lean(
    router: OutcomeRouter, rows: TrainingRows, design: Floats, choice: Choice, *, seed: int
) -> tuple[OutcomeRouter, LeanChoice]:
    """Return the router with scores that lean, and the choice of the weight.

    Args:
        router: heads fitted on the rows that are not held out.
        rows: all N rows, of several tasks.
        design: float64 [N, D + F], their design matrix.
        choice: how the heads were fitted.
        seed: of the bootstrap.

    """
    fitted = ~rows.held_out
    scores = router.heads.score(design[fitted])
    constants = (float(scores.mean()), float(scores.std()))
    _, task = np.unique(np.array(rows.task), return_inverse=True)
    leaning = np.empty((len(LEANS), len(rows)))
    for number in range(int(task.max()) + 1):
        members = task == number
        heads = fit_heads(rows, design, fitted & ~members, choice.penalties, choice.alpha)
        for which, weight in enumerate(LEANS):
            blind = OutcomeRouter(heads, router.embedder, Lean(weight, *constants))
            leaning[which, members] = blind.score_design(design[members])
    lean_choice = _choose(rows, leaning, task, seed)
    return OutcomeRouter(router.heads, router.embedder, Lean(lean_choice.weight, *constants)), lean_choice


def _choose(rows: TrainingRows, leaning: Floats, task: Ints, seed: int) -> LeanChoice:
    """Return the choice by scores [L, N] of the L candidates, for rows of tasks [N] that their heads did not see."""
    members = [np.flatnonzero(task == number) for number in range(int(task.max()) + 1)]
    rankings = [[Ranking(scores[rows_of_task]) for rows_of_task in members] for scores in leaning]
    gain = (rows.strong - rows.weak) * rows.weight
    draws = [np.ones(len(rows)), *resample(len(rows), seed=seed, replicates=SAMPLES)]
    recovered = np.array(
        [[_recovered(r, gain, count, members) for r in rankings] for count in draws]
    )  # [1 + S, L]
    best = int(np.argmax(recovered[0]))
    behind = recovered[0, best] - recovered[0]
    error = (recovered[1:, [best]] - recovered[1:]).std(axis=0)
    taken = best
    while taken + 1 < len(LEANS) and behind[taken + 1] <= error[taken + 1]:
        taken += 1
    return LeanChoice(
        weight=LEANS[taken],
        weights=LEANS,
        quality=recovered[0].tolist(),
        behind=behind.tolist(),
        error=error.tolist(),
    )


def _recovered(rankings: Sequence[Ranking], gain: Floats, count: Floats, members: Sequence[Ints]) -> float:
    """Return the part of all gain that is recovered over all shares, with each task ranked by itself."""
    recovered = total = 0.0
    for ranking, rows_of_task in zip(rankings, members, strict=True):
        if not count[rows_of_task].any():
            continue
        sent, gained = ranking.curve(gain[rows_of_task], count[rows_of_task])
        recovered += float(np.trapezoid(gained, sent) / sent[-1])
        total += float(gained[-1])
    return recovered / total


def _table(choice: LeanChoice) -> str:
    """Return the candidates and their figures as a table, Markdown."""
    lines = [
        "| weight of length | gain recovered | behind the best | standard error | |",
        "|---:|---:|---:|---:|---|",
    ]
    for weight, quality, behind, error in zip(
        choice.weights, choice.quality, choice.behind, choice.error, strict=True
    ):
        taken = "taken" if weight == choice.weight else ""
        lines.append(f"| {weight:g} | {quality:.4f} | {behind:.4f} | {error:.4f} | {taken} |")
    return "\n".join(lines)
