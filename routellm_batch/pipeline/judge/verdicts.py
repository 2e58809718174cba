"""Asking the judge: its prompts go out as a table, its verdicts are read from ``responses/``.

A reply that is not in the format is asked for once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from routellm_batch.budget.costs.expected_costs import LinearCost
from routellm_batch.budget.tokens import chat_tokens
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.graders import JudgeConfig
from routellm_batch.config.job import ColumnsConfig
from routellm_batch.core.errors import RunMismatchError
from routellm_batch.core.types import JUDGE
from routellm_batch.evaluation.graders.judge import (
    JudgePrompt,
    JudgeReply,
    Pair,
    Verdicts,
    ask_again,
    judge_prompts,
    read_verdicts,
)
from routellm_batch.pipeline.ask import AskBudget, AskResult
from routellm_batch.storage.tables import to_parquet

FIRST, AGAIN = "judge", "judge-again"
"""Run ids of the two tries."""
COLUMNS = ColumnsConfig(id="id", prompt="prompt")


def ask_judge(budget: AskBudget, pairs: Sequence[Pair], judge: JudgeConfig) -> Verdicts | AskResult:
    """Have all pairs judged, or resume that.

    Returns:
        The verdicts; or the result of an ask that stopped before it had finished.

    Raises:
        BudgetStopError: what is left of the cap does not pay for it.
        RunMismatchError: the ask was begun with other answers.
        EndpointStopError: the judge can't be reached.

    """
    prompts = judge_prompts(pairs, judge)
    first = _ask(budget, FIRST, prompts)
    if first is not None and not first.finished:
        return first
    replies = _replies(first)
    verdicts = read_verdicts(pairs, replies, judge)
    wanted = set(verdicts.again)
    again = _ask(budget, AGAIN, [ask_again(one, judge) for one in prompts if one.id in wanted])
    if again is not None and not again.finished:
        return again
    return read_verdicts(pairs, [*replies, *_replies(again)], judge)


def judge_estimate_nano(endpoint: EndpointConfig, pairs: Sequence[Pair], judge: JudgeConfig) -> int:
    """Return the expected cost of judging, in nano-dollars, without the replies that are asked for once more.

    Args:
        endpoint: the judge's.
        pairs: to be judged; an answer that does not exist yet may be given as filler of its expected length.
        judge: how the judge is asked.

    """
    cost = LinearCost.of(endpoint.call_price)
    tokens = [chat_tokens(one.prompt, 1) for one in judge_prompts(pairs, judge)]
    return int(cost.nano(np.array(tokens, dtype=np.int64)).sum())


def _ask(budget: AskBudget, run_id: str, prompts: Sequence[JudgePrompt]) -> AskResult | None:
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
    if not budget.store.create(path, to_parquet(table)):
        message = (
            f"{budget.store.uri(path)} was begun with other answers; put them back, or choose another run.id"
        )
        raise RunMismatchError(message)
    return budget.ask(run_id, JUDGE, budget.store.uri(path), COLUMNS)


def _replies(result: AskResult | None) -> list[JudgeReply]:
    if result is None or result.rows is None:
        return []
    rows = result.rows.select(["id", "answer", "status"]).to_pylist()
    return [JudgeReply(row["id"], row["answer"] if row["status"] == "ok" else None) for row in rows]
