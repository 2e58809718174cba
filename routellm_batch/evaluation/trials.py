"""``evaluate``: each router on each set of outcomes, with intervals, baselines and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from routellm_batch.config.answers import AnswerConfig
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.metrics import REPLICATES
from routellm_batch.core.protocols import Router
from routellm_batch.evaluation.baselines import baselines, constants, knn_on
from routellm_batch.evaluation.curves import Drawing, draw, share_grid
from routellm_batch.evaluation.dollars import Tariff
from routellm_batch.evaluation.entries import (
    PROMPT,
    Entry,
    Maker,
    contenders_of,
    is_cascade,
    load_entry,
    train_entry,
)
from routellm_batch.evaluation.figures import Measured, compare, measure
from routellm_batch.evaluation.files import write_files
from routellm_batch.evaluation.notes import fallbacks, notes, unpriced
from routellm_batch.evaluation.outcomes import Outcomes, contradictions, read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot
from routellm_batch.evaluation.seeds import over_seeds
from routellm_batch.routers import make_router

OPPONENTS = ("random", "length", "knn")
"""Baselines that every router is tested against."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Settings that hold for every router and file."""

    maker: Maker
    seed: int
    pilot: int | None
    seeds: int
    replicates: int
    drawn: bool
    """Whether to compute curves."""


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """The measurements on one test set."""

    test: Outcomes
    routers: Sequence[Measured]
    baselines: Mapping[str, Measured]
    entries: Sequence[Entry]
    """The routers under test, as the pilot fitted them where there is one."""
    alone: Sequence[Measured | None]
    """Of each router that is a cascade, the router of its prompts alone."""


def evaluate(  # noqa: PLR0913 - each is an option of the command line
    outcomes: Sequence[str],
    routers: Sequence[str],
    *,
    embedder: EmbedderConfig | str = "static",
    options: Mapping[str, Any] | None = None,
    where: Mapping[str, str] | None = None,
    pilot: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    replicates: int = REPLICATES,
    tariff: Tariff | None = None,
    answer: AnswerConfig | None = None,
    out: str | None = None,
) -> dict[str, Any]:
    """Evaluate routers on labelled outcomes, and write the curves where ``out`` is given.

    Args:
        outcomes: Parquet files, globs or folders (paths or URIs) with ``prompt_id, prompt, strong_score, weak_score``;
            rows with ``contaminated`` true are dropped.
        routers: each ``NAME`` or ``NAME:CHECKPOINT``, split at the first colon; or ``cascade``, alone or before the router
            of its prompts, for which the outcomes need ``weak_response`` and may have ``check_response``.
        embedder: settings of the embedder, or its name in ``EMBEDDERS``.
        options: further settings of the routers.
        where: column → value; only rows with these values are kept.
        pilot: number of rows to train the routers on first; they are tested on the rest. Routers of ``TRAINED`` are
            trained; others, and those with a checkpoint, are tested as they are.
        seeds: number of pilots to draw, with seeds 0, 1, …; figures are means over them.
        seed: seed of the random baseline and the bootstrap.
        replicates: number of resamples of the bootstrap.
        tariff: prices and token counts, for quality per dollar.
        answer: how a cascade compares answers.
        out: a folder (path or URI) for ``curves.parquet``, ``curve.svg``, ``result.json`` and, with the extra
            ``plot``, ``curve.png``.

    Returns:
        For one router and one file: ``router, n, weak, strong, apgr, apgr_full, apgr_ci, cpt50, cpt80, baselines`` and more
        (docs/evaluate.md; with a pilot also ``pilot, per_seed, sd``); otherwise ``{"results": […], "pairs": […]}``, each
        with its ``outcomes``. Where the strong model is not better than the weak one, figures are NaN and ``note`` says so.

    Raises:
        ConfigError: there is no router or no file, or a file has too few rows for the pilot.
        DataError: a file, column or row can't be used.
        CheckpointError: weights can't be used.

    """
    _check(outcomes, routers, seeds)
    maker = Maker(embedder, options or {}, answer)
    settings = _Settings(maker, seed, pilot, seeds, replicates, out is not None)
    looks = any(map(is_cascade, routers))
    sets = [read_outcomes(uri, where or {}, tariff, answers=looks) for uri in outcomes]
    if tariff and tariff.prices and not any(data.costs for data in sets):
        raise ConfigError("--price", "no token counts for any of the outcomes; name a file with --tokens")
    result, drawings = _evaluate(sets, routers, settings)
    if out is not None:
        write_files(out, result, drawings)
    return result


def _check(outcomes: Sequence[str], routers: Sequence[str], seeds: int) -> None:
    if not outcomes or not routers:
        raise ConfigError(
            "evaluate", "at least one file of outcomes and one --router NAME[:CHECKPOINT] are needed"
        )
    if seeds < 1:
        raise ConfigError("seeds", f"is {seeds}; at least 1 is needed")


