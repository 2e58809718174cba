"""Money: exact sums, one rounding a call, and a worst case that is one."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.budget.pricing import (
    NANO,
    CallPrice,
    Price,
    ceil_nano,
    cost_nano,
    estimate_tokens,
    nano_to_usd,
    round_nano,
    usd_text,
    usd_to_nano,
    worst_nano,
)
from routellm_batch.core.types import Usage

COUNTS = st.integers(0, 10**7)
PRICES = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(1_000_000), 2_500_000_000),
        (Usage(0, 0, 1_000_000), 10_000_000_000),
        (Usage(1_000_000, 400_000), 600_000 * 2_500 + 400_000 * 1_250),
        (Usage(1, 0, 1), 2_500 + 10_000),
        (Usage(100, 500, 0), 100 * 1_250),
        (Usage(10, 0, 20, 15), 10 * 2_500 + 20 * 10_000),
        (Usage(), 0),
    ],
)
def test_cost_is_tokens_times_price(usage: Usage, expected: int) -> None:
    """Cached input has its own price, reasoning is output already, and cached tokens never exceed the input."""
    price = Price.from_usd(Decimal("2.5"), Decimal(10), Decimal("1.25"))
    assert expected == cost_nano(price, usage)


@pytest.mark.parametrize(("tokens", "expected"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_a_call_is_rounded_once_and_half_up(tokens: int, expected: int) -> None:
    """At one nano-dollar a million tokens, half a nano-dollar is rounded up, and less is not."""
    assert expected == cost_nano(Price(1, 1, 1), Usage(tokens))


def test_without_a_cached_price_cached_tokens_cost_what_others_do() -> None:
    """Only a cached price that was given is a discount."""
    price = Price.from_usd(Decimal(1), Decimal(2))
    assert cost_nano(price, Usage(1000)) == cost_nano(price, Usage(1000, 1000))


@given(st.integers(0, 10**18))
def test_dollars_and_nano_dollars_round_trip(nano: int) -> None:
    """No sum changes on its way to text and back."""
    assert (nano, nano) == (usd_to_nano(nano_to_usd(nano)), usd_to_nano(Decimal(usd_text(nano))))


@pytest.mark.parametrize(
    ("nano", "expected"),
    [(0, "0.000000000"), (1, "0.000000001"), (12_500, "0.000012500"), (NANO, "1.000000000")],
)
def test_sums_are_written_plainly(nano: int, expected: str) -> None:
    """Never in scientific notation, always with nine decimals."""
    assert expected == usd_text(nano)


@pytest.mark.parametrize("text", ["-0.1", "NaN", "Infinity", "0.0000000001"])
def test_what_is_no_sum_is_refused(text: str) -> None:
    """Negative, infinite and finer-than-nano sums raise."""
    with pytest.raises(ValueError, match="is not a sum|is finer"):
        usd_to_nano(Decimal(text))


@given(PRICES, PRICES, PRICES, COUNTS, st.integers(1, 50), COUNTS, st.data())
def test_no_bill_within_the_limits_is_above_the_worst_case(
    fresh: int, cached: int, output: int, size: int, turns: int, most: int, data: st.DataObject
) -> None:
    """A usage of at most the bytes as input and the maximum as output never costs more than was reserved."""
    price = Price(fresh, cached, output)
    read = data.draw(st.integers(0, size))
    usage = Usage(read, data.draw(st.integers(0, read)), data.draw(st.integers(0, most)))
    assert cost_nano(price, usage) <= worst_nano(price, size, turns, most)


@pytest.mark.parametrize(("chars", "turns", "expected"), [(0, 1, 7), (1, 1, 8), (4, 1, 8), (5, 2, 13)])
def test_token_estimates(chars: int, turns: int, expected: int) -> None:
    """A token is four characters, rounded up, with four a turn and three for the answer's opening."""
    assert expected == estimate_tokens(chars, turns)


@given(COUNTS, COUNTS, PRICES, PRICES)
def test_expected_cost_is_what_such_a_call_costs(read: int, written: int, fresh: int, output: int) -> None:
    """A call with the expected tokens costs the expected sum, to half a nano-dollar."""
    call = CallPrice(Price(fresh, fresh, output), written)
    settled = cost_nano(call.price, Usage(read, 0, written))
    assert call.expected_nano(read) == pytest.approx(settled, rel=1e-12, abs=0.5)


@pytest.mark.parametrize(("most", "longest"), [(100, 100), (None, 30)])
def test_the_expected_length_stands_in_for_a_limit(most: int | None, longest: int) -> None:
    """A worst case counts the longest answer that is asked for; without a limit the expected one."""
    price = Price(1_000_000, 2_000_000, 3_000_000)
    assert worst_nano(price, 500, 2, longest) == CallPrice(price, 30, most).worst_nano(500, 2)


@given(st.integers(0, 10**18))
def test_rounding_is_half_up_and_ceiling_never_below(millionths: int) -> None:
    """Half a nano-dollar goes up, less goes down; a worst case is rounded up."""
    assert (millionths + 500_000) // 1_000_000 == round_nano(millionths)
    assert 0 <= ceil_nano(millionths) * 1_000_000 - millionths < 1_000_000


def test_an_array_is_rounded_as_its_numbers_are() -> None:
    """Sums of many calls are rounded each on its own."""
    sums = [0, 499_999, 500_000, 1_499_999, 1_500_000]
    assert [round_nano(one) for one in sums] == round_nano(np.array(sums)).tolist()
