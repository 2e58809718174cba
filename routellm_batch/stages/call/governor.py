"""Follows a run's burn against its plan, and has a higher cut made when it runs ahead: ``on_overrun: degrade``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from routellm_batch.budget.plan import Degrade, Plan, Reason
from routellm_batch.budget.pricing import MILLION, nano_to_usd
from routellm_batch.budget.spend.projection import LEARNED_CALLS, Ended, RouteBurn, too_dear
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.types import ROUTES, Route, Shard
from routellm_batch.stages.call.degrade import Overrun, make_degrade
from routellm_batch.stages.call.job import CallJob

PAUSE_PART = 10
"""After a new cut this part of what was left is spent before the burn may ask for another one."""


@dataclass
class Governor:
    """Decides when the pending rows of a capped run need a higher cut."""

    plan: Plan
    job: CallJob
    degrades: list[Degrade]
    """Further plans so far."""
    sink: Sink
    _ended: dict[int, Mapping[Route, Ended]] = field(default_factory=dict)
    """Shard → its calls that ended."""
    _sums: dict[Route, Ended] = field(default_factory=lambda: {route: Ended() for route in ROUTES})
    _quiet_nano: int = 0
    """The burn asks for nothing before this is spent."""

    def __post_init__(self) -> None:
        """Read the prices once."""
        self._prices = self.job.expected

    @property
    def active(self) -> bool:
        """Say whether there is a cap to be kept by degrading, and anything left to degrade."""
        degrades = self.plan.cap_nano is not None and self.job.config.budget.on_overrun == "degrade"
        return degrades and not (self.degrades and self.degrades[-1].kept == 0)

    @property
    def learning(self) -> bool:
        """Say whether a route with calls to come has not been heard enough."""
        # What is left by rounding alone is no call to come.
        burns = [burn for burn in self._burns().values() if burn.pending_nano > burn.expected_nano // 1000]
        return self.active and any(burn.answered < LEARNED_CALLS for burn in burns)

    def book(self, shard: int, ended: Mapping[Route, Ended]) -> None:
        """Take what all calls of a shard came to."""
        known = self._ended.get(shard, {})
        for route, one in ended.items():
            self._sums[route] += one.minus(known.get(route, Ended()))
        self._ended[shard] = ended

    def ahead(self, spent_nano: int) -> bool:
        """Say whether the burn asks for a higher cut."""
        if not self.active or spent_nano < self._quiet_nano:
            return False
        return too_dear(spent_nano, self._burns().values(), self.plan.calls_cap_nano or 0)

    def degrade(
        self,
        job: CallJob,
        shards: Sequence[Shard],
        spent_nano: int,
        reason: Reason,
        now: datetime | None = None,
    ) -> CallJob | None:
        """Have a higher cut made for the pending rows of some shards; None if no row is moved by it."""
        cap = self.plan.calls_cap_nano or 0
        at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        overrun = Overrun(reason, at, cap, spent_nano, self._ended_nano(), self._burns())
        self._quiet_nano = spent_nano + max(1, (cap - spent_nano) // PAUSE_PART)
        made = make_degrade(job, shards, frozenset(self.plan.copy_shards), len(self.degrades) + 1, overrun)
        if made is None:
            return None
        self.degrades.append(made)
        why = (
            "answers cost more than planned" if reason == "burn" else "no strong row can be paid for any more"
        )
        left = f"{nano_to_usd(max(0, cap - spent_nano)):.6f} USD"
        self.sink(
            Notice(f"{made.moved} pending strong rows go weak: {why}, and {left} are left", warning=True)
        )
        return replace(job, cut=made.cut)

    def _burns(self) -> dict[Route, RouteBurn]:
        sums, ended = self._sums, self._ended_nano()
        total = {route: self.plan.endpoints[route].planned_nano for route in ROUTES}
        if self.degrades:
            total = {route: self.degrades[-1].planned_nano[route] for route in ROUTES}
        return {
            route: RouteBurn(
                sums[route].answered,
                self._expected(route, sums[route].answered, sums[route].answered_tokens),
                sums[route].settled_nano,
                max(0, total[route] - ended[route]),
            )
            for route in ROUTES
        }

    def _ended_nano(self) -> dict[Route, int]:
        sums = self._sums
        return {route: self._expected(route, sums[route].calls, sums[route].input_tokens) for route in ROUTES}

    def _expected(self, route: Route, calls: int, tokens: int) -> int:
        """Return what some calls were expected to cost, to half a nano-dollar each."""
        total = tokens * self._prices.input_nano[route] + calls * self._prices.answer_nano[route]
        return (2 * total + MILLION) // (2 * MILLION)
