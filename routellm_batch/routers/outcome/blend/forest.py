"""A forest of regression trees as flat arrays, walked by NumPy: no pickle, and no library that a version can break."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats

BLOCK = 256
"""Rows walked at once: the values that they touch stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T trees with K nodes in all; a leaf is a node whose branches lead to itself."""

    root: NDArray[np.int32]
    """[T], the first node of each tree."""
    column: NDArray[np.int16]
    """[K], the column that a node compares."""
    threshold: NDArray[np.float32]
    """[K]; a row goes left where its value is at most this."""
    left: NDArray[np.int32]
    """[K], the next node of a row that goes left."""
    right: NDArray[np.int32]
    """[K], the next node of a row that goes right."""
    value: NDArray[np.float32]
    """[K], the prediction of a leaf."""
    depth: int
    """Steps from a root to the deepest leaf."""

    def predict(self, columns: Floats) -> Floats:
        """Return the mean prediction of the trees, float64 [B], for rows of columns [B, C]."""
        means = np.empty(len(columns))
        rows = columns.astype(np.float32)  # Trees are grown on float32 too.
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            means[start : start + BLOCK] = self._walk(block).mean(axis=0)
        return means

    def _walk(self, rows: NDArray[np.float32]) -> Floats:
        """Return the prediction of each tree for each row, float64 [T, B]."""
        flat, width = rows.ravel(), rows.shape[1]
        start = np.arange(len(rows)) * width  # [B]
        node = np.repeat(self.root[:, None], len(rows), axis=1)  # [T, B]
        for _ in range(self.depth):
            goes_left = flat[start + self.column[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return self.value[node].astype(np.float64)
