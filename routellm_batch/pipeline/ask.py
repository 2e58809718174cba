"""An ask: one endpoint answers a table of prompts, in an ordinary run with its ledger, caps, retries and resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pyarrow as pa

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.budget.spend.summary import CallSummary
from routellm_batch.config.job import (
    BudgetConfig,
    ColumnsConfig,
    Config,
    EndpointsConfig,
    InputConfig,
    RouterConfig,
    RunConfig,
)
from routellm_batch.core.errors import BudgetError, BudgetStopError, ConfigError, EndpointStopError
from routellm_batch.core.events import Event, Sink, StageStarted
from routellm_batch.core.types import JUDGE, WEAK, EndpointName
from routellm_batch.pipeline.outputs import FINISHED_CODES, run_summary
from routellm_batch.pipeline.run import NoPilot, complete_run, plan_run
from routellm_batch.reporting.run.failures import halt_line
from routellm_batch.storage.responses import read_all
from routellm_batch.storage.run import STAGE as CALL
from routellm_batch.storage.run import open_existing
from routellm_batch.storage.store import FsStore

JUDGE_PROMPT_BYTES = 16 * 1024 * 1024
"""A judge's prompt holds two answers, so it may be longer than the job's own."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One table of prompts for one endpoint."""

    config: Config
    """The job that asks."""
    table_uri: str
    """Parquet of the prompts."""
    route: EndpointName
    """The endpoint that answers."""
    root: str
    """The ask's run is ``<root>/runs/<run_id>``."""
    run_id: str
    """Id of the ask's run."""
    cap_usd: Decimal
    """What the ask may cost in all, earlier starts included."""
    columns: ColumnsConfig | None = None
    """Names of the table's columns, where they differ from those of the job's input."""
    keep: Sequence[str] = ()
    """Columns of the table that the answers keep."""


@dataclass(frozen=True, slots=True, eq=False)
class AskResult:
    """How an ask ended, with its answers."""

    rows: pa.Table | None
    """Rows of ``responses/``, the newest of each id; None before the first answer."""
    summary: CallSummary
    """What its calls did and cost."""
    exit_code: int
    """That of the ask's run."""
    run_uri: str
    """Folder of the ask's run."""
    lines: Sequence[str]
    """How the run ended, in sentences."""
    halts: Sequence[str] = ()
    """What the endpoint said that stopped its calls, and of which key, where errors did."""

    @property
    def spent_nano(self) -> int:
        """Settled cost, in nano-dollars."""
        return self.summary.spent_nano

    @property
    def presumed_nano(self) -> int:
        """Cost of what may have been billed, in nano-dollars."""
        return self.summary.presumed_nano

    @property
    def finished(self) -> bool:
        """Whether every prompt was answered or failed; if not, the same ask resumes."""
        return self.exit_code in FINISHED_CODES


def ask(asked: Ask, sink: Sink) -> AskResult:
    """Have all prompts answered, or resume that: no answer is paid for twice.

    Raises:
        InputError: the config or the table is invalid, or the cap is below the planned cost; nothing was sent.
        EndpointStopError: the endpoint can't be reached.

    """
    result = complete_run(ask_config(asked), sink, NoPilot())
    run, _ = open_existing(result.run_uri)
    summary = run_summary(run)
    stopped = result.exit_code == EndpointStopError.exit_code
    key = asked.config.endpoints.of(asked.route).api_key
    halts = [replace(one, route=asked.route) for one in summary.halts] if stopped else []
    return AskResult(
        read_all(run),
        summary,
        result.exit_code,
        result.run_uri,
        result.outputs.lines,
        [halt_line(one, key) for one in halts],
    )


def plan_ask(asked: Ask, sink: Sink) -> int:
    """Return the expected cost of an ask, in nano-dollars; nothing is sent.

    Raises:
        InputError: the config or the table is invalid, or the cap is below the planned cost.

    """
    plan = plan_run(ask_config(asked), sink, NoPilot()).outputs.plan
    return 0 if plan is None else plan.planned_nano


