"""A forest of regression trees as flat arrays, walked by numpy: no pickle, and no library that a version can break."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Rows walked at once: what they touch stays in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T trees with K nodes in all; a leaf is a node whose branches lead to itself."""

    root: NDArray[np.int32]
    """[T], the first node of each tree."""
    column: NDArray[np.int16]
    """[K], the column that a node looks at."""
    threshold: NDArray[np.float32]
    """[K]; a row goes left where its value is at most this."""
    left: NDArray[np.int32]
    """[K], node to go on at."""
    right: NDArray[np.int32]
    """[K]."""
    value: NDArray[np.float32]
    """[K], what a leaf says."""
    depth: int
    """Steps from a root to the deepest leaf."""

    def predict(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over trees, float64 [B], for rows of columns [B, C]."""
        found = np.empty(len(columns))
        rows = columns.astype(np.float32)  # Trees are grown on float32 too.
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            found[start : start + BLOCK] = self._walk(block).mean(axis=0)
        return found

    def _walk(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what each tree says of each row, [T, B]."""
        flat, width = rows.ravel(), rows.shape[1]
        start = np.arange(len(rows)) * width  # [B]
        node = np.repeat(self.root[:, None], len(rows), axis=1)  # [T, B]
        for _ in range(self.depth):
            goes_left = flat[start + self.column[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return self.value[node].astype(np.float64)
