"""Reference graders: what they read in an answer, and what they do where there is nothing to read."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.graders import grade_of, grader, grader_config
from hypothesis import assume, given
from hypothesis import strategies as st

from routellm_batch.answers.thinking import without_thinking
from routellm_batch.evaluation.graders import Grade, Problem, make_graders, unlabelled

KINDS: list[dict[str, Any]] = [
    {"kind": "exact"},
    {"kind": "numeric"},
    {"kind": "choice"},
    {"kind": "regex", "pattern": "is (.+)"},
    {"kind": "json"},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
def test_what_cannot_be_graded_is_unlabelled(kind: dict[str, Any]) -> None:
    """A null reference, a missing answer and an endless one give no score, and say why."""
    one = grader(**kind)
    reference = {"numeric": "1", "choice": "A", "json": "1"}.get(kind["kind"], "x")
    found = [
        grade_of(one, None, "1"),
        grade_of(one, reference, None),
        grade_of(one, reference, "1" * ((1 << 20) + 1)),
    ]
    kinds = (Problem.NULL_REFERENCE, Problem.NO_ANSWER, Problem.TOO_LONG)
    assert [unlabelled(problem) for problem in kinds] == found


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("numeric", "many"),
        ("numeric", True),
        ("numeric", ["many", "few"]),
        ("choice", "ABC"),
        ("choice", 3),
        ("json", "{"),
    ],
)
def test_bad_reference_is_unlabelled(kind: str, reference: Any) -> None:
    """A reference in which there is nothing to compare says nothing about the answer."""
    assert unlabelled(Problem.BAD_REFERENCE) == grade_of(grader(kind), reference, "A 1")


@pytest.mark.parametrize(("kind", "right"), [("choice", "B"), ("numeric", "18"), ("exact", "Paris")])
def test_no_grader_reads_what_was_thought(kind: str, right: str) -> None:
    """A thought before a recorded answer, closed or not, is no part of it."""
    one, thought = grader(kind), "<think>At first A, 17 or Rome."
    found = [grade_of(one, right, text) for text in (f"{thought}</think>\n{right}", f"{thought} {right}")]
    assert [Grade(1.0), Grade(0.0, Problem.UNREAD)] == found


def test_unread_may_be_left_unlabelled() -> None:
    """An answer without a number is wrong and counted, or unlabelled if the config says so."""
    found = [
        grade_of(grader("numeric", **more), "1", "None at all.") for more in ({}, {"unread": "unlabelled"})
    ]
    assert [Grade(0, Problem.UNREAD), unlabelled(Problem.UNREAD)] == found


HOSTILE = st.text(st.sampled_from("0123456789,.-/%$eE()[]{}\\ABCIa:*#\n\"' answeris boxedfrac"), max_size=300)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
@given(reference=HOSTILE, answer=HOSTILE)
def test_nothing_in_a_text_raises(kind: dict[str, Any], reference: str, answer: str) -> None:
    """Whatever an answer and a reference hold, a grader gives 0, 1 or no score."""
    assert grade_of(grader(**kind), reference, answer).score in {0, 1, None}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
@given(noise=st.text(max_size=60))
def test_right_answer_is_right(kind: dict[str, Any], noise: str) -> None:
    """An answer that is the reference is never wrong, unless all of it is a thought."""
    assume(without_thinking(noise) == noise)
    one = grader(**{**kind, **({"pattern": "(?s)^(.*)$"} if kind["kind"] == "regex" else {})})
    assert grade_of(one, noise, noise).score in {1, None}


def test_both_routes_share_a_reference_grader() -> None:
    """Strong and weak answers are graded alike."""
    both = make_graders(grader_config("exact"))
    assert (["strong", "weak"], True) == (list(both), both["strong"] is both["weak"])
