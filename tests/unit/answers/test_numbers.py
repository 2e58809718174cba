"""The number that an answer gives: where it stands, and how it may be written."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.graders import grade_of, grader

from routellm_batch.evaluation.graders import Grade, Problem


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
    assert Grade(expected) == grade_of(grader("numeric"), reference, answer)


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
    assert expected == grade_of(grader("numeric", **settings), given, answer)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("\\boxed{-\\frac{3}{4}}", "-0.75"),
        ("\\frac12", "0.5"),
        ("\\boxed{\\frac{-3}{4}}", "-0.75"),
        ("1.234,56", "1234.56"),
        ("1 234 567", "1234567"),
        ("1'234'567", "1234567"),
        ("12,34,567", "1234567"),
        ("–5", "-5"),
        ("−5", "-5"),
        ("18 m^2", "18"),
        ("The area is 18 m²", "18"),
        ("\\boxed{18\\text{ m}^{2}}", "18"),
        ("1.5M", "1500000"),
        ("18 - which is 3 less than 21", "18"),
        ("The answer is 18 - which is 3 less than 21", "18"),
        ("**18** – because 21 is 3 more", "18"),
        ("1½", "1.5"),
        ("1\\frac12", "1.5"),
        ("\\dfrac{1}{2}", "0.5"),
        ("10^6", "1000000"),
        ("2^10", "1024"),
        ("0,5", "0.5"),
        ("12,50 €", "12.5"),
        ("The answer is **18** and 3 more", "18"),
        ("- \\frac{3}{4}", "-0.75"),
        ("5 - 3 = 2", "2"),
        ("\\(x = -\\frac{1}{2}\\)", "-0.5"),
        ("1.234.567", "1234567"),
        ("2 lakh", "200000"),
        ("$3bn", "3000000000"),
        ("5k", "5000"),
        ("3 \\times 10^{-2}", "0.03"),
        ("3 × 10^−2", "0.03"),
        ("10 000 €", "10000"),
        ("The answer is 3 + 4 = 7", "7"),
        ("100–200", "200"),
        ("Answer: - 5", "-5"),
        ("The total is $1,234.", "1234"),
        ("Total: 1234 USD", "1234"),
        ("**42**", "42"),
        ("`42`", "42"),
        ('"42"', "42"),
        ("(42)", "42"),
        ("<answer>42</answer>", "42"),
        ("Answer = 42", "42"),
        ("ANSWER: 42", "42"),
        ("Final answer: 42", "42"),
        ("Therefore, x = 42.", "42"),
        ("x ≈ 42", "42"),
        ("~42", "42"),
        ("42;", "42"),
        ("1. First\n2. Second\nThe answer is 42", "42"),
        ("Step 1: 10+2=12\nStep 2: 12*2=24\n#### 24", "24"),
        ("#### $24", "24"),
        ("####-24", "-24"),
        ("$\\boxed{42}$", "42"),
        ("\\boxed{42\\text{ apples}}", "42"),
        ("\\boxed{\\$42}", "42"),
        ("\\boxed{42\\%}", "0.42"),
        ("\\boxed{x=42}", "42"),
        ("\\(42\\)", "42"),
        ("$$42$$", "42"),
        ("\\tfrac{3}{4}", "0.75"),
        ("1\\frac{1}{2}", "1.5"),
        ("\\sqrt{16} = 4", "4"),
        ("3 / 4", "0.75"),
        (".75", "0.75"),
        ("+5", "5"),
        ("5 %", "0.05"),
        ("0.5 percent", "0.005"),
        ("1e-3", "0.001"),
        ("1E6", "1000000"),
        ("3 x 10^8", "300000000"),
        ("2^10 = 1024", "1024"),
        ("6 billion", "6000000000"),
        ("8 thousand", "8000"),
        ("9 crore", "90000000"),
        ("10 lakhs", "1000000"),
        ("2.5 millions", "2500000"),
        ("1_000_000", "1000000"),
        ("3,14", "3.14"),
        ("In 2,5 hours", "2.5"),
        ("₹1,00,000", "100000"),
        ("¥500", "500"),
        ("10°C", "10"),
        ("5 m/s", "5"),
        ("7 (seven)", "7"),
        ("In 2024, 7 people", "7"),
        ("٤٢", "42"),
        ("４２", "42"),
        ("⅓ of 3 is 1", "1"),
        ("1,2,3", "3"),
    ],
)
def test_spellings(answer: str, value: str) -> None:
    """A number is read alike in LaTeX, with the thousands set apart as elsewhere, with a unit or with words after it."""
    assert Grade(1) == grade_of(grader("numeric"), value, answer)


@pytest.mark.parametrize(
    "answer", ["seven", "NaN", "∞", "", "no number here", "1/0", "v2.0", "H2O", "1" * 200]
)
def test_what_holds_no_number(answer: str) -> None:
    """Words, versions, formulas and numbers that nobody counts with are left unread."""
    assert Grade(0, Problem.UNREAD) == grade_of(grader("numeric"), "7", answer)
