"""Which label an answer gives, and what is wrong with one that gives none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.answers.labels import read_label
from routellm_batch.config.job import LabelConfig

VALUES = LabelConfig(values=("Spam", "ham", "U.S.", "a", "A"))
SCHEMA = LabelConfig(
    schema={
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0}, "tags": {"type": "array", "maxItems": 2}},
        "required": ["n"],
    }
)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Spam", "Spam"),
        ("spam", "Spam"),
        (" SPAM.\n", "Spam"),
        ('"ham"', "ham"),
        ("**ham**", "ham"),
        ("`ham`", "ham"),
        ("Answer: ham", "ham"),
        ("label = Ham.", "ham"),
        ("U.S.", "U.S."),
        ("u.s.", "U.S."),
        ("a", "a"),
        ("A", "A"),
        ("", None),
        ("spam and ham", None),
        ("It is spam.", "Spam"),
        ("not ham", None),
        ("sp am", None),
    ],
)
def test_values(answer: str, expected: str | None) -> None:
    """A value counts as written, then in other case or dress, then in a sentence that states it."""
    reading = read_label(VALUES, answer)
    assert (expected, expected is None) == (reading.label, reading.problem is not None)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"n": 1}', '{"n": 1}'),
        (' {"tags": ["ü"],\n"n": 2}', '{"n": 2, "tags": ["ü"]}'),
        ('```json\n{"n": 1}\n```', '{"n": 1}'),
        ('```\n{"n": 1}\n```', '{"n": 1}'),
    ],
)
def test_json(answer: str, expected: str) -> None:
    """JSON that holds to the schema is kept in one form, with its keys sorted."""
    assert expected == read_label(SCHEMA, answer).label


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "it is not JSON"),
        ("n = 1", "it is not JSON"),
        ('{"n": 1} {"n": 2}', "it holds more than one JSON value"),
        ("{}", "at $: 'n' is a required property"),
        ('{"n": -1}', "at $.n: -1 is less than the minimum of 0"),
        ('{"n": 1, "tags": [1, 2, 3]}', "at $.tags: "),
        ("[" * 20_000, "it is not JSON"),
    ],
)
def test_problem_says_where_the_answer_breaks_the_schema(answer: str, words: str) -> None:
    """The problem says where the answer breaks the schema, for the model to read."""
    reading = read_label(SCHEMA, answer)
    assert (None, True) == (reading.label, words in (reading.problem or ""))


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(JSON)
def test_a_label_is_json_that_the_schema_allows(value: Any) -> None:
    """Whatever JSON comes, a label is given exactly where the rules hold."""
    good = (
        isinstance(value, dict)
        and isinstance(value.get("n"), int)
        and not isinstance(value["n"], bool)
        and value["n"] >= 0
        and ("tags" not in value or (isinstance(value["tags"], list) and len(value["tags"]) <= 2))
    )
    label = read_label(SCHEMA, json.dumps(value)).label
    assert good == (label is not None)
    assert label is None or value == json.loads(label)


ANY = LabelConfig(schema={"type": "object", "properties": {"x": {"type": "number", "multipleOf": 0.1}}})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"a": "cut \\ud83d"}', '{"a": "cut ?"}'),
        ('{"\\ud83d": 1}', '{"?": 1}'),
        ('{"a": [{"b": "\\udc00x"}]}', '{"a": [{"b": "?x"}]}'),
        ('{"a": "\\ud83d\\udc4b"}', '{"a": "👋"}'),
        ('{"a": "\\u0000"}', '{"a": "\\u0000"}'),
        ('{"a": 1e400}', None),
        ('{"a": NaN}', None),
        ('{"a": -Infinity}', None),
        ('{"a": ' + "9" * 5_000 + "}", None),
        ('{"x": ' + "9" * 400 + "}", None),
        ('{"a": 1, "a": 2}', None),
        ('{"a": ' + "[" * 10_000 + "]" * 10_000 + "}", None),
    ],
)
def test_whatever_json_holds_it_is_a_storable_label_or_none(answer: str, expected: str | None) -> None:
    """Odd text and numbers raise nothing, and a label can be written to any file."""
    reading = read_label(ANY, answer)
    assert expected == reading.label
    assert (reading.label or reading.problem or "").encode()


def test_the_problem_of_an_odd_answer_can_be_sent() -> None:
    """What is wrong with an answer quotes it, and can be encoded all the same."""
    schema = LabelConfig(schema={"additionalProperties": {"type": "integer"}})
    problem = read_label(schema, '{"\\ud83d": "\\ud83d"}').problem
    assert (problem or "").encode()
