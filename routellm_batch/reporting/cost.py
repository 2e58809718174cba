"""What a run asked for, did and cost, as facts; and ``report/cost.json`` made of them (design §4). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from routellm_batch.config import Config
from routellm_batch.config_embedder import EmbedderConfig
from routellm_batch.metering import EmbeddingUse
from routellm_batch.planning import strong_rows
from routellm_batch.pricing import Price, cost_nano, usd_text
from routellm_batch.reporting.cost_parts import (
    band_json,
    degrade_json,
    embedding_json,
    estimates_json,
    pilot_json,
    quality_json,
)
from routellm_batch.reporting.text import count, duration, public_uri, usd
from routellm_batch.reporting.views import DegradeView, PilotView, PlanView, QualityView
from routellm_batch.summary import CallSummary, RouteTotals
from routellm_batch.types import ROUTES, Route, Usage

State = Literal["finished", "budget", "errors", "interrupted"]
"""How a run ended: with every funded row done, or stopped early by the budget, by errors, by a signal or deadline."""

EXIT_CODES: Mapping[State, int] = {"budget": 4, "errors": 5, "interrupted": 75}
FAILED_EXIT = 3


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the config says of one endpoint."""

    model: str
    price: Price
    expected_output_tokens: int
    """Tokens that planning expects of one answer."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that a report tells of a run; no prompt, no answer, no key."""

    run_id: str
    run_uri: str
    plan: PlanView
    calls: CallSummary
    wall_s: float
    state: State
    stop_reason: str | None
    """Why it stopped early, in words; None for a finished run."""
    router: str
    endpoints: Mapping[Route, EndpointFacts]
    settings: Mapping[str, str]
    """Further facts of the config: label → text."""
    notices: tuple[str, ...] = ()
    """What the user should read besides, e.g. that a running job was degraded."""
    embedding: EmbeddingUse | None = None
    """What scoring took of a paid embedder; None without one."""
    degrades: Sequence[DegradeView] = ()
    """Further plans that were made while it ran."""
    pilot: PilotView | None = None
    """The pilot that it took; None without one."""
    quality: QualityView | None = None
    """What its answers were foretold to be worth, and are; None where neither is known."""

    @property
    def own_pilot(self) -> PilotView | None:
        """The pilot, if the run made it and pays for it."""
        return self.pilot if self.pilot is not None and self.pilot.here else None

    @property
    def spent_nano(self) -> int:
        """Settled cost of calls and embeddings, and of the run's own pilot."""
        return self.calls.spent_nano + sum(one.spent_nano for one in (self.embedding, self.own_pilot) if one)

    @property
    def routed_nano(self) -> int:
        """The same without the pilot: what another routing of the same requests is compared with."""
        return self.spent_nano - (self.own_pilot.spent_nano if self.own_pilot else 0)

    @property
    def presumed_nano(self) -> int:
        """Presumed cost of the same."""
        besides = sum(one.presumed_nano for one in (self.embedding, self.own_pilot) if one)
        return self.calls.presumed_nano + besides

    @property
    def done(self) -> int:
        """Rows that were answered or failed."""
        return self.calls.ok + self.calls.failed

    @property
    def pending(self) -> int:
        """Valid rows that a stopped run left for its resume; those that the budget left out are not among them."""
        return max(0, self.plan.valid - self.done - self.calls.unfunded)

    @property
    def asked_share(self) -> float | None:
        """The strong share asked for; None where dollars were asked for."""
        return float(self.plan.asked["value"]) if self.plan.asked["mode"] == "strong_share" else None

    @property
    def asked_rows(self) -> int | None:
        """The strong rows asked for, floor(N·share); None where dollars were asked for."""
        if self.asked_share is None:
            return None
        return strong_rows(Decimal(self.plan.asked["value"]), self.plan.valid)

    @property
    def achieved_share(self) -> float | None:
        """Strong rows among the rows answered or failed; None before the first."""
        return self.calls.strong_rows / self.done if self.done else None

    @property
    def exit_code(self) -> int:
        """The exit code of the run (design §7)."""
        return EXIT_CODES.get(self.state, FAILED_EXIT if self.calls.failed else 0)


def run_facts(
    config: Config,
    *,
    run_id: str,
    run_uri: str,
    plan: PlanView,
    calls: CallSummary,
    wall_s: float,
    state: State,
    stop_reason: str | None = None,
    notices: tuple[str, ...] = (),
) -> RunFacts:
    """Join what a run did with what its config says."""
    return RunFacts(
        run_id=run_id,
        run_uri=public_uri(run_uri),
        plan=plan,
        calls=calls,
        wall_s=wall_s,
        state=state,
        stop_reason=stop_reason,
        router=router_text(config),
        endpoints=endpoint_facts(config),
        settings=settings(config),
        notices=notices,
    )


def endpoint_facts(config: Config) -> dict[Route, EndpointFacts]:
    """Return model, price and expected answer length of both endpoints."""
    ends = {route: getattr(config.endpoints, route) for route in ROUTES}
    return {
        route: EndpointFacts(end.model, end.nano_price, end.expected_output_tokens)
        for route, end in ends.items()
    }


def router_text(config: Config) -> str:
    """Return the router's name, with its checkpoint where one is named."""
    router = config.router
    return router.name if router.checkpoint is None else f"{router.name} ({router.checkpoint})"


def settings(config: Config) -> dict[str, str]:
    """Return further facts of the config, as label → text."""
    retry, cluster = config.retry, config.cluster
    workers = "" if cluster.kind == "serial" else f", {count(cluster.workers)} workers"
    return {
        "Input": public_uri(config.input.uri),
        "Cluster": cluster.kind + (workers if cluster.kind == "local" else ""),
        "Retry": f"{retry.attempts} attempts within {duration(retry.deadline_s)}",
        "On overrun": config.budget.on_overrun,
        "Seed": str(config.run.seed),
    }


