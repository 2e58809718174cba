"""Fit a router on a pilot's labels: a few hundred prompts of the job itself, with grades of both models' answers.

With enough labels the router is a blend (``router.py``) of members that learned from them and of what was known before,
weighed by the pilot's own evidence (``evidence.py``). With too few labels, or no gain to recover, it is the best of what was
known before: the shipped router, or prompt length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.protocols import Embedder, Router
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.blend.evidence import Evidence, best_of, levelled, standards, weigh
from routellm_batch.routers.outcome.blend.members import Labels, fit_heads, learn
from routellm_batch.routers.outcome.blend.router import (
    LEARNED,
    MEMBERS,
    Blend,
    BlendRouter,
    members,
    read,
)
from routellm_batch.routers.outcome.blend.weights import save_blend
from routellm_batch.routers.outcome.fitting import Penalties
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.training.held_out import prompt_folds
from routellm_batch.routers.training.rows import to_unit

PENALTIES = tuple(
    Penalties(embedding, table)
    for embedding, table in (
        (10.0, 300.0),
        (100.0, 30.0),
        (30.0, 100.0),
        (30.0, 30.0),
        (10.0, 30.0),
        (3.0, 100.0),
    )
)
"""Candidates for the heads' penalties; the one that recovers most on rows held out is taken."""
FEWEST, FEWEST_DIFFERENT = 40, 8
"""Least number of distinct prompts, and of rows where the models' grades differ, that a fit needs."""
_WORDS = {
    "length": "prompt length",
    "prior": "the shipped router",
    "both": "prompt length with the shipped router",
}
"""What ranks the prompts where nothing was fitted → its name in a sentence."""
FOLDS, MANY_FOLDS, SMALL = 5, 10, 600
"""Number of folds, and number of folds for a pilot of fewer rows than ``SMALL``."""


@dataclass(frozen=True, slots=True, eq=False)
class PilotRows:
    """N prompts of a job with the grades of both models' answers."""

    prompts: Sequence[str]
    """Length N."""
    strong: Floats
    """[N], grade of the strong model's answer, in any unit."""
    weak: Floats
    """[N], grade of the weak model's answer, in the same unit."""
    weight: Floats
    """[N], sampling weights; positive, mean 1."""


@dataclass(frozen=True, slots=True, eq=False)
class PilotFit:
    """The router that a pilot fitted, and the facts behind it."""

    router: Router
    """The router."""
    out_of_fold: Floats
    """float64 [N], score of each row by models that saw neither the row nor its prompt."""
    chosen: str
    """``fitted``, or the baseline that is used instead: ``length``, ``prior`` …"""
    reason: str
    """One sentence, with the figures behind the choice."""
    facts: Mapping[str, Any]
    """Plain data for the model card."""


def fit_pilot(
    rows: PilotRows, *, prior: Router | None, embedder: EmbedderConfig | str, seed: int
) -> PilotFit:
    """Return a router fitted on a pilot, or the baseline that the pilot prefers.

    Args:
        rows: the pilot.
        prior: the router known before, an ``outcome`` router of heads on the static embedder; None: there is none.
        embedder: embeds the texts for the heads: its settings, or a row of ``EMBEDDERS``.
        seed: of folds, trees and samples.

    Raises:
        DataError: no row, or a grade or weight that can't be used.
        ConfigError: a prior of another kind.

    """
    _check(rows)
    static = get_embedder("static")
    if prior is not None and not (
        isinstance(prior, OutcomeRouter) and prior.embedder.fingerprint == static.fingerprint
    ):
        raise ConfigError("prior", "must be an outcome router of heads, on the static embedder")
    loaded = get_embedder(embedder)
    reading = read(rows.prompts, loaded, static, prior)
    labels = Labels(reading, *to_unit(rows.strong, rows.weak), rows.weight)
    problem = _too_little(labels, rows.prompts)
    # Matrices this small gain nothing from threads, and on a busy machine lose tenfold to their waiting.
    with threadpool_limits(limits=1, user_api="blas"):
        return (
            _fall_back(labels, problem, prior, loaded)
            if problem
            else _fit(labels, _folds(rows.prompts, seed), prior, loaded, seed)
        )


def save_pilot_router(out: str, fit: PilotFit, card: str) -> None:
    """Write the router to a new folder that ``router: {name: outcome, checkpoint: …}`` loads.

    Args:
        out: path or URI of the folder.
        fit: a result of ``fit_pilot``.
        card: the model card, Markdown.

    Raises:
        ConfigError: a checkpoint is there already, or ``fit_pilot`` did not make the router.

    """
    if not isinstance(fit.router, BlendRouter):
        raise ConfigError("pilot", f"router {fit.router.name!r} was not fitted on a pilot")
    trained = {"chosen": fit.chosen, "reason": fit.reason, **fit.facts}
    save_blend(out, fit.router, name="pilot", trained=trained, card=card)


