"""What pydantic found, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any


def explain(error: Any, model: Any) -> tuple[str, str]:
    """Return the key and the problem of one pydantic error; for a misspelt key with the likely one."""
    parts = [str(part) for part in error["loc"]]
    kind, key = error["type"], ".".join(parts)
    if kind == "extra_forbidden":
        return key, "unknown key" + _suggest(parts, model)
    if kind == "missing":
        return key, "is missing"
    text = error["msg"].removeprefix("Value error, ")
    return key, text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _suggest(parts: Sequence[str], model: Any) -> str:
    for part in parts[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return ""
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((option for option in options if hasattr(option, "model_fields")), None)
        if model is None:
            return ""
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(parts[-1], names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"