def ask_config(asked: Ask) -> Config:
    """Return the config of an ask's run: the endpoint stands on both routes, and all rows take the same one.

    Raises:
        ConfigError: the job has no such endpoint, or the endpoint no limit on the length of its answers.

    """
    config = asked.config
    endpoint = config.endpoints.of(asked.route)
    if endpoint.max_output_tokens is None:
        problem = "is missing: set it, as the worst case of each call is reserved under the cap"
        raise ConfigError(f"endpoints.{asked.route}.params.max_completion_tokens", problem)
    judge = asked.route == JUDGE
    return Config(
        run=RunConfig(
            id=asked.run_id,
            root=asked.root,
            seed=config.run.seed,
            deadline_s=config.run.deadline_s,
            single_writer=config.run.single_writer,
        ),
        input=InputConfig(
            uri=asked.table_uri,
            columns=asked.columns or config.input.columns,
            keep=tuple(asked.keep),
            shard_rows=config.input.shard_rows,
            part_tokens=config.input.part_tokens,
            max_prompt_bytes=JUDGE_PROMPT_BYTES if judge else config.input.max_prompt_bytes,
        ),
        router=RouterConfig(name="random"),
        budget=BudgetConfig(
            strong_share=Decimal(asked.route != WEAK), hard_cap_usd=asked.cap_usd, on_overrun="stop"
        ),
        endpoints=EndpointsConfig(strong=endpoint, weak=endpoint),
        retry=config.retry,
        label=None if judge else config.label,
        cluster=config.cluster,
    )


def titled(sink: Sink, title: str) -> Sink:
    """Return a sink that passes on events, and gives the stage that calls a title."""

    def pass_on(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == CALL:
            event = replace(event, title=title)
        sink(event)

    return pass_on


@dataclass
class AskBudget:
    """One cap over several asks, which are made one after another."""

    config: Config
    """The job that asks."""
    store: FsStore
    """Folder of the asks: each has its run in ``runs/<run id>`` below it."""
    cap_nano: int
    """What all asks may cost together, in nano-dollars."""
    sink: Sink
    """Receives the events of all asks."""
    done: dict[str, AskResult] = field(default_factory=dict)
    """Run id → how it ended."""
    title: str = ""
    """What a progress display shows before the run id of an ask."""

    @property
    def used_nano(self) -> int:
        """What all asks cost so far, settled and presumed, in nano-dollars."""
        return sum(result.spent_nano + result.presumed_nano for result in self.done.values())

    def ask(
        self, run_id: str, route: EndpointName, table_uri: str, columns: ColumnsConfig | None = None
    ) -> AskResult:
        """Make an ask, or resume it, with what the asks before it left of the cap.

        Args:
            run_id: of the ask.
            route: the endpoint that answers.
            table_uri: Parquet of the prompts.
            columns: names of the table's columns, where they differ from those of the job's input.

        Raises:
            BudgetError: it is the first ask and expected to cost more than the cap; nothing was spent.
            BudgetStopError: it is a later ask and expected to cost more than is left.
            InputError: as ``ask``.
            EndpointStopError: as ``ask``.

        """
        left = self.cap_nano - self.used_nano
        if left <= 0:
            message = f"the cap of {nano_to_usd(self.cap_nano):.4f} USD is spent, so {run_id} can't be asked; raise it"
            raise BudgetStopError(message)
        asked = Ask(
            self.config, table_uri, route, self.store.root, run_id, nano_to_usd(left), columns=columns
        )
        try:
            self.done[run_id] = ask(asked, titled(self.sink, f"{self.title}{run_id}"))
        except BudgetError as error:
            if not self.used_nano:
                raise
            message = f"what is left of the cap does not pay for {run_id}: {error}"
            raise BudgetStopError(message) from None
        return self.done[run_id]
