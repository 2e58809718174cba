"""Money: integer nano-dollars inside, Decimal at the edges; and the one place where tokens become money.

A price is USD per million tokens, so tokens × price is a sum in *millionths* of a nano-dollar (``Price.millionths``).
What a call costs, what it is expected to cost and what it can cost at most are all read from such a sum, which is rounded
once: half up, or up for a worst case. So a call's cost is the same wherever it is computed.

An endpoint's ``CallPrice`` holds all that pricing its calls needs: planning, projections, the pilot's estimate and the
reservation before a send take it. ``costs`` adds what answers' lengths are expected to be, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from routellm_batch.core.types import Usage

if TYPE_CHECKING:  # Every command reads prices, and few need NumPy.
    import numpy as np
    from numpy.typing import NDArray

    Tokens = TypeVar("Tokens", int, float, NDArray[np.int64], NDArray[np.float64])
    Whole = TypeVar("Whole", int, NDArray[np.int64])

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""
MILLION = 1_000_000
MESSAGE_OVERHEAD_TOKENS = 4
"""Tokens that chat templates add to each message, as an estimate."""
REPLY_OVERHEAD_TOKENS = 3
"""Tokens that open the assistant's turn, as an estimate."""
TEMPLATE_BOUND_TOKENS = 16
"""Tokens that a chat template adds to each message, as an upper bound."""
CHARS_PER_TOKEN = 4
"""Characters in a token of English text, as an estimate."""


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens."""

    input_nano: int
    """Of input tokens that no cache held."""
    cached_input_nano: int
    """Of input tokens that the provider read from its cache."""
    output_nano: int
    """Of output tokens, reasoning ones included."""

    def millionths(self, input_tokens: Tokens, output_tokens: Tokens) -> Tokens:
        """Return what tokens cost, in millionths of a nano-dollar: not yet rounded, so that sums are exact.

        Args:
            input_tokens: one count, or [B]; none of them cached.
            output_tokens: one count, or [B].

        """
        return input_tokens * self.input_nano + output_tokens * self.output_nano

    @classmethod
    def from_usd(
        cls, input_usd: Decimal, output_usd: Decimal, cached_input_usd: Decimal | None = None
    ) -> Price:
        """Build from USD per million tokens; without a cached price, cached tokens cost what others do.

        Raises:
            ValueError: a price is negative, not finite, or finer than a nano-dollar per million tokens.

        """
        cached = input_usd if cached_input_usd is None else cached_input_usd
        return cls(usd_to_nano(input_usd), usd_to_nano(cached), usd_to_nano(output_usd))


def usd_to_nano(usd: Decimal) -> int:
    """Return whole nano-dollars.

    Raises:
        ValueError: ``usd`` is negative, not finite, or finer than a nano-dollar.

    """
    if not usd.is_finite() or usd < 0:
        message = f"{usd} is not a sum of dollars"
        raise ValueError(message)
    nano = usd * NANO
    if nano != nano.to_integral_value():
        message = f"{usd} is finer than a nano-dollar"
        raise ValueError(message)
    return int(nano)


def nano_to_usd(nano: int) -> Decimal:
    """Return dollars with nine decimals, exactly."""
    return Decimal(nano).scaleb(-9)


def usd_text(nano: int) -> str:
    """Return dollars as a plain decimal string with nine decimals, e.g. ``0.000012500``."""
    return f"{nano_to_usd(nano):.9f}"


def round_nano(millionths: Whole) -> Whole:
    """Return whole nano-dollars, half up, of an exact sum in millionths or of each of [B] sums."""
    return (2 * millionths + MILLION) // (2 * MILLION)


def ceil_nano(millionths: int) -> int:
    """Return whole nano-dollars, rounded up, of an exact sum in millionths: for what a call can cost at most."""
    return -(-millionths // MILLION)


def cost_nano(price: Price, usage: Usage) -> int:
    """Return what a call cost, in nano-dollars: uncached input, cached input and output tokens at their prices."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    fresh = usage.input_tokens - cached
    return round_nano(price.millionths(fresh, usage.output_tokens) + cached * price.cached_input_nano)


def worst_nano(price: Price, input_bytes: int, messages: int, max_output_tokens: int) -> int:
    """Return the most that one send can cost, in nano-dollars, rounded up.

    A byte-level tokenizer never makes more tokens than the text has UTF-8 bytes, so the bytes and a constant for
    each message bound the input; the endpoint is asked for at most ``max_output_tokens``.
    """
    tokens = input_bytes + TEMPLATE_BOUND_TOKENS * (messages + 1)
    dearest = max(price.input_nano, price.cached_input_nano)
    return ceil_nano(Price(dearest, dearest, price.output_nano).millionths(tokens, max_output_tokens))


@dataclass(frozen=True, slots=True)
class CallPrice:
    """What one endpoint charges, and how long its answers are expected to be and may be: what prices a call of it."""

    price: Price
    """Nano-dollars per million tokens."""
    expected_output_tokens: int
    """Tokens that planning expects of an answer where nothing more is known."""
    max_output_tokens: int | None = None
    """Tokens that the endpoint is asked for at most; None without a limit."""

    def expected_nano(self, input_tokens: float) -> float:
        """Return the expected cost of one call, in nano-dollars, not rounded: for a row that stands for many."""
        return self.price.millionths(float(input_tokens), float(self.expected_output_tokens)) / MILLION

    def worst_nano(self, input_bytes: int, messages: int) -> int:
        """Return the most that one send can cost, in nano-dollars.

        Without a limit on the answer the expected length stands in for it, and the sum is no bound.
        """
        longest = self.max_output_tokens or self.expected_output_tokens
        return worst_nano(self.price, input_bytes, messages, longest)


def estimated_chars(tokens: int, messages: int) -> int:
    """Return the characters of a chat of ``messages`` turns whose ``estimate_tokens`` are known, at most three too many."""
    return CHARS_PER_TOKEN * (tokens - MESSAGE_OVERHEAD_TOKENS * messages - REPLY_OVERHEAD_TOKENS)


def estimate_tokens(chars: int, messages: int) -> int:
    """Return the expected input tokens of a chat of ``messages`` turns with ``chars`` characters in all."""
    return -(-chars // CHARS_PER_TOKEN) + MESSAGE_OVERHEAD_TOKENS * messages + REPLY_OVERHEAD_TOKENS
