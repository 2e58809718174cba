"""What embeddings cost: the most that texts can cost, and what some of them took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from routellm_batch.budget.pricing import MILLION

MAX_TOKENS = 8191
"""Tokens of the longest text that OpenAI's embedding models take."""
TEXT_OVERHEAD_TOKENS = 4
"""More than any known tokenizer adds to a text, as its start and its end."""


@dataclass(frozen=True, slots=True)
class EmbeddingUse:
    """What some embeddings took and cost; uses add."""

    model: str = ""
    requests: int = 0
    """Requests answered."""
    attempts: int = 0
    """Requests sent."""
    tokens: int = 0
    """As the endpoint counted them, or their upper bound where it did not say."""
    spent_nano: int = 0
    presumed_nano: int = 0
    """Worst cost of sends whose cost is not known."""

    def __add__(self, other: EmbeddingUse) -> EmbeddingUse:
        """Add field by field; the models' names are joined where they differ."""
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
        """What counts against a cap."""
        return self.spent_nano + self.presumed_nano

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def worst_tokens(size_bytes: int) -> int:
    """Return the most tokens that a text of so many UTF-8 bytes can have."""
    return size_bytes + TEXT_OVERHEAD_TOKENS


def worst_nano(price_nano: int, tokens: Sequence[int]) -> int:
    """Return the most that texts with at most so many tokens each cost, at nano-dollars per million, rounded up."""
    return -(-sum(tokens) * price_nano // MILLION)
