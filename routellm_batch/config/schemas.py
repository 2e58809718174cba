"""JSON schemas of labels: what they may hold, and their validator, whose time is bounded whatever an answer holds.

The library's own validator searches patterns with a backtracking engine, fetches what a ``$ref`` to a URL names, and
compares each item of an array with each other one. This one uses RE2, fetches nothing, and counts its steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

MAX_STEPS = 100_000
"""Comparisons of a value with a part of its schema; about a second's work."""
_EMPTY: tuple[Any, ...] = (None, {}, [], "", 0)
_ONE = (
    *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames"),
    *("then", "unevaluatedItems", "unevaluatedProperties"),
)
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_ESCAPES = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)


class TooManyStepsError(Exception):
    """A value takes more than ``MAX_STEPS`` steps to compare with its schema."""


class _Steps(FormatChecker):
    """The steps of one validation. A validator hands its format checker to all of its parts, and formats aren't checked."""

    def __init__(self) -> None:
        super().__init__(formats=())
        self.left = MAX_STEPS

    def take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooManyStepsError


def schema_errors(schema: Mapping[str, Any], value: Any) -> Iterator[ValidationError]:
    """Yield what breaks a checked schema in a JSON value.

    Raises:
        TooManyStepsError: the comparison takes too long.
        RecursionError: the value is nested too deeply.
        ArithmeticError: the value holds a number that no float holds.

    """
    validator: Any = _validator_class()(schema, registry=Registry(), format_checker=_Steps())
    yield from validator.iter_errors(value)


def check_json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that can be used.

    Raises:
        ValueError: it is invalid, refers to what is not there or is elsewhere, has a pattern that RE2 can't search, or
            refers to itself without end.

    """
    _check_form(schema, "$")
    if (path := _yaml_word(schema)) is not None:
        message = (
            f"has true or false among the words at {path}: YAML reads yes, no, on, off, true and false without quotes so; "
            "put the words in quotes"
        )
        raise ValueError(message)
    _check_parts(schema)
    try:
        for value in _EMPTY:
            for _ in schema_errors(schema, value):
                pass
    except RecursionError:
        message = "refers to itself without end: a $ref leads back to itself for the same value"
        raise ValueError(message) from None
    except TooManyStepsError:
        message = "takes too long even for an empty value: its anyOf, allOf, oneOf and $ref multiply"
        raise ValueError(message) from None
    return schema


def _check_form(schema: Any, path: str) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = error.json_path.replace("$", path, 1)
        message = f"is not a valid JSON schema: at {at}: {error.message}"
        raise ValueError(message) from None
    except RecursionError:
        message = f"is not a valid JSON schema: at {path}: it is nested too deeply"
        raise ValueError(message) from None


def _yaml_word(value: Any, path: str = "$") -> str | None:
    """Return where a schema lists a truth value among words, or where its type is text; None if nowhere."""
    if isinstance(value, list):
        return next(
            (found for n, one in enumerate(value) if (found := _yaml_word(one, f"{path}[{n}]"))), None
        )
    if not isinstance(value, dict):
        return None
    listed = value.get("enum")
    words = value.get("type") == "string" or any(isinstance(one, str) for one in listed or ())
    if isinstance(listed, list) and words and any(isinstance(one, bool) for one in listed):
        return f"{path}.enum"
    return next((found for key, one in value.items() if (found := _yaml_word(one, f"{path}.{key}"))), None)


def _check_parts(schema: dict[str, Any]) -> None:
    """Check the patterns and references of a schema, and of all that it refers to."""
    seen: set[int] = set()
    root: Any = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    todo: list[tuple[Any, str, Any]] = [(schema, "$", root)]
    while todo:
        part, path, resolver = todo.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        if part is not schema:
            resolver = _inside(part, path, resolver)
        for pattern in _patterns(part):
            _check_pattern(pattern, path)
        todo += [(inner, f"{path}.{key}", resolver) for key, inner in _parts(part)]
        for key in ("$ref", "$dynamicRef"):
            if key in part:
                found = _resolved(part[key], f"{path}.{key}", resolver)
                if not isinstance(found.contents, dict | bool):
                    message = f"at {path}.{key}: {part[key]!r} leads to something that is not a schema"
                    raise ValueError(message)
                _check_form(found.contents, str(part[key]))
                todo.append((found.contents, str(part[key]), found.resolver))


def _inside(part: dict[str, Any], path: str, resolver: Any) -> Any:
    try:
        return resolver.in_subresource(DRAFT202012.create_resource(part))
    except (Unresolvable, ValueError, TypeError):
        message = f"at {path}.$id: {part.get('$id')!r} can't be used as an address"
        raise ValueError(message) from None


def _resolved(reference: str, path: str, resolver: Any) -> Any:
    try:
        return resolver.lookup(reference)
    except (Unresolvable, ValueError, TypeError, LookupError, AttributeError):
        elsewhere = "" if reference.startswith("#") else ", and nothing is fetched; copy it into $defs"
        message = f"at {path}: {reference!r} is not in this schema{elsewhere}"
        raise ValueError(message) from None


def _patterns(part: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(part.get("pattern"), str):
        yield part["pattern"]
    if isinstance(part.get("patternProperties"), dict):
        yield from part["patternProperties"]


def _parts(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _ONE:
        if key in part:
            yield key, part[key]
    for key in _LISTS:
        if isinstance(part.get(key), list):
            yield from ((f"{key}[{number}]", inner) for number, inner in enumerate(part[key]))
    for key in _MAPS:
        if isinstance(part.get(key), dict):
            yield from ((f"{key}.{name}", inner) for name, inner in part[key].items())


def _check_pattern(pattern: str, path: str) -> None:
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        message = (
            f"at {path}: the pattern {pattern!r} can't be used: {text[:200]} "
            "(patterns are searched with RE2: no look-around, no back-references, 1,000 repetitions at most)"
        )
        raise ValueError(message) from None
    except UnicodeEncodeError:
        message = f"at {path}: a pattern holds a lone surrogate, which no text has"
        raise ValueError(message) from None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    r"""Return a pattern of JSON schema as RE2 has it: JavaScript's ``\u00e9`` is written ``\x{00e9}`` there."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(_ESCAPES.sub(lambda m: rf"\x{{{m[1]}}}" if m[1] else m[0], pattern), options)


