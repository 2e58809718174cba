"""Scoring where memory runs out: halves, then single prompts, then the rows that are too much alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.types import PromptBatch
from routellm_batch.stages.score.task import score_halving


class Small:
    """A router with room for so many prompts, and for none that says *huge*."""

    name = "small"

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Score by length."""
        self.tried.append(len(batch.texts))
        if len(batch.texts) > self.room or "huge" in batch.texts:
            raise MemoryError
        return np.array([len(text) / 100 for text in batch.texts], dtype=np.float32)


def scored(router: Small, texts: list[str]) -> list[float | None]:
    found = score_halving(router, PromptBatch(range(len(texts)), texts))
    assert np.float32 == found.dtype
    return [None if np.isnan(score) else round(float(score), 2) for score in found]


def test_a_batch_is_halved_until_it_fits() -> None:
    """Seven prompts with room for two get the scores that they would have had together, in their order."""
    router, texts = Small(2), ["x" * n for n in range(1, 8)]
    assert scored(Small(7), texts) == scored(router, texts)
    assert [7, 3, 1, 2, 4, 2, 2] == router.tried


def test_a_prompt_that_is_too_much_alone_has_no_score() -> None:
    """It alone is left out; its neighbours have theirs."""
    assert [0.01, None, 0.03] == scored(Small(9), ["a", "huge", "abc"])
