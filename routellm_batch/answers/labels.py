"""Label jobs: which of the allowed labels an answer gives, as a value or as JSON that holds to a schema."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import jsonschema
from referencing.exceptions import Unresolvable

from routellm_batch.config.job import LabelConfig

_NAMED = re.compile(r"^(?:answer|label)\s*[:=]\s*(.+)$", re.IGNORECASE)
_FENCE = re.compile(r"^```[a-zA-Z]*\s*\n(.*)\n```$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LabelReading:
    """The label of an answer, or why it has none."""

    label: str | None
    """The value as the config writes it, or JSON with sorted keys; None where the answer gives no valid label."""
    problem: str | None = None
    """What is wrong with the answer, for the model to read. It may quote the answer, so it is never logged."""


def read_label(config: LabelConfig, answer: str) -> LabelReading:
    """Return the label that an answer gives, or why it gives none.

    A value may be in another case, in quotes, after "Answer:" or before a full stop; JSON may be in a code fence.
    """
    text = answer.strip()
    return _read_value(config.values, text) if config.values else _read_json(config, text)


def _read_value(values: tuple[str, ...], text: str) -> LabelReading:
    for form in (
        str,
        _plain,
    ):  # First to the letter: labels may differ in case alone, or end with a full stop.
        for value in values:
            if form(text) == form(value):
                return LabelReading(value)
    return LabelReading(None, "it is not one of the labels.")


def _plain(text: str) -> str:
    named = _NAMED.match(text)
    return (named[1] if named else text).strip("\"'`*").rstrip(".").strip().casefold()


def _read_json(config: LabelConfig, text: str) -> LabelReading:
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return LabelReading(None, "it is not JSON.")
    validator = jsonschema.Draft202012Validator(config.schema_ or {})
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    except (Unresolvable, RecursionError):
        return LabelReading(None, "the schema refers to what is not there.")
    if errors:
        return LabelReading(None, f"at {errors[0].json_path}: {errors[0].message[:500]}")
    return LabelReading(json.dumps(value, ensure_ascii=False, sort_keys=True))
