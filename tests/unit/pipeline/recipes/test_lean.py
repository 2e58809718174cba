"""Leaning towards long questions: what it does to a score, how far, and how the checkpoint keeps it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routellm_batch.core.types import PromptBatch
from routellm_batch.pipeline.recipes.lean import LEANS, lean
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.heads import Lean
from routellm_batch.routers.outcome.router import OutcomeRouter, design_matrix
from routellm_batch.routers.outcome.train import fit_router
from routellm_batch.routers.training.rows import TrainingRows

SHORT, LONG = "What is 17 + 4?", "What is " + "17 + " * 60 + "4?"


def tasks(*, long_is_hard: bool) -> TrainingRows:
    """Return two tasks of sums, of which the long ones, or any, defeat the weak model."""
    random = np.random.default_rng(0)
    terms = random.integers(1, 60, 160)
    verbs = ["Add", "Translate"]
    weak = (terms < 30) if long_is_hard else random.random(160) < 0.5
    return TrainingRows(
        prompts=[f"{verbs[n % 2]}: " + "17 + " * int(count) + str(n) for n, count in enumerate(terms)],
        strong=np.ones(160),
        weak=weak.astype(np.float64),
        weight=np.ones(160),
        file=np.zeros(160, dtype=np.int64),
        task=[verbs[n % 2] for n in range(160)],
        held_out=np.zeros(160, dtype=np.bool_),
    )


def leaned(rows: TrainingRows) -> OutcomeRouter:
    """Return heads fitted on the rows, leaning as their tasks say."""
    plain, choice = fit_router(rows)
    router, _ = lean(plain, rows, design_matrix(get_embedder("static"), rows.prompts), choice, seed=0)
    return router


def test_a_lean_moves_long_questions_up() -> None:
    """The more a router leans, the further a long question is above a short one; answer options don't count."""
    shipped = make_router("outcome")
    assert isinstance(shipped, OutcomeRouter)
    batch = PromptBatch(range(2), [SHORT, LONG])
    gaps = []
    for weight in (0.0, 0.5, 2.0):
        scores = replace(shipped, lean=Lean(weight, 0.6, 0.04)).score(batch)
        gaps.append(float(scores[1] - scores[0]))
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[2]


def test_without_weight_a_lean_keeps_the_order() -> None:
    """A lean of nought only stretches scores."""
    shipped = make_router("outcome", checkpoint="builtin:outcome-v1")
    assert isinstance(shipped, OutcomeRouter)
    batch = PromptBatch(range(4), [SHORT, LONG, "Hi", "Prove that √2 is irrational."])
    flat = replace(shipped, lean=Lean(0.0, 0.6, 0.04)).score(batch)
    assert np.array_equal(np.argsort(shipped.score(batch)), np.argsort(flat))


def test_where_length_tells_all_the_lean_is_the_strongest() -> None:
    """If long questions are the hard ones in every task, nothing is lost by leaning as far as it goes."""
    actual = leaned(tasks(long_is_hard=True))
    assert actual.lean is not None
    assert actual.lean.weight == LEANS[-1]


def test_the_lean_standardises_training_scores() -> None:
    """μ and d are the mean and the deviation of the heads' scores on the rows trained on."""
    rows = tasks(long_is_hard=False)
    actual = leaned(rows)
    scores = actual.heads.score(design_matrix(actual.embedder, rows.prompts))
    assert actual.lean is not None
    assert (actual.lean.mean, actual.lean.deviation) == pytest.approx((scores.mean(), scores.std()))


@pytest.mark.parametrize("fields", [{}, {"weight": 1, "mean": 0, "deviation": 0}, {"weight": "x", "mean": 0}])
def test_a_lean_of_nonsense_is_refused(fields: dict[str, object]) -> None:
    """Data that is no lean raises what the checkpoint's reader turns into words."""
    with pytest.raises((KeyError, ValueError)):
        Lean.of(fields)
