"""Battles: prompts that two models answered, and which answer was better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.routers.training.rows import usable
from routellm_batch.storage.labelled import labels, numbers, read_table, require, texts

WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}
MIN_CHARS = 16
"""Shorter prompts say too little to learn from; RouteLLM drops them too (arXiv 2406.18665, §4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Battles:
    """N battles between M models."""

    models: Sequence[str]
    """Length M, sorted."""
    prompts: Sequence[str]
    """Length P, distinct, in order of first appearance."""
    prompt: NDArray[np.int64]
    """[N], index into ``prompts``."""
    model_a: NDArray[np.int64]
    """[N], index into ``models``."""
    model_b: NDArray[np.int64]
    """[N], index into ``models``."""
    support: NDArray[np.float64]
    """[N] in [0, 1], for model_a: 1 it won, 0 it lost, 0.5 a tie."""
    held_out: NDArray[np.bool_]
    """[N], rows that the file marks ``dev``."""

    def __len__(self) -> int:
        return len(self.prompt)


Row = tuple[str, str, str, float, bool]
"""Prompt, model_a, model_b, support for model_a, whether it is held out."""


def read_battles(paths: Sequence[str]) -> Battles:
    """Read battles: ``prompt, model_a, model_b`` and ``preference`` (support for model_a) or ``winner``.

    Rows that may not be trained on (see ``rows.usable``), self-pairs and prompts under ``MIN_CHARS`` are dropped.

    Raises:
        DataError: a file, column or row that can't be used, or no battle is left.

    """
    return join_rows([row for uri in paths for row in battle_rows(read_table(uri), uri)], paths[0])


def battle_rows(table: pa.Table, uri: str) -> list[Row]:
    """Return the usable battles of one table.

    Raises:
        DataError: a column or row that can't be used.

    """
    require(table, ["prompt", "model_a", "model_b"], uri)
    columns = [texts(table, name, uri) for name in ("prompt", "model_a", "model_b")]
    split = labels(table, "split" if "split" in table.column_names else "alpacaeval_split")
    kept = usable(table) & np.isin(split, ["train", "dev", ""])
    return [
        (prompt.strip(), a, b, support, split[row] == "dev")
        for row, (prompt, a, b, support) in enumerate(zip(*columns, _support(table, uri), strict=True))
        if kept[row] and a != b and len(prompt.strip()) >= MIN_CHARS
    ]


def _support(table: pa.Table, uri: str) -> Sequence[float]:
    names = table.column_names
    if "preference" in names:
        values = numbers(table, "preference", uri)
        bad = np.flatnonzero((values < 0) | (values > 1))
        if len(bad):
            raise DataError("is not in [0, 1]", file=uri, column="preference", row=int(bad[0]))
        return [float(v) for v in values]
    require(table, ["winner"], uri)
    winners = texts(table, "winner", uri)
    for row, winner in enumerate(winners):
        if winner not in WINNERS:
            raise DataError(
                f"is none of {', '.join(WINNERS)}; give the winner or a preference",
                file=uri,
                column="winner",
                row=row,
            )
    return [WINNERS[winner] for winner in winners]


def join_rows(rows: Sequence[Row], uri: str) -> Battles:
    """Return rows as battles, models and prompts numbered.

    Raises:
        DataError: there is none.

    """
    if not rows:
        raise DataError("no battle may be trained on (see split, overlaps_eval, contaminated)", file=uri)
    models = sorted({name for _, a, b, _, _ in rows for name in (a, b)})
    index = {name: number for number, name in enumerate(models)}
    prompts: dict[str, int] = {}
    of = [prompts.setdefault(prompt, len(prompts)) for prompt, *_ in rows]
    return Battles(
        models=models,
        prompts=list(prompts),
        prompt=np.array(of),
        model_a=np.array([index[a] for _, a, _, _, _ in rows]),
        model_b=np.array([index[b] for _, _, b, _, _ in rows]),
        support=np.array([support for _, _, _, support, _ in rows]),
        held_out=np.array([dev for *_, dev in rows]),
    )
