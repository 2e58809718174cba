"""Grades and promises in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.reporting.quality_view import Achieved, PilotView, QualityView
from routellm_batch.reporting.quality_words import missed_text, ungradable_text

CHOICE = RecoverChoice(0.9, 0.8, 0.5, 0.95, 0.91, 0.1, 0.97)
UNSEEN = Achieved(100, 0.8, 0.7, 0.9)
PILOT = PilotView("out/pilots/p", "2026-11-01", 200, 200, "exact", "fitted", "Fitted.", None, 0, 0, here=True)


@pytest.mark.parametrize(
    ("quality", "text"),
    [
        (None, None),
        ({"pgr": None}, None),
        ({"pgr": 0.93}, None),
        ({"pgr": 0.9}, None),
        ({"pgr": 0.82}, "Asked to recover 90% of the strong model's gain, the run achieved 82%."),
        (
            {"pgr": 0.93, "unseen": UNSEEN, "unseen_pgr": 0.82},
            "Asked to recover 90% of the strong model's gain, the run achieved 82% on rows that the pilot did not see.",
        ),
        ({"pgr": 0.82, "unseen": UNSEEN, "unseen_pgr": 0.93}, None),
        ({"pgr": 0.82, "unseen": UNSEEN, "unseen_pgr": None}, None),
    ],
)
def test_a_missed_promise_is_said(quality: dict[str, Any] | None, text: str | None) -> None:
    """What was asked for is held against the rows that the pilot did not see, where there are such."""
    assert text == missed_text(None if quality is None else QualityView(**quality), CHOICE)


def test_nothing_was_promised() -> None:
    """A share or a sum promises no part of the gain."""
    assert missed_text(QualityView(pgr=0.1), None) is None


@pytest.mark.parametrize(("ungradable", "said"), [(0, False), (1, True), (302, True)])
def test_rows_that_a_pilot_left_out_are_said(ungradable: int, *, said: bool) -> None:
    """A pilot says how many rows it was not drawn from."""
    text = ungradable_text(replace(PILOT, ungradable=ungradable))
    assert said == (text is not None and text.startswith(f"{ungradable} row"))
