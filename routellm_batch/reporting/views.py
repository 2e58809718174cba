"""What a report needs of a plan, as protocols: reporting lies below the stages, whose ``Plan`` fits as it is.

What it needs of a pilot and of grades lies in no one place, so these views are filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from routellm_batch.budget.quality.prediction import Quality, RecoverChoice
from routellm_batch.budget.selection.cut import Cut, FrontierPoint, Outlook
from routellm_batch.budget.selection.ranking import Ranker
from routellm_batch.core.types import Route


class PlannedRoute(Protocol):
    """Distinct requests to one endpoint, as planned."""

    @property
    def calls(self) -> int:
        """Distinct requests."""

    @property
    def rows(self) -> int:
        """Rows that they answer."""

    @property
    def planned_nano(self) -> int:
        """Expected cost."""


class DegradeView(Protocol):
    """A further plan, made while the run was under way; read only."""

    @property
    def at(self) -> str:
        """When, UTC, ISO 8601."""

    @property
    def reason(self) -> str:
        """``burn`` (the projected cost passed the cap) or ``worst_case`` (no strong row could be paid for)."""

    @property
    def cut(self) -> Cut:
        """Which pending rows stayed strong."""

    @property
    def moved(self) -> int:
        """Rows that went from strong to weak."""

    @property
    def kept(self) -> int:
        """Pending rows that stayed strong."""

    @property
    def ratio_ppm(self) -> Mapping[Route, int]:
        """Route → settled over expected cost of the calls answered by then, in parts per million."""

    @property
    def spent_nano(self) -> int:
        """Spent and presumed on calls by then."""

    @property
    def cap_nano(self) -> int:
        """What the hard cap leaves for calls."""

    @property
    def projected_nano(self) -> int:
        """What all calls would have cost with the cut before."""

    @property
    def lowered_nano(self) -> int:
        """What they should cost with this one."""


class PlanView(Protocol):
    """A plan, read only."""

    @property
    def cut(self) -> Cut:
        """Which rows go strong."""

    @property
    def valid(self) -> int:
        """Valid rows."""

    @property
    def invalid(self) -> int:
        """Rows that are not valid rows."""

    @property
    def strong(self) -> int:
        """Rows that go to the strong model."""

    @property
    def asked(self) -> Mapping[str, str]:
        """``mode`` (strong_share | usd) and ``value``."""

    @property
    def endpoints(self) -> Mapping[str, PlannedRoute]:
        """Route → what it should do and cost."""

    @property
    def all_strong_nano(self) -> int:
        """Expected cost with every row strong."""

    @property
    def all_weak_nano(self) -> int:
        """Expected cost with every row weak."""

    @property
    def cap_nano(self) -> int | None:
        """The hard cap, if there is one."""

    @property
    def degraded(self) -> Mapping[str, str] | None:
        """``reason``, ``planned_usd`` and ``strong_rows`` of the plan that the hard cap did not allow."""

    @property
    def frontier(self) -> Sequence[FrontierPoint]:
        """Budgets from all weak to all strong."""

    @property
    def histogram(self) -> Sequence[int]:
        """Valid rows in equal steps of the score, 0 to 1."""

    @property
    def copies(self) -> int:
        """Rows that take their answer from another row."""

    @property
    def planned_nano(self) -> int:
        """Expected cost of the run."""

    @property
    def ranker(self) -> Ranker:
        """What rows are ranked by."""

    @property
    def pilot(self) -> Mapping[str, Any]:
        """``uri``, ``rows``, ``kind`` and ``note`` of the pilot it was made with; empty without one."""

    @property
    def outlook(self) -> Outlook | None:
        """What the pilot says of the plan."""

    @property
    def recover(self) -> RecoverChoice | None:
        """How a part of the gain that was asked for is held."""

    @property
    def lengths(self) -> Mapping[str, Any]:
        """Route → ``run``, ``answers``, ``mean``, ``p10`` and ``p90`` of the earlier run that answers' lengths are from."""


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
