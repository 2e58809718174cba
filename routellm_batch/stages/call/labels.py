"""Label jobs: how to ask again where an answer was not a label, and the columns of a label's fields. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from routellm_batch.config.job import LabelConfig
from routellm_batch.config.label_fields import FieldType

MAX_INTEGER = (1 << 63) - 1
MAX_FLOAT = sys.float_info.max


def ask_again(config: LabelConfig, problem: str) -> str:
    """Return the user turn that asks again, naming the problem and what a valid answer is."""
    wanted = (
        f"exactly one of: {', '.join(config.values)}" if config.values else "JSON that holds to the schema"
    )
    return f"That answer can't be used: {problem} Answer again with {wanted}, and nothing else."


def field_columns(fields: Mapping[str, FieldType], labels: Sequence[str | None]) -> dict[str, list[Any]]:
    """Return a column for each field of labels that are JSON objects.

    A value is null where the label has no such field, and where its column can't hold it: a number that is too large.
    """
    objects = [json.loads(label) if label is not None and fields else {} for label in labels]
    return {name: [_value(kind, one.get(name)) for one in objects] for name, kind in fields.items()}


def _value(kind: FieldType, value: Any) -> Any:
    if value is None or isinstance(value, dict | list):
        return None
    if kind == "integer":
        return int(value) if abs(value) <= MAX_INTEGER else None
    if kind == "number":
        return float(value) if abs(value) <= MAX_FLOAT else None
    return value
