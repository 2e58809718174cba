"""Embedders: texts in, vectors out. One row here and one module make a new one."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from routellm_batch.protocols import Embedder
from routellm_batch.registry import resolve

EMBEDDERS = {"static": "routellm_batch.embedders.static:StaticEmbedder"}
"""Name → ``module:Class``; the class takes no arguments."""

_loading = Lock()


def get_embedder(name: str) -> Embedder:
    """Return the embedder of that name, loaded once per process.

    Raises:
        ConfigError: no such name.
        CheckpointError: its weights are absent or damaged.
        MissingExtraError: its packages are not installed.

    """
    with _loading:  # Threads that ask at once must not each load the weights.
        return _load(name)


@lru_cache(maxsize=2)
def _load(name: str) -> Embedder:
    embedder: Embedder = resolve(EMBEDDERS, name, key="router.embedder.name")()
    return embedder
