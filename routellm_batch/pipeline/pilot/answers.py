"""Both models answer a pilot's sample, within the pilot's own budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa

from routellm_batch.budget.pricing import MILLION, usd_to_nano
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.graders import JudgeConfig, PilotConfig
from routellm_batch.config.job import Config
from routellm_batch.core.errors import BudgetError
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route
from routellm_batch.pipeline.ask import AskBudget, AskResult
from routellm_batch.reporting.text import count, usd
from routellm_batch.stages.call.reuse import ANSWER_SCHEMA

ORDER: tuple[Route, ...] = (WEAK, STRONG)
"""The cheap one first: what it leaves is the dear one's."""
JUDGE_WORDS = 400
"""Tokens of a judge's instructions, about."""
GOES_ON = frozenset({0, 3, 4})
"""Exit codes of an ask after which the pilot goes on: with what was answered, where the budget ended it."""
SLACK = Decimal("1.1")
"""A sample is kept so small that its expected cost leaves this much room below ``pilot.usd``."""


def affordable(config: Config, pilot: PilotConfig, tokens: float) -> int:
    """Return how many rows ``pilot.usd`` pays for, by their expected cost; those it asks for at most.

    Args:
        config: the job.
        pilot: its pilot.
        tokens: expected input tokens of a row.

    Raises:
        BudgetError: not even two.

    """
    row = expected_nano(config, pilot, tokens)
    most = int(usd_to_nano(pilot.usd) / (row * float(SLACK))) if row else pilot.rows
    if most < 2:
        message = (
            f"pilot.usd={pilot.usd} pays for no pilot: a row is expected to cost {usd(round(row))} at both endpoints"
            f"{' and the judge' if isinstance(pilot.grader, JudgeConfig) else ''}; raise it"
        )
        raise BudgetError(message)
    return min(most, pilot.rows)


def expected_nano(config: Config, pilot: PilotConfig, tokens: float) -> float:
    """Return the expected cost of one row: both answers, and the judge's two verdicts where one is asked."""
    answers = sum(_nano(config.endpoints.of(route), tokens) for route in ROUTES)
    return answers + judge_nano(config, pilot, tokens)


def judge_nano(config: Config, pilot: PilotConfig, tokens: float) -> float:
    """Return what the judge's two verdicts on a row are expected to cost; it reads both answers besides the prompt."""
    ends = config.endpoints
    if not isinstance(pilot.grader, JudgeConfig) or ends.judge is None:
        return 0.0
    answers = ends.strong.expected_output_tokens + ends.weak.expected_output_tokens
    return 2 * _nano(ends.judge, tokens + answers + JUDGE_WORDS)


def _nano(end: EndpointConfig, tokens: float) -> float:
    price = end.nano_price
    return (tokens * price.input_nano + end.expected_output_tokens * price.output_nano) / MILLION


def ask_both(purse: AskBudget, sample: str, kept_nano: int, sink: Sink) -> dict[Route, AskResult] | AskResult:
    """Have both models answer the sample, or go on with it; a stopped ask is returned as it is.

    Args:
        purse: holds ``pilot.usd``.
        sample: URI of the sample.
        kept_nano: what is to be left for the judge.
        sink: told what is done.

    Raises:
        EndpointStopError: an endpoint can't be reached.
        BudgetStopError: what is left does not pay for an endpoint.

    """
    found: dict[Route, AskResult] = {}
    whole = purse.cap_nano
    purse.cap_nano = max(0, whole - kept_nano)
    for route in ORDER:
        result = purse.ask(route, route, sample)
        if result.exit_code not in GOES_ON:
            return result
        found[route] = result
        rows = 0 if result.rows is None else result.rows.num_rows
        sink(Notice(f"pilot: {count(rows)} answers of the {route} model, {usd(result.spent_nano)}"))
    purse.cap_nano = whole
    return found


def answers_table(answers: Mapping[Route, AskResult], label: str | None) -> pa.Table:
    """Return every answer by its request key, for the run to take over."""
    rows: list[dict[str, Any]] = []
    for result in answers.values():
        for row in result.rows.to_pylist() if result.rows is not None else []:
            if row["status"] == "ok":
                kept = {name: row.get(name) for name in ANSWER_SCHEMA.names if name != "label"}
                rows.append({**kept, "label": row[label] if label else None})
    distinct = {row["request_key"]: row for row in rows}
    return pa.Table.from_pylist(list(distinct.values()), schema=ANSWER_SCHEMA)


def only_notices(sink: Sink) -> Sink:
    """Return a sink that passes on what a user should read, and not the stages of a run within the run."""

    def pass_on(event: Any) -> None:
        if isinstance(event, Notice) and event.warning:
            sink(replace(event, text=f"pilot: {event.text}"))

    return pass_on
