"""What embeddings may cost under a hard cap: the worst case of all of them is set aside before the first is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.core.errors import BudgetError
from routellm_batch.core.types import Shard

RETRY_PARTS = 8
"""A task gets one in so many parts of the sum that no worst case needs, to resend requests whose fate is unknown."""


class EmbeddingBudget:
    """Keeps at every moment: paid + allowances of running tasks + worst cases of the waiting ones ≤ cap.

    Args:
        cap_nano: the hard cap.
        paid: shard index → nano-dollars that earlier starts paid.
        bounds: shard index → worst case in nano-dollars, of every shard that is to be scored.

    Raises:
        BudgetError: the worst cases together exceed what the cap leaves.

    """

    def __init__(self, cap_nano: int, paid: Mapping[int, int], bounds: Mapping[int, int]) -> None:
        self._cap_nano = cap_nano
        self._known = paid
        self._paid_nano = paid_nano = sum(paid.values())
        self._bounds = dict(bounds)
        self._granted: dict[int, int] = {}
        if self._spare_nano < 0:
            needed, left = nano_to_usd(sum(bounds.values())), nano_to_usd(max(0, cap_nano - paid_nano))
            message = (
                f"embedding every prompt could cost up to {needed:.9f} USD, but budget.hard_cap_usd leaves "
                f"{left:.9f} USD ({nano_to_usd(paid_nano):.9f} USD is paid already); raise the cap, lower "
                "router.embedder.max_tokens, or use an embedder that runs here"
            )
            raise BudgetError(message)

    @property
    def _spare_nano(self) -> int:
        taken = self._paid_nano + sum(self._granted.values()) + sum(self._bounds.values())
        return self._cap_nano - taken

    def grant(self, shards: Sequence[Shard]) -> tuple[int, int]:
        """Set aside what a task of these shards may spend: its worst case and a part of what is spare.

        Returns:
            Its allowance, and what earlier starts paid for these shards, both in nano-dollars.

        """
        more = self._spare_nano // RETRY_PARTS
        granted = more + sum(self._bounds.pop(shard.index) for shard in shards)
        self._granted[shards[0].index] = granted
        return granted, sum(self._known.get(shard.index, 0) for shard in shards)

    def settle(self, shards: Sequence[Shard], paid_nano: int) -> None:
        """Book what a finished task paid, in nano-dollars, in place of its allowance."""
        self._granted.pop(shards[0].index)
        self._paid_nano += paid_nano
