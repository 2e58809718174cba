"""Asking the judge: its prompts as a table, its verdicts from ``responses/``, what was out of format once more."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from routellm_batch.budget.pricing import cost_nano, estimate_tokens
from routellm_batch.config.graders import JudgeConfig
from routellm_batch.config.job import ColumnsConfig, Config
from routellm_batch.core.errors import RunMismatchError
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
from routellm_batch.pipeline.ask import AskResult, Purse
from routellm_batch.storage.tables import to_parquet

FIRST, AGAIN = "judge", "judge-again"
"""Run ids of the two tries."""
COLUMNS = ColumnsConfig(id="id", prompt="prompt")


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
