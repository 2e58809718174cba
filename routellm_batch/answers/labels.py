"""Label jobs: which of the allowed labels an answer gives, as a value or as JSON that holds to a schema."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

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
    # First to the letter: labels may differ in case alone, or end with a full stop.
    for form in (str, _plain):
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
        value = _DECODER.decode(fenced[1] if fenced else text)
        label = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):  # A number may be too long or too large too.
        return LabelReading(None, "it is not JSON.")
    validator = jsonschema.Draft202012Validator(config.schema_ or {})
    try:
        errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    except (Unresolvable, RecursionError):
        return LabelReading(None, "the schema refers to what is not there.")
    except (ArithmeticError, ValueError, TypeError):  # arithmetic of numbers that no float holds
        return LabelReading(None, "it holds a number that is too large.")
    if errors:
        return LabelReading(None, _storable(f"at {errors[0].json_path}: {errors[0].message[:500]}"))
    return LabelReading(_storable(label))


def _storable(text: str) -> str:
    """Return a text without lone surrogates, which no file can hold; JSON's escapes can make them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, which has each key once: of two values nobody knows which one was meant."""
    fields = {_storable(name): value for name, value in pairs}
    if len(fields) < len(pairs):
        message = "a key is there twice"
        raise ValueError(message)
    return fields


def _no_constant(name: str) -> Any:
    message = f"{name} is not valid JSON"
    raise ValueError(message)


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
