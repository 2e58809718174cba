"""What scoring pays for embeddings: objects of each try at a shard, so that no try is lost or counted twice.

``embedding/<shard>/<try>.i<n>.json`` says before a request what may be spent, ``embedding/<shard>/<try>.json`` at the
end what was. A try that never came to its end is presumed to have spent all it might have.
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
    """One try at a shard."""

    def __init__(self, run: Run, shard: str, model: str) -> None:
        self._store = run.store
        self._model = model
        self._name = f"{FOLDER}/{shard}/{secrets.token_hex(6)}"
        self._declared = 0

    def declare(self, nano: int) -> None:
        """Put down that so much more may be spent.

        Raises:
            StoreError: that failed, so nothing may be sent.

        """
        use = EmbeddingUse(self._model, presumed_nano=nano)
        try:
            self._store.create(f"{self._name}.i{self._declared}.json", to_json(use.to_dict()))
        except OSError as error:
            message = f"storage can't be written ({type(error).__name__})"
            raise StoreError(message) from None
        self._declared += 1

    def close(self, use: EmbeddingUse) -> None:
        """Write down what it took, whether it came to scores or not; nothing where nothing was sent."""
        if self._declared:
            self._store.create(f"{self._name}.json", to_json(use.to_dict()))


def embedding_use(run: Run) -> EmbeddingUse | None:
    """Return what all tries of a run took; None if none was ever paid for."""
    uses = paid_by_shard(run)
    return sum(uses.values(), EmbeddingUse()) if uses else None


def paid_by_shard(run: Run, shard: str | None = None) -> dict[str, EmbeddingUse]:
    """Return what all tries at each shard took, or at one; shards that nothing was paid for are left out."""
    folder = FOLDER if shard is None else f"{FOLDER}/{shard}"
    paths = [found.path for found in run.store.list(folder)]
    ended = {path.removesuffix(".json") for path in paths if not _DECLARED.search(path)}
    told = [path for path in paths if not _DECLARED.search(path) or _DECLARED.sub("", path) not in ended]
    uses: dict[str, EmbeddingUse] = {}
    for path, data in zip(told, run.store.read_many(told), strict=True):
        name = path.split("/")[1]
        uses[name] = uses.get(name, EmbeddingUse()) + EmbeddingUse(**json.loads(data))
    return uses
