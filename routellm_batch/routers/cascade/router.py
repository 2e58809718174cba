"""The order of a cascade's rows: members that learned from prompts and answers, blended with the order that needs no labels.

    score = σ(Σ_m w_m · (raw_m − μ_m) / d_m)

as in the blend of a pilot's prompts (``outcome/blend``), with other members: ``order`` is the rule (can't be used, then the
share of other answers that differ, then the prompt's score), ``forest`` and ``heads`` learn from prompt score, signals and
answer, ``prompt`` is the pilot's router of prompts alone. With few labels, or answers that teach nothing, the weight is on
members that need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.answers.signals import LOOK, Signals
from routellm_batch.budget.selection.escalation import tiers
from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.protocols import Embedder, Router
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.heads import Heads
from routellm_batch.routers.outcome.blend.forest import Forest
from routellm_batch.routers.outcome.blend.router import Blend, View

MEMBERS = ("order", "forest", "heads", "prompt")
"""In the order of the weights."""
LEARNED = ("forest", "heads")
"""Members that learn from labels and answers."""
TIE = 0.01
"""Weight of the prompt's score within a tier: less than any two tiers of up to nine other answers differ by."""
EDGE = 1e-6
"""Scores are clipped to [EDGE, 1 − EDGE] before their log-odds are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the members see of B rows."""

    base: Floats
    """[B], scores of the prompts by the router that needs no pilot."""
    prompt: Floats
    """[B], scores of the prompts by the pilot's router; of the pilot's own rows, out of fold."""
    signals: Signals
    """What is seen of the answers."""
    answers: Floats
    """[B, S], static embeddings of the answers."""

    def take(self, rows: Ints) -> Reading:
        """Return the same of some rows, int64 indices."""
        return Reading(self.base[rows], self.prompt[rows], self.signals.take(rows), self.answers[rows])

    @property
    def table(self) -> Floats:
        """float64 [B, C], the columns that both learning members use."""
        signals = self.signals
        parts = [_odds(self.base), _odds(self.prompt), ~signals.usable, *_agreement(signals)]
        return np.hstack([np.column_stack(parts).astype(np.float64), signals.look])


def columns(others: int) -> Sequence[str]:
    """Return the names of ``Reading.table``'s columns, where there are so many other answers."""
    pairs = [f"others_{i}_{j}_differ" for i in range(others) for j in range(i)]
    single = [f"other_{i}_differs" for i in range(others)]
    means = ["disagreement"] * bool(others) + ["others_disagreement"] * (others > 1)
    return ["base_score", "prompt_score", "unusable", *single, *pairs, *means, *LOOK]


def _agreement(signals: Signals) -> list[Floats]:
    """Return the columns of agreement; a comparison that is not there is half of one."""
    single, pairs = (np.nan_to_num(part, nan=0.5) for part in (signals.differs, signals.others_differ))
    means = [part.mean(axis=1) for part in (single, pairs) if part.shape[1]]
    return [*single.T, *pairs.T, *means]


def _odds(score: Floats) -> Floats:
    chance = np.clip(score, EDGE, 1 - EDGE)
    return np.log(chance / (1 - chance))


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """The members that were fitted on a pilot's labels."""

    forest: Forest
    """Trees on the table and the answers' principal components; they predict the gain."""
    view: View
    """Principal components of the answers."""
    heads: Heads
    """Logistic heads on the table."""

    def predict(self, reading: Reading) -> Floats:
        """Return the predictions of forest and heads, float64 [B, 2]; each grows with the gain."""
        table = reading.table
        trees = np.hstack([table, self.view.along(reading.answers)])
        return np.column_stack([self.forest.predict(trees), self.heads.score(table)])


@dataclass(frozen=True, eq=False)
class CascadeRouter:
    """Scores rows by prompt and answers; higher = the strong model is needed more."""

    blend: Blend
    """How the members are weighed."""
    learned: Learned | None
    """The members that learned; None where none of them has a weight."""
    unknown: float
    """Tier of usable rows without another answer: the mean of the pilot's."""
    base: Router
    """Scores prompts; needs no pilot."""
    prompt: Router
    """Scores prompts, as the pilot taught it."""
    static: Embedder
    """Embeds the answers."""

    def read(self, batch: PromptBatch, answers: Sequence[str], signals: Signals) -> Reading:
        """Return what the members see of B rows: their prompts, the weak model's answers, and the signals."""
        return Reading(
            base=self.base.score(batch).astype(np.float64),
            prompt=self.prompt.score(batch).astype(np.float64),
            signals=signals,
            answers=self.static.embed(answers).astype(np.float64),
        )

    def score(self, batch: PromptBatch, answers: Sequence[str], signals: Signals) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1] for B rows: their prompts, the weak model's answers, and the signals."""
        reading = self.read(batch, answers, signals)
        learned = None if self.learned is None else self.learned.predict(reading)
        return self.blend.combine(members(reading, learned, self.unknown)).astype(np.float32)


def members(reading: Reading, learned: Floats | None, unknown: float) -> Floats:
    """Return each member's number for each row, float64 [B, M], in the order of ``MEMBERS``.

    Args:
        reading: the rows.
        learned: float64 [B, 2], of the members that learn; None: zeros.
        unknown: tier of usable rows without another answer.

    """
    tier = tiers(reading.signals.usable, reading.signals.disagreement, unknown)
    fitted = np.zeros((len(tier), len(LEARNED))) if learned is None else learned
    return np.column_stack([tier + TIE * reading.base, fitted, _odds(reading.prompt)])
