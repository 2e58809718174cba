"""The plan of a run and its later changes, as values: ``plan.json`` and ``plan.d<n>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from routellm_batch.budget.frontier import FrontierPoint, Outlook
from routellm_batch.budget.prices import Prices, Totals
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import Cut
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.core.encoding import to_json
from routellm_batch.core.types import ROUTES, Route


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, and what it should cost; ``plan.json``."""

    cut: Cut
    valid: int
    invalid: int
    strong: int
    """Rows that go to the strong model, K."""
    asked: dict[str, str]
    """The budget as asked: mode and value."""
    endpoints: dict[str, Totals]
    """Route → distinct requests and their expected tokens and cost."""
    all_strong_nano: int
    all_weak_nano: int
    cap_nano: int | None
    degraded: dict[str, str] | None
    """What the hard cap took away from the plan, if it did."""
    frontier: list[FrontierPoint]
    histogram: list[int]
    """Valid rows in equal steps of what they are ranked by, the score as a rule."""
    copy_shards: list[int]
    """Shards with rows that take their answer from another row."""
    copies: int
    """Rows that take their answer from another row."""
    embedding_nano: int = 0
    """What scoring paid for embeddings, spent and presumed; it counts against the hard cap."""
    ranker: Ranker = BY_SCORE
    """What rows are ranked by, for this cut and every later one."""
    pilot: dict[str, Any] = field(default_factory=dict)
    """``uri``, ``rows``, ``kind`` of map and ``note`` of the pilot it was made with; empty without one."""
    outlook: Outlook | None = None
    """What the pilot says of the plan."""
    recover: RecoverChoice | None = None
    """How ``budget.recover`` was met."""
    lengths: dict[str, Any] = field(default_factory=dict)
    """Route → ``run``, ``answers``, ``mean``, ``p10`` and ``p90`` of the earlier run that answers' lengths are from."""
    pilot_nano: int = 0
    """What the run's own pilot took, spent and presumed; it counts against the hard cap too."""

    @property
    def calls_cap_nano(self) -> int | None:
        """What the hard cap leaves for calls."""
        return (
            None if self.cap_nano is None else max(0, self.cap_nano - self.embedding_nano - self.pilot_nano)
        )

    @property
    def planned_nano(self) -> int:
        """Expected cost of the run."""
        return sum(self.endpoints[route].planned_nano for route in ROUTES)

    @property
    def run_prices(self) -> Prices | None:
        """What the run follows its spending by; None where that is what the config says."""
        return None if self.ranker.costs is None else Prices.evenly(self.ranker.costs, self.endpoints)

    def to_json(self) -> bytes:
        """Return ``plan.json``."""
        fields = asdict(self)
        fields["cut"] = {"key": self.cut.key, "tie": f"{self.cut.tie:016x}", "threshold": self.cut.threshold}
        return to_json({"format": 1, "planned_nano": self.planned_nano, **fields})

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Plan:
        """Read ``plan.json``."""
        known = {k: v for k, v in fields.items() if k not in {"format", "planned_nano"}}
        known["cut"] = Cut(fields["cut"]["key"], int(fields["cut"]["tie"], 16))
        known["endpoints"] = {route: Totals(**totals) for route, totals in fields["endpoints"].items()}
        known["frontier"] = [FrontierPoint.from_fields(point) for point in fields["frontier"]]
        known["ranker"] = Ranker.from_fields(fields.get("ranker"))
        if fields.get("outlook"):
            known["outlook"] = Outlook.from_fields(fields["outlook"])
        if fields.get("recover"):
            known["recover"] = RecoverChoice(**fields["recover"])
        return cls(**known)


Reason = Literal["burn", "worst_case"]
"""burn: the projected cost passed the cap; worst_case: what is left pays for no strong row's worst case."""


@dataclass(frozen=True, slots=True)
class Degrade:
    """A further plan, which pending rows follow from then on."""

    number: int
    """From 1."""
    cut: Cut
    reason: Reason
    at: str
    moved: int
    """Rows that went from strong to weak; those that take their answer from one of them are not counted."""
    kept: int
    """Pending rows that stay strong."""
    planned_nano: Mapping[Route, int]
    """Route → what the calls that ended and those to come were expected to cost before the run."""
    ratio_ppm: Mapping[Route, int]
    """Route → settled over expected cost as learned, in parts per million."""
    cap_nano: int
    spent_nano: int
    projected_nano: int
    """Of the whole run, by the cut before."""
    lowered_nano: int
    """Of the whole run, by this cut."""

    def to_json(self) -> bytes:
        """Return ``plan.d<n>.json``."""
        fields = asdict(self)
        fields["cut"] = {"key": self.cut.key, "tie": f"{self.cut.tie:016x}", "threshold": self.cut.threshold}
        return to_json({"format": 1, **fields})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Degrade:
        """Read ``plan.d<n>.json``."""
        known = {name: value for name, value in fields.items() if name != "format"}
        return cls(**{**known, "cut": Cut(fields["cut"]["key"], int(fields["cut"]["tie"], 16))})
