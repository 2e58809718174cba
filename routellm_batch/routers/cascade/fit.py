"""Fit the order of a cascade on a pilot: prompts, both models' grades, the weak answers and what else was said.

The members compete as those of the pilot's prompt router do (``outcome/blend/evidence.py``), and the order that needs no
labels is one of them: where the labels teach nothing beyond it, it keeps the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routellm_batch.answers.signals import Signals
from routellm_batch.budget.selection.escalation import tiers
from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.protocols import Router
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.cascade.router import (
    LEARNED,
    MEMBERS,
    CascadeRouter,
    Learned,
    Reading,
    members,
)
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.heads import Heads, spread, standardise
from routellm_batch.routers.outcome.blend.evidence import Contest, Evidence, levelled, standards, weigh
from routellm_batch.routers.outcome.blend.fit import PilotRows, too_little
from routellm_batch.routers.outcome.blend.members import TRIED, flatten, view
from routellm_batch.routers.outcome.blend.router import Blend, View
from routellm_batch.routers.outcome.fitting import INTERCEPT_PENALTY
from routellm_batch.routers.outcome.logistic import fit_logistic
from routellm_batch.routers.training.held_out import prompt_folds
from routellm_batch.routers.training.rows import to_unit

TREES, LEAF = 300, 5
"""How many trees, and the least rows in a leaf."""
DIRECTIONS = 8
"""Principal directions of the answers' embeddings that trees may split on."""
PENALTY = 30.0
"""Strength of the prior on each coefficient of a standardised column, in units of rows."""
FOLDS = 10
CANDIDATES: tuple[Mapping[str, float], ...] = (
    {"order": 1},
    {"prompt": 1},
    {"forest": 1},
    {"forest": 1, "heads": 1},
    {"order": 1, "forest": 1},
    {"order": 1, "forest": 1, "heads": 1},
    {"order": 2, "forest": 1, "heads": 1},
    {"forest": 1, "heads": 1, "prompt": 0.5},
    {"order": 1, "forest": 1, "heads": 1, "prompt": 0.5},
)
"""Weights of standardised members."""
CONTEST = Contest(MEMBERS, CANDIDATES, LEARNED, ("order", "prompt"))
"""Who competes on the pilot."""


@dataclass(frozen=True, slots=True, eq=False)
class CascadeFit:
    """The order that a pilot fitted, and the facts behind it."""

    router: CascadeRouter
    """Scores rows."""
    out_of_fold: Floats
    """float64 [N], score of each row by models that saw neither the row nor its prompt."""
    chosen: str
    """``fitted``, or the member that is used instead: ``order`` or ``prompt``."""
    reason: str
    """One sentence, with the figures behind the choice."""
    facts: Mapping[str, Any]
    """Plain data for the model card."""


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    reading: Reading
    strong: Floats
    weak: Floats
    weight: Floats

    @property
    def gain(self) -> Floats:
        return self.strong - self.weak

    def take(self, rows: Ints) -> _Labels:
        return _Labels(self.reading.take(rows), self.strong[rows], self.weak[rows], self.weight[rows])


def fit_cascade(
    rows: PilotRows,
    answers: Sequence[str],
    signals: Signals,
    *,
    prompt: Router,
    unseen: Floats,
    base: Router,
    seed: int,
) -> CascadeFit:
    """Return an order fitted on a pilot, or the rule that the pilot prefers.

    Args:
        rows: N labelled prompts.
        answers: length N, the weak model's answers; "" where there is none.
        signals: of the N rows.
        prompt: scores prompts alone; fitted on the same rows where it learns from a pilot.
        unseen: float64 [N], its scores of the N prompts, by models that saw none of them.
        base: a router of prompts that needs no pilot.
        seed: of folds, trees and samples.

    """
    static = get_embedder("static")
    reading = Reading(
        base=base.score(PromptBatch(range(len(answers)), rows.prompts)).astype(np.float64),
        prompt=unseen,
        signals=signals,
        answers=static.embed(answers).astype(np.float64),
    )
    labels = _Labels(reading, *to_unit(rows.strong, rows.weak), rows.weight)
    tier = tiers(signals.usable, signals.disagreement)
    unknown = float(tier[signals.usable].mean()) if signals.usable.any() else 0.0
    problem = too_little(rows, labels.gain)
    with threadpool_limits(limits=1, user_api="blas"):
        evidence, raw, learned = (
            _by_rule(labels, unknown) if problem else _learn(labels, rows.prompts, unknown, seed)
        )
    router = CascadeRouter(evidence.blend, learned, unknown, base, prompt, static)
    weights = dict(zip(MEMBERS, evidence.blend.weight.tolist(), strict=True))
    reason = f"Not fitted: {problem}; rows are ordered by rule." if problem else _reason(evidence)
    facts = {"rows": len(tier), "weights": weights, "quality": dict(evidence.quality)}
    return CascadeFit(router, evidence.blend.combine(raw), evidence.chosen, reason, facts)


