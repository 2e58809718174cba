"""The router that a pilot fits: logistic heads, a forest and neighbours, blended with length and the shipped router.

    score = σ(Σ_m w_m · (raw_m − μ_m) / d_m)

Each member gives a number that grows with the gain; μ and d are constants of the pilot, never of the batch at hand. With
few labels most of the weight is on members that need none. Such stacking of standardised predictions goes back to Wolpert
(1992); how the weights are found is this project's own (``evidence.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
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
"""Columns that every member may use beside embeddings."""
LENGTH, SHIPPED = TABLE.index("log_chars"), TABLE.index("prior_score")
MEMBERS = ("heads", "forest", "knn", "length", "prior")
"""In the order of the weights; the first ``LEARNED`` learn from labels."""
LEARNED = 3
EDGE = 1e-6
"""Probabilities are clipped to [EDGE, 1 − EDGE] before their log-odds are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What the members see of B prompts."""

    vectors: Floats
    """[B, D], embeddings by the configured embedder."""
    exact: Floats
    """[B, S], embeddings by the static embedder, whose values depend on no batch."""
    table: Floats
    """[B, C], one column for each of ``TABLE``."""

    def take(self, rows: Ints) -> Reading:
        """Return the same of some rows, int64 indices."""
        exact = self.exact[rows]
        return Reading(self.vectors[rows] if self.mixed else exact, exact, self.table[rows])

    @property
    def mixed(self) -> bool:
        """Whether the configured embedder is not the static one."""
        return self.vectors is not self.exact

    @property
    def design(self) -> Floats:
        """float64 [B, D + C], the design matrix of the heads."""
        return np.hstack([self.vectors, self.table])


def read(texts: Sequence[str], embedder: Embedder, static: Embedder, prior: OutcomeRouter | None) -> Reading:
    """Return what the members see of some texts, computed once for all of them.

    Args:
        texts: B prompts.
        embedder: the configured one.
        static: the static one.
        prior: the shipped router, on the static embedder; None: its columns are zero.

    """
    exact = static.embed(texts).astype(np.float64)
    same = embedder.fingerprint == static.fingerprint
    vectors = exact if same else embedder.embed(texts).astype(np.float64)
    surface = surface_features(texts)
    shipped = np.zeros((len(texts), len(PRIOR)))
    if prior is not None:
        design = np.hstack([exact, surface])
        chances = np.column_stack([prior.heads.probabilities(design), prior.score_design(design)])
        chances = np.clip(chances, EDGE, 1 - EDGE)
        shipped = np.log(chances / (1 - chances))
    return Reading(vectors, exact, np.hstack([surface, wording(texts), shipped]))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A pilot's principal components: its mean embedding, and the directions in which its prompts vary most."""

    mean: Floats
    """[S], subtracted: what all prompts of a job share tells none of them apart."""
    basis: Floats
    """[S, P], the directions."""

    def along(self, embeddings: Floats) -> Floats:
        """Return the principal components, float64 [B, P], of embeddings [B, S]."""
        return (embeddings - self.mean) @ self.basis

    def centred(self, embeddings: Floats) -> NDArray[np.float32]:
        """Return embeddings [B, S] minus the mean, float32 [B, S], scaled to unit length; zeros stay zeros."""
        moved = embeddings - self.mean
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        centred: NDArray[np.float32] = (moved / np.where(length > 0, length, 1)).astype(np.float32)
        return centred


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """The members that were fitted on a pilot's labels."""

    heads: Heads
    """Heads on the configured embedder's embeddings and the table."""
    exact: View
    """Principal components of static embeddings."""
    vectors: View | None
    """Principal components of the configured embedder's; None where that is the static one."""
    forest: Forest
    """Trees on the principal components and the table; they predict the gain."""
    index: Index
    """Neighbours among the pilot's own prompts, by their centred static embeddings."""

    def predict(self, reading: Reading) -> Floats:
        """Return the predictions of heads, forest and neighbours, float64 [B, 3]; each grows with the gain."""
        return np.column_stack(
            [
                self.heads.score(reading.design),
                self.forest.predict(tree_columns(reading, self.exact, self.vectors)),
                self.index.score(self.exact.centred(reading.exact)),
            ]
        )


def tree_columns(reading: Reading, exact: View, vectors: View | None) -> Floats:
    """Return the columns that trees split on, float64 [B, P + C], or [B, 2P + C] with another embedder than the static one.

    The rounding of a transformer's vectors depends on the batch, and a tree can turn it into a small jump. Then one tree of
    hundreds jumps; the static embedder's vectors, the default, are the same in every batch.

    Args:
        reading: the prompts.
        exact: principal components of static embeddings.
        vectors: those of the configured embedder's; None where it is the static one.

    """
    beside = [] if vectors is None else [vectors.along(reading.vectors)]
    return np.hstack([exact.along(reading.exact), *beside, reading.table])


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Weights and constants of the members, one for each of ``MEMBERS``."""

    weight: Floats
    """[M], w; all zero where no order is known, and then every score is 0.5."""
    mean: Floats
    """[M], μ."""
    deviation: Floats
    """[M], d; positive."""

    def combine(self, raw: Floats) -> Floats:
        """Return scores, float64 [B] in [0, 1], from the members' numbers [B, M]."""
        return sigmoid(((raw - self.mean) / self.deviation) @ self.weight)


@dataclass(frozen=True, eq=False)
class BlendRouter:
    """A ``Router`` fitted on a pilot."""

    blend: Blend
    """How the members are weighed."""
    learned: Learned | None
    """The members that learned; None where none of them has a weight."""
    prior: OutcomeRouter | None
    """The shipped router, on the static embedder; None where the pilot had none."""
    embedder: Embedder
    """Embeds the texts for the heads."""
    static: Embedder
    """Embeds the texts for the trees, the neighbours and the prior."""

    name = "outcome"

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

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
    """Return each member's number for each row, float64 [B, M], in the order of ``MEMBERS``.

    Args:
        reading: the prompts.
        learned: float64 [B, LEARNED], of the members that learn; None: zeros.

    """
    if learned is None:
        learned = np.zeros((len(reading.table), LEARNED))
    return np.hstack([learned, reading.table[:, [LENGTH, SHIPPED]]])
