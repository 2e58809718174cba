"""Reference graders: what they read in an answer, and what they do where there is nothing to read."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from routellm_batch.config.graders import GraderConfig
from routellm_batch.core.errors import DataError
from routellm_batch.evaluation.graders import (
    Grade,
    Problem,
    Question,
    ReferenceGrader,
    check_reference,
    make_graders,
    unlabelled,
)

CONFIG: TypeAdapter[Any] = TypeAdapter(GraderConfig)
KINDS: list[dict[str, Any]] = [
    {"kind": "exact"},
    {"kind": "numeric"},
    {"kind": "choice"},
    {"kind": "regex", "pattern": "is (.+)"},
    {"kind": "json"},
]


def grader(kind: str, **settings: Any) -> ReferenceGrader:
    """Return a reference grader."""
    return ReferenceGrader(CONFIG.validate_python({"kind": kind, "reference": "r", **settings}))


def graded(one: ReferenceGrader, reference: Any, answer: str | None) -> Grade:
    """Return the grade of an answer."""
    return one.grade(Question("a", "What?", reference), answer)


@pytest.mark.parametrize(
    ("reference", "answer", "settings", "expected"),
    [
        ("Paris", "  paris \n", {}, 1),
        ("Paris", "paris", {"case": True}, 0),
        ("New  York", "new\nyork", {}, 1),
        ("Paris", "Paris.", {}, 0),
        ("Paris", "“Paris”!", {"punctuation": False}, 1),
        ("x-ray", "x ray", {"punctuation": False}, 1),
        (12, "12", {}, 1),
        ("ﬁne", "fine", {}, 1),
        ("Paris", "It is Paris", {}, 0),
    ],
)
def test_exact(reference: Any, answer: str, settings: dict[str, Any], expected: float) -> None:
    """Space and case do not count, nor punctuation where the config leaves it out."""
    assert Grade(expected) == graded(grader("exact", **settings), reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("18", "So 9 * $2 = $18 a day.", 1),
        ("18", "9*2=18\n#### 18\n\nThat was step 3.", 1),
        ("She has 5.\n#### 1,234", "1234", 1),
        ("1,234.50", "It costs $1,234.5.", 1),
        ("-3", "The answer is −3", 1),
        ("3", "10-3 leaves 3 of 10-3", 1),
        ("3", "-3", 0),
        ("0.5", "1/2", 1),
        ("1.5", "1 1/2 cups", 1),
        ("0.25", r"\boxed{\frac{1}{4}} of the 12", 1),
        ("50", "50%", 1),
        ("0.5", "50 percent", 1),
        ("50%", "0.5%", 0),
        ("1200000", "about 1.2 million", 1),
        ("2000", r"\(2 \times 10^3\)", 1),
        ("1000", "1{,}000", 1),
        ("16", "The answer is 16, which is 4 more than 12.", 1),
        ("7", "The answer is 3 + 4 = 7", 1),
        ("18", '{"reasoning": "9 times 2", "answer": "18"}', 1),
        (7.0, "7", 1),
        ("0.3333333", "1/3", 1),
        ("0.333", "1/3", 0),
        ("5", "5km", 1),
        ("2:30", "It ends at 2:30 pm.", 1),
        ("3:00", "2:00 pm", 0),
        ("3", "H2O has 3 atoms", 1),
    ],
)
def test_numeric(reference: Any, answer: str, expected: float) -> None:
    """A number counts by its value, however it is written, and from where an answer gives it."""
    assert Grade(expected) == graded(grader("numeric"), reference, answer)


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        ({"read": "first"}, "7 of 12", Grade(1)),
        ({"read": "last"}, "12, so 7", Grade(1)),
        ({"read": "boxed"}, r"\boxed{3} then \boxed{7} of 12", Grade(1)),
        ({"read": "boxed"}, "7", Grade(0, Problem.UNREAD)),
        ({"read": "marker", "marker": "=>"}, "12 => 7 apples", Grade(1)),
        ({"read": "marker"}, "7", Grade(0, Problem.UNREAD)),
        ({"tolerance": 0.1}, "7.6", Grade(1)),
        ({"tolerance": 0}, "7.0000001", Grade(0)),
    ],
)
def test_numeric_settings(settings: dict[str, Any], answer: str, expected: Grade) -> None:
    """The config says where the number stands and how far off it may be."""
    reference = {"boxed": r"\boxed{7}", "marker": f"{settings.get('marker', '####')} 7"}
    given = reference.get(settings.get("read", ""), "7")
    assert expected == graded(grader("numeric", **settings), given, answer)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is (C).", "C"),
        ("C.", "C"),
        (r"so \boxed{C}", "C"),
        (r"$\boxed{\text{C}}$", "C"),
        ("**c**", "C"),
        ("Answer: B. No, wait.\nAnswer: C", "C"),
        ("The correct answer is: **C) foo**", "C"),
        ("answer: c", "C"),
        ("The best option is letter C because A is not.", "C"),
        ("Option C is correct", "C"),
        ("Hm.\n\nC", "C"),
        ("C) the third", "C"),
        ("The answer is A dog", None),
        ("The answer is (A) or (B)", None),
        ("A. one\nB. two\nC. three", None),
        ("I think so", None),
        ("The answer is Apple", None),
        ("The answer is I.", "I"),
        ("The answer is A because the rest is wrong", "A"),
    ],
)
def test_choice(answer: str, letter: str | None) -> None:
    """The last letter that an answer calls its answer counts; an article, a pronoun or two letters do not."""
    one = grader("choice")
    found = [candidate for candidate in "ABCDEFGHIJ" if graded(one, candidate, answer).score == 1]
    assert ([] if letter is None else [letter]) == found


def test_choice_letters_are_configured() -> None:
    """A letter that the question does not have is no answer."""
    assert Grade(0, Problem.UNREAD) == graded(grader("choice", letters="ABCD"), "D", "The answer is (E)")


@pytest.mark.parametrize("reference", ["C", "(c)", "C. the third", " C "])
def test_choice_references(reference: str) -> None:
    """A reference may be a letter, in brackets, or with its option's text."""
    assert Grade(1) == graded(grader("choice"), reference, "The answer is C")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Grade(1)),
        ({"match": "first"}, Grade(0)),
        ({"pattern": r"(?i)VALUE: (?:the )?(\w+)"}, Grade(1)),
        ({"pattern": r"nothing (\d)"}, Grade(0, Problem.UNREAD)),
        ({"case": True}, Grade(0)),
    ],
)
def test_regex(settings: dict[str, Any], expected: Grade) -> None:
    """The group of the last match, or of the first if asked for, is compared with the reference."""
    one = grader("regex", **{"pattern": r"value: (\w+)", **settings})
    assert expected == graded(one, "Blue", "value: red\nthen\nvalue: blue\nend")


