"""What pydantic found, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args


def explain(error: Any, model: Any) -> tuple[str, str]:
    """Return the key and the problem of one pydantic error; for a misspelt key with the likely one."""
    parts, inner = _follow([str(part) for part in error["loc"]], model)
    kind, key = error["type"], ".".join(parts)
    if kind == "extra_forbidden":
        return key, "unknown key" + _suggest(parts[-1], inner)
    if kind == "missing":
        return key, "is missing"
    if kind == "union_tag_not_found":
        return f"{key}.kind", "is missing"
    if kind == "union_tag_invalid":
        return f"{key}.kind", f"{error['ctx']['tag']!r} is none of {error['ctx']['expected_tags']}"
    text = error["msg"].removeprefix("Value error, ")
    return key, text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _follow(loc: Sequence[str], model: Any) -> tuple[list[str], Any]:
    """Return a location as the file has it, and the model that its last part belongs to, if that is known.

    Between a key that takes one of several kinds and the keys below it, pydantic names the kind.
    """
    parts: list[str] = []
    left = list(loc)
    while left:
        parts.append(left.pop(0))
        if not left or model is None:
            continue
        field = getattr(model, "model_fields", {}).get(parts[-1])
        options = [] if field is None else _models(field.annotation)
        if len(options) > 1:
            kind = left.pop(0)
            options = [one for one in options if kind in get_args(one.model_fields["kind"].annotation)]
        model = options[0] if options else None
    return parts, model


def _models(annotation: Any) -> list[Any]:
    """Return the models that an annotation allows."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _suggest(name: str, model: Any) -> str:
    if model is None:
        return ""
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"
