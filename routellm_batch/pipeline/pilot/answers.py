"""Both models answer a pilot's sample, within the pilot's own budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.graders import GraderConfig, JudgeConfig, PilotConfig
from routellm_batch.config.job import EndpointsConfig
from routellm_batch.core.errors import BudgetError
from routellm_batch.core.events import CallProgress, Event, Notice, Sink
from routellm_batch.core.types import STRONG, WEAK, Route
from routellm_batch.pipeline.ask import AskBudget, AskResult
from routellm_batch.reporting.text import count, usd
from routellm_batch.stages.call.reuse import ANSWER_SCHEMA
from routellm_batch.storage.run import STAGE

ORDER: tuple[Route, ...] = (WEAK, STRONG)
"""The cheaper model first: what it leaves of the budget is for the dearer one."""
JUDGE_WORDS = 400
"""Tokens of a judge's instructions, about."""
CONTINUES = frozenset({0, 3, 4})
"""Exit codes of an ask after which the pilot continues: with the answers so far, where the budget stopped the ask."""
SLACK = Decimal("1.1")
"""A sample is kept so small that ``pilot.usd`` pays for this multiple of its expected cost."""


def affordable(endpoints: EndpointsConfig, pilot: PilotConfig, tokens: float) -> int:
    """Return how many rows ``pilot.usd`` pays for by their expected cost; ``pilot.rows`` at most.

    Args:
        endpoints: of the job.
        pilot: of the job.
        tokens: mean input tokens of a row, as estimated.

    Raises:
        BudgetError: it does not even pay for two rows.

    """
    row = expected_nano(endpoints, pilot.grader, tokens)
    most = int(usd_to_nano(pilot.usd) / (row * float(SLACK))) if row else pilot.rows
    if most < 2:
        message = (
            f"pilot.usd={pilot.usd} pays for no pilot: a row is expected to cost {usd(round(row))} at both endpoints"
            f"{' and the judge' if isinstance(pilot.grader, JudgeConfig) else ''}; raise it"
        )
        raise BudgetError(message)
    return min(most, pilot.rows)


def expected_nano(endpoints: EndpointsConfig, grader: GraderConfig, tokens: float) -> float:
    """Return the expected cost of one row, in nano-dollars: both answers, and the judge's two verdicts where it grades.

    Args:
        endpoints: of the job.
        grader: of the pilot.
        tokens: mean input tokens of a row, as estimated.

    """
    answers = sum(call.expected_nano(tokens) for call in endpoints.call_prices().values())
    return answers + judge_nano(endpoints, grader, tokens)


def judge_nano(endpoints: EndpointsConfig, grader: GraderConfig, tokens: float) -> float:
    """Return the expected cost of the judge's two verdicts on a row, in nano-dollars; 0 where no judge grades.

    The judge reads both answers besides the prompt.

    Args:
        endpoints: of the job.
        grader: of the pilot.
        tokens: mean input tokens of a row, as estimated.

    """
    if not isinstance(grader, JudgeConfig) or endpoints.judge is None:
        return 0.0
    answers = sum(call.expected_output_tokens for call in endpoints.call_prices().values())
    return 2 * endpoints.judge.call_price.expected_nano(tokens + answers + JUDGE_WORDS)


def ask_both(
    budget: AskBudget, sample: str, kept_nano: int, sink: Sink
) -> dict[Route, AskResult] | AskResult:
    """Have both models answer the sample, or resume that; an ask that stopped is returned instead.

    Args:
        budget: holds ``pilot.usd``; what is spent here is booked in it.
        sample: URI of the sample.
        kept_nano: what has to be left for the judge, in nano-dollars.
        sink: takes a notice of each model's answers.

    Raises:
        EndpointStopError: an endpoint can't be reached.
        BudgetStopError: what is left does not pay for an endpoint.

    """
    # Both budgets book in one record of asks, so what the smaller one spends is gone from the whole one too.
    for_answers = replace(budget, cap_nano=max(0, budget.cap_nano - kept_nano), done=budget.done)
    results: dict[Route, AskResult] = {}
    for route in ORDER:
        result = for_answers.ask(route, route, sample)
        if result.exit_code not in CONTINUES:
            return result
        results[route] = result
        rows = 0 if result.rows is None else result.rows.num_rows
        sink(Notice(f"pilot: {count(rows)} answers of the {route} model, {usd(result.spent_nano)}"))
    return results


def answers_table(answers: Mapping[Route, AskResult], label: str | None) -> pa.Table:
    """Return every distinct answer with its request key, for the run to take over.

    Args:
        answers: route → its answers.
        label: name of the column that holds labels, where the job asks for labels.

    Returns:
        A table of ``ANSWER_SCHEMA``.

    """
    rows: list[dict[str, Any]] = []
    for result in answers.values():
        for row in result.rows.to_pylist() if result.rows is not None else []:
            if row["status"] == "ok":
                kept = {name: row.get(name) for name in ANSWER_SCHEMA.names if name != "label"}
                rows.append({**kept, "label": row[label] if label else None})
    distinct = {row["request_key"]: row for row in rows}
    return pa.Table.from_pylist(list(distinct.values()), schema=ANSWER_SCHEMA)


def calls_and_warnings(sink: Sink) -> Sink:
    """Return a sink that passes on warnings and the progress of calls: the other stages of a pilot's runs take no time."""

    def pass_on(event: Event) -> None:
        if isinstance(event, Notice):
            if event.warning:
                sink(replace(event, text=f"pilot: {event.text}"))
        elif isinstance(event, CallProgress) or getattr(event, "stage", "") == STAGE:
            sink(event)

    return pass_on
