"""What a report shows of a pilot and of the quality of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from routellm_batch.budget.quality.prediction import Quality


@dataclass(frozen=True, slots=True)
class PilotView:
    """The pilot that a run used."""

    uri: str
    """Its folder."""
    made: str
    """UTC date on which it was made."""
    rows: int
    """Prompts sampled."""
    labelled: int
    """Prompts with a grade of both models' answers."""
    grader: str
    """Kind of the grader."""
    chosen: str
    """The router: ``fitted``, or the name of the baseline that is used instead."""
    reason: str
    """Why that router was chosen, in a sentence."""
    note: str | None
    """A caveat about the pilot; None where there is none."""
    spent_nano: int
    """Settled cost of its calls, those of a judge included."""
    presumed_nano: int
    """What calls without a usable reply may have cost as well."""
    here: bool
    """Whether this run made the pilot and counts its cost."""
    ungradable: int = 0
    """Valid rows that were not drawn from, as the grader can't grade them."""


@dataclass(frozen=True, slots=True)
class Achieved:
    """Grades of a run's own answers."""

    rows: int
    """Rows that have a grade."""
    mean: float
    """Mean grade, in the grader's unit."""
    lo: float
    """Lower end of the 90 % interval of the mean."""
    hi: float
    """Upper end of it."""


@dataclass(frozen=True, slots=True)
class QualityView:
    """The predicted and the achieved grades of a run's answers."""

    predicted: Quality | None = None
    """What the pilot predicted for the plan; None without a pilot."""
    achieved: Achieved | None = None
    """Grades of the run's answers; None where nothing was graded."""
    strong_mean: float | None = None
    """Mean grade of the strong model's answers to the graded rows; None where not all of them are known."""
    weak_mean: float | None = None
    """The same for the weak model."""
    pgr: float | None = None
    """Part of the gap between these two that the run recovered."""
    unseen: Achieved | None = None
    """``achieved`` of the rows that were not graded in the pilot; None where these are all rows, or none."""
    unseen_pgr: float | None = None
    """``pgr`` of these rows."""
    problems: Mapping[str, int] = field(default_factory=dict)
    """Why answers have no grade, or 0 for their form → number of answers."""
