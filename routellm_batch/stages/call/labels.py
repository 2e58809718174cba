"""Label jobs: which label an answer gives, and how to ask again if it gives none. Pure."""

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
    """A label, or what is wrong with the answer: that is for the model to read, and is not logged."""

    label: str | None
    """The label; None where the answer gives none."""
    problem: str | None = None
    """What is wrong with the answer; None where it gives a label."""


def read_label(config: LabelConfig, answer: str) -> LabelReading:
    """Return the label that an answer gives.

    A value may come in other case, in quotes, after "Answer:" or with a full stop; JSON may come in a code fence.
    """
    text = answer.strip()
    return _value(config.values, text) if config.values else _schema(config, text)


def ask_again(config: LabelConfig, problem: str) -> str:
    """Return the user turn that asks again."""
    wanted = (
        f"exactly one of: {', '.join(config.values)}" if config.values else "JSON that holds to the schema"
    )
    return f"That answer can't be used: {problem} Answer again with {wanted}, and nothing else."


def _value(values: tuple[str, ...], text: str) -> LabelReading:
    for read in (str, _plain):  # to the letter first: labels may differ in case, or end with a full stop
        for value in values:
            if read(text) == read(value):
                return LabelReading(value)
    return LabelReading(None, "it is not one of the labels.")


def _plain(text: str) -> str:
    named = _NAMED.match(text)
    return (named[1] if named else text).strip("\"'`*").rstrip(".").strip().casefold()


def _schema(config: LabelConfig, text: str) -> LabelReading:
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return LabelReading(None, "it is not JSON.")
    validator = jsonschema.Draft202012Validator(config.schema_ or {})
    try:
        errors = sorted(validator.iter_errors(value), key=lambda e: e.json_path)
    except (Unresolvable, RecursionError):
        return LabelReading(None, "the schema refers to what is not there.")
    if errors:
        return LabelReading(None, f"at {errors[0].json_path}: {errors[0].message[:500]}")
    return LabelReading(json.dumps(value, ensure_ascii=False, sort_keys=True))
