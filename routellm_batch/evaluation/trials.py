"""``evaluate``: each router on each set of outcomes, with intervals, baselines and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.metrics import REPLICATES
from routellm_batch.core.protocols import Router
from routellm_batch.evaluation.baselines import baselines, constants, knn_on
from routellm_batch.evaluation.curves import Drawing, draw, share_grid
from routellm_batch.evaluation.dollars import Tariff
from routellm_batch.evaluation.figures import Contender, Measured, compare, measure
from routellm_batch.evaluation.files import write_files
from routellm_batch.evaluation.notes import check_scores, fallbacks, notes
from routellm_batch.evaluation.outcomes import Outcomes, contradictions, read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot, train_on
from routellm_batch.evaluation.seeds import over_seeds
from routellm_batch.routers import make_router
from routellm_batch.routers.outcome.blend.fit import PilotFit

TRAINED = ("outcome", "knn")
"""Routers that a pilot trains; others are tested as they are."""
OPPONENTS = ("random", "length", "knn")
"""Baselines that every router is tested against."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Settings that hold for every router and file."""

    embedder: EmbedderConfig | str
    options: Mapping[str, Any]
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
    fits: Sequence[PilotFit | None]
    """How the pilot fitted each router; None where it was tested as it is."""


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
    out: str | None = None,
) -> dict[str, Any]:
    """Evaluate routers on labelled outcomes, and write the curves where ``out`` is given.

    Args:
        outcomes: Parquet files, globs or folders (paths or URIs) with ``prompt_id, prompt, strong_score, weak_score``;
            rows with ``contaminated`` true are dropped.
        routers: each ``NAME`` or ``NAME:CHECKPOINT``, split at the first colon.
        embedder: settings of the embedder, or its name in ``EMBEDDERS``.
        options: further settings of the routers.
        where: column → value; only rows with these values are kept.
        pilot: number of rows to train the routers on first; they are tested on the rest. Routers of ``TRAINED`` are
            trained; others, and those with a checkpoint, are tested as they are.
        seeds: number of pilots to draw, with seeds 0, 1, …; figures are means over them.
        seed: seed of the random baseline and the bootstrap.
        replicates: number of resamples of the bootstrap.
        tariff: prices and token counts, for quality per dollar.
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
    if not outcomes or not routers:
        raise ConfigError(
            "evaluate", "at least one file of outcomes and one --router NAME[:CHECKPOINT] are needed"
        )
    if seeds < 1:
        raise ConfigError("seeds", f"is {seeds}; at least 1 is needed")
    settings = _Settings(embedder, options or {}, seed, pilot, seeds, replicates, out is not None)
    sets = [read_outcomes(uri, where or {}, tariff) for uri in outcomes]
    if tariff and tariff.prices and not any(data.costs for data in sets):
        raise ConfigError("--price", "no token counts for any of the outcomes; name a file with --tokens")
    result, drawings = _evaluate(sets, routers, settings)
    if out is not None:
        write_files(out, result, drawings)
    return result


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
        loaded = [_load(spec, settings, settings.seed) for spec in routers]
        neighbours = make_router("knn", embedder="static")
        given = [(router, None) for router in loaded]
        return [_trial(data, routers, given, neighbours, settings, seed=settings.seed, shares=shares)]
    trials: list[_Trial] = []
    for seed in range(settings.seeds):
        pilot, test = draw_pilot(data, settings.pilot, seed)
        neighbours = knn_on(pilot, embedder=settings.embedder, seed=seed)
        trained = [_train(spec, pilot, neighbours, settings, seed) for spec in routers]
        trials.append(_trial(test, routers, trained, neighbours, settings, seed=seed, shares=shares))
    return trials


def _load(spec: str, settings: _Settings, seed: int) -> Router:
    name, _, checkpoint = spec.partition(":")
    return make_router(
        name,
        checkpoint=checkpoint or None,
        embedder=settings.embedder,
        seed=seed,
        options=settings.options,
    )


def _train(
    spec: str, pilot: Outcomes, neighbours: Router, settings: _Settings, seed: int
) -> tuple[Router, PilotFit | None]:
    """Return a router, and how the pilot fitted it; one that names a checkpoint is tested as it is."""
    if spec == "knn":
        return neighbours, None
    if spec in TRAINED:
        fit = train_on(pilot, embedder=settings.embedder, seed=seed)
        return fit.router, fit
    return _load(spec, settings, seed), None


def _trial(
    test: Outcomes,
    names: Sequence[str],
    routers: Sequence[tuple[Router, PilotFit | None]],
    neighbours: Router,
    settings: _Settings,
    *,
    seed: int,
    shares: Floats | None,
) -> _Trial:
    contenders: list[Contender] = []
    for name, (router, _) in zip(names, routers, strict=True):
        scores = router.score(test.batch)
        check_scores(scores, test)
        contenders.append(Contender(name, [scores]))
    contenders += baselines(test, neighbours, seed=seed)
    measured = measure(contenders, test, seed=settings.seed, replicates=settings.replicates, shares=shares)
    beside = {m.figures["router"]: m for m in measured[len(names) :]}
    return _Trial(test, measured[: len(names)], beside, [fit for _, fit in routers])


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
        each = [{**m.figures, "baselines": b} for m, b in zip(mine, beside, strict=True)]
        figures = each[0] if settings.pilot is None else over_seeds(each, settings.pilot)
        fits = [trial.fits[number] for trial in trials]
        if settings.pilot is not None:
            for one, fit in zip(figures["per_seed"], fits, strict=True):
                if fit is not None:
                    one |= {"chosen": fit.chosen, "reason": fit.reason}
        figures["versus"] = {
            name: compare(mine, [trial.baselines[name] for trial in trials]) for name in OPPONENTS
        }
        figures["contradictions"] = disputed
        caveats = [*fallbacks(fits), *notes(figures, data, mine, disputed)]
        if settings.pilot is not None and ":" in routers[number]:
            caveats.insert(
                0, "it was loaded from its checkpoint and tested as it is, not trained on the pilot"
            )
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
