"""The random router: the baseline that any other router must beat at the same strong share."""

from __future__ import annotations

from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.types import PromptBatch, RowId
from routellm_batch.routers.settings import RouterSettings

_BITS = 24
"""Bits of a score: as many as a float32 below 1 can hold, so that no hash rounds up to 1."""


class RandomRouter:
    """A ``Router`` that scores a row by a hash of its id: uniform in [0, 1), and the same in every run with this seed.

    Args:
        seed: key of the hash.

    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._key = str(seed).encode()[:64]

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router for the run's seed.

        Raises:
            ConfigError: a checkpoint or an option is given; it has neither.

        """
        settings.refuse_checkpoint(cls.name)
        settings.refuse_options(cls.name)
        return cls(settings.seed)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1): the first 24 bits of BLAKE2b of each row's id."""
        return np.array([self._hash(row) for row in batch.ids], dtype=np.float64).astype(np.float32)

    def _hash(self, row: RowId) -> float:
        # The type is hashed too: the ids 1 and "1" are different rows.
        data = f"{type(row).__name__}:{row}".encode("utf-8", "surrogatepass")
        digest = blake2b(data, digest_size=8, key=self._key, person=b"rb-random").digest()
        return (int.from_bytes(digest, "big") >> (64 - _BITS)) / (1 << _BITS)
