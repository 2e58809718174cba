"""What embeddings cost: the most that texts can cost, and what requests for some of them did cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from routellm_batch.budget.pricing import Price, ceil_nano

MAX_TOKENS = 8191
"""Tokens of the longest text that OpenAI's embedding models take."""
TEXT_OVERHEAD_TOKENS = 4
"""More than any known tokenizer adds to a text, as its start and its end."""


@dataclass(frozen=True, slots=True)
class EmbeddingUse:
    """Requests, tokens and cost of some embeddings; uses add."""

    model: str = ""
    """Name of the model; names joined by commas where there were several."""
    requests: int = 0
    """Requests answered."""
    attempts: int = 0
    """Requests sent."""
    tokens: int = 0
    """As the endpoint counted them, or their upper bound where it did not say."""
    spent_nano: int = 0
    """Settled cost."""
    presumed_nano: int = 0
    """Worst case of the sends whose cost is not known."""

    def __add__(self, other: EmbeddingUse) -> EmbeddingUse:
        """Return the sum, field by field; the models' names are joined where they differ."""
        models = dict.fromkeys(name for one in (self, other) for name in one.model.split(", ") if name)
        return EmbeddingUse(
            ", ".join(models),
            self.requests + other.requests,
            self.attempts + other.attempts,
            self.tokens + other.tokens,
            self.spent_nano + other.spent_nano,
            self.presumed_nano + other.presumed_nano,
        )

    @property
    def paid_nano(self) -> int:
        """Nano-dollars that count against a cap: settled and presumed."""
        return self.spent_nano + self.presumed_nano

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def worst_tokens(size_bytes: int) -> int:
    """Return the most tokens that a text of so many UTF-8 bytes can have."""
    return size_bytes + TEXT_OVERHEAD_TOKENS


def worst_nano(price_nano: int, tokens: Sequence[int]) -> int:
    """Return the most that one request can cost, in nano-dollars, rounded up.

    Args:
        price_nano: nano-dollars per million tokens.
        tokens: the most tokens of each text.

    """
    return ceil_nano(Price(price_nano, price_nano, 0).millionths(sum(tokens), 0))
