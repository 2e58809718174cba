"""JSON in an answer: amid text, in fences and tags, in Python's quotes; broken JSON gives nothing."""

from __future__ import annotations

import pytest

from routellm_batch.answers.labels import read_label
from routellm_batch.config.job import LabelConfig

SCHEMA = LabelConfig(
    schema={
        "type": "object",
        "properties": {"label": {"enum": ["spam", "ham"]}, "score": {"type": "number"}},
        "required": ["label"],
    }
)
LABEL = '{"label": "spam", "score": 0.9}'
WRAPPED = (
    '{"label": "spam", "score": 0.9}',
    '```json\n{"label": "spam", "score": 0.9}\n```',
    '```json {"label": "spam", "score": 0.9} ```',
    '```{"label": "spam", "score": 0.9}```',
    '```json\n{"label": "spam", "score": 0.9}```',
    '{"label": "spam", "score": 0.9}\n\nLet me know.',
    'Here it is: {"label": "spam", "score": 0.9}',
    'Sure! {"label": "spam", "score": 0.9} Hope it helps {smile}',
    '\ufeff{"label": "spam", "score": 0.9}',
    '"{\\"label\\": \\"spam\\", \\"score\\": 0.9}"',
    '[{"label": "spam", "score": 0.9}]',
    'as shown in [12], {"label": "spam", "score": 0.9}',
    'see [1] and [2-3]: {"label": "spam", "score": 0.9}',
    '{spam} is what I think: {"label": "spam", "score": 0.9}',
    '<answer>{"label": "spam", "score": 0.9}</answer>',
    '\\boxed{{"label": "spam", "score": 0.9}}',
    "{'label': 'spam', 'score': 0.9}",
    '{"label": "spam", "score": 0.9,}',
    '{"label": "spam", "score": 0.9}<|im_end|>',
    '{"label": "spam", "score": 0.9}</s>',
    '{"label": "spam", "score": 0.9}\n{"label": "spam", "score": 0.9}',
    '**Answer:**\n{"label": "spam", "score": 0.9}',
    'JSON: {"label": "spam", "score": 0.9}',
    'json\n{"label": "spam", "score": 0.9}',
    '{"label": "spam", "score": 0.9};',
    '`{"label": "spam", "score": 0.9}`',
    '> {"label": "spam", "score": 0.9}',
    'Output:\n\n```JSON\n{"label": "spam", "score": 0.9}\n```\nwhere {label} is it',
    '~~~json\n{"label": "spam", "score": 0.9}\n~~~',
    '{\n "label": "spam",\n "score": 0.9\n}',
    'In the set {a, b} we find\n{"label": "spam", "score": 0.9}',
    '<|im_start|>assistant\n{"label": "spam", "score": 0.9}<|im_end|>',
    'Given {"x": 1}? No:\n```json\n{"label": "spam", "score": 0.9}\n```',
)
BROKEN = (
    '{"label": "spam", "score": NaN}',
    '{"label": "spam"',
    '{"label": "spam", "label": "ham"}',
    '{"label": "Spam"}',
    '{"label": "spam", "score": "0.9"}',
    '{"label":"spam"} {"label":"ham"}',
    '{"a": {"label": "spam"}',
    '{"label": {"label": "spam"}, "label": 1}',
    '[{"label": "spam"}, {"label": "ham"}]',
    '[{"label":"spam"},',
    "label: spam",
    '{"x":1} {"label":"spam"}',
    "",
    "{'label': 'spam', 'label': 'ham'}",
    '{label: "spam"}',
    "[12]",
    '{"label": "spam", "score": 1' + "0" * 400 + ".5}",
    "{“label”: “spam”}",
    '{"label": "spam" "score": 1}',
    "{,}",
    '{"label": "spam",,}',
)


@pytest.mark.parametrize("answer", WRAPPED)
def test_an_object_is_read_in_any_wrapping(answer: str) -> None:
    """Fences, text around it, a source's number, a tag, a JSON text and a list of one don't hide an object."""
    assert read_label(SCHEMA, answer).label == LABEL


@pytest.mark.parametrize("answer", BROKEN)
def test_what_is_broken_or_double_gives_no_label(answer: str) -> None:
    """JSON that is cut off, holds a key twice or stands beside another value gives no label, nor does a part of it."""
    assert read_label(SCHEMA, answer).label is None


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        ({"enum": ["spam", "ham"]}, "spam", '"spam"'),
        ({"enum": ["spam", "ham"]}, "The label is ham.", '"ham"'),
        ({"type": "integer"}, "42", "42"),
        ({"type": "array"}, "The list is [12].", "[12]"),
        ({"type": "string"}, '"{}"', '"{}"'),
        ({"type": "boolean"}, "True", None),
    ],
)
def test_values_that_are_no_objects(schema: dict[str, object], answer: str, expected: str | None) -> None:
    """A word of an enum needs no quotes; lists, numbers and texts are read as JSON has them."""
    assert expected == read_label(LabelConfig(schema=schema), answer).label
