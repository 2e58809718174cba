"""MT-Bench scores of two commercial routers, and the strong share at which ours reach them on GPT-4 / Mixtral.

The pairs differ (theirs: GPT-4 Turbo with Mixtral or Llama-2-70B), so a share says how far our curve is above
always-weak for a score of that size, not that one router beats the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.prompts import shared_data
from benchmarks.table import Table
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import REPLICATES, Curves, Ranking, resamples
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router

COMMERCIAL = "commercial_mtbench_martian_unify.parquet"
OUTCOMES = "outcomes_mtbench_gpt4-1106_vs_mixtral.parquet"
ROUTERS = ("outcome", "knn", "length")
CALLS = {"martian": "50 % assumed", "unify": "45.6 %"}
"""Calls to its strong model: RouteLLM's guess from a price limit, and what Unify's setting said."""
PUBLISHED = {"martian": "29.7 %", "unify": "25.4 %"}
"""Strong share at which RouteLLM's mf router (trained with 120k judge labels) reached the score."""
HEADINGS = ("score to reach", "score", "its strong calls", *ROUTERS, "random", "oracle", "RouteLLM's best")


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """The 80 questions of MT-Bench with everybody's grades."""

    prompts: Sequence[str]
    """Length 80, first turns."""
    weak: Floats
    """[80], mean of two turns."""
    gain: Floats
    """[80], strong − weak."""
    clean: NDArray[np.bool_]
    """[80], whether RouteLLM evaluates it."""
    total: dict[str, Floats]
    """Commercial router → [80], sum over its judged turns."""
    turns: dict[str, Floats]
    """Commercial router → [80], how many were judged."""


def read_questions() -> Questions:
    """Read both files, joined by question."""
    ours = pq.read_table(shared_data() / OUTCOMES).to_pandas().sort_values("question_id")
    theirs = pq.read_table(shared_data() / COMMERCIAL).to_pandas().sort_values("question_id")
    total, turns = {}, {}
    for name in CALLS:
        grades = theirs[theirs["router"] == name][["score_turn1", "score_turn2"]].to_numpy(np.float64)
        total[name], turns[name] = (
            np.nansum(grades, axis=1),
            np.isfinite(grades).sum(axis=1).astype(np.float64),
        )
    weak = ours["weak_score"].to_numpy(np.float64)
    gain = ours["strong_score"].to_numpy(np.float64) - weak
    clean = ~ours["contaminated"].to_numpy(np.bool_)
    return Questions(ours["prompt"].tolist(), weak, gain, clean, total, turns)


def score_of(questions: Questions, name: str, counts: Floats) -> Floats:
    """Return a commercial router's mean over judged turns in each resample [R, 80], [R]."""
    mean: Floats = counts @ questions.total[name] / (counts @ questions.turns[name])
    return mean


def shares_at(ranking: Ranking, questions: Questions, counts: Floats, target: Floats) -> Floats:
    """Return the percentage of strong calls that reaches a score [R] on the clean questions, [R]; inf: none does."""
    mine, clean = counts[:, questions.clean], questions.clean
    curves: Curves = ranking.curves(questions.gain[clean], mine)
    weak = mine @ questions.weak[clean] / mine.sum(axis=1)
    gap = curves.gained[:, -1] / curves.rows[:, -1]
    found = np.where(target <= weak, 0.0, curves.cpt((target - weak) / gap))
    return np.where(np.isfinite(found), found, np.inf)


def line(
    questions: Questions, rankings: Sequence[Ranking], name: str, *, clean: bool, replicates: int
) -> list[str]:
    """Return one row: a commercial router's score, over all questions or those evaluated, and who reaches it where."""
    used = (questions.clean if clean else np.ones(80, dtype=np.bool_)).astype(np.float64)
    whole = np.ones((1, 80))
    score = float(score_of(questions, name, whole * used)[0])
    cells: list[str] = []
    for ranking in rankings:
        point = shares_at(ranking, questions, whole, np.array([score]))[0]
        found = [
            shares_at(ranking, questions, counts, score_of(questions, name, counts * used))
            for counts in resamples(80, seed=0, replicates=replicates)
        ]
        lo, hi = np.percentile(np.concatenate(found), [2.5, 97.5], method="nearest")
        cells.append(
            f"{point:.1f} ({lo:.0f}–{hi:.0f})" if np.isfinite(hi) else f"{point:.1f} ({lo:.0f}–never)"
        )
    judged = int(questions.turns[name][used > 0].sum())
    what = f"{name.capitalize()}, {'the 72 clean' if clean else 'all 80'} questions, {judged} judged turns"
    return [what, f"{score:.6g}", CALLS[name], *cells, "–" if clean else PUBLISHED[name]]


def run(*, quick: bool) -> Table:
    """Compare; the table is empty where the shared data sets are absent."""
    title = "Against commercial routers: MT-Bench, strong share in % (95 % interval)"
    if not (shared_data() / COMMERCIAL).exists():
        return Table(title, HEADINGS, [], ["needs the shared data sets (ROUTELLM_SHARED)"])
    questions = read_questions()
    texts = [text for text, clean in zip(questions.prompts, questions.clean, strict=True) if clean]
    batch = PromptBatch([str(n) for n in range(len(texts))], texts)
    scores = [make_router(name, embedder="static").score(batch) for name in ROUTERS]
    # One score for all is random in expectation; an oracle knows every gain.
    rankings = [Ranking(s) for s in (*scores, np.zeros(len(texts)), questions.gain[questions.clean])]
    replicates = 50 if quick else REPLICATES
    rows = [
        line(questions, rankings, name, clean=clean, replicates=replicates)
        for clean in (False, True)
        for name in CALLS
    ]
    notes = [
        "Interval: bootstrap over questions, for their score and our curve alike; never: in more than 2.5 % of the",
        "resamples no share reaches the score. RouteLLM's figures are from curves with GPT-4 Turbo as the strong model.",
    ]
    return Table(title, HEADINGS, rows, notes)
