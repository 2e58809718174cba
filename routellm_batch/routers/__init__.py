"""Routers: prompts in, scores out. One row here and one module make a new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from typing import Any

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.protocols import Router
from routellm_batch.core.registry import resolve
from routellm_batch.routers.settings import RouterSettings

ROUTERS = {
    "bert": "routellm_batch.routers.bert.router:BertRouter",
    "causal_llm": "routellm_batch.routers.causal_llm.router:CausalLlmRouter",
    "ensemble": "routellm_batch.routers.ensemble.router:EnsembleRouter",
    "knn": "routellm_batch.routers.knn.router:KnnRouter",
    "length": "routellm_batch.routers.length:LengthRouter",
    "mf": "routellm_batch.routers.mf.router:MfRouter",
    "outcome": "routellm_batch.routers.outcome.load:Outcome",
    "random": "routellm_batch.routers.random:RandomRouter",
    "sw_ranking": "routellm_batch.routers.sw_ranking.router:SwRankingRouter",
}
"""Name → ``module:Class``; the class has a class method ``from_settings(RouterSettings)``."""

_loading = Lock()


def make_router(
    name: str,
    *,
    checkpoint: str | None = None,
    embedder: EmbedderConfig | str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Router:
    """Make a router, reading its weights.

    Args:
        name: a row of ``ROUTERS``.
        checkpoint: ``builtin:NAME``, or the path or URI of a folder of weights; None for the router's own default.
        embedder: its settings, or a row of ``EMBEDDERS``; None for ``static``.
        seed: the run's seed; only ``random`` uses it.
        options: further settings of this router.

    Raises:
        ConfigError: no such router or embedder, or a setting that it does not have.
        CheckpointError: weights that are absent, damaged, or made for another embedder.
        MissingExtraError: its packages are not installed.

    """
    made: Router = resolve(ROUTERS, name, key="router.name").from_settings(
        RouterSettings(checkpoint, _embedder(embedder), seed, dict(options or {}))
    )
    return made


def get_router(
    name: str,
    *,
    checkpoint: str | None = None,
    embedder: EmbedderConfig | str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Router:
    """Return what ``make_router`` makes of these arguments, made once per process, whatever thread asks."""
    with _loading:  # Threads that ask at once must not each load the weights.
        return _cached(
            name, checkpoint, _embedder(embedder), seed, json.dumps(dict(options or {}), sort_keys=True)
        )


@lru_cache(maxsize=4)
def _cached(name: str, checkpoint: str | None, embedder: EmbedderConfig, seed: int, options: str) -> Router:
    return make_router(name, checkpoint=checkpoint, embedder=embedder, seed=seed, options=json.loads(options))


def _embedder(given: EmbedderConfig | str | None) -> EmbedderConfig:
    return given if isinstance(given, EmbedderConfig) else EmbedderConfig(name=given or "static")
