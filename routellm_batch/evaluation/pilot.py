"""Evaluation of pilots: train on N labelled rows of the job itself, test on the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.routers import make_router
from routellm_batch.routers.outcome.blend.fit import PilotFit, PilotRows, fit_pilot


def draw_pilot(outcomes: Outcomes, rows: int, seed: int) -> tuple[Outcomes, Outcomes]:
    """Return a pilot of rows with distinct prompts, and the test set: the rows that share no prompt with the pilot.

    Raises:
        ConfigError: there are too few distinct prompts to train on ``rows`` of them and test on at least one.

    """
    prompts = np.array(outcomes.prompts, dtype=object)
    _, first, kind = np.unique(prompts, return_index=True, return_inverse=True)
    if not 0 < rows < len(first):
        problem = f"{outcomes.uri} has {len(first)} distinct prompts; a pilot takes at least 1 and leaves at least 1"
        raise ConfigError("pilot", problem)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(first))[:rows])
    rest: NDArray[np.int64] = np.flatnonzero(~np.isin(kind, drawn))
    return outcomes.take(first[drawn]), outcomes.take(rest)


def train_on(pilot: Outcomes, *, embedder: EmbedderConfig | str, seed: int) -> PilotFit:
    """Return an outcome router that is fitted on the pilot's rows, or what it fell back to; the shipped one is its prior."""
    rows = PilotRows(pilot.prompts, pilot.strong, pilot.weak, np.ones(len(pilot)))
    return fit_pilot(rows, prior=make_router("outcome"), embedder=embedder, seed=seed)
