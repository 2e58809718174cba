"""What scoring pays for embeddings: objects of each try at a shard, so that no try is lost or counted twice.

``embedding/<shard>/<try>.i<n>.json`` declares before a request what it may spend, ``embedding/<shard>/<try>.json`` at
the end what was spent. A try that did not reach its end is presumed to have spent all that it declared.
"""

from __future__ import annotations

import json
import re
import secrets

from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import StoreError
from routellm_batch.storage.run import Run

FOLDER = "embedding"
_DECLARED = re.compile(r"\.i\d+\.json$")


class PaidTry:
    """One try at embedding a shard.

    Args:
        run: whose storage keeps the objects.
        shard: its name.
        model: the embedder's model.

    """

    def __init__(self, run: Run, shard: str, model: str) -> None:
        self._store = run.store
        self._model = model
        self._name = f"{FOLDER}/{shard}/{secrets.token_hex(6)}"
        self._declared = 0

    def declare(self, nano: int) -> None:
        """Declare what the next request may spend, in nano-dollars.

        Raises:
            StoreError: that could not be stored, so nothing may be sent.

        """
        use = EmbeddingUse(self._model, presumed_nano=nano)
        try:
            self._store.create(f"{self._name}.i{self._declared}.json", to_json(use.to_dict()))
        except OSError as error:
            message = f"storage can't be written ({type(error).__name__})"
            raise StoreError(message) from None
        self._declared += 1

    def close(self, use: EmbeddingUse) -> None:
        """Store what the try spent, whether or not it gave scores; nothing where it declared nothing."""
        if self._declared:
            self._store.create(f"{self._name}.json", to_json(use.to_dict()))


def embedding_use(run: Run) -> EmbeddingUse | None:
    """Return what all tries of a run spent; None where there was none."""
    uses = paid_by_shard(run)
    return sum(uses.values(), EmbeddingUse()) if uses else None


def paid_by_shard(run: Run, shard: str | None = None) -> dict[str, EmbeddingUse]:
    """Return what the tries at each shard spent, by the shard's name.

    Args:
        run: the run.
        shard: only this one, where it is given.

    """
    folder = FOLDER if shard is None else f"{FOLDER}/{shard}"
    paths = [stored.path for stored in run.store.list(folder)]
    ended = {path.removesuffix(".json") for path in paths if not _DECLARED.search(path)}
    counted = [path for path in paths if not _DECLARED.search(path) or _DECLARED.sub("", path) not in ended]
    uses: dict[str, EmbeddingUse] = {}
    for path, data in zip(counted, run.store.read_many(counted), strict=True):
        name = path.split("/")[1]
        uses[name] = uses.get(name, EmbeddingUse()) + EmbeddingUse(**json.loads(data))
    return uses
