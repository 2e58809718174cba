"""What a pilot fits: logistic heads and a forest, blended with plain length and the shipped router.

    score = σ(Σ_m w_m · (raw_m − μ_m) / d_m)

Each member gives a number that grows with the gain; μ and d are constants of the pilot, never of the batch at hand. With
few labels most of the weight is on members that need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.errors import CheckpointError
from routellm_batch.protocols import Embedder
from routellm_batch.routers.features import FEATURES, surface_features
from routellm_batch.routers.forest import Forest
from routellm_batch.routers.heads import Heads, sigmoid
from routellm_batch.routers.outcome import OutcomeRouter
from routellm_batch.routers.wording import WORDING, wording
from routellm_batch.types import PromptBatch

Floats = NDArray[np.float64]

PRIOR = ("prior_strong", "prior_weak", "prior_score")
"""Log-odds of the shipped router's two heads, and of its score."""
TABLE = (*FEATURES, *WORDING, *PRIOR)
"""Columns that every member may read beside embeddings."""
LENGTH, SHIPPED = TABLE.index("log_chars"), TABLE.index("prior_score")
MEMBERS = ("heads", "forest", "length", "prior")
"""In the order of the weights."""
EDGE = 1e-6
"""Probabilities are kept so far from 0 and 1 before their log-odds."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """B prompts, as the members read them."""

    vectors: Floats
    """[B, D], embeddings by the configured embedder."""
    exact: Floats
    """[B, S], by the static one, whose values no batch changes: a tree would turn a rounding into a jump."""
    table: Floats
    """[B, C], one column for each of ``TABLE``."""

    def take(self, rows: NDArray[np.int64]) -> Reading:
        """Return some of the rows."""
        return Reading(self.vectors[rows], self.exact[rows], self.table[rows])

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
class Trees:
    """A forest on a few directions of the static embedding, and the table."""

    centre: Floats
    """[S], subtracted from embeddings."""
    basis: Floats
    """[S, P], directions."""
    forest: Forest
    """On P + C columns."""

    def predict(self, reading: Reading) -> Floats:
        """Return what the trees say, [B]."""
        return self.forest.predict(tree_columns(reading, self.centre, self.basis))


def tree_columns(reading: Reading, centre: Floats, basis: Floats) -> Floats:
    """Return what trees look at, [B, P + C]."""
    return np.hstack([(reading.exact - centre) @ basis, reading.table])


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Weights and constants, one for each of ``MEMBERS``."""

    weight: Floats
    """[4]; all zero where nothing is known of any order, and then every score is .5."""
    mean: Floats
    """[4], μ."""
    deviation: Floats
    """[4], d; positive."""

    def combine(self, raw: Floats) -> Floats:
        """Return scores [B] in [0, 1] of the members' numbers [B, 4]."""
        return sigmoid(((raw - self.mean) / self.deviation) @ self.weight)


@dataclass(frozen=True, eq=False)
class BlendRouter:
    """A ``Router`` fitted on a pilot."""

    blend: Blend
    """How the members are weighed."""
    heads: Heads | None
    """On embeddings and the table; None where they have no weight."""
    trees: Trees | None
    """None where they have no weight."""
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
        scores = self.blend.combine(members(reading, self.heads, self.trees))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'outcome' gave a score that is not a number; its weights are unusable"
            )
        return scores.astype(np.float32)


def members(reading: Reading, heads: Heads | None, trees: Trees | None) -> Floats:
    """Return each member's number for each row, [B, 4]; zeros for a member that is not there."""
    nothing = np.zeros(len(reading.table))
    found: Mapping[str, Floats] = {
        "heads": nothing if heads is None else heads.score(reading.described),
        "forest": nothing if trees is None else trees.predict(reading),
        "length": reading.table[:, LENGTH],
        "prior": reading.table[:, SHIPPED],
    }
    return np.column_stack([found[name] for name in MEMBERS])
