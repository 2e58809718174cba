"""What a report needs of a plan, as protocols: reporting lies below the stages, whose ``Plan`` fits as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from routellm_batch.planning import Cut, FrontierPoint
from routellm_batch.types import Route


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
