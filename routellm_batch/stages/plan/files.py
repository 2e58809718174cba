"""``plan.json``: what a run will do, as planning writes it and every later stage reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import NONE_STRONG, Cut, FrontierPoint, Outlook
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.config.job import Config
from routellm_batch.core.types import ROUTES
from routellm_batch.stages.plan.costing import Prices, Totals
from routellm_batch.storage.run import Run, to_json


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


def empty_plan(config: Config) -> Plan:
    """Return a plan of no rows: what is known of a run before its scores are."""
    mode = next(
        name for name in ("strong_share", "usd", "recover") if getattr(config.budget, name) is not None
    )
    cap = config.budget.hard_cap_usd
    return Plan(
        cut=NONE_STRONG,
        valid=0,
        invalid=0,
        strong=0,
        asked={"mode": mode, "value": str(getattr(config.budget, mode))},
        endpoints={route: Totals() for route in ROUTES},
        all_strong_nano=0,
        all_weak_nano=0,
        cap_nano=None if cap is None else usd_to_nano(cap),
        degraded=None,
        frontier=[],
        histogram=[],
        copy_shards=[],
        copies=0,
    )


def plan_path(number: int) -> str:
    """Path of a plan: 0 is the first, others were made anew under a lower cap, before any call."""
    return "plan.json" if number == 0 else f"plan.r{number}.json"


def load_plan(run: Run) -> Plan | None:
    """Return the run's newest plan, or None if it has none yet."""
    fields = newest_plan(run)[1]
    return None if fields is None else Plan.from_json(fields)


def newest_plan(run: Run) -> tuple[int, dict[str, Any] | None]:
    """Return the number of the plan to come, and the fields of the newest that is there."""
    newest: dict[str, Any] | None = None
    for number in count():
        fields = run.read_json(plan_path(number))
        if fields is None:
            return number, newest
        newest = fields
    raise AssertionError  # numbers don't end
