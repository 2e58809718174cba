"""What a pilot's labels say of the whole job: the expected gain by score, and how certain it is.

A *position* is a row's place among all rows by score, 0 (lowest) to 1. A pilot's scores come from models that did not
see the row, the job's from the one that saw all of them: the two scales differ, so what is learned is learned by
position, and a share of the job is the same share of the pilot. Every pilot row counts by its sampling weight.

Pure: randomness is seeded, and the same labels give the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.quality.calibration_maps import Kind, choose_kind, fit_map, positions
from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import DataError
from routellm_batch.core.metrics import INTERVAL_90

GRID = np.linspace(0, 1, 101)
"""Positions at which the map is kept."""
MAP_REPLICATES = 200
"""Resamples that the map's interval is read from."""
LEAST_ROWS = 20
"""Fewer labels predict nothing."""
FEW_ROWS = 100
"""Fewer labels predict little, and the note says so."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A pilot's labelled rows, and the map from position to gain that they give."""

    scores: tuple[float, ...]
    """N scores by models that did not see the row."""
    strong: tuple[float, ...]
    """N grades of the strong model, in the grader's unit."""
    weak: tuple[float, ...]
    """N grades of the weak model, in the same unit."""
    weight: tuple[float, ...]
    """N sampling weights of mean 1."""
    kind: Kind
    """Kind of the map."""
    gains: tuple[float, ...]
    """Expected strong − weak at 101 equal steps of the position; never falls."""
    gains_lo: tuple[float, ...]
    """Lower bounds of its 90 % interval."""
    gains_hi: tuple[float, ...]
    """Upper bounds of its 90 % interval."""
    seed: int
    """Of the folds and resamples."""
    note: str | None = None
    """Why not to rely on it, in one sentence; None where nothing speaks against it."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def gap(self) -> float:
        """Weighted mean gain of all rows: what there is to recover."""
        return float(np.average(np.subtract(self.strong, self.weak), weights=self.weight))

    @property
    def gain_rows(self) -> Floats:
        """Gain of each row, strong − weak, [N]."""
        gains: Floats = np.array(self.strong) - np.array(self.weak)
        return gains

    @property
    def effective_rows(self) -> float:
        """Kish's effective sample size: the number of rows of equal weight that would say as much."""
        return float(np.sum(self.weight) ** 2 / np.sum(np.square(self.weight)))

    def gain_at(self, where: NDArray[np.floating]) -> Floats:
        """Return the expected gain [B] at positions [B]."""
        gains: Floats = np.interp(where, GRID, self.gains)
        return gains

    def gain(self, scores: NDArray[np.floating]) -> Floats:
        """Return the expected gain [B] of scores [B] on the scale of the pilot's own."""
        known, first = np.unique(self.scores, return_index=True)
        where = positions(np.array(self.scores), np.array(self.weight))[first]
        return self.gain_at(np.interp(np.asarray(scores, dtype=np.float64), known, where))

    def to_fields(self) -> dict[str, Any]:
        """Return the calibration as plain data."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Calibration:
        """Read a calibration back from plain data."""
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        return cls(**plain)


def fit_calibration(
    scores: NDArray[np.floating],
    strong: NDArray[np.floating],
    weak: NDArray[np.floating],
    weight: NDArray[np.floating] | None = None,
    *,
    seed: int,
) -> Calibration:
    """Fit the map from score to gain on a pilot's labels.

    Args:
        scores: [N], each by a model that did not see the row.
        strong: [N], grades of the strong model.
        weak: [N], grades of the weak one.
        weight: [N], sampling weights; equal where left out.
        seed: of folds and resamples.

    Raises:
        DataError: fewer than 20 rows, or a score, grade or weight that can't be used.

    """
    columns = {"score": scores, "strong_score": strong, "weak_score": weak}
    columns["weight"] = np.ones(len(scores)) if weight is None else weight
    sound = _checked(columns)
    where, gain = positions(sound["score"], sound["weight"]), sound["strong_score"] - sound["weak_score"]
    mass = sound["weight"] * (len(gain) / sound["weight"].sum())
    kind = choose_kind(where, gain, mass, seed=seed)
    gains = fit_map(kind, where, gain, mass, GRID)
    lo, hi = _interval(kind, where, gain, mass, seed)
    return Calibration(
        scores=_plain(sound["score"]),
        strong=_plain(sound["strong_score"]),
        weak=_plain(sound["weak_score"]),
        weight=_plain(mass),
        kind=kind,
        gains=_plain(gains),
        gains_lo=_plain(np.minimum(lo, gains)),
        gains_hi=_plain(np.maximum(hi, gains)),
        seed=seed,
        note=_note(len(gain), kind, float(np.average(gain, weights=mass))),
    )


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())


def _checked(columns: Mapping[str, NDArray[np.floating]]) -> dict[str, Floats]:
    sound = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    rows = {name: len(values) for name, values in sound.items()}
    if len(set(rows.values())) != 1:
        raise DataError(f"columns of a pilot differ in length: {rows}")
    if rows["score"] < LEAST_ROWS:
        problem = f"{rows['score']} labelled rows can't be calibrated on; at least {LEAST_ROWS} are needed"
        raise DataError(problem)
    for name, values in sound.items():
        bad = np.flatnonzero(~np.isfinite(values) | ((name == "weight") & ~(values > 0)))
        if len(bad):
            wanted = "a positive number" if name == "weight" else "a number; leave rows without a label out"
            raise DataError(f"is not {wanted}", column=name, row=int(bad[0]))
    return sound


def _note(rows: int, kind: Kind, gap: float) -> str | None:
    if gap <= 0:
        return (
            f"the strong model is not better on the labelled rows (mean gain {gap:.4f}): nothing to recover"
        )
    if kind == "constant":
        return "all scores are equal, so they don't say where the strong model is better"
    return f"only {rows} rows are labelled, so intervals are wide" if rows < FEW_ROWS else None


def _interval(kind: Kind, where: Floats, gain: Floats, weight: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return the 90 % interval of the map at ``GRID``, by fitting it to resampled rows."""
    random, rows = np.random.default_rng(seed), len(gain)
    fits: list[Floats] = []
    for _ in range(MAP_REPLICATES):
        drawn = np.sort(random.integers(0, rows, rows))
        fits.append(fit_map(kind, where[drawn], gain[drawn], weight[drawn], GRID))
    lo, hi = np.percentile(fits, INTERVAL_90, axis=0)
    return lo, hi


def shares_checked(shares: Sequence[float]) -> Floats:
    """Return shares [S] as an array, checked.

    Raises:
        ValueError: one is not in [0, 1].

    """
    checked = np.asarray(shares, dtype=np.float64)
    if not ((checked >= 0) & (checked <= 1)).all():
        raise ValueError("a share lies in [0, 1]")
    return checked
