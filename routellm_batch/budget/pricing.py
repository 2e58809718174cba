"""Money: integer nano-dollars inside, Decimal at the edges, never float.

A price is USD per million tokens. One call costs the sum of tokens × price, rounded half up to a whole
nano-dollar once, so that a call's cost is the same wherever it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from routellm_batch.core.types import Usage

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
    cached_input_nano: int
    output_nano: int

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
        ValueError: the sum is negative, not finite, or finer than a nano-dollar.

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


def cost_nano(price: Price, usage: Usage) -> int:
    """Return what a call cost: uncached input, cached input and output tokens at their prices."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    fresh = usage.input_tokens - cached
    total = (
        fresh * price.input_nano + cached * price.cached_input_nano + usage.output_tokens * price.output_nano
    )
    return (2 * total + MILLION) // (2 * MILLION)


def worst_nano(price: Price, input_bytes: int, messages: int, max_output_tokens: int) -> int:
    """Return the most that one send can cost, rounded up.

    A byte-level tokenizer never makes more tokens than the text has UTF-8 bytes, so bytes plus a constant for
    each message bound the input; the endpoint is asked for at most ``max_output_tokens``.
    """
    tokens = input_bytes + TEMPLATE_BOUND_TOKENS * (messages + 1)
    dearest = max(price.input_nano, price.cached_input_nano)
    return -(-(tokens * dearest + max_output_tokens * price.output_nano) // MILLION)


def estimated_chars(tokens: int, messages: int) -> int:
    """Return the characters of a chat whose ``estimate_tokens`` are known, at most three too many."""
    return CHARS_PER_TOKEN * (tokens - MESSAGE_OVERHEAD_TOKENS * messages - REPLY_OVERHEAD_TOKENS)


def estimate_tokens(chars: int, messages: int) -> int:
    """Return the expected input tokens of a chat of ``messages`` turns with ``chars`` characters in all."""
    return -(-chars // CHARS_PER_TOKEN) + MESSAGE_OVERHEAD_TOKENS * messages + REPLY_OVERHEAD_TOKENS
