"""Fitting the order of a cascade on a pilot: what it learns, and what it falls back to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers.pilots import pilot_of

from routellm_batch.answers.agreement import AnswerReader
from routellm_batch.answers.signals import Signals, find_signals
from routellm_batch.config.answers import NumericAnswer
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.cascade import fit as cascade_fit
from routellm_batch.routers.cascade.fit import CascadeFit, fit_cascade
from routellm_batch.routers.cascade.router import columns
from routellm_batch.routers.outcome.blend import fit as pilot_fit
from routellm_batch.routers.outcome.blend import members as pilot_members
from routellm_batch.routers.outcome.blend.fit import PilotRows, fit_pilot

READER = AnswerReader(NumericAnswer(kind="numeric"))
ROWS = 240
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow thirty trees in three folds, which do for answers as plain as these."""
    for module in (cascade_fit, pilot_members):
        monkeypatch.setattr(module, "TREES", 30)
    monkeypatch.setattr(cascade_fit, "FOLDS", 3)
    monkeypatch.setattr(pilot_fit, "MANY_FOLDS", 3)
    monkeypatch.setattr(pilot_fit, "PENALTIES", pilot_fit.PENALTIES[:2])


def asked(rows: PilotRows, *, right: float, seed: int = 0) -> tuple[list[str], list[list[str | None]]]:
    """Return weak and check answers: the weak one is 1 where it is right; the check is so often right too."""
    random = np.random.default_rng(seed)
    answers = ["The answer is 1" if weak else f"The answer is {random.integers(2, 9)}" for weak in rows.weak]
    checks = ["1" if random.random() < right else "0" for _ in answers]
    return answers, [[check] for check in checks]


def fit(rows: PilotRows, answers: Sequence[str], signals: Signals) -> CascadeFit:
    """Return the order that a pilot fits, with the shipped router as its base."""
    base = make_router("outcome")
    prompts = fit_pilot(rows, prior=base, embedder="static", seed=0)
    return fit_cascade(
        rows, answers, signals, prompt=prompts.router, unseen=prompts.out_of_fold, base=base, seed=0
    )


def test_agreement_with_a_good_check_is_worth_more_than_the_prompt() -> None:
    """Grades follow no prompt, yet a check answer tells which weak ones are wrong."""
    rows = pilot_of(ROWS, shuffled=True)
    answers, others = asked(rows, right=0.9)
    fitted = fit(rows, answers, find_signals(rows.prompts, answers, others, READER))
    gain = rows.strong - rows.weak
    assert Ranking(fitted.out_of_fold).apgr_full(gain) > 0.75
    assert "APGR" in fitted.reason


def test_answers_that_teach_nothing_leave_it_to_the_prompt() -> None:
    """Where checks are noise and the prompt tells all, the order is about as good as that of prompts alone."""
    rows = pilot_of(ROWS, noise=0.02)
    random = np.random.default_rng(3)
    answers = [f"The answer is {n}" for n in random.integers(0, 9, ROWS)]
    others = [[str(n)] for n in random.integers(0, 9, ROWS)]
    fitted = fit(rows, answers, find_signals(rows.prompts, answers, others, READER))
    gain = rows.strong - rows.weak
    alone = fit_pilot(rows, prior=make_router("outcome"), embedder="static", seed=0).out_of_fold
    assert Ranking(fitted.out_of_fold).apgr_full(gain) > Ranking(alone).apgr_full(gain) - 0.05


def test_too_few_labels_leave_the_rule() -> None:
    """Ten rows teach nothing: unusable rows first, then those where the check differs."""
    rows = pilot_of(10)
    answers = ["1", "1", "none", *["1"] * 7]
    others = [["1"], ["2"], ["1"], *[["1"]] * 7]
    fitted = fit(rows, answers, find_signals(rows.prompts, answers, others, READER))
    assert fitted.chosen == "order"
    assert "40 are the least" in fitted.reason
    assert np.argsort(-fitted.out_of_fold)[:2].tolist() == [2, 1]


def test_scores_of_other_rows_follow_what_was_learned() -> None:
    """A row whose check differs scores higher than the same row whose check agrees; scores are in [0, 1]."""
    rows = pilot_of(ROWS, shuffled=True)
    answers, others = asked(rows, right=0.9)
    fitted = fit(rows, answers, find_signals(rows.prompts, answers, others, READER))
    prompts, same = ["How many?"] * 2, ["The answer is 1"] * 2
    scores = fitted.router.score(
        PromptBatch(range(2), prompts), same, find_signals(prompts, same, [["1"], ["5"]], READER)
    )
    assert scores.dtype == np.float32
    assert 0 <= scores[0] < scores[1] <= 1


@pytest.mark.parametrize(("others", "expected"), [(0, 3), (1, 5), (2, 8), (3, 11)])
def test_columns_have_names(others: int, expected: int) -> None:
    """Each other answer, each pair of them, and their means are columns beside those of prompt and look."""
    from routellm_batch.answers.signals import LOOK

    assert len(columns(others)) == expected + len(LOOK)
