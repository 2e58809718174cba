"""The evaluate verb: each router on each set of outcomes, with intervals and baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.config_embedder import EmbedderConfig
from routellm_batch.errors import ConfigError, DataError
from routellm_batch.evaluation.figures import baselines, figures
from routellm_batch.evaluation.outcomes import Outcomes, read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot, train_on
from routellm_batch.metrics import REPLICATES
from routellm_batch.routers import make_router

TRAINED = "outcome"
"""The router that a pilot trains; others are tested as they are."""
AVERAGED = ("weak", "strong", "apgr", "apgr_full", "apgr_ci", "cpt50", "cpt80")
SPREAD = ("apgr", "apgr_full", "cpt50", "cpt80")


@dataclass(frozen=True, slots=True)
class _Settings:
    """What is the same for every router and file."""

    embedder: EmbedderConfig | str
    seed: int
    pilot: int | None
    seeds: int
    replicates: int
    options: Mapping[str, Any]


def evaluate(
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
) -> dict[str, Any]:
    """Evaluate routers on labelled outcomes.

    Args:
        outcomes: Parquet files, globs or folders (paths or URIs) with ``prompt_id, prompt, strong_score, weak_score``;
            rows with ``contaminated`` true are dropped.
        routers: ``NAME`` or ``NAME:CHECKPOINT`` each, split at the first colon.
        embedder: its settings, or a row of ``EMBEDDERS``.
        options: further settings of the routers.
        where: column → value; only rows with these values.
        pilot: train the router on so many rows first, and test on the rest.
        seeds: draw the pilot so many times, with seeds 0, 1, …; figures are means.
        seed: of the random baseline and the bootstrap.
        replicates: of the bootstrap.

    Returns:
        For one router and one file: ``router, n, weak, strong, apgr, apgr_full, apgr_ci, cpt50, cpt80, baselines``
        (with a pilot also ``pilot, per_seed, sd``); else ``{"results": […]}``, each with its ``outcomes``. Where the
        strong model is not better than the weak one the figures are NaN and ``note`` says so.

    Raises:
        ConfigError: no router, no file, or a pilot that the file has no rows for.
        DataError: a file, column or row that can't be used.
        CheckpointError: weights that can't be used.

    """
    if not outcomes or not routers:
        raise ConfigError(
            "evaluate", "at least one file of outcomes and one --router NAME[:CHECKPOINT] are needed"
        )
    if seeds < 1:
        raise ConfigError("seeds", f"is {seeds}; at least 1 is needed")
    settings = _Settings(embedder, seed, pilot, seeds, replicates, options or {})
    results: list[dict[str, Any]] = []
    for uri in outcomes:
        data = read_outcomes(uri, where or {})
        beside = baselines(data, seed=seed, replicates=replicates) if pilot is None else {}
        results += [{"outcomes": uri, **_evaluate_one(data, spec, beside, settings)} for spec in routers]
    if len(results) > 1:
        return {"results": results}
    return {name: value for name, value in results[0].items() if name != "outcomes"}


def _evaluate_one(data: Outcomes, spec: str, beside: dict[str, Any], settings: _Settings) -> dict[str, Any]:
    name, _, checkpoint = spec.partition(":")
    if settings.pilot is not None:
        if checkpoint:
            raise ConfigError("router", f"{spec}: a pilot trains the router; leave the checkpoint out")
        found = _pilots(data, name, settings.pilot, settings)
    else:
        router = make_router(
            name,
            checkpoint=checkpoint or None,
            embedder=settings.embedder,
            seed=settings.seed,
            options=settings.options,
        )
        scores = router.score(data.batch)
        _check_scores(scores, data)
        found = figures(spec, data, [scores], seed=settings.seed, replicates=settings.replicates)
        found["baselines"] = beside
    if not found["strong"] > found["weak"]:
        found["note"] = (
            "the strong model is not better than the weak one on these rows: there is no gap to recover"
        )
    return found


def _pilots(data: Outcomes, name: str, rows: int, settings: _Settings) -> dict[str, Any]:
    per_seed: list[dict[str, Any]] = []
    for seed in range(settings.seeds):
        pilot, test = draw_pilot(data, rows, seed)
        if name == TRAINED:
            router = train_on(pilot, embedder=settings.embedder, seed=seed)
        else:
            router = make_router(name, embedder=settings.embedder, seed=seed, options=settings.options)
        scores = router.score(test.batch)
        found = figures(name, test, [scores], seed=seed, replicates=settings.replicates)
        found["baselines"] = baselines(test, seed=seed, replicates=settings.replicates)
        per_seed.append({"seed": seed, **found})
    mean = _mean(per_seed)
    mean["baselines"] = {
        n: _mean([one["baselines"][n] for one in per_seed]) for n in per_seed[0]["baselines"]
    }
    ddof = min(1, len(per_seed) - 1)
    spread = {name: float(np.std([one[name] for one in per_seed], ddof=ddof)) for name in SPREAD}
    return {**mean, "pilot": rows, "per_seed": per_seed, "sd": spread}


def _mean(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of every figure over the seeds; ``n`` is rounded, as test sets differ by duplicated prompts."""
    found: dict[str, Any] = {
        "router": results[0]["router"],
        "n": round(float(np.mean([one["n"] for one in results]))),
    }
    for name in AVERAGED:
        found[name] = np.mean([one[name] for one in results], axis=0).tolist()
    return found


def _check_scores(scores: NDArray[np.floating], data: Outcomes) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError("the router gave a score that is not a number", file=data.uri, row=int(bad[0]))
