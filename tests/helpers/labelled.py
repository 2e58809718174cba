"""Made-up pilots: labelled rows whose gain rises with the score, or does not."""

from __future__ import annotations

import numpy as np

from routellm_batch.budget.costs.expected_lengths import Lengths, measure_lengths
from routellm_batch.budget.quality.calibration import Calibration, fit_calibration
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.core.arrays import Floats


def labels(
    rows: int, *, seed: int = 0, slope: float = 0.7, best: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """Return scores, and 0/1 grades of a strong and a weak model; the weak one's mean falls from ``best`` by ``slope``."""
    random = np.random.default_rng(seed)
    scores = random.random(rows)
    strong = (random.random(rows) < 0.9).astype(float)
    weak = (random.random(rows) < best - slope * scores).astype(float)
    return scores, strong, weak


def calibration(rows: int = 300, *, seed: int = 0, slope: float = 0.7, best: float = 0.95) -> Calibration:
    """Return the calibration of such rows."""
    return fit_calibration(*labels(rows, seed=seed, slope=slope, best=best), seed=seed)


def lengths(rows: int = 300, *, seed: int = 0, longest: int = 400) -> Lengths:
    """Return token counts: answers grow with the square root of the prompt, the weak model's are half as long."""
    random = np.random.default_rng(seed + 1)
    sizes = random.integers(5, longest, rows)
    strong = np.rint(10 * np.sqrt(sizes) * random.lognormal(0, 0.5, rows)).astype(int)
    inputs = (1.2 * sizes).astype(int).tolist()
    outputs = {"strong": strong.tolist(), "weak": (strong // 2).tolist()}
    return measure_lengths(sizes.tolist(), {"strong": inputs, "weak": inputs}, outputs)


def facts(
    rows: int = 300, *, seed: int = 0, slope: float = 0.7, best: float = 0.95, longest: int = 400
) -> PilotFacts:
    """Return a pilot's facts."""
    return PilotFacts(
        calibration(rows, seed=seed, slope=slope, best=best),
        lengths(rows, seed=seed, longest=longest),
        "memory://pilot",
    )
