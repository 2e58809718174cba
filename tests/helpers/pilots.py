"""Pilots made up for tests: prompts of which some kinds defeat the weak model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from routellm_batch.routers import make_router
from routellm_batch.routers.outcome.blend.fit import PilotRows, fit_pilot, save_pilot_router

KINDS = (
    "Translate this sentence into French: the {} is on the table next to the window",
    "Which capital city lies closest to the {} and why is that so well known?",
    "Integrate the function x^{} sin(x) over the interval from zero to {}, showing steps",
    "Prove that {} divides n^{} - n whenever n is a prime number larger than {}",
)
"""The weak model fails on the last two."""


def pilot_of(rows: int, *, seed: int = 0, noise: float = 0.1, shuffled: bool = False) -> PilotRows:
    """Return a pilot whose strong model is mostly right and whose weak one fails on mathematics.

    Args:
        rows: how many, all distinct.
        seed: of the draws.
        noise: part of the grades that are the other way round.
        shuffled: give the grades to random prompts, so that there is nothing to learn.

    """
    random = np.random.default_rng(seed)
    kind = random.integers(0, len(KINDS), rows)
    prompts = [KINDS[k].replace("{}", str(100 + n)) for n, k in enumerate(kind)]
    strong, weak = np.ones(rows), (kind < len(KINDS) // 2).astype(np.float64)
    for grades in (strong, weak):
        flipped = random.random(rows) < noise
        grades[flipped] = 1 - grades[flipped]
    if shuffled:
        order = random.permutation(rows)
        strong, weak = strong[order], weak[order]
    return PilotRows(prompts, strong, weak, np.ones(rows))


def write_tiny(folder: Path) -> dict[str, Any]:
    """Write a router fitted on a small pilot; return what makes it."""
    fitted = fit_pilot(pilot_of(80), prior=make_router("outcome"), embedder="static", seed=0)
    save_pilot_router(f"{folder}/router", fitted, "# pilot\n")
    return {"checkpoint": f"{folder}/router"}
