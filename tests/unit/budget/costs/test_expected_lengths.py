"""Lengths learned from an earlier run's answers of one endpoint."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from routellm_batch.budget.costs.expected_costs import past_cost
from routellm_batch.budget.costs.expected_lengths import PastLengths, fit_past
from routellm_batch.budget.pricing import CallPrice, Price
from routellm_batch.core.errors import DataError

PRICE = Price.from_usd(Decimal(2), Decimal(10))


def answers(rows: int = 400) -> tuple[list[int], list[int], list[int]]:
    """Return sizes, counted input tokens a quarter above them, and outputs that grow with the root of the size."""
    random = np.random.default_rng(0)
    sizes = random.integers(5, 500, rows)
    outputs = np.rint(10 * np.sqrt(sizes) * random.lognormal(0, 0.4, rows)).astype(int)
    return sizes.tolist(), np.rint(1.25 * sizes).astype(int).tolist(), outputs.tolist()


def test_predictions_sum_to_what_was_counted() -> None:
    """The expected tokens of the run's own rows are those that it had, in and out, and longer prompts get longer answers."""
    sizes, inputs, outputs = answers()
    past = fit_past("one", sizes, inputs, outputs)
    cost = past_cost(past, CallPrice(PRICE, 7))
    predicted = cost.output_tokens(np.array(sizes), np.zeros(len(sizes), np.float32))
    assert sum(outputs) == pytest.approx(predicted.sum(), rel=0.01)
    assert sum(inputs) == pytest.approx(past.input_ratio * sum(sizes))
    few, many = cost.output_tokens(np.array([20, 400]), np.zeros(2, np.float32)).tolist()
    assert [few, many] == pytest.approx([10 * 20**0.5 * np.exp(0.08), 10 * 400**0.5 * np.exp(0.08)], rel=0.15)
    assert (400, np.mean(outputs)) == (past.answers, past.mean)
    assert sum(out < past.p10 for out in outputs) <= 40 <= sum(out <= past.p10 for out in outputs)
    assert past == PastLengths.from_fields(past.to_fields())


def test_nothing_is_said_beyond_the_sizes_seen() -> None:
    """A prompt longer than any that was seen is expected to be answered as the longest was; the endpoint's limit holds."""
    sizes, inputs, outputs = answers()
    cost = past_cost(fit_past("one", sizes, inputs, outputs), CallPrice(PRICE, 7, 150))
    at = np.array([max(sizes), 100_000, 10])
    longest, beyond, short = cost.output_tokens(at, np.zeros(3, np.float32)).tolist()
    assert (150.0, 150.0, True) == (longest, beyond, short < 150)


def test_without_an_earlier_run_the_expected_length_holds() -> None:
    """An endpoint that no run was found for is expected to answer as the config says."""
    cost = past_cost(None, CallPrice(PRICE, 7))
    assert [7.0, 7.0] == cost.output_tokens(np.array([1, 900]), np.zeros(2, np.float32)).tolist()
    assert [2 * 100 * 1000 + 7 * 10 * 1000] == cost.nano(np.array([100]), np.zeros(1, np.float32)).tolist()


def test_too_few_answers_are_refused() -> None:
    """Nineteen answers are not fitted."""
    with pytest.raises(DataError, match="at least 20"):
        fit_past("one", *(column[:19] for column in answers()))
