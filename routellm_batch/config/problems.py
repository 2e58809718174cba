"""From pydantic's errors to sentences that name the user's key, what is wrong with its value, and what to write instead.

Text of a config is never repeated, except where a key takes one of a few words: a key may be given in the wrong place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

YAML_WORDS = "YAML reads yes, no, on, off, true and false without quotes as true or false"
LONGEST = 40
"""Characters of a word that is repeated."""
PATTERNS: Mapping[str, str] = {
    r"^\d{4}-\d{2}-\d{2}$": "must be a date, YYYY-MM-DD",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "must be the id of a run below run.root, or latest",
}
"""Pattern of a text → what it asks for."""
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_KEY = "[key]"
_BOUNDS = {
    "greater_than": ("must be above {}", "gt"),
    "greater_than_equal": ("must be {} or more", "ge"),
    "less_than": ("must be below {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
}
_FORMS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "decimal": "must be a number",
    "bool": "must be true or false",
    "finite": "must be a finite number",
}


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """Return the key and the problem of each error of a validation, in pydantic's order.

    Args:
        error: what the validation raised.
        model: what was validated; an unknown key is explained by the likely one of its keys.

    """
    return [_explain(one, model) for one in error.errors(include_url=False)]


def _explain(error: Any, model: Any) -> tuple[str, str]:
    loc = [part if isinstance(part, int) else str(part) for part in error["loc"]]
    if loc and loc[-1] == _KEY:
        return ".".join(
            map(str, loc[:-2])
        ), f"has the key {error['loc'][-2]}, which is no text; put quotes around it"
    parts, inner = _follow(loc, model)
    item = ""
    if parts and isinstance(parts[-1], int):
        item = f"item {parts[-1] + 1} "
        parts.pop()
    key, kind = ".".join(map(str, parts)), error["type"]
    if kind == "extra_forbidden":
        return key, "unknown key" + _suggest(str(parts[-1]), inner)
    if kind == "missing":
        return key, "is missing"
    if kind == "union_tag_not_found":
        return f"{key}.kind", "is missing"
    if kind == "union_tag_invalid":
        return f"{key}.kind", _one_of(error["ctx"]["expected_tags"], _tag(error["input"]))
    return key, item + _problem(kind, error, inner)


def _problem(kind: str, error: Any, inner: Any) -> str:
    """Return what is wrong with a value."""
    value, context = error["input"], error.get("ctx", {})
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return _out_of_bounds(words, value, context[name])
    if kind == "literal_error":
        return _one_of(context["expected"], value)
    if kind == "string_type":
        return f"must be text; it is {described(value)}{_quotes(value)}"
    if kind.startswith(("model_", "dict_", "mapping_", "dataclass_")):
        return f"must be a mapping{_keys(inner)}; it is {described(value)}"
    if kind.startswith(("tuple_", "list_", "set_")):
        return f"must be a list, written [a, b]; it is {described(value)}"
    if kind in {"too_short", "too_long"}:
        short = kind == "too_short"
        number = context["min_length" if short else "max_length"]
        words = f"at least {number}" if short else f"at most {number}"
        return f"must hold {words} item{'s' * (number != 1)}; it holds {context['actual_length']}"
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"must have the form {context['pattern']}")
    form = _FORMS.get(kind.partition("_")[0])
    if form is not None:
        return f"{form}; it is {described(value)}{_number_advice(value)}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


def described(value: Any) -> str:
    """Return what a value is, for a sentence; of text only that it is text."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return f"the number {value}"
    if isinstance(value, str):
        return "text" if value else "empty text"
    return (
        "a list"
        if isinstance(value, list | tuple)
        else "a mapping"
        if isinstance(value, dict)
        else "something else"
    )


def _quotes(value: Any) -> str:
    if isinstance(value, bool):
        return f": {YAML_WORDS}, so put the word in quotes"
    if isinstance(value, int | float | Decimal):
        return ", so put quotes around it"
    return "; if the word itself is meant, put it in quotes" if value is None else ""


def _number_advice(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    share = _PERCENT.fullmatch(value)
    if share is not None:
        return f"; write {_plain(Decimal(share[1]) / 100)} for {share[1]}%"
    return (
        "; write it without quotes, units, signs of money or commas" if any(map(str.isdigit, value)) else ""
    )


def _out_of_bounds(words: str, value: Any, bound: Any) -> str:
    shown = (
        f"{words.format(_plain(Decimal(str(bound))))}; it is {described(value).removeprefix('the number ')}"
    )
    is_share = float(bound) == 1 and isinstance(value, int | float | Decimal) and 1 < value <= 100
    percent = Decimal(str(value)) if is_share else Decimal(0)
    return f"{shown}; if {_plain(percent)}% is meant, write {_plain(percent / 100)}" if is_share else shown


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}" if number.is_finite() else str(number)


def _one_of(expected: str, value: Any) -> str:
    """Return that a value is none of some words, which pydantic lists in quotes."""
    words = re.findall(r"'([^']*)'", expected)
    if not isinstance(value, str):
        return f"must be one of {', '.join(words)}; it is {described(value)}"
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    close = difflib.get_close_matches(value, words, n=1)
    return (
        f"must be one of {', '.join(words)}; it is {shown!r}{f'; did you mean {close[0]}?' if close else ''}"
    )


def _tag(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else value


def _follow(loc: Sequence[str | int], model: Any) -> tuple[list[str | int], Any]:
    """Return a location as the file has it, and the model that its last part belongs to or is, if that is known.

    Between a key that takes one of several kinds and the keys below it, pydantic names the kind.
    """
    parts: list[str | int] = []
    left = list(loc)
    while left:
        parts.append(left.pop(0))
        field = _field(model, str(parts[-1]))
        if field is None:
            if left:
                model = None
            continue
        options = _models(field.annotation)
        if not left:
            return parts, options[0] if len(options) == 1 else None
        if len(options) > 1:
            kind = left.pop(0)
            options = [one for one in options if kind in get_args(one.model_fields["kind"].annotation)]
        model = options[0] if options else None
    return parts, model


def _field(model: Any, name: str) -> Any:
    """Return a model's field by the name that the file has."""
    fields = getattr(model, "model_fields", {})
    return next((field for own, field in fields.items() if (field.alias or own) == name), None)


def _models(annotation: Any) -> list[Any]:
    """Return the models that an annotation allows."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _names(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _keys(model: Any) -> str:
    return "" if model is None else f" of {', '.join(_names(model))}"


def _suggest(name: str, model: Any) -> str:
    if model is None:
        return ""
    names = _names(model)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"
