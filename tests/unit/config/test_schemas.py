"""Which JSON schemas are refused, and that comparing a value with one takes bounded time."""

from __future__ import annotations

from typing import Any

import pytest

from routellm_batch.config.schemas import TooManyStepsError, check_json_schema, first_error, schema_errors

DOUBLED = {
    name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2}
    for name, after in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$defs": {"a": {"$anchor": "A", "type": "string"}}, "$ref": "#A"},
        {"$id": "https://e.org/x", "$ref": "https://e.org/x#/$defs/a", "$defs": {"a": {}}},
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        {"const": {"$ref": "#/none"}},
        {"enum": [{"$ref": "x"}]},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"pattern": "\\u00e9\\d+$"},
    ],
)
def test_schemas_that_can_be_used(schema: dict[str, Any]) -> None:
    """References inside the schema, recursion and data that looks like a reference are fine."""
    assert schema == check_json_schema(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#"}, "refers to itself without end"),
        ({"$dynamicRef": "#n", "$dynamicAnchor": "n"}, "refers to itself without end"),
        ({"items": {"$ref": "#/definitions/Itm"}, "definitions": {"Item": {}}}, "at $.items.$ref"),
        ({"$defs": {"a": {"anyOf": [{}, {"$ref": "#/$defs/b"}]}}}, r"at $.$defs.a.anyOf[1].$ref"),
        ({"$dynamicRef": "#gone"}, "at $.$dynamicRef"),
        ({"$ref": "https://e.org/s"}, "nothing is fetched"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "nothing is fetched"),
        ({"$ref": "other.json"}, "nothing is fetched"),
        ({"$ref": "#/required", "required": ["a"]}, "not a schema"),
        ({"$ref": "#/x/y", "x": {"y": {"type": "nope"}}}, "at #/x/y.type"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "at $.properties.a: the pattern '(?=x)'"),
        ({"patternProperties": {r"(a)\1": {}}}, "no back-references"),
        ({"propertyNames": {"pattern": "(?<!x)y"}}, "at $.propertyNames"),
        ({"$ref": "#/x", "x": {"pattern": "(?!x)"}}, "at #/x"),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {**DOUBLED, "u": {}}},
            "takes too long even for an empty",
        ),
    ],
)
def test_schemas_that_are_refused(schema: dict[str, Any], words: str) -> None:
    """What refers to nothing, to elsewhere or to itself, and what RE2 can't search, is refused with its place."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        check_json_schema(schema)
    assert words in str(caught.value)


NESTED: Any = {}
for _ in range(900):
    NESTED = {"child": NESTED}
BACKTRACKS = "^([A-Za-z0-9]+[-_. ]?)+$"
LONG = "A" * 100_000 + "!"


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"pattern": BACKTRACKS}, LONG, "does not match"),
        ({"patternProperties": {BACKTRACKS: False}}, {LONG: 1}, None),
        ({"patternProperties": {BACKTRACKS: {}}, "additionalProperties": False}, {LONG: 1}, "Additional"),
        ({"patternProperties": {BACKTRACKS: {}}, "unevaluatedProperties": False}, {LONG: 1}, "Unevaluated"),
        ({"propertyNames": {"pattern": BACKTRACKS}}, {LONG: 1}, "does not match"),
        ({"not": {"pattern": BACKTRACKS}}, LONG, None),
        ({"uniqueItems": True}, [{"a": n} for n in range(20_000)], None),
        ({"uniqueItems": True}, [1, True, 0, False, "1"], None),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], "two items are equal"),
        ({"enum": [[n] for n in range(20_000)]}, [5], None),
        ({"items": {"type": "integer"}}, ["a"] * 50_000, "is not of type"),
        ({"pattern": "^\\u00e9$"}, "é", None),
        (
            {"additionalProperties": {"type": "integer"}, "properties": {"a": {}}},
            {"a": "", "b": ""},
            "integer",
        ),
    ],
)
def test_a_value_is_compared_in_little_time(schema: dict[str, Any], value: Any, words: str | None) -> None:
    """Patterns that would backtrack, big arrays and big enums are compared as the standard says, and soon."""
    error = first_error(schema_errors(check_json_schema(schema), value))
    assert (None if error is None else words is not None and words in error.message) in {None, True}
    assert (error is None) == (words is None)


@pytest.mark.parametrize(
    ("value", "valid"),
    [({"ab": 1, "x": 2}, True), ({"ab": 1, "q": 2}, False), ({"n": 1, "m": 2}, True), ({"m": 2}, False)],
)
def test_properties_that_other_parts_know_are_evaluated(value: dict[str, Any], valid: bool) -> None:  # noqa: FBT001 - a table
    """A key counts as known where a pattern, a part of allOf or a then that applies knows it."""
    schema = {
        "unevaluatedProperties": False,
        "patternProperties": {"^a": {}},
        "allOf": [{"$ref": "#/$defs/x"}],
        "if": {"required": ["n"], "properties": {"n": {}}},
        "then": {"properties": {"m": {}}},
        "$defs": {"x": {"properties": {"x": {}}}},
    }
    assert valid == (first_error(schema_errors(check_json_schema(schema), value)) is None)


@pytest.mark.parametrize(
    ("schema", "value", "error"),
    [
        ({"properties": {"child": {"$ref": "#"}}}, NESTED, RecursionError),
        ({"items": {"enum": [[n] for n in range(10_000)]}}, [[1]] * 10_000, TooManyStepsError),
        ({"contains": {"type": "integer"}, "unevaluatedItems": False}, [1] * 50_000, TooManyStepsError),
    ],
)
def test_a_value_that_would_take_long_is_given_up(
    schema: dict[str, Any], value: Any, error: type[Exception]
) -> None:
    """What is nested too deeply, or multiplies, ends with an error instead of a hang."""
    with pytest.raises(error):
        first_error(schema_errors(check_json_schema(schema), value))
