"""The figures of one ranking on one set of outcomes, and of the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.metrics import REPLICATES, Ranking, apgr_interval
from routellm_batch.routers import make_router

RANDOM_DRAWS = 10
"""As many as upstream averages."""


def figures(
    name: str,
    outcomes: Outcomes,
    scores: Sequence[NDArray[np.floating]],
    *,
    seed: int,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Return ``router, n, weak, strong, apgr, apgr_full, apgr_ci, cpt50, cpt80`` (design §7).

    Args:
        name: of the router.
        outcomes: N prompts.
        scores: one [N] of a router, or several draws of a random one; figures are means over them.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    """
    gain = outcomes.gain
    rankings = [Ranking(s) for s in scores]

    def mean(figure: Callable[[Ranking], float]) -> float:
        return float(np.mean([figure(ranking) for ranking in rankings]))

    return {
        "router": name,
        "n": len(outcomes),
        "weak": float(outcomes.weak.mean()),
        "strong": float(outcomes.strong.mean()),
        "apgr": mean(lambda r: r.apgr_deciles(gain)),
        "apgr_full": mean(lambda r: r.apgr_full(gain)),
        "apgr_ci": list(apgr_interval(rankings, gain, seed=seed, replicates=replicates)),
        "cpt50": mean(lambda r: r.cpt(gain, 0.5)),
        "cpt80": mean(lambda r: r.cpt(gain, 0.8)),
    }


def baselines(outcomes: Outcomes, *, seed: int, replicates: int = REPLICATES) -> dict[str, Any]:
    """Return the same figures of random (mean of ten draws), prompt length, and an oracle that knows every gain."""
    draws = [make_router("random", seed=seed + draw).score(outcomes.batch) for draw in range(RANDOM_DRAWS)]
    length = make_router("length").score(outcomes.batch)
    rankings: dict[str, list[NDArray[np.floating]]] = {
        "random": [*draws],
        "length": [length],
        "oracle": [outcomes.gain],
    }
    return {
        name: figures(name, outcomes, scores, seed=seed, replicates=replicates)
        for name, scores in rankings.items()
    }
