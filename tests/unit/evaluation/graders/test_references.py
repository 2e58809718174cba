"""References: which columns and values can be right answers, and what a grader makes of them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from helpers.graders import grade_of, grader

from routellm_batch.core.errors import DataError
from routellm_batch.evaluation.graders import Grade, Problem, unlabelled
from routellm_batch.evaluation.graders.references import (
    check_reference,
    shown_to_judge,
    type_problem,
    values,
)

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])


@pytest.mark.parametrize(
    ("kind", "reference", "answer"),
    [
        ("exact", ["Paris", "paris, France"], "Paris"),
        ("exact", ["Paris", "paris, France"], "PARIS, France"),
        ("exact", [None, "Paris", ""], "Paris"),
        ("exact", 18, "18"),
        ("exact", 18.0, "18"),
        ("exact", 18.0, "18.0"),
        ("exact", 1e-7, "0.0000001"),
        ("exact", Decimal("18.50"), "18.5"),
        ("exact", Decimal("18.50"), "18.50"),
        ("exact", Decimal("1E+3"), "1000"),
        ("exact", True, "true"),
        ("exact", date(2024, 2, 29), "2024-02-29"),
        ("exact", '["Paris", "Rome"]', '["Paris", "Rome"]'),  # JSON text is text
        ("numeric", 18, "18 eggs"),
        ("numeric", -3, "It is -3."),
        ("numeric", 0.5, "1/2"),
        ("numeric", 1e22, "10^22"),
        ("numeric", Decimal("18.00"), "18"),
        ("numeric", "18 m^2", "18"),
        ("numeric", "$1,234.50", "1234.5"),
        ("numeric", [18, 20], "20"),
        ("numeric", ["eighteen", "18"], "18"),
        ("choice", "B", "(B)"),
        ("choice", ["A", "C"], "C"),
        ("json", [1, 2], "[1, 2]"),
        ("json", [], "[]"),
        ("json", {"a": Decimal("1.5"), "b": Decimal(2)}, '{"b": 2, "a": 1.5}'),
        ("json", {"a": None}, '{"a": null}'),
        ("json", "null", "null"),
    ],
)
def test_a_right_answer_is_right(kind: str, reference: Any, answer: str) -> None:
    """Any element of a list counts, and a number counts however its column writes it."""
    assert Grade(1) == grade_of(grader(kind), reference, answer)


@pytest.mark.parametrize(
    ("kind", "reference", "answer"),
    [
        ("exact", ["Paris", "Roma"], "Rome"),
        ("exact", '["Paris", "Rome"]', "Paris"),
        ("exact", 18.5, "18"),
        ("numeric", [18, 20], "19"),
        ("choice", ["A", "C"], "B"),
        ("json", [1, 2], "1"),
    ],
)
def test_a_wrong_answer_is_wrong(kind: str, reference: Any, answer: str) -> None:
    """An answer that is no element of the list is wrong; for JSON the list is one value."""
    assert Grade(0) == grade_of(grader(kind), reference, answer)


@pytest.mark.parametrize("read", ["marker", "boxed", "first", "last"])
def test_a_bare_number_needs_no_marker(read: str) -> None:
    """A reference that is the number alone is read, wherever the answers have theirs."""
    found = [
        grade_of(grader("numeric", read=read), reference, r"#### 18 or \boxed{18}")
        for reference in (18, "18")
    ]
    assert [Grade(1)] * 2 == found


@pytest.mark.parametrize("kind", ["exact", "numeric", "choice", "json"])
@pytest.mark.parametrize("reference", [None, float("nan"), " ", Decimal("NaN")])
def test_nothing_is_no_reference(kind: str, reference: Any) -> None:
    """Null, NaN and empty text say that a row has no reference."""
    assert unlabelled(Problem.NULL_REFERENCE) == grade_of(grader(kind), reference, "A 1")


@pytest.mark.parametrize("kind", ["exact", "numeric", "choice"])
@pytest.mark.parametrize("reference", [[], [None, None], ["", None], [float("nan")]])
def test_a_list_of_nothing_is_no_reference(kind: str, reference: Any) -> None:
    """An empty list and a list of nulls say so too."""
    assert unlabelled(Problem.NULL_REFERENCE) == grade_of(grader(kind), reference, "A 1")


TEXTS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
]
LISTS = [
    pa.list_(pa.string()),
    pa.large_list(pa.string()),
    pa.list_(pa.string(), 2),
    pa.list_view(pa.string()),
    pa.large_list_view(pa.string()),
    pa.list_(pa.string_view()),
    pa.list_(pa.dictionary(pa.int8(), pa.string())),
]
NUMBERS = [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(9, 2), pa.list_(pa.int64()), pa.null()]
NEVER = [
    TURN,
    pa.list_(TURN),
    pa.list_(pa.list_(pa.string())),
    pa.map_(pa.string(), pa.string()),
    pa.binary(),
    pa.large_binary(),
    pa.binary(4),
    pa.list_(pa.binary()),
    pa.timestamp("us"),
    pa.duration("s"),
    pa.time64("us"),
]


@pytest.mark.parametrize("grader", ["exact", "regex", "numeric", "choice", "judge"])
def test_types_of_references(grader: str) -> None:
    """Text, numbers and lists of them can be references in every encoding; nothing else can."""
    assert [None] * 17 == [type_problem(kind, grader) for kind in (*TEXTS, *LISTS, *NUMBERS)]
    assert [] == [kind for kind in NEVER if not type_problem(kind, grader)]


@pytest.mark.parametrize(
    ("grader", "accepted"),
    [("exact", True), ("regex", True), ("judge", True), ("numeric", False), ("choice", False)],
)
def test_booleans_are_no_numbers(grader: str, *, accepted: bool) -> None:
    """A boolean is compared as text, and is neither a number nor an option."""
    assert accepted == (type_problem(pa.bool_(), grader) is None)


def test_types_of_json_references() -> None:
    """A JSON reference may be nested; what JSON lacks is refused at any depth."""
    good = [TURN, pa.list_(TURN), pa.list_(pa.list_(pa.float64())), pa.bool_(), *TEXTS, *LISTS, *NUMBERS]
    bad = [pa.map_(pa.string(), pa.int64()), pa.binary(), pa.struct([("at", pa.list_(pa.date32()))])]
    assert [None] * len(good) == [type_problem(kind, "json") for kind in good]
    assert [] == [kind for kind in bad if not type_problem(kind, "json")]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"id": [1]}, "in.parquet, column 'r': no such column; there are: id"),
        ({"r": pa.nulls(2, pa.string())}, "in.parquet, column 'r': every reference is null"),
        ({"r": [[], [None]]}, "in.parquet, column 'r': every reference is null"),
        (
            {"r": [None, {"a": "Paris"}]},
            "in.parquet, column 'r', row 1: is struct<a: string>; a reference is text or a number, or",
        ),
        (
            {"r": [b"Paris"]},
            "in.parquet, column 'r', row 0: is binary; cast it to text (the first: b'Paris')",
        ),
    ],
)
def test_reference_column_must_hold_something(table: dict[str, Any], words: str) -> None:
    """Input without references is refused, naming the file, the column and what is there instead."""
    with pytest.raises(DataError) as caught:
        check_reference(pa.table(table), "r", "in.parquet")
    assert words in str(caught.value)


def test_text_that_is_not_utf8_is_unusable() -> None:
    """A damaged text costs its own row alone."""
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"18", b"\xff9"], pa.binary()).buffers())
    one = grader("numeric")
    assert [Grade(1), unlabelled(Problem.BAD_REFERENCE)] == [
        grade_of(one, value, "18") for value in values(pa.chunked_array([text]))
    ]


@pytest.mark.parametrize(
    ("reference", "shown"),
    [("4", "4"), (["Paris", None, "Paree"], "Paris\nParee"), (None, None), ([], None), (4.5, "4.5")],
)
def test_what_a_judge_is_shown(reference: Any, shown: str | None) -> None:
    """A judge sees each right answer on a line of its own, and nothing where there is none."""
    assert shown == shown_to_judge(reference)
