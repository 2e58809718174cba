"""What a run asked for, did and cost, as facts for its reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from routellm_batch.budget.plan import Degrade, Plan
from routellm_batch.budget.pricing import Price
from routellm_batch.budget.selection.cut import strong_rows
from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.budget.spend.summary import CallSummary
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.job import Config, EndpointsConfig, RouterConfig
from routellm_batch.core.types import ErrorKind, Route
from routellm_batch.reporting.quality_view import PilotView, QualityView
from routellm_batch.reporting.text import count, duration, public_uri, usd

State = Literal["finished", "budget", "errors", "interrupted", "running"]
"""How a run ended: with every funded row done, or stopped early by the budget, by errors, by a signal or deadline;
or that it goes on while a report is asked for."""

EXIT_CODES: Mapping[State, int] = {"budget": 4, "errors": 5, "interrupted": 75, "running": 75}
FAILED_EXIT = 3


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """The settings of one endpoint that reports show."""

    model: str
    price: Price
    expected_output_tokens: int
    """Tokens of one answer that planning expects."""
    kind: str = "openai"
    """As configured: ``simulated`` and ``replay`` are nobody's to bill."""
    api_key: str | None = None
    """Reference of the key, never the key; None where none is sent."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What the labels of a label job are."""

    column: str
    """Column of the labels."""
    labelled: int
    """Rows that have a label."""
    given: Mapping[str, int]
    """Label, or "field: value" of a schema that lists the values → rows, the commonest first."""
    others: int
    """Rows of labels that ``given`` leaves out."""
    reasked: int
    """Rows whose model was asked again for a label."""
    invalid: Mapping[str, int]
    """Why answers gave no label → rows that failed for it."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that the reports of a run show; no prompt, no answer, no key."""

    run_id: str
    run_uri: str
    plan: Plan
    calls: CallSummary
    wall_s: float
    state: State
    stop_reason: str | None
    """Why the run stopped early, in words; None for a finished run."""
    router: str
    endpoints: Mapping[Route, EndpointFacts]
    settings: Mapping[str, str]
    """Further settings: label → text."""
    notices: tuple[str, ...] = ()
    """Further notes for the user, e.g. that the running job was degraded."""
    embedding: EmbeddingUse | None = None
    """What scoring used of a paid embedder; None without one."""
    degrades: Sequence[Degrade] = ()
    """The lower plans that were made while the run was under way."""
    pilot: PilotView | None = None
    """The pilot that the run used; None without one."""
    quality: QualityView | None = None
    """Predicted and achieved grades of its answers; None where neither is known."""
    labels: LabelFacts | None = None
    """The labels of a label job; None for another one."""

    @property
    def own_pilot(self) -> PilotView | None:
        """The pilot, if the run made it and pays for it."""
        return self.pilot if self.pilot is not None and self.pilot.here else None

    @property
    def spent_nano(self) -> int:
        """Settled cost of calls, embeddings and the run's own pilot, in nano-dollars."""
        return self.calls.spent_nano + sum(one.spent_nano for one in (self.embedding, self.own_pilot) if one)

    @property
    def routed_nano(self) -> int:
        """Settled cost without the pilot, which is what the plan is compared with."""
        return self.spent_nano - (self.own_pilot.spent_nano if self.own_pilot else 0)

    @property
    def presumed_nano(self) -> int:
        """Presumed cost of calls, embeddings and the run's own pilot."""
        others = sum(one.presumed_nano for one in (self.embedding, self.own_pilot) if one)
        return self.calls.presumed_nano + others

    @property
    def done(self) -> int:
        """Rows that were answered or failed."""
        return self.calls.ok + self.calls.failed

    @property
    def pending(self) -> int:
        """Valid rows that a resume would still call; rows that the budget left out are not among them."""
        return max(0, self.plan.valid - self.done - self.calls.unfunded)

    @property
    def bad_labels(self) -> bool:
        """Whether the run stopped because its answers were no valid labels, so that no endpoint is at fault."""
        errors, reason = self.calls.errors, self.stop_reason or ""
        most = 2 * errors.get(ErrorKind.INVALID_LABEL, 0) > sum(errors.values())
        return self.state == "errors" and "max_error_rate" in reason and most

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
        """The exit code of the run (docs/contract.md)."""
        return EXIT_CODES.get(self.state, FAILED_EXIT if self.calls.failed else 0)


def run_facts(
    config: Config,
    *,
    run_id: str,
    run_uri: str,
    plan: Plan,
    calls: CallSummary,
    wall_s: float,
    state: State,
    stop_reason: str | None = None,
    notices: tuple[str, ...] = (),
) -> RunFacts:
    """Return the facts of a run: what it did, with the settings that its reports show."""
    return RunFacts(
        run_id=run_id,
        run_uri=public_uri(run_uri),
        plan=plan,
        calls=calls,
        wall_s=wall_s,
        state=state,
        stop_reason=stop_reason,
        router=router_text(config.router),
        endpoints=endpoint_facts(config.endpoints),
        settings=further_settings(config),
        notices=notices,
    )


def endpoint_facts(endpoints: EndpointsConfig) -> dict[Route, EndpointFacts]:
    """Return model, price and expected answer length of both endpoints."""
    return {
        route: EndpointFacts(
            endpoint.model,
            endpoint.nano_price,
            endpoint.expected_output_tokens,
            endpoint.kind,
            endpoint.api_key,
        )
        for route, endpoint in endpoints.by_route().items()
    }


def router_text(router: RouterConfig) -> str:
    """Return the router's name, with its checkpoint where one is configured."""
    return router.name if router.checkpoint is None else f"{router.name} ({router.checkpoint})"


def further_settings(config: Config) -> dict[str, str]:
    """Return the settings of input, cluster, retries, budget and seed, as label → text."""
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
    """Return the facts with what embeddings used; without a paid embedder they stay as they are.

    Args:
        facts: of the run.
        embedder: as configured.
        use: what embeddings used; None where none were requested.

    """
    if use is None:
        return (
            facts
            if embedder.name != "remote"
            else replace(facts, embedding=EmbeddingUse(str(embedder.model)))
        )
    usage = f"{count(use.tokens)} tokens in {count(use.requests)} requests"
    text = f"{use.model}: {usage}, {usd(use.spent_nano)}"
    return replace(facts, embedding=use, settings={**facts.settings, "Embeddings": text})
