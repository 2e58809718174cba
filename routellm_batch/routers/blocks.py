"""Blocks of one size, so that a score does not depend on the batch around it.

The rounding of a matrix product depends on its shape. Embeddings therefore enter products in blocks of a fixed number of
rows, the last one filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def padded_blocks(embeddings: NDArray[np.float32], size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield (rows, block) for each ``size`` rows of embeddings: where they are, and float32 [size, D] that starts with them.

    Args:
        embeddings: float32 [B, D].
        size: rows of a block.

    """
    for start in range(0, len(embeddings), size):
        rows = slice(start, min(start + size, len(embeddings)))
        block = np.zeros((size, embeddings.shape[1]), dtype=np.float32)
        block[: rows.stop - start] = embeddings[rows]
        yield rows, block
