"""READ FIRST: the five seams of the program.

Everything outside is reached through one of these. A stage knows only the protocol; the adapters in
``routers/``, ``endpoints/``, ``storage/`` and ``runtime/`` each know one outside thing.

Legend of shapes, used in every comment and docstring:

    B  prompts in a batch        T  tokens in a prompt       D  embedding width
    N  rows of a data set        M  models                   K  rows sent to the strong model

Units: money is integer nano-dollars (``_nano``), time is seconds (``_s``), text is counted in UTF-8 bytes
(``_bytes``) or tokens (``_tokens``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.types import Done, PromptBatch, Reply, StoredObject


class Embedder(Protocol):
    """Turns texts into vectors; the same text gives the same vector in any batch."""

    name: str
    """Registry name, e.g. ``static``."""
    width: int
    """D, the length of one vector."""
    fingerprint: str
    """Digest of weights and tokenizer; a router refuses vectors of another fingerprint."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], unit length per row (zeros for a text with no known token)."""
        ...


class Router(Protocol):
    """Says how much each prompt needs the strong model."""

    name: str
    """Registry name, e.g. ``outcome``."""

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        A pure function of each row alone: neither batch size nor order changes a score by more than 1e-6.
        """
        ...


class Endpoint(Protocol):
    """One OpenAI-compatible chat endpoint."""

    async def send(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send one request, a body of JSON, once; return a checked reply.

        Raises:
            CallError: with its ``kind`` and ``verdict``; nothing else.

        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class Store(Protocol):
    """Objects under one root: whole, exclusive, never appended to."""

    def create(self, path: str, data: bytes) -> bool:
        """Put a new object; False if another writer's object is there already."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Put an object that may be overwritten (``report/`` only)."""
        ...

    def read(self, path: str) -> bytes:
        """Return an object's bytes; FileNotFoundError if it is absent."""
        ...

    def read_many(self, paths: Sequence[str]) -> Sequence[bytes]:
        """Return the bytes of some objects, in order; FileNotFoundError if one is absent."""
        ...

    def list(self, folder: str) -> Sequence[StoredObject]:
        """Every object below a folder, uncached, sorted by path."""
        ...


class Runner(Protocol):
    """Runs plain functions on shard descriptors, here or on a cluster."""

    workers: int
    """Processes that make calls; endpoint limits are split over them."""
    slots: int
    """Tasks that can run at once."""
    alone: bool
    """All tasks run in the driver's own process."""

    def submit(
        self, function: Callable[..., Any], task: object, *, scores: bool = False, suspect: bool = False
    ) -> None:
        """Start ``function(task)``; its result comes out of ``wait``.

        A task that ``scores`` runs where a GPU is, if any worker of the cluster says that it has one. A ``suspect``'s
        worker died with it before; of these one runs at a time, so that no other is taken for the one that kills.
        """
        ...

    def wait(self, timeout_s: float) -> Sequence[Done]:
        """Return what has finished, waiting up to ``timeout_s`` for the first.

        A task whose worker died comes back with a ``WorkerLostError``, each time; what was not begun before a drain of
        all tasks with a ``NotBegunError``.
        """
        ...

    def tell(self, function: Callable[..., Any], *args: object) -> None:
        """Call a quick function in every process that runs tasks, without waiting for it; it may get lost."""
        ...

    def drain(self, token: str | None = None) -> None:
        """Tell running tasks to stop starting new work and return what they have; only those that heed ``token``."""
        ...

    def close(self) -> None:
        """Release processes and threads that the runner started."""
        ...