def _evaluate(
    sets: Sequence[Outcomes], routers: Sequence[str], settings: _Settings
) -> tuple[dict[str, Any], list[Drawing]]:
    """Return the result of ``evaluate``, and the curves where they are asked for."""
    results: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    drawings: list[Drawing] = []
    for data in sets:
        trials = _trials(data, routers, settings)
        results += [{"outcomes": data.uri, **one} for one in _results(data, routers, trials, settings)]
        pairs += [{"outcomes": data.uri, **one} for one in _pairs(routers, trials)]
        if settings.drawn:
            drawings.append(draw(data, [[*t.routers, *t.baselines.values()] for t in trials], len(routers)))
    if len(results) > 1:
        return {"results": results, "pairs": pairs}, drawings
    return {name: value for name, value in results[0].items() if name != "outcomes"}, drawings


def _trials(data: Outcomes, routers: Sequence[str], settings: _Settings) -> list[_Trial]:
    """Return the measurements on all rows, or with pilots on a test set for each seed."""
    shares = share_grid(len(data)) if settings.drawn else None
    if settings.pilot is None:
        loaded = [load_entry(spec, settings.maker, settings.seed) for spec in routers]
        neighbours = make_router("knn", embedder="static")
        return [_trial(data, loaded, neighbours, settings, seed=settings.seed, shares=shares)]
    trials: list[_Trial] = []
    for seed in range(settings.seeds):
        pilot, test = draw_pilot(data, settings.pilot, seed)
        neighbours = knn_on(pilot, embedder=settings.maker.embedder, seed=seed)
        trained = [train_entry(spec, pilot, neighbours, settings.maker, seed) for spec in routers]
        trials.append(_trial(test, trained, neighbours, settings, seed=seed, shares=shares))
    return trials


def _trial(
    test: Outcomes,
    entries: Sequence[Entry],
    neighbours: Router,
    settings: _Settings,
    *,
    seed: int,
    shares: Floats | None,
) -> _Trial:
    """Return the measurements of routers, their own baselines and those of all, on the same resamples."""
    tested, own = contenders_of(entries, test)
    shown = baselines(test, neighbours, seed=seed)
    extra = [one for one in own if one is not None]
    measured = measure(
        [*tested, *shown, *extra], test, seed=settings.seed, replicates=settings.replicates, shares=shares
    )
    count = len(tested) + len(shown)
    rest = iter(measured[count:])
    return _Trial(
        test,
        measured[: len(tested)],
        {m.figures["router"]: m for m in measured[len(tested) : count]},
        entries,
        [None if one is None else next(rest) for one in own],
    )


def _results(
    data: Outcomes, routers: Sequence[str], trials: Sequence[_Trial], settings: _Settings
) -> list[dict[str, Any]]:
    """Return one result per router."""
    beside = [
        {**{name: m.figures for name, m in trial.baselines.items()}, **constants(trial.test)}
        for trial in trials
    ]
    disputed = contradictions(data)
    results: list[dict[str, Any]] = []
    for number in range(len(routers)):
        mine = [trial.routers[number] for trial in trials]
        alone = [trial.alone[number] for trial in trials]
        own = [{} if one is None else {PROMPT: one.figures} for one in alone]
        each = [{**m.figures, "baselines": {**o, **b}} for m, o, b in zip(mine, own, beside, strict=True)]
        figures = each[0] if settings.pilot is None else over_seeds(each, settings.pilot)
        fits = [trial.entries[number].fit for trial in trials]
        if settings.pilot is not None:
            for one, fit in zip(figures["per_seed"], fits, strict=True):
                if fit is not None:
                    one |= {"chosen": fit.chosen, "reason": fit.reason}
        figures["versus"] = {
            name: compare(mine, [trial.baselines[name] for trial in trials]) for name in OPPONENTS
        }
        paired = [one for one in alone if one is not None]
        if paired:
            figures["versus"][PROMPT] = compare(mine, paired)
        figures["contradictions"] = disputed
        caveats = [*fallbacks(fits), *notes(figures, data, mine, disputed)]
        if settings.pilot is not None and ":" in routers[number] and not is_cascade(routers[number]):
            caveats.insert(
                0, "it was loaded from its checkpoint and tested as it is, not trained on the pilot"
            )
        if is_cascade(routers[number]):
            caveats += unpriced(data)
        results.append({**figures, "note": "; ".join(caveats)} if caveats else figures)
    return results


def _pairs(routers: Sequence[str], trials: Sequence[_Trial]) -> list[dict[str, Any]]:
    """Return the comparison of every two routers."""
    return [
        {
            "a": routers[a],
            "b": routers[b],
            **compare([trial.routers[a] for trial in trials], [trial.routers[b] for trial in trials]),
        }
        for a, b in combinations(range(len(routers)), 2)
    ]
