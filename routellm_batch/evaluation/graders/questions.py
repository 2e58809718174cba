"""A table's rows as questions for graders."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import BaseModel

from routellm_batch.config.graders import reference_of
from routellm_batch.config.job import InputConfig
from routellm_batch.core.types import RowId
from routellm_batch.evaluation.graders.grade import Question
from routellm_batch.evaluation.graders.references import values
from routellm_batch.storage.prompts import Prompt, decode_prompts


def questions(
    config: InputConfig, table: pa.Table, ids: Sequence[RowId | None], grader: BaseModel | None
) -> list[Question | None]:
    """Return each row as a question, length N; None for a row without an id or a valid prompt.

    Args:
        config: names the columns of the prompts.
        table: N rows.
        ids: length N.
        grader: config of the grader; names the columns of right answers and options, where it reads any.

    """
    prompts = decode_prompts(table, config, None)
    columns = reference_of(grader), getattr(grader, "options", None)
    wanted, options = ([None] * len(ids) if name is None else values(table.column(name)) for name in columns)
    return [
        Question(row_id, prompt.text, value, given)
        if row_id is not None and isinstance(prompt, Prompt)
        else None
        for row_id, prompt, value, given in zip(ids, prompts, wanted, options, strict=True)
    ]
