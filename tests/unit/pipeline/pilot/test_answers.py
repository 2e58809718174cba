"""What a pilot's rows are expected to cost, and the budget that both models answer within."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from helpers.jobs import job_config

from routellm_batch.budget.spend.summary import CallSummary, RouteTotals
from routellm_batch.config.graders import PilotConfig
from routellm_batch.config.job import Config
from routellm_batch.core.errors import BudgetError, BudgetStopError
from routellm_batch.core.types import STRONG, WEAK, EndpointName
from routellm_batch.pipeline import ask
from routellm_batch.pipeline.ask import Ask, AskBudget, AskResult
from routellm_batch.pipeline.pilot.answers import affordable, ask_both, expected_nano, judge_nano
from routellm_batch.storage.store import FsStore

NANO_OF_A_ROW = {STRONG: 50 * 2_000 + 30 * 8_000, WEAK: 50 * 100 + 20 * 400}


def priced(folder: Path) -> Config:
    """Return a job whose prices and lengths are round."""
    return job_config(
        folder,
        endpoints__strong__price={"input": 2, "output": 8},
        endpoints__weak__price={"input": "0.1", "output": "0.4"},
        endpoints__strong__estimate={"output_tokens": 30},
        endpoints__weak__estimate={"output_tokens": 20},
    )


def pilot(usd: str) -> PilotConfig:
    """Return a pilot that asks for a thousand rows."""
    return PilotConfig.model_validate(
        {"rows": 1000, "usd": usd, "grader": {"kind": "exact", "reference": "prompt"}}
    )


def test_a_row_costs_both_answers(tmp_path: Path) -> None:
    """Without a judge a row is expected to cost what its two calls are."""
    endpoints, grader = priced(tmp_path).endpoints, pilot("1").grader
    assert sum(NANO_OF_A_ROW.values()) == expected_nano(endpoints, grader, 50.0)
    assert judge_nano(endpoints, grader, 50.0) == 0


def test_as_many_rows_are_sampled_as_the_budget_pays_for(tmp_path: Path) -> None:
    """Each row is taken at 1.1 times its expected cost; a budget below two rows is refused."""
    endpoints = priced(tmp_path).endpoints
    assert int(10_000_000 / (353_000 * 1.1)) == affordable(endpoints, pilot("0.01"), 50.0)
    assert affordable(endpoints, pilot("100"), 50.0) == 1000
    with pytest.raises(BudgetError, match=r"pays for no pilot: a row is expected to cost"):
        affordable(endpoints, pilot("0.0005"), 50.0)


@pytest.fixture
def caps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[EndpointName, Decimal]]:
    """Have each ask spend 300 nano-dollars, and the strong one raise; return what each may cost, as they are made."""
    made: list[tuple[EndpointName, Decimal]] = []

    def answer(asked: Ask, _sink: object) -> AskResult:
        made.append((asked.route, asked.cap_usd))
        if asked.route == STRONG:
            raise BudgetStopError("the strong endpoint is too dear")
        summary = CallSummary(routes={STRONG: RouteTotals(), WEAK: RouteTotals(spent_nano=300)})
        return AskResult(None, summary, 0, "run", ())

    monkeypatch.setattr(ask, "ask", answer)
    return made


def test_an_ask_that_raises_leaves_the_budget_whole(
    tmp_path: Path, caps: list[tuple[EndpointName, Decimal]]
) -> None:
    """The models answer within what the judge does not need; afterwards all that is unspent is there for it."""
    budget = AskBudget(priced(tmp_path), FsStore(str(tmp_path)), 1000, lambda _event: None)
    with pytest.raises(BudgetStopError, match="too dear"):
        ask_both(budget, "sample", 600, lambda _event: None)
    assert [(WEAK, Decimal("4E-7")), (STRONG, Decimal("1E-7"))] == caps
    assert (1000, 300) == (budget.cap_nano, budget.used_nano)