def with_embedding(facts: RunFacts, embedder: EmbedderConfig, use: EmbeddingUse | None) -> RunFacts:
    """Add what embeddings took, ``None`` for no try at all; facts without a paid embedder stay as they are."""
    if use is None:
        return (
            facts
            if embedder.name != "remote"
            else replace(facts, embedding=EmbeddingUse(str(embedder.model)))
        )
    took = f"{count(use.tokens)} tokens in {count(use.requests)} requests"
    text = f"{use.model}: {took}, {usd(use.spent_nano)}"
    return replace(facts, embedding=use, settings={**facts.settings, "Embeddings": text})


def counterfactual_nano(facts: RunFacts, route: Route) -> int:
    """Return about what the requests made so far would have cost with every one of them on ``route``.

    What that endpoint did cost, plus, for the other one's requests: their input tokens (cached ones too) as counted
    there, and as many output tokens as an answer of this endpoint had on average (as the plan expects, if none was
    seen), at this endpoint's prices::

        spent(r) + price_in(r)·input(o) + price_out(r)·calls(o)·output(r)/calls(r)

    An estimate: tokenizers differ, and a prompt that both endpoints answered is counted twice. Answers taken over from a
    pilot are left out, as they are of what the run spent.
    """
    here = facts.calls.routes[route]
    there = facts.calls.routes["weak" if route == "strong" else "strong"]
    output = _answer_tokens(here, facts.endpoints[route].expected_output_tokens, there.calls - there.taken)
    usage = Usage(there.usage.input_tokens, there.usage.cached_input_tokens, output)
    return here.spent_nano + cost_nano(facts.endpoints[route].price, usage)


def _answer_tokens(seen: RouteTotals, expected: int, answers: int) -> int:
    """Return the output tokens of so many answers, rounded half up."""
    sent = seen.calls - seen.taken
    if not seen.usage.output_tokens or not sent:
        return expected * answers
    return (2 * answers * seen.usage.output_tokens + sent) // (2 * sent)


def answers_nano(facts: RunFacts) -> int:
    """Return about what all answers cost: a pilot's count as the mean of their route's others, as planned without any."""
    total = 0
    for route in ROUTES:
        seen, planned = facts.calls.routes[route], facts.plan.endpoints[route]
        sent = seen.calls - seen.taken
        cost, calls = (seen.spent_nano, sent) if sent else (planned.planned_nano, planned.calls)
        total += seen.spent_nano + (round(cost * seen.taken / calls) if calls else 0)
    return total


def cost_json(facts: RunFacts) -> dict[str, Any]:
    """Return ``report/cost.json`` (design §4) and a few keys more.

    Dollars are decimal strings with nine decimals, shares and seconds JSON numbers; ``share.asked`` is null where
    dollars were asked for, ``share.achieved`` where no row is done, ``cap_usd`` where there is no cap. ``embedding``
    is there where a paid embedder is used, ``pilot`` where there is a pilot; ``spent_usd`` and ``presumed_usd`` of the
    run include the first, and the second where ``here`` says that the run made it. ``quality`` holds grades: what the
    pilot foretold, and what the run's own answers were given.
    """
    plan, calls = facts.plan, facts.calls
    embedding = {} if facts.embedding is None else {"embedding": embedding_json(facts.embedding)}
    pilot = {} if facts.pilot is None else {"pilot": pilot_json(facts.pilot)}
    quality = {} if facts.quality is None else {"quality": quality_json(facts.quality)}
    return {
        "format": 1,
        "run_id": facts.run_id,
        "run_uri": facts.run_uri,
        "state": facts.state,
        "exit_code": facts.exit_code,
        "stop_reason": facts.stop_reason,
        "rows": {
            "valid": plan.valid,
            "invalid": plan.invalid,
            "ok": calls.ok,
            "failed": calls.failed,
            "unfunded": calls.unfunded,
            "pending": facts.pending,
            "strong": calls.strong_rows,
            "copies": calls.copies,
        },
        "asked": dict(plan.asked),
        "share": {"asked": facts.asked_share, "achieved": facts.achieved_share},
        "endpoints": {route: _endpoint_json(facts, route) for route in ROUTES},
        "planned_usd": usd_text(plan.planned_nano),
        **band_json(plan.outlook),
        **embedding,
        **pilot,
        "spent_usd": usd_text(facts.spent_nano),
        "presumed_usd": usd_text(facts.presumed_nano),
        "cap_usd": None if plan.cap_nano is None else usd_text(plan.cap_nano),
        "counterfactual_usd": {
            f"all_{route}": usd_text(counterfactual_nano(facts, route)) for route in ROUTES
        },
        "degraded": None if plan.degraded is None else dict(plan.degraded),
        "degraded_running": [degrade_json(one) for one in facts.degrades],
        "errors": dict(sorted(calls.errors.items())),
        **quality,
        "wall_s": round(facts.wall_s, 3),
    }


def _endpoint_json(facts: RunFacts, route: Route) -> dict[str, Any]:
    totals = facts.calls.routes[route]
    return {
        "model": facts.endpoints[route].model,
        "calls": totals.calls,
        "taken_over": totals.taken,
        "attempts": totals.attempts,
        "input_tokens": totals.usage.input_tokens,
        "cached_input_tokens": totals.usage.cached_input_tokens,
        "output_tokens": totals.usage.output_tokens,
        "planned_usd": usd_text(facts.plan.endpoints[route].planned_nano),
        "spent_usd": usd_text(totals.spent_nano),
        "presumed_usd": usd_text(totals.presumed_nano),
        "estimates": estimates_json(totals.heard),
    }
