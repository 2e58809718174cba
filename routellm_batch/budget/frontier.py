"""The frontier: what each strong share between none and all costs, and what a pilot predicts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routellm_batch.budget.quality.prediction import Quality
from routellm_batch.budget.selection.cut import GRID, Source


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a pilot predicts of a strong share of the job; kept in ``plan.json`` under ``outlook``."""

    quality: Quality
    """Quality, with a 90 % interval."""
    random: Quality
    """Quality if as many rows went strong at random, with a 90 % interval."""
    low_nano: int | None
    """P10 of the run's cost; None where the pilot has no token counts."""
    high_nano: int | None
    """P90 of the run's cost; None as for P10."""
    random_nano: int
    """Expected cost, if as many rows went strong at random."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Prediction:
        """Read a prediction back from plain data."""
        both = {name: Quality(**fields[name]) for name in ("quality", "random")}
        return cls(**{**fields, **both})


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One budget on the way from all-weak to all-strong."""

    share: float
    """Strong share, of the valid rows."""
    threshold: float | None
    """Score at the cut; None where nothing goes strong."""
    planned_nano: int
    """Expected cost of the run."""
    outlook: Prediction | None = None
    """What a pilot predicts of it; None without one."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> FrontierPoint:
        """Read a point back from plain data; points of older plans have no prediction."""
        outlook = fields.get("outlook")
        return cls(**{**fields, "outlook": None if outlook is None else Prediction.from_fields(outlook)})


def frontier(rows: Source, base_nano: int, points: int = 50) -> list[FrontierPoint]:
    """Return the expected cost of ``points`` strong shares from 0 to 1, evenly spaced, from one pass.

    Scores are binned in 65,536 equal steps, so a threshold is right to 1.5e-5 and a cost to within one bin's rows.

    Args:
        rows: starts one pass over all valid rows.
        base_nano: expected cost of the run, all weak.
        points: how many shares; 2 at least.

    """
    counts = np.zeros(GRID, dtype=np.int64)
    costs = np.zeros(GRID, dtype=np.int64)
    for part in rows():
        bins = np.minimum(part.key.view(np.float32).astype(np.float64) * GRID, GRID - 1).astype(np.int64)
        counts += np.bincount(bins, minlength=GRID)
        np.add.at(costs, bins, part.delta)
    total = int(counts.sum())
    rows_above = np.concatenate([[0], np.cumsum(counts[::-1])])
    cost_above = np.concatenate([[0], np.cumsum(costs[::-1])])
    result = []
    for step in range(points):
        share = step / (points - 1)
        nano = base_nano + round(float(np.interp(share * total, rows_above, cost_above)))
        # The highest bin edge above which that many rows lie.
        edge = int(np.searchsorted(rows_above, share * total - 1e-9, side="left"))
        result.append(FrontierPoint(share, None if step == 0 else (GRID - edge) / GRID, nano))
    return result