def test_regex_takes_linear_time() -> None:
    """A pattern that makes a backtracking engine try every split of a long answer is done within a second."""
    one = grader("regex", pattern=r"(?:(a+)+)$")
    begun = time.process_time()
    assert Grade(0, Problem.UNREAD) == graded(one, "a", "a" * 50_000 + "!")
    assert time.process_time() - begun < 5  # a backtracking engine takes 2^50,000 steps


@pytest.mark.parametrize(
    ("reference", "answer", "settings", "expected"),
    [
        ('{"a": 1, "b": [2, 3]}', '{"b": [2, 3.0], "a": 1}', {}, Grade(1)),
        ('{"a": 1}', 'Here:\n```json\n{"a": 1}\n```\nas you {"a": 2} asked', {}, Grade(1)),
        ('{"a": 1}', 'I say {"a": 1} and not {"a": 2}', {}, Grade(1)),
        ('{"a": 1}', "{well} [sic] {oops", {}, Grade(0, Problem.UNREAD)),
        ('{"a": 1}', '{"a": 1, "b": 2}', {}, Grade(0)),
        ('{"a": 1, "c": 3}', '{"a": 1, "b": 2}', {"keys": ["a"]}, Grade(1)),
        ('{"a": 1}', '{"b": 1}', {"keys": ["a"]}, Grade(0)),
        ("[1, 2]", "[2, 1]", {}, Grade(0)),
        ("1", "true", {}, Grade(0)),
        ("100", "101", {"tolerance": 0.02}, Grade(1)),
        ("null", "null", {}, Grade(1)),
        ({"a": [1]}, '{"a": [1]}', {}, Grade(1)),
        ('{"a": 1}', "[" * 100_000, {}, Grade(0, Problem.UNREAD)),
        ('{"a": 1}', '{"a": NaN}', {}, Grade(0, Problem.UNREAD)),
    ],
)
def test_json(reference: Any, answer: str, settings: dict[str, Any], expected: Grade) -> None:
    """The first JSON value counts by its structure: neither the order of keys nor the text around it."""
    assert expected == graded(grader("json", **settings), reference, answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
def test_what_cannot_be_graded_is_unlabelled(kind: dict[str, Any]) -> None:
    """A null reference, a missing answer and an endless one give no score, and say why."""
    one = grader(**kind)
    reference = {"numeric": "1", "choice": "A", "json": "1"}.get(kind["kind"], "x")
    found = [
        graded(one, None, "1"),
        graded(one, reference, None),
        graded(one, reference, "1" * ((1 << 20) + 1)),
    ]
    kinds = (Problem.NULL_REFERENCE, Problem.NO_ANSWER, Problem.TOO_LONG)
    assert [unlabelled(problem) for problem in kinds] == found


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("numeric", "many"),
        ("numeric", float("nan")),
        ("choice", "ABC"),
        ("choice", 3),
        ("json", "{"),
        ("exact", " "),
    ],
)
def test_bad_reference_is_unlabelled(kind: str, reference: Any) -> None:
    """A reference in which there is nothing to compare says nothing about the answer."""
    assert unlabelled(Problem.BAD_REFERENCE) == graded(grader(kind), reference, "A 1")