def _matches(validator: Any, pattern: str, text: str) -> bool:
    validator.format_checker.take(len(text) >> 10)
    return _compiled(pattern).search(text) is not None


_Keyword = Callable[[Any, Any, Any, Any], Any]


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    keywords: dict[str, _Keyword] = dict(Draft202012Validator.VALIDATORS)
    keywords |= {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "unevaluatedProperties": _unevaluated_properties,
        "uniqueItems": _unique_items,
    }
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: _counted(name, keyword) for name, keyword in keywords.items()}
    )


def _counted(name: str, keyword: _Keyword) -> _Keyword:
    def count(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        steps = 1
        if name == "enum":
            steps += len(wanted)
        elif name == "unevaluatedItems" and isinstance(value, list):
            steps += len(value) ** 2 >> 6  # the library looks each index up in a list
        validator.format_checker.take(steps)
        return keyword(validator, wanted, value, schema)

    return count


def _pattern(validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _matches(validator, pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        for pattern, inner in patterns.items():
            for key, one in value.items():
                if _matches(validator, pattern, key):
                    yield from validator.descend(one, inner, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, inner: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    known = _own_keys(validator, value, schema)
    more = [key for key in value if key not in known]
    if inner is False and more:
        names = ", ".join(repr(key) for key in more)
        verb = "was" if len(more) == 1 else "were"
        yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected)")
    elif isinstance(inner, dict):
        for key in more:
            yield from validator.descend(value[key], inner, path=key)


def _own_keys(validator: Any, value: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """Return the keys of an object that a schema's own ``properties`` and ``patternProperties`` name."""
    patterns = schema.get("patternProperties", {})
    return {
        key
        for key in value
        if key in schema.get("properties", {})
        or any(_matches(validator, pattern, key) for pattern in patterns)
    }


def _unevaluated_properties(
    validator: Any, inner: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    own = {key: part for key, part in schema.items() if key != "unevaluatedProperties"}
    known = _evaluated(validator, value, own)
    more = [
        key
        for key in value
        if key not in known and any(True for _ in validator.descend(value[key], inner, path=key))
    ]
    if more:
        names = ", ".join(repr(key) for key in more)
        verb = "was" if len(more) == 1 else "were"
        yield ValidationError(f"Unevaluated properties are not allowed ({names} {verb} unexpected)")


def _evaluated(validator: Any, value: dict[str, Any], schema: Any) -> set[str]:
    """Return the keys of an object that a schema, or a part of it that the object holds to, says something of."""
    if not isinstance(schema, dict):
        return set()
    validator.format_checker.take(1)
    known = _own_keys(validator, value, schema)
    if {"additionalProperties", "unevaluatedProperties"} & schema.keys():
        return set(value)  # each other key holds to it, or the object is invalid anyway
    for key in ("$ref", "$dynamicRef"):
        if key in schema:
            found = validator._resolver.lookup(schema[key])  # noqa: SLF001 - as the library's own keywords do
            there = validator.evolve(schema=found.contents, _resolver=found.resolver)
            known |= _evaluated(there, value, found.contents)
    for part in _applied(validator, value, schema):
        known |= _evaluated(validator, value, part)
    return known


def _applied(validator: Any, value: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the parts of a schema that apply to an object as a whole, and that it holds to."""

    def holds(part: Any) -> bool:
        return not any(True for _ in validator.descend(value, part))

    for key in ("allOf", "oneOf", "anyOf"):
        yield from (part for part in schema.get(key, []) if holds(part))
    yield from (part for key, part in schema.get("dependentSchemas", {}).items() if key in value)
    if "if" in schema:
        met = holds(schema["if"])
        yield from [schema["if"]] if met else []
        branch = "then" if met else "else"
        yield from [schema[branch]] if branch in schema else []


def _unique_items(validator: Any, unique: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if unique is True and isinstance(value, list):
        validator.format_checker.take(len(value))
        if len(set(map(_hashable, value))) < len(value):
            yield ValidationError("two items are equal")


def _hashable(value: Any) -> Any:
    """Return what is equal for equal JSON values alone: 1 is 1.0 but not true, and keys have no order."""
    if isinstance(value, dict):
        return "object", frozenset((key, _hashable(one)) for key, one in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_hashable, value))
    return ("boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "plain"), value


def first_error(errors: Iterable[ValidationError], most: int = 1000) -> ValidationError | None:
    """Return the error whose path comes first, of the first ``most``; None where there is none."""
    best: ValidationError | None = None
    for number, error in enumerate(errors):
        if best is None or error.json_path < best.json_path:
            best = error
        if number == most:
            break
    return best
