"""Embedders: texts in, vectors out.

Start here: ``get_embedder`` looks an embedder up in ``EMBEDDERS``. A new embedder is one row of that table and one module;
all of them implement ``core.protocols.Embedder``.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.registry import resolve

EMBEDDERS = {
    "remote": "routellm_batch.routers.embedders.remote:RemoteEmbedder",
    "static": "routellm_batch.routers.embedders.static:StaticEmbedder",
    "transformer": "routellm_batch.routers.embedders.transformer:TransformerEmbedder",
}
"""Name → ``module:Class``; the class has a class method ``from_config(EmbedderConfig)``."""

_loading = Lock()


def get_embedder(config: EmbedderConfig | str) -> Embedder:
    """Return an embedder, loaded once per process and shared by its threads.

    Args:
        config: its settings, or a row of ``EMBEDDERS`` for the defaults of that name.

    Raises:
        ConfigError: an unknown name, or a setting that can't be used here.
        CheckpointError: its weights are absent or damaged.
        MissingExtraError: its packages are not installed.

    """
    with _loading:  # Threads that ask at once must not each load the weights.
        return _load(EmbedderConfig(name=config) if isinstance(config, str) else config)


@lru_cache(maxsize=2)
def _load(config: EmbedderConfig) -> Embedder:
    embedder: Embedder = resolve(EMBEDDERS, config.name, key="router.embedder.name").from_config(config)
    return embedder
