"""What is evaluated under one name: a router that scores prompts, or a cascade that looks at the weak model's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.answers.agreement import AnswerReader
from routellm_batch.answers.signals import Signals, find_signals
from routellm_batch.budget.selection.escalation import ranks, tiers
from routellm_batch.config.answers import AnswerConfig, LabelAnswer, TextAnswer
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.protocols import Router
from routellm_batch.evaluation.dollars import Spending
from routellm_batch.evaluation.figures import Contender, routed
from routellm_batch.evaluation.notes import check_scores
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.evaluation.pilot import Fit, train_on
from routellm_batch.routers import make_router
from routellm_batch.routers.cascade.fit import fit_cascade
from routellm_batch.routers.cascade.router import CascadeRouter
from routellm_batch.routers.cascade.texts import text_signals
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.blend.fit import PilotRows

CASCADE = "cascade"
"""First word of the name of a cascade; the router of its prompts may follow."""
TRAINED = ("outcome", "knn")
"""Routers that a pilot trains; others are tested as they are."""
PROMPT = "prompt"
"""Baseline of a cascade: the router of its prompts alone."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The settings that routers are made with."""

    embedder: EmbedderConfig | str
    options: Mapping[str, Any]
    answer: AnswerConfig | None
    """How a cascade compares answers; None where none is named."""

    def load(self, spec: str, seed: int) -> Router:
        """Return the router of ``NAME[:CHECKPOINT]``."""
        name, _, checkpoint = spec.partition(":")
        return make_router(
            name, checkpoint=checkpoint or None, embedder=self.embedder, seed=seed, options=self.options
        )

    def signals(self, outcomes: Outcomes) -> Signals:
        """Return the signals of a set of outcomes with answers.

        Raises:
            ConfigError: it is not said how answers are compared, or in a way that needs a label job.

        """
        answers = outcomes.answers
        if self.answer is None or answers is None:
            kinds = "exact, numeric, choice, regex, json or text"
            raise ConfigError(
                "--answer",
                f"is missing: a cascade compares answers; give {kinds}, or a mapping such as "
                "'{kind: choice, letters: ABCD}'",
            )
        if isinstance(self.answer, LabelAnswer):
            raise ConfigError("--answer", "label goes with label jobs; compare labels with exact")
        if isinstance(self.answer, TextAnswer):
            return text_signals(outcomes.prompts, answers.weak, answers.others, get_embedder("static"))
        return find_signals(outcomes.prompts, answers.weak, answers.others, AnswerReader(self.answer))


@dataclass(frozen=True, eq=False)
class Entry:
    """One router under test."""

    name: str
    """As it was asked for."""
    router: Router
    """Scores prompts: the router itself, or that of a cascade's prompts."""
    fit: Fit | None = None
    """How the pilot fitted it; None where it is tested as it is."""
    cascade: CascadeRouter | None = None
    """The fitted order of a cascade; None: a router, or a cascade that follows the rule."""
    maker: Maker | None = None
    """Finds the signals of a cascade; None: a router."""

    def contenders(self, outcomes: Outcomes) -> list[Contender]:
        """Return the entry as measured on some outcomes, and after it the baseline that only it has, if any."""
        alone = self.router.score(outcomes.batch)
        check_scores(alone, outcomes)
        if self.maker is None or outcomes.answers is None:
            return [routed(self.name, [alone], outcomes)]
        signals = self.maker.signals(outcomes)
        scores: NDArray[np.floating] = ranks(tiers(signals.usable, signals.disagreement), alone)
        if self.cascade is not None:
            texts = [answer or "" for answer in outcomes.answers.weak]
            scores = self.cascade.score(outcomes.batch, texts, signals)
        costs = outcomes.costs
        spending = None if costs is None else Spending.looked_at(costs, outcomes.answers)
        return [Contender(self.name, [scores], spending), routed(PROMPT, [alone], outcomes)]


def is_cascade(spec: str) -> bool:
    """Whether a name is that of a cascade."""
    return spec.partition(":")[0] == CASCADE


def prompt_spec(spec: str) -> str:
    """Return the name of the router that scores a cascade's prompts, ``NAME[:CHECKPOINT]``."""
    return spec.partition(":")[2] or "outcome"


def load_entry(spec: str, maker: Maker, seed: int) -> Entry:
    """Return a router or cascade without a pilot."""
    if is_cascade(spec):
        return Entry(spec, maker.load(prompt_spec(spec), seed), maker=maker)
    return Entry(spec, maker.load(spec, seed))


def train_entry(spec: str, pilot: Outcomes, neighbours: Router, maker: Maker, seed: int) -> Entry:
    """Return a router or cascade that a pilot trained; a router that names a checkpoint is taken as it is.

    Args:
        spec: its name.
        pilot: the labelled rows.
        neighbours: the knn router that is trained on them.
        maker: settings of routers.
        seed: of the fit.

    """
    if is_cascade(spec):
        return _train_cascade(spec, pilot, neighbours, maker, seed)
    if spec == "knn":
        return Entry(spec, neighbours)
    if spec in TRAINED:
        fit = train_on(pilot, embedder=maker.embedder, seed=seed)
        return Entry(spec, fit.router, fit)
    return Entry(spec, maker.load(spec, seed))


def _train_cascade(spec: str, pilot: Outcomes, neighbours: Router, maker: Maker, seed: int) -> Entry:
    signals, answers = maker.signals(pilot), pilot.answers
    name = prompt_spec(spec)
    if name == "outcome":
        fit = train_on(pilot, embedder=maker.embedder, seed=seed)
        base, prompt, unseen = maker.load(name, seed), fit.router, fit.out_of_fold
    else:
        base = prompt = neighbours if name == "knn" else maker.load(name, seed)
        unseen = prompt.score(pilot.batch).astype(np.float64)
    fitted = fit_cascade(
        PilotRows(pilot.prompts, pilot.strong, pilot.weak, np.ones(len(pilot))),
        [answer or "" for answer in (answers.weak if answers else ())],
        signals,
        prompt=prompt,
        unseen=unseen,
        base=base,
        seed=seed,
    )
    return Entry(spec, prompt, fitted, fitted.router, maker)


def contenders_of(
    entries: Sequence[Entry], outcomes: Outcomes
) -> tuple[list[Contender], list[Contender | None]]:
    """Return the entries as measured on some outcomes, and the baseline that only each of them has, or None."""
    each = [entry.contenders(outcomes) for entry in entries]
    return [one[0] for one in each], [one[1] if len(one) > 1 else None for one in each]
