"""The fields of a flat label schema, each of which can be a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

FieldType = Literal["string", "integer", "number", "boolean"]
_TYPES: Mapping[type, FieldType] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def flat_fields(schema: Mapping[str, Any]) -> dict[str, FieldType]:
    """Return the fields of a schema for an object of texts, numbers and booleans, with their types.

    Raises:
        ValueError: the schema is for something else; the text names the field.

    """
    properties = schema.get("properties")
    if schema.get("type") != "object" or not properties:
        message = "columns: true needs a schema with type: object and properties"
        raise ValueError(message)
    fields = {}
    for name, part in properties.items():
        kind = _type(part) if isinstance(part, dict) else None
        if kind is None:
            message = (
                f"columns: true needs a flat schema, but the field {name!r} is not one text, number or boolean; "
                "give it a type of string, integer, number or boolean, or leave columns out"
            )
            raise ValueError(message)
        fields[name] = kind
    return fields


def _type(part: Mapping[str, Any]) -> FieldType | None:
    """Return a field's type, which may allow null besides; None where it has none or several."""
    known = part.get("type")
    kinds: set[Any] = set(known if isinstance(known, list) else [known] if known is not None else [])
    if not kinds:
        values = [*part.get("enum", []), *([part["const"]] if "const" in part else [])]
        kinds = {_TYPES.get(type(value)) for value in values if value is not None}
    kinds.discard("null")
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    kind = kinds.pop() if len(kinds) == 1 else None
    return cast("FieldType", kind) if kind in _TYPES.values() else None
