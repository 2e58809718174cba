"""One endpoint answers a table of prompts: an ordinary run of the pipeline, with its ledger, caps, retries and resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from routellm_batch.core.errors import BudgetError, BudgetStopError, ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.core.types import JUDGE, WEAK, EndpointName
from routellm_batch.pipeline.outputs import FINISHED_CODES, run_summary
from routellm_batch.pipeline.run import NoPilot, complete_run, plan_run
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import Run, open_existing
from routellm_batch.storage.store import FsStore

JUDGE_PROMPT_BYTES = 16 * 1024 * 1024
"""A judge's prompt holds two answers, so it may be longer than the job's own."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One table of prompts for one endpoint."""

    config: Config
    """The job; its input says which columns are what, unless ``columns`` does."""
    table_uri: str
    """Parquet of the prompts."""
    route: EndpointName
    root: str
    """The run is ``<root>/runs/<run_id>``."""
    run_id: str
    cap_usd: Decimal
    """What it may cost in all, earlier starts included."""
    columns: ColumnsConfig | None = None
    keep: Sequence[str] = ()
    """Columns of the table that the answers keep."""


@dataclass(frozen=True, slots=True, eq=False)
class AskResult:
    """What became of it."""

    rows: pa.Table | None
    """As ``responses/`` holds them, the newest of each id; None before the first answer."""
    summary: CallSummary
    """What its calls did and cost."""
    exit_code: int
    """That of a run (design §7)."""
    run_uri: str
    lines: Sequence[str]
    """How the run ended, in words."""

    @property
    def spent_nano(self) -> int:
        """Settled cost."""
        return self.summary.spent_nano

    @property
    def presumed_nano(self) -> int:
        """Cost of what may have been billed."""
        return self.summary.presumed_nano

    @property
    def finished(self) -> bool:
        """Say whether every prompt was answered or failed; otherwise the same call goes on."""
        return self.exit_code in FINISHED_CODES


def ask(asked: Ask, sink: Sink) -> AskResult:
    """Answer all prompts, or go on with it: nothing that was paid for is paid for again.

    Raises:
        InputError: bad config or table, or a cap below the planned cost; nothing was sent.
        EndpointStopError: the endpoint can't be reached.

    """
    result = complete_run(ask_config(asked), sink, NoPilot())
    run, _ = open_existing(result.run_uri)
    return AskResult(
        read_rows(run),
        run_summary(run),
        result.exit_code,
        result.run_uri,
        result.outputs.lines,
    )


def plan_ask(asked: Ask, sink: Sink) -> int:
    """Return what asking is expected to cost, in nano-dollars; nothing is sent.

    Raises:
        InputError: bad config or table, or a cap below the planned cost.

    """
    plan = plan_run(ask_config(asked), sink, NoPilot()).outputs.plan
    return 0 if plan is None else plan.planned_nano


def ask_config(asked: Ask) -> Config:
    """Return the config of the run that asks: the endpoint answers on both routes, and all rows go one way.

    Raises:
        ConfigError: the job has no such endpoint.

    """
    config = asked.config
    end = config.endpoints.of(asked.route)
    if end.max_output_tokens is None:
        problem = "is needed, as a cap reserves the worst case of each call"
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
            max_prompt_bytes=JUDGE_PROMPT_BYTES if judge else config.input.max_prompt_bytes,
        ),
        router=RouterConfig(name="random"),
        budget=BudgetConfig(
            strong_share=Decimal(asked.route != WEAK), hard_cap_usd=asked.cap_usd, on_overrun="stop"
        ),
        endpoints=EndpointsConfig(strong=end, weak=end),
        retry=config.retry,
        label=None if judge else config.label,
        cluster=config.cluster,
    )


def read_rows(run: Run) -> pa.Table | None:
    """Return all responses of a run so far, in input order; None if there are none."""
    tables = [read_shard_responses(run, shard.name) for shard in run.shards]
    there = [table for table in tables if table is not None]
    return pa.concat_tables(there) if there else None


@dataclass
class Purse:
    """One cap over several asks, which are made one after another."""

    config: Config
    store: FsStore
    """Their folder: each is ``runs/<run id>`` below it."""
    cap_nano: int
    sink: Sink
    done: dict[str, AskResult] = field(default_factory=dict)
    """Run id → how it ended."""

    @property
    def used_nano(self) -> int:
        """What all asks spent, presumed sums included."""
        return sum(result.spent_nano + result.presumed_nano for result in self.done.values())

    def ask(
        self, run_id: str, route: EndpointName, table_uri: str, columns: ColumnsConfig | None = None
    ) -> AskResult:
        """Ask, with what the asks before it left of the cap.

        Raises:
            BudgetError: the first ask is expected to cost more; nothing was spent.
            BudgetStopError: a later one is.

        """
        left = self.cap_nano - self.used_nano
        if left <= 0:
            message = f"nothing is left of the cap of {nano_to_usd(self.cap_nano):.4f} USD for {run_id}"
            raise BudgetStopError(message)
        asked = Ask(
            self.config, table_uri, route, self.store.root, run_id, nano_to_usd(left), columns=columns
        )
        try:
            self.done[run_id] = ask(asked, self.sink)
        except BudgetError as error:
            if not self.used_nano:
                raise
            message = f"what is left of the cap does not pay for {run_id}: {error}"
            raise BudgetStopError(message) from None
        return self.done[run_id]
