"""The length router: longer prompts go to the strong model. A free baseline that is hard to beat on some tasks."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.settings import RouterSettings

FULL_CHARS = 1 << 21
"""Length, in characters, with score 1. Shorter lengths have distinct scores: float32 is exact on multiples of 2^-21."""


class LengthRouter:
    """A ``Router`` that scores a prompt by its number of characters."""

    name = "length"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router.

        Raises:
            ConfigError: a checkpoint or an option is given; it has neither.

        """
        settings.refuse_checkpoint(cls.name)
        settings.refuse_options(cls.name)
        return cls()

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]: characters / 2^21, at most 1."""
        chars = np.array([len(text) for text in batch.texts], dtype=np.float64)
        return np.minimum(chars / FULL_CHARS, 1).astype(np.float32)
