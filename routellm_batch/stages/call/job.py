"""What every call task of one start of a run shares, and the endpoints of a process."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from routellm_batch.budget.prices import Prices
from routellm_batch.budget.selection.cut import Cut
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.config.connection import DIRECT, Reach
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.job import Config
from routellm_batch.core.protocols import Endpoint
from routellm_batch.core.types import ROUTES, ErrorKind, Route
from routellm_batch.core.worker import Worker, this_worker
from routellm_batch.endpoints.caller import Caller
from routellm_batch.endpoints.calls import RetryPolicy
from routellm_batch.endpoints.pacing.gate import Gate
from routellm_batch.endpoints.pacing.pace import Limits
from routellm_batch.endpoints.pacing.retries import ErrorWindow, RetryBudget
from routellm_batch.stages.call.limit_shares import VALID_S, Allotment, Allotments
from routellm_batch.stages.call.standing import Standing
from routellm_batch.storage.ledger.liveness import LEASE_S
from routellm_batch.storage.run import Run

ERROR_WINDOW = 100
LEAST_OUTCOMES = 20
"""The error rate is not judged on fewer rows, unless the run has fewer."""
IDLE_S = 30.0
"""A pool that was not used for so long belongs to a start that has ended."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CallJob:
    """One start of a run's call stage; goes to every worker."""

    config: Config
    """The job."""
    run: Run
    """Where everything is read and written."""
    cut: Cut
    """Which rows go strong, for now."""
    base_urls: Mapping[Route, str]
    """Where each endpoint listens; for a simulated one, where this start's server does."""
    workers: int
    """Processes that are likely to call."""
    calls: int
    """Distinct requests of the plan."""
    token: str
    """Names this start of the run."""
    epoch: int = 0
    """Number of this start among those that drove the run."""
    lease_s: float = LEASE_S
    """How long a runner that falls silent is waited for."""
    copies_cut: Cut | None = None
    """The plan's own cut, to which the tables of copies belong; None where ``cut`` is that."""
    round: int = 0
    """Times that this start called its tasks back to look for a higher cut."""
    ranker: Ranker = BY_SCORE
    """What rows are ordered by: the plan's, for every cut."""
    prices: Prices | None = None
    """What calls are expected to cost on the way, where the plan knows better than the config."""
    pilot: str | None = None
    """URI of a pilot whose answers are taken over."""
    alone: bool = False
    """One process makes all calls, and has all of the limits; others begin with nothing and are allotted a part."""

    @property
    def expected(self) -> Prices:
        """What calls are expected to cost: a line in their input tokens."""
        return self.prices or Prices.of(self.config.endpoints.call_prices())

    def is_before(self, other: CallJob) -> bool:
        """Whether this is an earlier start of the same run, and so is over."""
        return self.epoch < other.epoch and self.run.uri == other.run.uri

    @property
    def round_token(self) -> str:
        """Names the tasks of one such round. A task that was called back under a token never calls again under it."""
        return f"{self.token}.d{self.round}"


