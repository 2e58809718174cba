"""What scoring paid for embeddings: one object for each try at a shard, so that no try is lost or counted twice."""

from __future__ import annotations

import json
import secrets

from routellm_batch.metering import EmbeddingUse
from routellm_batch.storage.run import Run, to_json

FOLDER = "embedding"


def record_use(run: Run, shard: str, use: EmbeddingUse) -> None:
    """Write down what one try at a shard took, whether it came to scores or not; nothing where nothing was sent."""
    if use.attempts:
        run.store.create(f"{FOLDER}/{shard}.{secrets.token_hex(6)}.json", to_json(use.to_dict()))


def embedding_use(run: Run) -> EmbeddingUse | None:
    """Return what all tries of a run took; None if none was ever paid for."""
    paths = [found.path for found in run.store.list(FOLDER)]
    uses = [EmbeddingUse(**json.loads(data)) for data in run.store.read_many(paths)] if paths else []
    return sum(uses, EmbeddingUse()) if uses else None
