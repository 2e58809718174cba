"""A table's rows as questions for graders."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from routellm_batch.config.job import InputConfig
from routellm_batch.core.types import RowId
from routellm_batch.evaluation.graders.grade import Question
from routellm_batch.storage.prompts import Prompt, decode_prompts


def questions(
    config: InputConfig, table: pa.Table, ids: Sequence[RowId | None], reference: str | None
) -> list[Question | None]:
    """Return each row as a question, length N; None for a row without an id or a valid prompt.

    Args:
        config: names the columns of the prompts.
        table: N rows.
        ids: length N.
        reference: column of the right answers; None where the grader needs none.

    """
    prompts = decode_prompts(table, config, None)
    wanted = [None] * len(ids) if reference is None else table.column(reference).to_pylist()
    return [
        Question(row_id, prompt.text, value) if row_id is not None and isinstance(prompt, Prompt) else None
        for row_id, prompt, value in zip(ids, prompts, wanted, strict=True)
    ]
