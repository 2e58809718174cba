"""Baselines for every router: chance, prompt length, neighbours, an oracle, and always the same model."""

from __future__ import annotations

from typing import Any

import numpy as np

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.protocols import Router
from routellm_batch.evaluation.figures import Contender, constant, random_scores, routed
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.knn.train import fit_knn
from routellm_batch.routers.training.rows import TrainingRows, to_unit


def baselines(outcomes: Outcomes, neighbours: Router, *, seed: int) -> list[Contender]:
    """Return the baselines random (ten draws), length, knn, and an oracle that knows every gain.

    Args:
        outcomes: N prompts.
        neighbours: the knn router: the shipped one, or one trained on the pilot.
        seed: seed of the random baseline.

    """
    return [
        routed("random", random_scores(outcomes, seed), outcomes),
        routed("length", [make_router("length").score(outcomes.batch)], outcomes),
        routed("knn", [neighbours.score(outcomes.batch)], outcomes),
        routed("oracle", [outcomes.gain], outcomes),
    ]


def constants(outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """Return the figures of always strong and always weak, as name → figures."""
    return {
        "always_strong": constant("always_strong", outcomes, 1),
        "always_weak": constant("always_weak", outcomes, 0),
    }


def knn_on(pilot: Outcomes, *, embedder: EmbedderConfig | str, seed: int) -> Router:
    """Return a knn router trained on the pilot's rows, with settings chosen by five-fold cross-validation on them."""
    strong, weak = to_unit(pilot.strong, pilot.weak)
    rows = TrainingRows(
        prompts=pilot.prompts,
        strong=strong,
        weak=weak,
        weight=np.ones(len(pilot)),
        file=np.zeros(len(pilot), dtype=np.int64),
        task=["0"] * len(pilot),
        held_out=np.zeros(len(pilot), dtype=np.bool_),
    )
    return fit_knn(rows, get_embedder(embedder), seed=seed)
