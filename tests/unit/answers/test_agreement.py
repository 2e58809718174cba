"""Whether cheap answers agree: what is read of each, and what counts as differing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from routellm_batch.answers.agreement import MAX_CHARS, AnswerReader, compare
from routellm_batch.config.answers import AnswerConfig


def reader(kind: str, **options: Any) -> AnswerReader:
    """Return the reader of a config."""
    return AnswerReader(TypeAdapter(AnswerConfig).validate_python({"kind": kind, **options}))


@pytest.mark.parametrize(
    ("kind", "options", "one", "other", "expected"),
    [
        ("numeric", {}, "The answer is 18.", "9 * 2 = 18", 1),
        ("numeric", {}, "The answer is 18.", "19", 0),
        ("numeric", {"field": "answer"}, '{"answer": 18, "steps": 3}', "I get 18", 1),
        (
            "numeric",
            {"field": "answer"},
            '{"answer": "18 dollars", "steps": 3}',
            '```json\n{"answer": 18}\n```',
            1,
        ),
        ("numeric", {"pattern": r"=> (\d+)"}, "3 => 18 of 40", "18", 1),
        ("choice", {"letters": "ABCD"}, "The answer is (B).", "B", 1),
        ("exact", {}, "Paris", "paris ", 1),
        ("exact", {"case": True}, "Paris", "paris", 0),
        ("regex", {"pattern": r"v(\d+)"}, "v1 then v2", "v2", 1),
        ("json", {"keys": ["a"]}, '{"a": 1, "b": 2}', '{"a": 1}', 1),
        ("numeric", {}, "18", "no idea", 0),
        ("numeric", {}, "no idea", "18", None),
        ("numeric", {}, "no idea", "no idea", None),
        ("numeric", {}, "18", None, None),
        ("numeric", {}, None, "18", None),
    ],
)
def test_agreement(
    kind: str, options: dict[str, Any], one: str | None, other: str | None, expected: float | None
) -> None:
    """Answers are read as by a grader; one that came and can't be read differs, and without a first nothing agrees."""
    assert expected == compare(reader(kind, **options), one, [other]).agreement


def test_agreement_is_a_share_of_what_came() -> None:
    """One of the two others that came agrees; the third did not come and counts neither way."""
    compared = compare(reader("numeric"), "5", ["5", None, "6"])
    assert compared.agreement == pytest.approx(0.5)
    assert compared.differs == [False, None, True]
    assert compared.others_differ == [None, True, None]


def test_an_answer_that_is_too_long_is_not_read() -> None:
    """A text beyond the limit is as good as none."""
    assert reader("numeric").answer("5 " * MAX_CHARS) is None
