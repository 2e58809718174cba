"""Asking the judge: its prompts as a table, its verdicts from ``responses/``, what was out of format once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from routellm_batch.budget.pricing import cost_nano, estimate_tokens, nano_to_usd
from routellm_batch.config.graders import JudgeConfig
from routellm_batch.config.job import ColumnsConfig, Config
from routellm_batch.core.errors import BudgetError, BudgetStopError, RunMismatchError
from routellm_batch.core.events import Sink
from routellm_batch.core.types import Usage
from routellm_batch.evaluation.graders.judge import (
    JudgePrompt,
    JudgeReply,
    Pair,
    Verdicts,
    ask_again,
    judge_prompts,
    read_verdicts,
)
from routellm_batch.pipeline.ask import Ask, Asked, AskResult, ask
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import to_parquet

FIRST, AGAIN = "judge", "judge-again"
"""Run ids of the two tries."""
COLUMNS = ColumnsConfig(id="id", prompt="prompt")


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
        self, run_id: str, route: Asked, table_uri: str, columns: ColumnsConfig | None = None
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


def ask_judge(purse: Purse, pairs: Sequence[Pair], judge: JudgeConfig) -> Verdicts | AskResult:
    """Have all pairs judged; a reply out of format is asked for once more. A stopped ask is returned as it is.

    Raises:
        BudgetStopError: the cap does not pay for it.
        RunMismatchError: other answers were to be judged when it began.

    """
    prompts = judge_prompts(pairs, judge)
    first = _ask(purse, FIRST, prompts)
    if first is not None and not first.finished:
        return first
    replies = _replies(first)
    verdicts = read_verdicts(pairs, replies, judge)
    wanted = set(verdicts.again)
    again = _ask(purse, AGAIN, [ask_again(one, judge) for one in prompts if one.id in wanted])
    if again is not None and not again.finished:
        return again
    return read_verdicts(pairs, [*replies, *_replies(again)], judge)


def judge_estimate_nano(config: Config, pairs: Sequence[Pair], judge: JudgeConfig) -> int:
    """Return what judging is expected to cost; an answer that is not known yet may be given as filler."""
    end = config.endpoints.judge
    if end is None:
        return 0
    return sum(
        cost_nano(
            end.nano_price, Usage(estimate_tokens(len(one.prompt), 1), 0, end.expected_output_tokens, 0)
        )
        for one in judge_prompts(pairs, judge)
    )


def _ask(purse: Purse, run_id: str, prompts: Sequence[JudgePrompt]) -> AskResult | None:
    """Ask the judge; None where there is nothing to ask."""
    if not prompts:
        return None
    path = f"{run_id}.parquet"
    table = pa.table(
        {
            "id": [one.id for one in prompts],
            "prompt": [one.prompt for one in prompts],
            "pair": [one.pair for one in prompts],
            "asked": [one.asked for one in prompts],
        }
    )
    if not purse.store.create(path, to_parquet(table)):
        message = f"{purse.store.uri(path)} was begun with other answers; choose another run.id"
        raise RunMismatchError(message)
    return purse.ask(run_id, "judge", purse.store.uri(path), COLUMNS)


def _replies(result: AskResult | None) -> list[JudgeReply]:
    if result is None or result.rows is None:
        return []
    rows = result.rows.select(["id", "answer", "status"]).to_pylist()
    return [JudgeReply(row["id"], row["answer"] if row["status"] == "ok" else None) for row in rows]
