"""Compares a run's spending with its plan, and has a higher cut made when it runs ahead: ``on_overrun: degrade``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from routellm_batch.budget.plan import Degrade, Plan, Reason
from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.budget.spend.projection import (
    LEARNED_CALLS,
    FinishedCalls,
    RouteSpending,
    over_goal,
    projected_nano,
    too_dear,
)
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.types import ROUTES, Route, Shard
from routellm_batch.stages.call.degrade import Overrun, make_degrade
from routellm_batch.stages.call.job import CallJob

PAUSE_PART = 10
"""After a new cut one in so many parts of the remaining budget is spent before spending may ask for another one."""


@dataclass
class Governor:
    """Decides when the pending rows of a run with a cap or a ``budget.usd`` need a higher cut."""

    plan: Plan
    """The run's own plan."""
    job: CallJob
    """This start of the run, as it began."""
    degrades: list[Degrade]
    """Further plans so far."""
    sink: Sink
    """Takes a notice of each new cut."""
    _finished: dict[int, Mapping[Route, FinishedCalls]] = field(default_factory=dict)
    """Shard → its finished calls, by route."""
    _sums: dict[Route, FinishedCalls] = field(
        default_factory=lambda: {route: FinishedCalls() for route in ROUTES}
    )
    """Route → finished calls of all shards."""
    _quiet_nano: int = 0
    """Spending asks for no new cut before this sum is spent."""
    _told: bool = False
    """The user knows that ``budget.usd`` can't be held."""

    def __post_init__(self) -> None:
        """Read the expected costs once."""
        self._lines = self.job.expected.lines

    @property
    def active(self) -> bool:
        """Whether there is a cap or a ``budget.usd`` that is kept by degrading, and anything left to degrade."""
        degrades = self.plan.limit_nano is not None and self.job.config.budget.on_overrun == "degrade"
        return degrades and not (self.degrades and self.degrades[-1].kept == 0)

    @property
    def learning(self) -> bool:
        """Whether a route with calls to come has given too few answers to know what its answers cost."""
        # A sum that is left by rounding alone is no call to come.
        pending = [one for one in self._routes().values() if one.pending_nano > one.expected_nano // 1000]
        return self.active and any(one.answered < LEARNED_CALLS for one in pending)

    def book(self, shard: int, finished: Mapping[Route, FinishedCalls]) -> None:
        """Take all finished calls of a shard, in place of those that were booked for it before."""
        known = self._finished.get(shard, {})
        for route, calls in finished.items():
            self._sums[route] += calls.minus(known.get(route, FinishedCalls()))
        self._finished[shard] = finished

    def ahead(self, spent_nano: int) -> bool:
        """Whether spending, settled and presumed, asks for a higher cut."""
        if not self.active or spent_nano < self._quiet_nano:
            return False
        exceeds = over_goal if self.plan.is_soft else too_dear
        return exceeds(spent_nano, self._routes().values(), self.plan.limit_nano or 0)

    def degrade(
        self,
        job: CallJob,
        shards: Sequence[Shard],
        spent_nano: int,
        reason: Reason,
        now: datetime | None = None,
    ) -> CallJob | None:
        """Have a higher cut made for the pending rows of some shards; return the job that follows it.

        Args:
            job: what is followed now.
            shards: those with pending rows; no call of them may be in flight.
            spent_nano: settled and presumed so far.
            reason: why a new cut is due.
            now: when it is made; the present time where left out.

        Returns:
            The job with the new cut; None if no row would move.

        """
        soft = self.plan.is_soft and reason == "burn"
        cap = (self.plan.limit_nano if soft else self.plan.calls_cap_nano) or 0
        at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        overrun = Overrun(reason, at, cap, spent_nano, self._finished_nano(), self._routes(), soft)
        self._quiet_nano = spent_nano + max(1, (cap - spent_nano) // PAUSE_PART)
        number = len(self.degrades) + 1
        degrade = make_degrade(job, shards, frozenset(self.plan.copy_shards), number, overrun)
        if degrade is None:
            self._tell_beyond(overrun)
            return None
        self.degrades.append(degrade)
        why = (
            "answers cost more than planned" if reason == "burn" else "no strong row can be paid for any more"
        )
        left = f"{nano_to_usd(max(0, cap - spent_nano)):.6f} USD"
        self.sink(
            Notice(f"{degrade.moved} pending strong rows go weak: {why}, and {left} are left", warning=True)
        )
        return replace(job, cut=degrade.cut)

    def _tell_beyond(self, overrun: Overrun) -> None:
        """Say once that nothing is left that would bring the run back to ``budget.usd``."""
        if not overrun.soft or self._told:
            return
        self._told = True
        total = projected_nano(overrun.spent_nano, overrun.routes.values())
        sums = (
            f"{nano_to_usd(total):.6f} USD, above the budget.usd of {nano_to_usd(overrun.cap_nano):.6f} USD"
        )
        why = "answers cost more than planned, and no pending strong row is left that could go weak"
        self.sink(Notice(f"the calls are heading for {sums}: {why}", warning=True))

    def _routes(self) -> dict[Route, RouteSpending]:
        sums, finished = self._sums, self._finished_nano()
        total = {route: self.plan.endpoints[route].planned_nano for route in ROUTES}
        if self.degrades:
            total = {route: self.degrades[-1].planned_nano[route] for route in ROUTES}
        return {
            route: RouteSpending(
                sums[route].answered,
                self._lines[route].nano(sums[route].answered_tokens, sums[route].answered),
                sums[route].settled_nano,
                max(0, total[route] - finished[route]),
            )
            for route in ROUTES
        }

    def _finished_nano(self) -> dict[Route, int]:
        """Return the expected cost of the finished calls, by route."""
        sums = self._sums
        return {
            route: self._lines[route].nano(sums[route].input_tokens, sums[route].calls) for route in ROUTES
        }
