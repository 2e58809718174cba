"""Rows that are written to a local disk come back as they were, in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routellm_batch.budget.selection.cut import RankedRows
from routellm_batch.stages.call.degrade import SIZED, SizedRows
from routellm_batch.stages.plan import spill
from routellm_batch.stages.plan.spill import ColumnSpill, RankedSpill


def test_ranked_rows_come_back_on_every_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches are read in parts of two rows, twice over."""
    monkeypatch.setattr(spill, "READ_ROWS", 2)
    rows = RankedSpill(tmp_path / "ranked")
    for start in (0, 3):
        number = np.arange(start, start + 3)
        rows.add(RankedRows(number.astype(np.uint32), number.astype(np.uint64) << np.uint64(40), -number))
    for _ in range(2):
        parts = list(rows.passes())
        assert [2, 2, 2] == [len(part.key) for part in parts]
        assert list(range(6)) == [key for part in parts for key in part.key.tolist()]
        assert [n << 40 for n in range(6)] == [tie for part in parts for tie in part.tie.tolist()]
        assert [-n for n in range(6)] == [delta for part in parts for delta in part.delta.tolist()]


def test_sized_rows_keep_their_tokens(tmp_path: Path) -> None:
    """Pending rows have a field of their own for tokens, and can be picked by a mask."""
    rows = SizedRows(np.array([1, 2, 3], np.uint32), np.array([4, 5, 6], np.uint64), np.array([70, 80, 90]))
    kept = ColumnSpill(tmp_path / "sized", SizedRows, SIZED)
    kept.add(rows.where(np.array([True, False, True])))
    (part,) = kept.passes()
    assert ([1, 3], [4, 6], [70, 90]) == (part.key.tolist(), part.tie.tolist(), part.tokens.tolist())
