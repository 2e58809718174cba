"""What a model thought before its answer is taken off, and nothing that the answer itself says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.answers.thinking import without_thinking

THOUGHT = "At first sight it is A. But no, B fits better."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"<think>\n{THOUGHT}\n</think>\n\nB", "B"),
        (f"<think>{THOUGHT}</think>B", "B"),
        (f"  \n\ufeff<think>{THOUGHT}</think> B", "B"),
        (f"<THINK>{THOUGHT}</Think>\nB", "B"),
        (f"<think time='3'>{THOUGHT}</ think >\nB", "B"),
        (f"<thinking>{THOUGHT}</thinking>\n<answer>B</answer>", "<answer>B</answer>"),
        (f"<thought>{THOUGHT}</thought>B", "B"),
        (f"<seed:think>{THOUGHT}</seed:think>B", "B"),
        (f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>B", "B"),
        (f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>B", "B"),
        (
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>B",
            "B",
        ),
        (f"[THINK]{THOUGHT}[/THINK]B", "B"),
        (f"◁think▷{THOUGHT}◁/think▷B", "B"),
        ("<think></think>\n\nB", "B"),
        ("<think>\n\n</think>\n\nB", "B"),
        # thoughts in thoughts, and one after the other
        (f"<think>a<think>{THOUGHT}</think>c</think>B", "B"),
        (f"<think>{THOUGHT}</think>\n<think>Once more.</think>\nB", "B"),
        (f"<think>I may write <think> too. {THOUGHT}</think>\nB", "B"),
        (f"<think>They ask of `</think>`. {THOUGHT}</think>\nB", "B"),
        ('<think>The tag "</think>" closes it.</think>\nB', "B"),
        ("<think>As in\n```\n</think>\n```\nso.</think>\nB", "B"),
        ("<think>As in\n```\ncode\n</think>\nB, as in\n```\ncode\n```", "B, as in\n```\ncode\n```"),
        # never closed
        (f"<think>\n{THOUGHT}", ""),
        (f"[THINK]{THOUGHT}", ""),
        ("<think>", ""),
        # opened by the chat template
        (f"{THOUGHT}\n</think>\n\nB", "B"),
        (f"{THOUGHT}</think>B", "B"),
        (f"{THOUGHT} </think> B", "B"),
        ("so it is B </think>\n\nB", "B"),
        ("</think>\n\nB", "B"),
        (f"{THOUGHT}\n</think>\n\nThe tag `<think>` opens a thought.", "The tag `<think>` opens a thought."),
        # an answer that speaks of the tags
        ("B", "B"),
        ("I think it is B.", "I think it is B."),
        (
            "`<think>` opens a thought, `</think>` closes it.",
            "`<think>` opens a thought, `</think>` closes it.",
        ),
        ("A thought ends with </think> and then comes the answer.",) * 2,
        ("Write <think> first, then </think>, then the answer.",) * 2,
        ("Such a text is\n```\n<think>x\n</think>\ny\n```\nin most models.",) * 2,
        ("```xml\n<think>x</think>\n```",) * 2,
        ('It ends with "</think>".',) * 2,
        (f"<think>{THOUGHT}</think><think> is a tag.", "<think> is a tag."),
        (
            f"<think>{THOUGHT}</think>A thought ends so. </think> It does.",
            "A thought ends so. </think> It does.",
        ),
        ("<thinker>B</thinker>",) * 2,
        ("<reasoning>asked for</reasoning>B",) * 2,
        ("  B\n", "  B\n"),
    ],
)
def test_only_the_thought_that_leads_is_taken_off(text: str, answer: str) -> None:
    """However it is marked, nested, left open or left without its first tag; the answer keeps every word."""
    assert answer == without_thinking(text)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "`", "\n", "```", " a. ", '"', "[THINK]", "[/THINK]"]))
)
def test_whatever_is_left_was_at_the_end(parts: list[str]) -> None:
    """No text breaks it, and nothing is put in."""
    text = "".join(parts)
    assert text.endswith(without_thinking(text))
