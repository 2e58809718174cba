"""Routers: prompts in, scores out.

Start here: ``get_router`` looks a router up in ``ROUTERS``. A new router is one row of that table and a folder with a
``router.py`` (scores prompts) and a ``train.py`` (makes its checkpoint, a row in ``training/``); ``random`` and ``length``
need no weights and are one module each. All of them implement ``core.protocols.Router``.

Every router is made from ``settings.py``, and from ``checkpoint.py`` if it has weights; ``features.py``, ``heads.py`` and
``blocks.py`` are arithmetic that several share; ``embedders/`` turns texts into vectors, and ``models/`` finds and loads
pretrained models.
"""

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
    "outcome": "routellm_batch.routers.outcome.load:OutcomeLoader",
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
    """Return a new router, with its weights loaded.

    Args:
        name: a row of ``ROUTERS``.
        checkpoint: ``builtin:NAME``, or the path or URI of a folder of weights; None for the router's own default.
        embedder: its settings, or a row of ``EMBEDDERS``; None for ``static``.
        seed: the run's seed; only ``random`` uses it.
        options: further settings of this router.

    Raises:
        ConfigError: an unknown router or embedder, or a setting that it does not have.
        CheckpointError: weights that are absent, damaged, or made for another embedder.
        MissingExtraError: its packages are not installed.

    """
    router: Router = resolve(ROUTERS, name, key="router.name").from_settings(
        RouterSettings(checkpoint, _embedder(embedder), seed, dict(options or {}))
    )
    return router


def get_router(
    name: str,
    *,
    checkpoint: str | None = None,
    embedder: EmbedderConfig | str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Router:
    """Return the router of these arguments, as ``make_router`` does, but made once per process and shared by its threads.

    Raises:
        ConfigError: an unknown router or embedder, or a setting that it does not have.
        CheckpointError: weights that are absent, damaged, or made for another embedder.
        MissingExtraError: its packages are not installed.

    """
    with _loading:  # Threads that ask at once must not each load the weights.
        return _cached(
            name, checkpoint, _embedder(embedder), seed, json.dumps(dict(options or {}), sort_keys=True)
        )


@lru_cache(maxsize=4)
def _cached(name: str, checkpoint: str | None, embedder: EmbedderConfig, seed: int, options: str) -> Router:
    return make_router(name, checkpoint=checkpoint, embedder=embedder, seed=seed, options=json.loads(options))


def _embedder(embedder: EmbedderConfig | str | None) -> EmbedderConfig:
    return embedder if isinstance(embedder, EmbedderConfig) else EmbedderConfig(name=embedder or "static")