@dataclass
class EndpointPool:
    """A process's callers, and why it stopped calling, if it did."""

    job: CallJob
    """The start of the run that they are called for."""
    callers: Mapping[Route, Caller]
    """Route → what calls its endpoint."""
    worker: Worker
    """This process."""
    stop: str | None = None
    """Why it calls no more: the kind of a fatal error, ``error_rate`` or ``over_reserve``; None while it calls."""
    windows: Mapping[Route, ErrorWindow] = field(
        default_factory=lambda: {route: ErrorWindow(ERROR_WINDOW) for route in ROUTES}
    )
    """Route → which of its last rows failed."""
    standings: Mapping[Route, Standing] = field(
        default_factory=lambda: {route: Standing() for route in ROUTES}
    )
    """Route → whether its endpoint answers rows or refuses them."""
    warned: set[Route] = field(default_factory=set)
    """Endpoints that count more tokens than they may, of which the user was warned."""
    silent: set[Route] = field(default_factory=set)
    """Endpoints that don't count tokens, of which the user was warned."""
    used_s: float = 0.0
    """Monotonic time at which a task last asked for it."""
    closed: bool = False
    """Its connections are closed: its start of the run seemed to have ended here."""
    earlier: Sequence[EndpointPool] = ()
    """Those of earlier starts of the run in this process: they begin nothing more, but may have calls open."""
    tasks: int = 0
    """Tasks that call at present."""
    period: int = 0
    """Times that it has had no task."""
    allotment: int = 0
    """Number of the newest allotment that it has applied since; 0 before the first."""
    heard_s: float = math.inf
    """When it said what that one answers, or when it began; on the monotonic clock."""

    def stopping(self) -> bool:
        """Whether nothing more is to be sent."""
        return (
            self.stop is not None
            or self.closed
            or self.worker.drains.draining(self.job.token)
            or self.worker.clock.monotonic() > self.heard_s + 2 * VALID_S  # nobody drives the run any more
        )

    def demand(self) -> Mapping[Route, int]:
        """Return the calls of each endpoint that are in hand here: sent or waiting."""
        return {route: caller.gate.open for route, caller in self.callers.items()}

    def down(self) -> Mapping[Route, str]:
        """Return the endpoints that are down, each with how it failed last."""
        breakers = {route: caller.gate.pace.breaker for route, caller in self.callers.items()}
        return {route: str(one.kind) for route, one in breakers.items() if one.is_open and one.kind}

    def sent(self) -> Mapping[Route, int]:
        """Return the open calls of each endpoint, those of earlier starts of the run included."""
        pools = (self, *self.earlier)
        return {route: sum(pool.callers[route].gate.in_flight for pool in pools) for route in self.callers}

    def begin_task(self) -> None:
        """Note that a task begins to call."""
        self.tasks += 1
        if self.tasks == 1 and not self.job.alone:
            self.heard_s = self.worker.clock.monotonic()

    def end_task(self) -> None:
        """Note that a task has made its last call; with the last task what was allotted is given back."""
        self.tasks -= 1
        if self.tasks == 0 and not self.job.alone:
            self.period, self.allotment, self.heard_s = self.period + 1, 0, math.inf
            self._use_nothing()

    def take(self, allotment: Allotment) -> None:
        """Use what the driver has allotted, unless that was for calls that have ended since."""
        if (
            self.job.alone
            or not self.tasks
            or allotment.period != self.period
            or allotment.number < self.allotment
        ):
            return
        self.allotment, self.heard_s = allotment.number, allotment.said_s
        for route, part in allotment.parts.items():
            others = sum(pool.callers[route].gate.in_flight for pool in self.earlier)
            calls = max(0, part.calls - others)
            self.callers[route].gate.allot(calls, part.share, allotment.said_s + VALID_S)

    def _use_nothing(self) -> None:
        for caller in self.callers.values():
            caller.gate.allot(0, 0.0, math.inf)

    def __post_init__(self) -> None:
        """Begin with nothing where others call, too."""
        if not self.job.alone:
            self._use_nothing()

    def idle(self, now_s: float) -> bool:
        """Whether its start of the run seems to have ended here."""
        return now_s - self.used_s > IDLE_S and not any(self.demand().values())

    def count(self, route: Route, *, failed: bool) -> None:
        """Count a row that ended; stop calling if too many failed."""
        window = self.windows[route]
        window.add(failed=failed)
        if window.rate(min(LEAST_OUTCOMES, self.job.calls)) > self.job.config.retry.max_error_rate:
            self.stop = self.stop or "error_rate"

    def fatal(self, kind: ErrorKind) -> None:
        """Stop calling for an error that no retry can help."""
        self.stop = self.stop or str(kind)

    def exceeded(self, route: Route, *, capped: bool) -> None:
        """Note a reply that cost more than its request allowed: stop a capped run, else warn once.

        Without a limit in the request its worst cost is a guess, and to exceed a guess is no reason to warn.
        """
        if capped:
            self.stop = self.stop or "over_reserve"
        elif self.job.config.endpoints.of(route).max_output_tokens is not None and route not in self.warned:
            self.warned.add(route)
            log.warning(
                "the %s endpoint counts more tokens than its limit allows; cost estimates are too low", route
            )

    def uncounted(self, route: Route) -> None:
        """Note an answer without a count of its tokens: warn once."""
        if route not in self.silent:
            self.silent.add(route)
            log.warning(
                "the %s endpoint does not say how many tokens an answer took; each such answer is kept and booked at its "
                "worst case",
                route,
            )


