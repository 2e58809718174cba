"""Dollars at equal quality: rows ranked by gain per dollar against rows ranked by score, on recorded answers.

python -m benchmarks gain_per_dollar
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.pilots import (
    FITS,
    PRICES,
    Fit,
    Floats,
    Pilot,
    Recorded,
    chosen_fit,
    costs,
    counted,
    draw,
    load,
)
from benchmarks.table import Table
from routellm_batch.budget.quality.calibration import fit_calibration
from routellm_batch.budget.quality.forecast import build_predictor
from routellm_batch.core.metrics import INTERVAL_90, Ranking, resample

SETS = {"GSM8K": 500, "GSM8K, GPT-4o": 500, "MMLU-Pro": 500, "AlpacaEval": 300, "MT-Bench": 30}
LEVELS = (0.5, 0.8, 0.9)
SEEDS = 5
REPLICATES = 500


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One pilot, and its two ways of ranking the rest."""

    rows: NDArray[np.int64]
    """The rest, as positions in the whole set."""
    by_score: Ranking
    by_dollar: Ranking
    gain: Floats
    extra: Floats
    """What each row costs more strong than weak."""
    weak: Floats
    """What each row costs weak."""
    pays: bool
    """Whether a plan that may choose ranks by dollars here."""

    def ratios(self, count: Floats, *, always: bool) -> list[float]:
        """Return the dollars by gain per dollar over those by score, at each level of PGR."""
        if not (always or self.pays):
            return [1.0] * len(LEVELS)
        base = float(count @ self.weak)
        found = [self._dollars(way, count) for way in (self.by_dollar, self.by_score)]
        return [(base + one) / (base + other) for one, other in zip(*found, strict=True)]

    def _dollars(self, ranking: Ranking, count: Floats) -> list[float]:
        _, gained = ranking.curve(self.gain, count)
        _, paid = ranking.curve(self.extra, count)
        found: list[float] = []
        for level in LEVELS:
            wanted = level * gained[-1]
            at = int(np.argmax(gained >= wanted - 1e-9))
            part = (wanted - gained[at - 1]) / (gained[at] - gained[at - 1]) if at else 0.0
            found.append(float(paid[at - 1] + part * (paid[at] - paid[at - 1])) if at else 0.0)
        return found


def trial(data: Recorded, pilot: Pilot, seed: int) -> Trial:
    """Calibrate on a pilot, and rank the rest in both ways."""
    outcomes, rows = data.outcomes, pilot.drawn
    calibration = fit_calibration(pilot.out_of_fold, outcomes.strong[rows], outcomes.weak[rows], seed=seed)
    lengths, sizes = counted(data, rows), data.tokens["prompt"]
    seen = build_predictor(calibration, lengths, PRICES, "gain_per_dollar", pilot.scores)
    proven = build_predictor(calibration, lengths, PRICES, "gain_per_dollar", pilot.scores, prove=True)
    pays = proven.ranker.order == "gain_per_dollar"
    values = seen.ranker.values(pilot.scores, sizes[pilot.rest]).astype(np.float64)
    cost = costs(data, pilot.rest)
    extra = cost["strong"] - cost["weak"]
    ways = Ranking(pilot.scores), Ranking(values)
    return Trial(pilot.rest, *ways, outcomes.gain[pilot.rest], extra, cost["weak"], pays)


def run(*, quick: bool) -> Table:
    """Rank each set in both ways, for pilots of five seeds; ``PILOT_FIT`` names the fit, ``simple`` or ``pilot``."""
    rows: list[list[str]] = []
    for name, size in SETS.items():
        if quick and name != "MT-Bench":
            continue
        rows += _lines(load(name, answers=True), size, FITS[chosen_fit("simple")], quick=quick)
    heads = [f"PGR {level:.0%}" for level in LEVELS]
    notes = [
        "Dollars of the whole rest of the job, weak calls included, at equal achieved PGR: gain per dollar over",
        "threshold, mean of seeds 0–4 with a 90 % interval by a paired bootstrap over the questions. Prices per million",
        "tokens $10/$30 strong, $0.24/$0.24 weak; tokens are characters / 4 of the recorded prompts and answers.",
        "auto: only for the pilots whose own rows show that it pays, else by score, which is a ratio of one.",
    ]
    return Table("Dollars at equal quality", ["set", "pilot rows", "by dollar", *heads], rows, notes)


def _lines(data: Recorded, size: int, fit: Fit, *, quick: bool) -> list[list[str]]:
    trials = [trial(data, draw(data, size, seed, fit), seed) for seed in range(1 if quick else SEEDS)]
    chosen = f"auto: {sum(one.pays for one in trials)} of {len(trials)}"
    return [
        [data.name, str(size), words, *_cells(trials, len(data.outcomes), always=always, quick=quick)]
        for words, always in (("always", True), (chosen, False))
    ]


def _cells(trials: Sequence[Trial], rows: int, *, always: bool, quick: bool) -> list[str]:
    at = np.mean([one.ratios(np.ones(len(one.gain)), always=always) for one in trials], axis=0)
    drawn = [
        np.mean([one.ratios(count[one.rows], always=always) for one in trials], axis=0)
        for count in resample(rows, seed=0, replicates=20 if quick else REPLICATES)
    ]
    lo, hi = np.percentile(drawn, INTERVAL_90, axis=0)
    return [f"{a:.3f} ({b:.3f}–{c:.3f})" for a, b, c in zip(at, lo, hi, strict=True)]