def _check(rows: PilotRows) -> None:
    if not rows.prompts:
        raise DataError("the pilot has no rows")
    columns = {STRONG: rows.strong, WEAK: rows.weak, "weight": rows.weight}
    for name, values in columns.items():
        if len(values) != len(rows.prompts):
            raise DataError(f"has {len(values)} values for {len(rows.prompts)} prompts", column=name)
        bad = np.flatnonzero(~np.isfinite(values) | ((values <= 0) & (name == "weight")))
        if len(bad):
            raise DataError(
                "is not a finite number, or a weight that is not positive", column=name, row=int(bad[0])
            )


def _too_little(labels: Labels, prompts: Sequence[str]) -> str:
    """Return why a router can't be fitted; "" if it can."""
    distinct, different = len(set(prompts)), int(np.count_nonzero(labels.gain))
    if distinct < FEWEST:
        return f"the pilot has {distinct} distinct prompts, and {FEWEST} are the least to fit on"
    if different < FEWEST_DIFFERENT:
        return (
            f"the models' grades differ on {different} rows, and {FEWEST_DIFFERENT} are the least to fit on"
        )
    strong, weak = (float(np.average(v, weights=labels.weight)) for v in (labels.strong, labels.weak))
    if not strong > weak:
        return (
            f"the strong model is not better than the weak one on the pilot ({strong:.3f} against {weak:.3f})"
        )
    return ""


def _fall_back(labels: Labels, problem: str, prior: OutcomeRouter | None, embedder: Embedder) -> PilotFit:
    """Return the shipped router, or prompt length where there is none, as a blend of one member."""
    chosen = "length" if prior is None else "prior"
    raw = members(labels.reading, None)
    blend = Blend((np.array(MEMBERS) == chosen).astype(np.float64), *standards(raw))
    return PilotFit(
        router=BlendRouter(blend, None, prior, embedder, get_embedder("static")),
        out_of_fold=blend.combine(raw),
        chosen=chosen,
        reason=f"Not fitted: {problem}; prompts are ranked by {_WORDS[chosen]}.",
        facts={"rows": len(labels.gain), "weights": _named(blend.weight)},
    )


def _fit(labels: Labels, fold: Ints, prior: OutcomeRouter | None, embedder: Embedder, seed: int) -> PilotFit:
    unseen, penalties = _learn_unseen(labels, fold, seed)
    raw = members(labels.reading, unseen)
    available = MEMBERS if prior is not None else [name for name in MEMBERS if name != "prior"]
    evidence = weigh(raw, labels.gain, labels.weight, available, seed=seed)
    fitted = evidence.chosen == "fitted"
    router = BlendRouter(
        blend=evidence.blend,
        learned=learn(labels, fit_heads(labels, penalties), seed) if fitted else None,
        prior=prior,
        embedder=embedder,
        static=get_embedder("static"),
    )
    facts = {
        "rows": len(labels.gain),
        "folds": int(fold.max()) + 1,
        "penalties": {"embedding": penalties.embedding, "table": penalties.features},
        "weights": _named(evidence.blend.weight),
        "quality": dict(evidence.quality),
        "interval": list(evidence.interval),
        "samples_won": dict(evidence.shares),
        "seed": seed,
    }
    return PilotFit(router, evidence.blend.combine(raw), evidence.chosen, _reason(evidence), facts)


def _learn_unseen(labels: Labels, fold: Ints, seed: int) -> tuple[Floats, Penalties]:
    """Return each row's predictions by members that saw neither it nor its prompt, [N, LEARNED], and the penalties."""
    heads = np.empty((len(PENALTIES), len(labels.gain)))
    predictions = np.empty((len(labels.gain), LEARNED))
    for number in range(int(fold.max()) + 1):
        tested = np.flatnonzero(fold == number)
        seen, unseen = labels.take(np.flatnonzero(fold != number)), labels.reading.take(tested)
        fitted = [fit_heads(seen, penalties) for penalties in PENALTIES]
        heads[:, tested] = [one.score(unseen.design) for one in fitted]
        predictions[tested] = learn(seen, fitted[0], seed).predict(unseen)
    heads, predictions = levelled(heads, fold), levelled(predictions.T, fold).T
    best = best_of(list(heads), labels.gain, labels.weight, seed=seed)
    predictions[:, MEMBERS.index("heads")] = heads[best]
    return predictions, PENALTIES[best]


def _reason(evidence: Evidence) -> str:
    beside = ", ".join(f"{name} {value:.3f}" for name, value in evidence.quality.items() if name != "blend")
    lo, hi = evidence.interval
    figures = (
        f"APGR {evidence.quality['blend']:.3f} ({lo:.3f} – {hi:.3f}) on labels that it did not see; {beside}"
    )
    if evidence.chosen == "fitted":
        won = evidence.shares["fitted"]
        return f"Fitted: {figures}; what was learned was part of the best in {won:.0%} of bootstrap samples."
    lost = evidence.shares["baselines"]
    instead = _WORDS.get(evidence.chosen, _WORDS["both"])
    return (
        f"Not fitted: {instead} alone was better in {lost:.0%} of bootstrap samples of the pilot; {figures}."
    )


def _named(weight: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(MEMBERS, weight, strict=True)}


def _folds(prompts: Sequence[str], seed: int) -> Ints:
    return prompt_folds(prompts, MANY_FOLDS if len(prompts) < SMALL else FOLDS, seed)
