"""Do predicted intervals hold the truth, and does a recovered target hold? Resampled pilots of recorded outcomes.

python -m benchmarks coverage
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
from routellm_batch.budget.quality.calibration import Calibration, fit_calibration
from routellm_batch.budget.quality.forecast import build_predictor
from routellm_batch.budget.quality.prediction import Quality
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import ROUTES

SETS = ("MMLU", "MMLU-Pro", "GSM8K")
ANSWERED = ("MMLU-Pro", "GSM8K")
"""Those with token counts."""
ROWS = {"pilot": (300,), "simple": (300, 500)}
"""Fit → sizes of pilots: a fit of a run's pilot takes seconds."""
SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
TARGETS = (0.8, 0.9, 0.95)
CONFIDENCE = 0.9
PILOTS = 100
QUICK_ROWS = 700
"""Of a set, where it is only to be seen that the experiment runs."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one pilot predicted, and what came of it."""

    mean_held: Sequence[bool]
    """Of each share: whether the true mean grade lies in the interval."""
    pgr_held: Sequence[bool]
    off: Sequence[float]
    """Of each share: predicted − true PGR."""
    kept: Sequence[bool]
    """Of each target: whether the cut chosen for it keeps it in truth."""
    asked: Sequence[float]
    """Of each target: the share chosen."""
    needed: Sequence[float]
    """Of each target: the least share that would have kept it."""
    dollar_held: Sequence[bool]
    """As ``pgr_held``, of rows ranked by gain per dollar; empty where answers are not recorded."""
    cost_held: Sequence[bool]
    """Of each share, ranked so: whether the true cost lies between P10 and P90."""


def look(data: Recorded, pilot: Pilot, seed: int) -> Seen:
    """Predict from one pilot, and compare with the rest of the rows as they really went."""
    outcomes, rows = data.outcomes, pilot.drawn
    calibration = fit_calibration(pilot.out_of_fold, outcomes.strong[rows], outcomes.weak[rows], seed=seed)
    rest = len(pilot.rest)
    lengths = counted(data, rows) if data.tokens else None
    seen = build_predictor(calibration, lengths, PRICES, "score", pilot.scores, rows=len(rows) + rest)
    predicted = seen.quality(SHARES)
    above, gained = Ranking(pilot.scores).curve(outcomes.gain[pilot.rest])
    weak = float(outcomes.weak[pilot.rest].mean())

    def pgr(share: float) -> float:
        return float(np.interp(share * rest, above, gained) / gained[-1])

    choices = [seen.recover(target, CONFIDENCE).share for target in TARGETS]
    asked = [1.0 if share is None else share for share in choices]
    truth = [pgr(share) for share in SHARES]
    return Seen(
        [q.lo <= weak + t * float(gained[-1]) / rest <= q.hi for q, t in zip(predicted, truth, strict=True)],
        [_holds(q, t) for q, t in zip(predicted, truth, strict=True)],
        [(q.pgr or 0.0) - t for q, t in zip(predicted, truth, strict=True)],
        [pgr(share) >= target - 1e-9 for share, target in zip(asked, TARGETS, strict=True)],
        asked,
        [_least(above, gained, target) for target in TARGETS],
        *(_by_dollar(data, pilot, calibration) if data.tokens else ([], [])),
    )


def _by_dollar(data: Recorded, pilot: Pilot, calibration: Calibration) -> tuple[list[bool], list[bool]]:
    """Return what held of quality and of cost, with rows ranked by gain per dollar."""
    rest, rows = pilot.rest, len(pilot.rest)
    lengths = counted(data, pilot.drawn)
    of_job = len(pilot.drawn) + rows
    seen = build_predictor(calibration, lengths, PRICES, "gain_per_dollar", pilot.scores, rows=of_job)
    sizes = data.tokens["prompt"][rest]
    ranking = Ranking(seen.ranker.values(pilot.scores, sizes).astype(np.float64))
    above, gained = ranking.curve(data.outcomes.gain[rest])
    at = np.array(SHARES) * rows
    truth = np.interp(at, above, gained) / gained[-1]
    known = seen.ranker.costs or {}
    expected = {route: known[route].nano(sizes, pilot.scores).astype(np.float64) for route in ROUTES}
    planned, true = (
        np.sum(cost["weak"]) + np.interp(at, *ranking.curve(cost["strong"] - cost["weak"]))
        for cost in (expected, costs(data, rest))
    )
    lo, hi = np.transpose(seen.cost_interval(SHARES) or [])
    inside = (lo <= true / planned) & (true / planned <= hi)
    predicted = seen.quality(SHARES)
    return [_holds(q, float(t)) for q, t in zip(predicted, truth, strict=True)], inside.tolist()


def _holds(quality: Quality, truth: float) -> bool:
    lo = -np.inf if quality.pgr_lo is None else quality.pgr_lo
    hi = np.inf if quality.pgr_hi is None else quality.pgr_hi
    return bool(lo <= truth <= hi)


def _least(above: Floats, gained: Floats, target: float) -> float:
    at = int(np.argmax(gained >= target * gained[-1] - 1e-9))
    return float(above[at] / above[-1])


def run(*, quick: bool) -> Table:
    """Resample pilots of each set and size; ``PILOT_FIT`` names the fit, ``simple`` or ``pilot``."""
    name = chosen_fit("pilot")
    fit, pilots = FITS[name], 2 if quick else PILOTS
    rows: list[list[str]] = []
    for part in SETS[-1:] if quick else SETS:
        data = load(part, answers=part in ANSWERED, rows=QUICK_ROWS if quick else None)
        sizes = ROWS[name][:1] if quick else ROWS[name]
        rows += [[part, str(size), *_cells(data, size, fit, pilots)] for size in sizes]
    targets = [f"recover {target:.0%}" for target in TARGETS]
    heads = ["grade held", "PGR held", "PGR off by", "by dollar: PGR", "cost", *targets]
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    notes = [
        f"{pilots} pilots of each size, fit: {name}. Held: how many of 100 intervals (90 %) hold what the rest of the",
        f"rows really brought, mean (least) over the strong shares {shares}. Off by: predicted less true PGR, mean over",
        "these. By dollar: the same with rows ranked by gain per dollar, and how many of 100 P10–P90 bands (80 %) hold",
        "the true cost; – where answers are not recorded.",
        f"Recover: how often of 100 the target is kept, asked with confidence {CONFIDENCE:.0%}; in brackets the",
        "mean share chosen, and the least that would have done, had the truth been known.",
    ]
    return Table("Predicted and true quality", ["set", "pilot rows", *heads], rows, notes)


def _cells(data: Recorded, size: int, fit: Fit, pilots: int) -> list[str]:
    seen = [look(data, draw(data, size, seed, fit), seed) for seed in range(pilots)]

    def share_held(rows: Sequence[Sequence[bool]]) -> str:
        if not rows[0]:
            return "–"
        held = 100 * np.mean(rows, axis=0)
        return f"{held.mean():.0f} ({held.min():.0f})"

    kept, asked, needed = (
        np.mean([getattr(one, field) for one in seen], axis=0) for field in ("kept", "asked", "needed")
    )
    return [
        share_held([one.mean_held for one in seen]),
        share_held([one.pgr_held for one in seen]),
        f"{np.mean([one.off for one in seen]):+.3f}",
        share_held([one.dollar_held for one in seen]),
        share_held([one.cost_held for one in seen]),
        *(
            f"{100 * k:.0f} ({100 * a:.0f} %, {100 * n:.0f} %)"
            for k, a, n in zip(kept, asked, needed, strict=True)
        ),
    ]
