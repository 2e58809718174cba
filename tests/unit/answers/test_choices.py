"""The letter that an answer to a multiple-choice question settles on."""

from __future__ import annotations

import pytest
from helpers.graders import grade_of, grader

from routellm_batch.evaluation.graders import Grade, Problem

SETTLED = (
    "B",
    "b",
    "B.",
    "(B)",
    "[B]",
    "**B**",
    "`B`",
    '"B"',
    "B)",
    "B:",
    "{B}",
    "**(B)**",
    "«B»",
    "Ｂ",
    "（Ｂ）",
    "B。",
    "【B】",
    "B) Paris",
    "B. Paris",
    "(B) Paris",
    "**B) Paris**",
    "**B.** Paris",
    "B: Paris",
    "B, because it is",
    "[B] Paris",
    "<answer>B</answer>",
    "Hm.\n<answer>\nB\n</answer>",
    "<answer>(B)</answer>",
    "<answer>B. Paris</answer>",
    "B</answer>",
    "<answer>Option B</answer>",
    "<choice>B</choice>",
    "\\boxed{B}",
    "$\\boxed{\\text{B}}$",
    "\\boxed{(B)}",
    "Option B",
    "Option B.",
    "**Option B**",
    "Option B: Paris",
    "Option **B**",
    "Choice B",
    "Answer B",
    "Letter B",
    "I choose B.",
    "I would choose option B.",
    "I pick B",
    "I select (B).",
    "I'd go with B.",
    "I am going with **B**",
    "Answer: B",
    "answer: b",
    "Answer: (B)",
    "Answer: **B**",
    "**Answer: B**",
    "**Answer:** B",
    "Answer: B. Paris",
    "ANSWER: B",
    "Answer = B",
    "Final answer: B",
    "Final Answer: **B**",
    "The final answer is B.",
    "Correct option: B",
    "The correct answer is: B",
    "The correct answer is B, as A is false.",
    "The answer is option B.",
    "My answer is B",
    "The best choice is B",
    "The correct option is (B) Paris.",
    "B is correct.",
    "B is the correct answer.",
    "B is right",
    "B is the answer.",
    "Thus, B is the best option.",
    "Answer: B. Because A is wrong and C is silly.",
    "So the answer is B!",
    "A is wrong. C is wrong.\nAnswer: B",
    "A. no\nB. yes\nThe answer is B.",
    '{"answer": "B"}',
    "{'answer': 'B'}",
    "```\nB\n```",
    '```json\n{"answer": "B"}\n```',
    "\ufeffB",
    "B<|im_end|>",
    "B</s>",
    "B<|eot_id|>",
    "B<end_of_turn>",
    "Answer: B<|im_end|>\n<|im_start|>user\nAnswer: C",
    "La respuesta correcta es B",
    "La respuesta es: B.",
    "Respuesta: B",
    "Réponse : B",
    "La réponse est B.",
    "La bonne réponse est (B)",
    "Antwort: B",
    "Die richtige Antwort ist B.",
    "Resposta: B",
    "A resposta correta é B.",
    "La risposta corretta è B.",
    "Risposta: B",
    "Ответ: B",
    "Правильный ответ: B",
    "Ответ — B",
    "答案是B",
    "答案:B",
    "答案：B。",
    "正确答案是B。",
    "正解はB",
    "正解はBです。",
    "答えはBです",
    "回答：B",
    "答案为 B",
    "答案选择：B",
    "الإجابة: B",
    "الإجابة الصحيحة هي B",
    "उत्तर: B",
    "सही उत्तर: B",
    "정답: B",
    "정답은 B입니다",
    "Odpowiedź: B",
    "Svar: B",
    "Reasoning first.\n\nB",
    "Step 1: A fails.\nStep 2: C fails.\n\n**B**",
)
UNSETTLED = (
    "A cat is an animal.",
    "I think so.",
    "It depends on A and B.",
    "B and D",
    "B or C",
    "I don't know.",
    "It depends.",
    "The answer is B or C",
    "The answer is B/C",
    "Answer: B and C",
    "Answer: B, C",
    "",
    "The answer is not B.",
    "Bees make honey.",
    "A. one\nB. two",
    "Option A: one\nOption B: two",
    "Because.",
    "Be brave.",
    "I choose a dog.",
    "I go with A friend",
    "The answer is Berlin.",
    "Antwort: Berlin",
    "La respuesta es Barcelona",
    "答案是Berlin",
    "I'd say it depends",
    "A good answer needs more facts.",
    "Answer: none",
    "<answer></answer>",
    "<answer>Berlin</answer>",
)


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
    matches = [candidate for candidate in "ABCDEFGHIJ" if grade_of(one, candidate, answer).score == 1]
    assert ([] if letter is None else [letter]) == matches


def test_choice_letters_are_configured() -> None:
    """A letter that the question does not have is no answer."""
    assert Grade(0, Problem.UNREAD) == grade_of(grader("choice", letters="ABCD"), "D", "The answer is (E)")


@pytest.mark.parametrize("reference", ["C", "(c)", "C. the third", " C "])
def test_choice_references(reference: str) -> None:
    """A reference may be a letter, in brackets, or with its option's text."""
    assert Grade(1) == grade_of(grader("choice"), reference, "The answer is C")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *((answer, "B") for answer in SETTLED),
        *((answer, None) for answer in UNSETTLED),
        ("Option I", "I"),
        ("I choose A because it is true", "A"),
        ("So A is correct.", "A"),
    ],
)
def test_however_a_letter_is_given(answer: str, letter: str | None) -> None:
    """A letter is read in tags, marks, sentences and other languages; words, lists of options and two letters are none."""
    one = grader("choice")
    matches = [candidate for candidate in "ABCDEFGHIJ" if grade_of(one, candidate, answer).score == 1]
    assert ([] if letter is None else [letter]) == matches
