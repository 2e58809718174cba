"""Expected costs: the line of one length and the table of many agree, and a price is read in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.labelled import facts
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.budget.costs.expected_costs import (
    AnswerCost,
    LinearCost,
    billed_costs,
    expected_costs,
    past_cost,
)
from routellm_batch.budget.costs.tables import Table
from routellm_batch.budget.prices import Prices, Totals
from routellm_batch.budget.pricing import CallPrice, Price, cost_nano
from routellm_batch.core.types import ROUTES, Usage

CALL = CallPrice(Price(2_000_000_000, 1_000_000_000, 8_000_000_000), 40, 60)
WHOLE = st.integers(0, 10**9)


@given(st.lists(st.integers(0, 10**6), min_size=1), WHOLE, WHOLE, st.integers(0, 10**4))
def test_a_line_costs_what_such_calls_cost(tokens: list[int], fresh: int, output: int, length: int) -> None:
    """Each call costs its input and one answer of the expected length, rounded as a bill is."""
    line = LinearCost.of(CallPrice(Price(fresh, fresh, output), length))
    bills = [cost_nano(Price(fresh, fresh, output), Usage(one, 0, length)) for one in tokens]
    assert bills == line.nano(np.array(tokens)).tolist()


@given(st.integers(0, 10**6), st.integers(0, 10**9))
def test_some_calls_together_cost_their_sum(calls: int, tokens: int) -> None:
    """The expected cost of a sum of calls is rounded once, so it lies within half a nano-dollar of the exact one."""
    line = LinearCost.of(CALL)
    exact = tokens * 2_000 + calls * 40 * 8_000
    assert exact == line.nano(tokens, calls)


def test_a_table_of_one_length_agrees_with_the_line() -> None:
    """A cost learned from no answers is that of the config, to the rounding of a float."""
    tokens = np.arange(0, 3000, 7)
    tabled = past_cost(None, CALL).nano(tokens, np.zeros(len(tokens), np.float32))
    assert LinearCost.of(CALL).nano(tokens).tolist() == tabled.tolist()


def test_the_endpoints_limit_holds_for_learned_lengths() -> None:
    """No answer is expected to be longer than the endpoint is asked for."""
    cost = AnswerCost.of(CALL, 1.0, Table.constant(500.0))
    assert [60.0] == cost.output_tokens(np.array([10]), np.zeros(1, np.float32)).tolist()


def test_half_the_price_is_half_of_every_cost() -> None:
    """Expected, tabled, billed and worst costs all follow from the one price of a call."""
    pilot = facts(60)
    assert pilot.lengths is not None
    half = replace(CALL, price=Price(1_000_000_000, 500_000_000, 4_000_000_000))
    where, tokens = np.linspace(0, 1, 60), np.arange(1, 61) * 50
    slopes = pilot.lengths.fit(where, np.ones(60))
    spent = []
    for call in (CALL, half):
        prices = dict.fromkeys(ROUTES, call)
        tabled = expected_costs(pilot.lengths, slopes, prices, where, where)[ROUTES[0]]
        spent.append(
            [
                call.expected_nano(50),
                call.worst_nano(50, 1),
                LinearCost.of(call).nano(50),
                int(tabled.nano(tokens, where).sum()),
                float(billed_costs(pilot.lengths, prices)[ROUTES[0]].sum()),
            ]
        )
    assert [one / 2 for one in spent[0]] == pytest.approx(spent[1], rel=1e-6)


def test_a_plan_is_spread_evenly_over_its_calls() -> None:
    """A route's line sums to its plan; without calls it is that of a row of middling size."""
    cost = past_cost(None, CALL)
    planned = {ROUTES[0]: Totals(7, 9, 1_000, 300, 5_000_000), ROUTES[1]: Totals()}
    prices = Prices.evenly(dict.fromkeys(ROUTES, cost), planned)
    assert prices.lines[ROUTES[0]].nano(1_000, 7) == pytest.approx(5_000_000, abs=7)
    assert LinearCost.of(CALL) == prices.lines[ROUTES[1]]
