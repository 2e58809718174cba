"""What a pilot would bring: train on N labelled rows of the job itself, test on the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routellm_batch.config_embedder import EmbedderConfig
from routellm_batch.errors import ConfigError
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.protocols import Router
from routellm_batch.training.outcome import fit_router
from routellm_batch.training.rows import TrainingRows, to_unit


def draw_pilot(outcomes: Outcomes, rows: int, seed: int) -> tuple[Outcomes, Outcomes]:
    """Draw a pilot of rows with distinct prompts; the rest is the test set, minus rows that share a prompt with it.

    Raises:
        ConfigError: there are not enough distinct prompts to train on ``rows`` and test on any.

    """
    prompts = np.array(outcomes.prompts, dtype=object)
    _, first, kind = np.unique(prompts, return_index=True, return_inverse=True)
    if not 0 < rows < len(first):
        problem = f"{outcomes.uri} has {len(first)} distinct prompts; a pilot takes at least 1 and leaves at least 1"
        raise ConfigError("pilot", problem)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(first))[:rows])
    rest: NDArray[np.int64] = np.flatnonzero(~np.isin(kind, drawn))
    return outcomes.take(first[drawn]), outcomes.take(rest)


def train_on(pilot: Outcomes, *, embedder: EmbedderConfig | str, seed: int) -> Router:
    """Return an outcome router trained on the pilot's rows; hyper-parameters by five folds of the pilot itself."""
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
    router, _ = fit_router(rows, embedder=embedder, seed=seed)
    return router
