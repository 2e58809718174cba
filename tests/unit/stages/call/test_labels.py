"""Is an answer a label? And the words that ask again if it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.config.job import LabelConfig
from routellm_batch.stages.call.labels import ask_again, read_label

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
        ("It is spam.", None),
        ("not ham", None),
        ("sp am", None),
    ],
)
def test_values(answer: str, expected: str | None) -> None:
    """A value counts as written, then in other case or dress; a sentence around it does not."""
    verdict = read_label(VALUES, answer)
    assert (expected, expected is None) == (verdict.label, verdict.problem is not None)


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
        ('{"n": 1} and more', "it is not JSON"),
        ("{}", "at $: 'n' is a required property"),
        ('{"n": -1}', "at $.n: -1 is less than the minimum of 0"),
        ('{"n": 1, "tags": [1, 2, 3]}', "at $.tags: "),
        ("[" * 20_000, "it is not JSON"),
    ],
)
def test_what_is_wrong_is_told(answer: str, words: str) -> None:
    """The problem says where the answer breaks the schema, for the model to read."""
    verdict = read_label(SCHEMA, answer)
    assert (None, True) == (verdict.label, words in (verdict.problem or ""))


@pytest.mark.parametrize(
    ("config", "words"),
    [(VALUES, "exactly one of: Spam, ham, U.S., a, A"), (SCHEMA, "JSON that holds to the schema")],
)
def test_the_second_question_says_what_is_wanted(config: LabelConfig, words: str) -> None:
    """The follow-up names the problem and what would do."""
    text = ask_again(config, "it is odd.")
    assert ["it is odd." in text, words in text] == [True, True]


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
