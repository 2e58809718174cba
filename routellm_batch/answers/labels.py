"""Label jobs: which of the allowed labels an answer gives, as a value or as JSON that holds to a schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from referencing.exceptions import Unresolvable

from routellm_batch.answers.embedded import BROKEN, values_in
from routellm_batch.answers.label_values import value_reader
from routellm_batch.config.job import LabelConfig
from routellm_batch.config.schemas import TooManyStepsError, first_error, schema_errors
from routellm_batch.core.encoding import storable

MAX_CHARS, MAX_VALUE_CHARS = 1 << 18, 1 << 15
"""A longer answer is not read: one of JSON, and one that is to be one of some values."""


class Invalid(StrEnum):
    """Why an answer gives no label."""

    NO_LABEL = "no_label"
    """It is none of the values."""
    SEVERAL_LABELS = "several_labels"
    """It names more than one of the values, or holds more than one JSON value."""
    NOT_JSON = "not_json"
    BREAKS_SCHEMA = "breaks_schema"
    TOO_LARGE = "too_large"
    """It is too long, too deep or too large to be read."""


@dataclass(frozen=True, slots=True)
class LabelReading:
    """The label of an answer, or why it has none."""

    label: str | None
    """The value as the config writes it, or JSON with sorted keys; None where the answer gives no valid label."""
    problem: str | None = None
    """What is wrong with the answer, for the model to read. It may quote the answer, so it is never logged."""
    kind: Invalid | None = None
    """The same in one word, which may be logged and counted."""


def read_label(config: LabelConfig, answer: str) -> LabelReading:
    """Return the label that an answer gives, or why it gives none; docs/graders.md has the rules.

    A value may stand in other marks, other case, a fence, a tag or a sentence that states it; JSON may stand in a fence or
    amid text. Where an answer names two labels, or holds two different JSON values, it gives none.
    """
    if len(answer) > (MAX_VALUE_CHARS if config.values else MAX_CHARS):
        return LabelReading(None, "it is too long.", Invalid.TOO_LARGE)
    if not config.values:
        return _read_json(config.schema_ or {}, answer)
    label, several = value_reader(config.values, config.column).read(answer)
    if label is not None:
        return LabelReading(label)
    if several:
        return LabelReading(None, "it names more than one label.", Invalid.SEVERAL_LABELS)
    return LabelReading(None, "it is not one of the labels.", Invalid.NO_LABEL)


def _read_json(schema: dict[str, Any], answer: str) -> LabelReading:
    values = values_in(answer)
    if (
        not values
        and isinstance(schema.get("enum"), list)
        and all(isinstance(v, str) for v in schema["enum"])
    ):
        label, _ = value_reader(tuple(schema["enum"]), "").read(answer)  # a word without the quotes of JSON
        values = [] if label is None else [label]
    if values == BROKEN or not values:
        return LabelReading(None, "it is not JSON.", Invalid.NOT_JSON)
    if len(values) > 1:
        return LabelReading(None, "it holds more than one JSON value.", Invalid.SEVERAL_LABELS)
    reading = _checked(schema, values[0])
    inner = None if reading.label is not None else _within(values[0])
    if inner is not None:
        other = _checked(schema, inner[0])
        return other if other.label is not None or isinstance(values[0], str) else reading
    return reading


def _within(value: Any) -> tuple[Any] | None:
    """Return the value within another one: JSON in a JSON text, or the only object of a list; None for any other value."""
    if isinstance(value, str):
        inner = values_in(value)
        return (inner[0],) if isinstance(inner, list) and len(inner) == 1 else None
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return (value[0],)
    return None


def _checked(schema: dict[str, Any], value: Any) -> LabelReading:
    """Return the label that a JSON value is, or where it breaks the schema."""
    try:
        label = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
        stored = storable(label)
        # What is stored is what is checked; of two keys that become one, nobody knows which was meant.
        checked = [value] if stored == label else values_in(stored)
        if isinstance(checked, str):
            return LabelReading(None, "it is not JSON.", Invalid.NOT_JSON)
        error = first_error(schema_errors(schema, checked[0]))
    except RecursionError:
        return LabelReading(None, "it is nested too deeply.", Invalid.TOO_LARGE)
    except TooManyStepsError:
        return LabelReading(None, "it takes too long to compare with the schema.", Invalid.TOO_LARGE)
    except Unresolvable:
        return LabelReading(None, "the schema refers to what is not there.", Invalid.BREAKS_SCHEMA)
    except (ArithmeticError, ValueError, TypeError):  # a number that no float holds
        return LabelReading(None, "it holds a number that is too large.", Invalid.TOO_LARGE)
    if error is not None:
        problem = storable(f"at {error.json_path}: {error.message[:500]}")
        return LabelReading(None, problem, Invalid.BREAKS_SCHEMA)
    return LabelReading(stored)
