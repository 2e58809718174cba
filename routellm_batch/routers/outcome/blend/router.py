"""What a pilot fits: logistic heads, a forest and neighbours, blended with plain length and the shipped router.

    score = σ(Σ_m w_m · (raw_m − μ_m) / d_m)

Each member gives a number that grows with the gain; μ and d are constants of the pilot, never of the batch at hand. With
few labels most of the weight is on members that need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.features import FEATURES, surface_features
from routellm_batch.routers.heads import Heads, sigmoid
from routellm_batch.routers.knn.router import Index
from routellm_batch.routers.outcome.blend.forest import Forest
from routellm_batch.routers.outcome.blend.wording import WORDING, wording
from routellm_batch.routers.outcome.router import OutcomeRouter

PRIOR = ("prior_strong", "prior_weak", "prior_score")
"""Log-odds of the shipped router's two heads, and of its score."""
TABLE = (*FEATURES, *WORDING, *PRIOR)
"""Columns that every member may read beside embeddings."""
LENGTH, SHIPPED = TABLE.index("log_chars"), TABLE.index("prior_score")
MEMBERS = ("heads", "forest", "knn", "length", "prior")
"""In the order of the weights; the first ``LEARNED`` learn from labels."""
LEARNED = 3
EDGE = 1e-6
"""Probabilities are kept so far from 0 and 1 before their log-odds."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """B prompts, as the members read them."""

    vectors: Floats
    """[B, D], embeddings by the configured embedder."""
    exact: Floats
    """[B, S], by the static one, whose values no batch changes."""
    table: Floats
    """[B, C], one column for each of ``TABLE``."""

    def take(self, rows: NDArray[np.int64]) -> Reading:
        """Return some of the rows."""
        exact = self.exact[rows]
        return Reading(self.vectors[rows] if self.mixed else exact, exact, self.table[rows])

    @property
    def mixed(self) -> bool:
        """Whether the configured embedder is another than the static one."""
        return self.vectors is not self.exact

    @property
    def described(self) -> Floats:
        """[B, D + C], what the heads read."""
        return np.hstack([self.vectors, self.table])


def read(texts: Sequence[str], embedder: Embedder, static: Embedder, prior: OutcomeRouter | None) -> Reading:
    """Read texts once for all members; without a prior its columns are zero."""
    exact = static.embed(texts).astype(np.float64)
    same = embedder.fingerprint == static.fingerprint
    vectors = exact if same else embedder.embed(texts).astype(np.float64)
    surface = surface_features(texts)
    shipped = np.zeros((len(texts), len(PRIOR)))
    if prior is not None:
        described = np.hstack([exact, surface])
        known = np.column_stack([prior.heads.probabilities(described), prior.judge(described)])
        known = np.clip(known, EDGE, 1 - EDGE)
        shipped = np.log(known / (1 - known))
    return Reading(vectors, exact, np.hstack([surface, wording(texts), shipped]))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How embeddings are looked at: from the pilot's mean, along the directions in which its prompts vary most."""

    mean: Floats
    """[S], subtracted: what all prompts of a job share tells none apart."""
    basis: Floats
    """[S, P]."""

    def along(self, embeddings: Floats) -> Floats:
        """Return [B, P], what trees look at."""
        return (embeddings - self.mean) @ self.basis

    def centred(self, embeddings: Floats) -> NDArray[np.float32]:
        """Return [B, S], of unit length again; zeros stay zeros."""
        moved = embeddings - self.mean
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (moved / np.where(length > 0, length, 1)).astype(np.float32)
        return unit


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned from a pilot's labels."""

    heads: Heads
    """On embeddings and the table."""
    exact: View
    """Of static embeddings."""
    vectors: View | None
    """Of the configured embedder's; None where that is the static one."""
    forest: Forest
    """On the views and the table; says the gain."""
    index: Index
    """Of the pilot's own prompts, their static embeddings centred."""

    def predict(self, reading: Reading) -> Floats:
        """Return what heads, forest and neighbours say of the gain, [B, 3]."""
        return np.column_stack(
            [
                self.heads.score(reading.described),
                self.forest.predict(tree_columns(reading, self.exact, self.vectors)),
                self.index.score(self.exact.centred(reading.exact)),
            ]
        )


def tree_columns(reading: Reading, exact: View, vectors: View | None) -> Floats:
    """Return what trees look at, [B, P + C] or [B, 2P + C].

    A transformer's vectors are rounded as the batch has it, and a tree makes a small jump of a rounding. One tree of
    hundreds jumps then; the static embedder's vectors, the default, are the same in every batch.
    """
    beside = [] if vectors is None else [vectors.along(reading.vectors)]
    return np.hstack([exact.along(reading.exact), *beside, reading.table])


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Weights and constants, one for each of ``MEMBERS``."""

    weight: Floats
    """[M]; all zero where nothing is known of any order, and then every score is .5."""
    mean: Floats
    """[M], μ."""
    deviation: Floats
    """[M], d; positive."""

    def combine(self, raw: Floats) -> Floats:
        """Return scores [B] in [0, 1] of the members' numbers [B, M]."""
        return sigmoid(((raw - self.mean) / self.deviation) @ self.weight)


@dataclass(frozen=True, eq=False)
class BlendRouter:
    """A ``Router`` fitted on a pilot."""

    blend: Blend
    """How the members are weighed."""
    learned: Learned | None
    """None where nothing that was learned has a weight."""
    prior: OutcomeRouter | None
    """The shipped router, on the static embedder; None: there was none."""
    embedder: Embedder
    """What the heads read texts with."""
    static: Embedder
    """What the trees and the prior read texts with."""

    name = "outcome"

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        reading = read(batch.texts, self.embedder, self.static, self.prior)
        scores = self.blend.combine(
            members(reading, None if self.learned is None else self.learned.predict(reading))
        )
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'outcome' gave a score that is not a number; its weights are unusable"
            )
        return scores.astype(np.float32)


def members(reading: Reading, learned: Floats | None) -> Floats:
    """Return each member's number for each row, [B, M]; zeros for what was not learned."""
    if learned is None:
        learned = np.zeros((len(reading.table), LEARNED))
    return np.hstack([learned, reading.table[:, [LENGTH, SHIPPED]]])