def _by_rule(labels: _Labels, unknown: float) -> tuple[Evidence, Floats, None]:
    raw = members(labels.reading, None, unknown)
    blend = Blend((np.array(MEMBERS) == "order").astype(np.float64), *standards(raw))
    return Evidence(blend, "order", {}, (np.nan, np.nan), {}), raw, None


def _learn(
    labels: _Labels, prompts: Sequence[str], unknown: float, seed: int
) -> tuple[Evidence, Floats, Learned | None]:
    fold = prompt_folds(prompts, FOLDS, seed)
    unseen = np.empty((len(fold), len(LEARNED)))
    for number in range(int(fold.max()) + 1):
        tested = np.flatnonzero(fold == number)
        fitted = _fit_members(labels.take(np.flatnonzero(fold != number)), seed)
        unseen[tested] = fitted.predict(labels.reading.take(tested))
    raw = members(labels.reading, levelled(unseen.T, fold).T, unknown)
    evidence = weigh(raw, labels.gain, labels.weight, CONTEST, seed=seed)
    return evidence, raw, _fit_members(labels, seed) if evidence.chosen == "fitted" else None


def _fit_members(labels: _Labels, seed: int) -> Learned:
    from sklearn.ensemble import ExtraTreesRegressor  # Takes a second to load, and no other command needs it.

    table, answers = labels.reading.table, labels.reading.answers
    whole = view(answers)
    along = View(whole.mean, whole.basis[:, :DIRECTIONS].copy())
    regressor = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=TRIED, random_state=seed)
    trees = np.hstack([table, along.along(answers)]).astype(np.float32)
    regressor.fit(trees, np.column_stack([labels.strong, labels.weak]), sample_weight=labels.weight)
    return Learned(flatten([one.tree_ for one in regressor.estimators_]), along, _fit_heads(labels, table))


def _fit_heads(labels: _Labels, table: Floats) -> Heads:
    mean, scale = spread(table)
    X = np.hstack([standardise(table, mean, scale), np.ones((len(table), 1))])
    penalty = np.append(np.full(table.shape[1], PENALTY), INTERCEPT_PENALTY)
    strong, weak = (
        fit_logistic(X, target, labels.weight, penalty) for target in (labels.strong, labels.weak)
    )
    return Heads(np.array([strong[:-1], weak[:-1]]), np.array([strong[-1], weak[-1]]), mean, scale, alpha=1.0)


def _reason(evidence: Evidence) -> str:
    lo, hi = evidence.interval
    beside = ", ".join(f"{name} {value:.3f}" for name, value in evidence.quality.items() if name != "blend")
    figures = (
        f"APGR {evidence.quality['blend']:.3f} ({lo:.3f} – {hi:.3f}) on labels that it did not see; {beside}"
    )
    if evidence.chosen == "fitted":
        won = evidence.shares["fitted"]
        return f"Fitted: {figures}; what was learned from answers was part of the best in {won:.0%} of bootstrap samples."
    lost = evidence.shares["baselines"]
    return f"Not fitted: {evidence.chosen} alone was better in {lost:.0%} of bootstrap samples of the pilot; {figures}."
