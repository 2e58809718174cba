"""The remote embedder: an OpenAI-compatible ``/embeddings`` endpoint, with many texts in a request; it costs money."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.spend.embeddings import MAX_TOKENS
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import EndpointStopError
from routellm_batch.core.worker import this_worker
from routellm_batch.endpoints import fetch_embeddings
from routellm_batch.endpoints.meter import current_meter

REQUEST_BYTES = 250_000
"""UTF-8 bytes in a request, and so at most this number of tokens; OpenAI accepts 300,000 tokens."""
REQUEST_NUMBERS = 4_000_000
"""Numbers in a reply: 16 MB packed, which the client accepts even if a server sends half as much again."""
PROBE = "x"
"""Text that is embedded once to learn the width."""


class RemoteEmbedder:
    """An ``Embedder`` behind an endpoint; the meter that is open where it is called pays for it.

    Args:
        config: model, base_url, api_key, price.input, dimensions, batch_texts, max_tokens, timeout_s, attempts.

    Raises:
        ConfigError: the reference to the key can't be resolved in this process.
        EndpointStopError: the endpoint can't be used; it is called here only where ``dimensions`` does not give the width.

    """

    name = "remote"

    def __init__(self, config: EmbedderConfig) -> None:
        self._config = config
        self._max_bytes = config.max_tokens or MAX_TOKENS
        identity = json.dumps(["remote", config.model, config.dimensions])
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.width = config.dimensions or 0
        self.width = self.width or int(self._fetch([[PROBE]]).shape[1])

    @classmethod
    def from_config(cls, config: EmbedderConfig) -> Self:
        """Return the embedder; its width is the configured one, or one paid request finds it.

        Raises:
            ConfigError: the reference to the key can't be resolved in this process.
            EndpointStopError: the endpoint can't be used.

        """
        return cls(config)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], unit length per row; zeros for a text of spaces alone, which is not sent.

        A text is cut to ``max_tokens`` UTF-8 bytes, since no tokenizer makes more tokens than bytes: one text that is too
        long would fail its whole request. Equal texts are sent once.

        Raises:
            EndpointStopError: a request failed finally, or a vector has another width.
            BudgetStopError: the hard cap leaves no money for a further request.

        """
        cut = [cut_text(text, self._max_bytes) for text in texts]
        places = {text: n for n, text in enumerate(dict.fromkeys(text for text in cut if text))}
        unit = np.zeros((len(texts), self.width), dtype=np.float32)
        if places:
            vectors = self._fetch(self._requests(list(places)))
            rows = [n for n, text in enumerate(cut) if text]
            unit[rows] = _unit(vectors)[[places[cut[n]] for n in rows]]
        return unit

    def _requests(self, texts: Sequence[str]) -> list[list[str]]:
        limit = min(self._config.batch_texts, max(1, REQUEST_NUMBERS // self.width))
        requests: list[list[str]] = []
        filled = 0
        for text in texts:
            size = len(text.encode())
            if not requests or len(requests[-1]) == limit or filled + size > REQUEST_BYTES:
                requests.append([])
                filled = 0
            requests[-1].append(text)
            filled += size
        return requests

    def _fetch(self, requests: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return the vectors of all texts of all requests, float32 [B, D], of any length."""
        parts = this_worker().loop.run(fetch_embeddings(self._config, requests, current_meter()))
        for part in parts:
            expected = self.width or parts[0].shape[1]
            if part.shape[1] != expected:
                raise EndpointStopError(
                    f"router.embedder: {self._config.model} gave vectors of {part.shape[1]} numbers, "
                    f"not of {expected}; set router.embedder.dimensions to that width, and use weights made for it"
                )
        return np.concatenate(parts)


def cut_text(text: str, max_bytes: int) -> str:
    """Return the start of a text, whole characters only; empty if it is nothing but space.

    A lone surrogate, which no request can hold, becomes a question mark.

    Args:
        text: the text.
        max_bytes: UTF-8 bytes to keep at most.

    """
    cut = text[:max_bytes].encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")
    return cut if cut.strip() else ""


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
