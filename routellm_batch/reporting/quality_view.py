"""What a report shows of a pilot and of the quality that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from routellm_batch.budget.quality.prediction import Quality


@dataclass(frozen=True, slots=True)
class PilotView:
    """The pilot that a run took."""

    uri: str
    made: str
    """UTC date."""
    rows: int
    """Prompts sampled."""
    labelled: int
    """Of these, with a grade of both models' answers."""
    grader: str
    """Its kind."""
    chosen: str
    """``fitted``, or the baseline's name that stands in for a fit."""
    reason: str
    """Why, in a sentence."""
    note: str | None
    """What there is to be said against the pilot."""
    spent_nano: int
    """Settled cost of its calls, a judge's too."""
    presumed_nano: int
    """What calls without a usable reply may have cost besides."""
    here: bool
    """Whether this run made it and counts its cost."""


@dataclass(frozen=True, slots=True)
class Achieved:
    """Grades of a run's own answers."""

    rows: int
    """Rows that have one."""
    mean: float
    """In the grader's unit."""
    lo: float
    """90 % interval of the mean."""
    hi: float


@dataclass(frozen=True, slots=True)
class QualityView:
    """What a run's answers were foretold to be worth, and are."""

    predicted: Quality | None = None
    """What the pilot foretold of the plan; None without one."""
    achieved: Achieved | None = None
    """None where nothing was graded."""
    strong_mean: float | None = None
    """Mean grade of the strong model's answers to the graded rows; None where not all of them are known."""
    weak_mean: float | None = None
    """The same of the weak model."""
    pgr: float | None = None
    """Part of the gap between these two that the run recovered."""
    unseen: Achieved | None = None
    """``achieved`` of the rows that the pilot knew no grades of; None where these are all rows, or none."""
    unseen_pgr: float | None = None
    """``pgr`` of the same."""
    problems: Mapping[str, int] = field(default_factory=dict)
    """Why answers have no grade, or one of 0 besides being wrong → answers."""