def test_unread_may_be_left_unlabelled() -> None:
    """An answer without a number is wrong and counted, or unlabelled if the config says so."""
    found = [
        graded(grader("numeric", **more), "1", "None at all.") for more in ({}, {"unread": "unlabelled"})
    ]
    assert [Grade(0, Problem.UNREAD), unlabelled(Problem.UNREAD)] == found


HOSTILE = st.text(st.sampled_from("0123456789,.-/%$eE()[]{}\\ABCIa:*#\n\"' answeris boxedfrac"), max_size=300)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
@given(reference=HOSTILE, answer=HOSTILE)
def test_nothing_in_a_text_raises(kind: dict[str, Any], reference: str, answer: str) -> None:
    """Whatever an answer and a reference hold, a grader gives 0, 1 or no score."""
    assert graded(grader(**kind), reference, answer).score in {0, 1, None}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
@given(noise=st.text(max_size=60))
def test_right_answer_is_right(kind: dict[str, Any], noise: str) -> None:
    """An answer that is the reference is never wrong."""
    one = grader(**{**kind, **({"pattern": "(?s)^(.*)$"} if kind["kind"] == "regex" else {})})
    assert graded(one, noise, noise).score in {1, None}


def test_both_routes_share_a_reference_grader() -> None:
    """Strong and weak answers are graded alike."""
    both = make_graders(CONFIG.validate_python({"kind": "exact", "reference": "r"}))
    assert (["strong", "weak"], True) == (list(both), both["strong"] is both["weak"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"id": [1]}, "in.parquet, column 'r': no such column; there are: id"),
        ({"r": pa.nulls(2, pa.string())}, "in.parquet, column 'r': every reference is null"),
    ],
)
def test_reference_column_must_hold_something(table: dict[str, Any], words: str) -> None:
    """Input without references is refused, naming the file and the column."""
    with pytest.raises(DataError) as caught:
        check_reference(pa.table(table), "r", "in.parquet")
    assert words in str(caught.value)