def open_endpoint(base_url: str, api_key: str | None, *, connections: int, reach: Reach = DIRECT) -> Endpoint:
    """Return the client of an endpoint, made on the running event loop.

    Raises:
        ConfigError: a reference of the key or of a header is unknown here, or the file of authorities can't be read.

    """
    from routellm_batch.endpoints.client import OpenAIEndpoint  # late: openai takes a third of a second

    return OpenAIEndpoint(base_url, api_key, connections=connections, reach=reach)


class EndpointPools:
    """A process's endpoints, a pool for each start of a run; kept by its ``Worker`` and used on its event loop alone.

    Args:
        open_endpoint: opens a client of one endpoint (see ``open_endpoint``).

    """

    def __init__(self, open_endpoint: Callable[..., Endpoint] = open_endpoint) -> None:
        self._open_endpoint = open_endpoint
        self._pools: dict[str, EndpointPool] = {}

    def __contains__(self, token: str) -> bool:
        """Whether a start has a pool here."""
        return token in self._pools

    async def get(self, job: CallJob, worker: Worker) -> EndpointPool:
        """Return the pool of a start, opened on first use; then those of ended starts are closed.

        Raises:
            ConfigError: a key reference is unknown here.

        """
        now_s = worker.clock.monotonic()
        ended = []
        if job.token not in self._pools:
            ended = [token for token, pool in self._pools.items() if pool.idle(now_s)]
            endpoints = job.config.endpoints.by_route()
            callers = {r: self._caller(job, worker, r, endpoint) for r, endpoint in endpoints.items()}
            earlier = [pool for pool in self._pools.values() if pool.job.is_before(job)]
            for pool in earlier:
                worker.drains.drain(pool.job.token)
            self._pools[job.token] = EndpointPool(job, callers, worker, earlier=earlier)
        pool = self._pools[job.token]
        pool.used_s = now_s
        for token in ended:
            await self.close(token)
        return pool

    async def close(self, token: str) -> None:
        """Close the connections of a start, if it has any."""
        pool = self._pools.pop(token, None)
        if pool is not None:
            pool.closed = True
            for caller in pool.callers.values():
                await caller.endpoint.close()

    def take(self, token: str, allotment: Allotment) -> None:
        """Use what was allotted; nothing where this start of the run calls nothing."""
        pool = self._pools.get(token)
        if pool is not None:
            pool.take(allotment)

    def _caller(self, job: CallJob, worker: Worker, route: Route, endpoint: EndpointConfig) -> Caller:
        limits, retry = endpoint.limits, job.config.retry
        return Caller(
            endpoint=self._open_endpoint(
                job.base_urls[route],
                endpoint.api_key,
                connections=limits.concurrency,
                reach=endpoint.reach,
            ),
            gate=Gate(
                Limits(limits.concurrency, limits.rpm, limits.tpm),
                worker,
                patience_s=retry.deadline_s,
            ),
            policy=RetryPolicy(retry.attempts, retry.deadline_s),
            retries=RetryBudget(retry.budget),
            price=endpoint.nano_price,
            timeout_s=endpoint.timeout_s,
            presume_5xx=endpoint.presume_5xx,
            worker=worker,
        )


def endpoint_pool(job: CallJob, worker: Worker) -> EndpointPool:
    """Return a process's endpoints for a start of a run, opened on first use; close those of ended starts.

    Raises:
        ConfigError: a key reference is unknown here.

    """
    return worker.loop.run(worker.kept(EndpointPools).get(job, worker))


def close_pool(token: str, worker: Worker) -> None:
    """Close a process's connections for a start of a run."""
    pools = worker.kept(EndpointPools)
    if token in pools:
        worker.loop.run(pools.close(token))


def take_allotment(token: str, allotments: Allotments, worker: Worker | None = None) -> None:
    """Use what the driver has allotted to this process.

    Args:
        token: names the start of the run.
        allotments: those of all processes.
        worker: the process; None for this one, as a runner has every process call it.

    """
    here = worker or this_worker()
    pools = here.kept(EndpointPools)
    if token in pools and here.name in allotments:
        here.loop.call_soon(pools.take, token, allotments[here.name])
