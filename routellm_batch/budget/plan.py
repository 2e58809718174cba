"""The plan of a run and its later changes, as values: ``plan.json`` and ``plan.d<n>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.prices import Prices, Totals
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import Cut
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.core.encoding import to_json
from routellm_batch.core.types import ROUTES, Route


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, and what it should cost: ``plan.json``, whose keys are the names of the fields."""

    cut: Cut
    """Which rows go to the strong model."""
    valid: int
    """Rows that are sent to a model, copies included."""
    invalid: int
    """Rows that can't be: no prompt, or not one that can be read."""
    strong: int
    """Rows that go to the strong model, K."""
    asked: dict[str, str]
    """The budget as the config asks for it: ``mode`` and ``value``."""
    endpoints: dict[str, Totals]
    """Route → distinct requests and their expected tokens and cost."""
    all_strong_nano: int
    """Expected cost if every row went strong."""
    all_weak_nano: int
    """Expected cost if every row went weak."""
    cap_nano: int | None
    """The hard cap; None without one."""
    degraded: dict[str, str] | None
    """Why the hard cap lowered the plan, and what it was before; None where it did not."""
    frontier: list[FrontierPoint]
    """What every other strong share would cost."""
    histogram: list[int]
    """Valid rows in equal steps of the value that they are ranked by: the score as a rule."""
    copy_shards: list[int]
    """Shards with rows that take their answer from another row."""
    copies: int
    """Rows that take their answer from another row."""
    embedding_nano: int = 0
    """What scoring paid for embeddings, spent and presumed; it counts against the hard cap."""
    ranker: Ranker = BY_SCORE
    """How rows are ordered, for this cut and every later one."""
    pilot: dict[str, Any] = field(default_factory=dict)
    """``uri``, ``rows``, ``kind`` of map and ``note`` of the pilot it was made with; empty without one."""
    outlook: Prediction | None = None
    """What the pilot predicts of the plan; None without one."""
    recover: RecoverChoice | None = None
    """How ``budget.recover`` was met; None where it was not asked for."""
    lengths: dict[str, Any] = field(default_factory=dict)
    """Route → ``run``, ``answers``, ``mean``, ``p10`` and ``p90`` of the earlier run that lengths were learned from."""
    pilot_nano: int = 0
    """What the run's own pilot cost, spent and presumed; it counts against the hard cap too."""
    goal_nano: int | None = None
    """``budget.usd``, to which the run is held while it goes on; None in the other modes, and in plans of older versions."""
    invalid_kinds: dict[str, int] = field(default_factory=dict)
    """Why rows are invalid → how many; empty in plans of older versions."""

    @property
    def calls_cap_nano(self) -> int | None:
        """What the hard cap leaves for calls; None without one."""
        return (
            None if self.cap_nano is None else max(0, self.cap_nano - self.embedding_nano - self.pilot_nano)
        )

    @property
    def limit_nano(self) -> int | None:
        """What spending on calls is held to by moving strong rows: the hard cap or ``budget.usd``, the lower one."""
        limits = [limit for limit in (self.calls_cap_nano, self.goal_nano) if limit is not None]
        return min(limits, default=None)

    @property
    def is_soft(self) -> bool:
        """Whether that is ``budget.usd``: spending may exceed it where nothing is left to move."""
        return self.goal_nano is not None and self.limit_nano == self.goal_nano != self.calls_cap_nano

    @property
    def planned_nano(self) -> int:
        """Expected cost of the run."""
        return sum(self.endpoints[route].planned_nano for route in ROUTES)

    @property
    def run_prices(self) -> Prices | None:
        """Expected costs that the run's spending is compared with; None where the config says them."""
        return None if self.ranker.costs is None else Prices.evenly(self.ranker.costs, self.endpoints)

    def to_json(self) -> bytes:
        """Return ``plan.json``."""
        fields = {**asdict(self), "cut": _cut_fields(self.cut)}
        return to_json({"format": 1, "planned_nano": self.planned_nano, **fields})

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Plan:
        """Read ``plan.json``; what a plan of an older version lacks has its default."""
        known = {k: v for k, v in fields.items() if k not in {"format", "planned_nano"}}
        known["cut"] = _cut_from(fields["cut"])
        known["endpoints"] = {route: Totals(**totals) for route, totals in fields["endpoints"].items()}
        known["frontier"] = [FrontierPoint.from_fields(point) for point in fields["frontier"]]
        known["ranker"] = Ranker.from_fields(fields.get("ranker"))
        if fields.get("outlook"):
            known["outlook"] = Prediction.from_fields(fields["outlook"])
        if fields.get("recover"):
            known["recover"] = RecoverChoice(**fields["recover"])
        return cls(**known)


Reason = Literal["burn", "worst_case"]
"""burn: the projected cost exceeds the cap; worst_case: what is left pays for no strong row's worst case."""


@dataclass(frozen=True, slots=True)
class Degrade:
    """A further plan, which pending rows follow from then on: ``plan.d<n>.json``."""

    number: int
    """From 1."""
    cut: Cut
    """Which pending rows still go to the strong model."""
    reason: Reason
    """Why it was made."""
    at: str
    """When: UTC, ISO 8601."""
    moved: int
    """Rows that went from strong to weak; those that take their answer from one of them are not counted."""
    kept: int
    """Pending rows that stay strong."""
    planned_nano: Mapping[Route, int]
    """Route → expected cost, before the run, of the finished calls and of those to come."""
    ratio_ppm: Mapping[Route, int]
    """Route → settled over expected cost as learned, in parts per million."""
    cap_nano: int
    """What the hard cap leaves for calls; ``budget.usd`` where ``soft``."""
    spent_nano: int
    """Settled and presumed until then."""
    projected_nano: int
    """Projected cost of the whole run, by the cut before."""
    lowered_nano: int
    """Projected cost of the whole run, by this cut."""
    soft: bool = False
    """It was made to hold ``budget.usd``, and not the hard cap."""

    def to_json(self) -> bytes:
        """Return ``plan.d<n>.json``."""
        return to_json({"format": 1, **asdict(self), "cut": _cut_fields(self.cut)})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Degrade:
        """Read ``plan.d<n>.json``."""
        known = {name: value for name, value in fields.items() if name != "format"}
        return cls(**{**known, "cut": _cut_from(fields["cut"])})


def _cut_fields(cut: Cut) -> dict[str, Any]:
    """Return a cut as plain data; the hash as text, as it has more bits than a number of JSON may have."""
    return {"key": cut.key, "tie": f"{cut.tie:016x}", "threshold": cut.threshold}


def _cut_from(fields: Mapping[str, Any]) -> Cut:
    return Cut(fields["key"], int(fields["tie"], 16))
