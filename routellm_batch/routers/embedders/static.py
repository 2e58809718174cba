"""The static embedder: the mean of token vectors that were distilled once from a small transformer.

No network is run: a text is split into tokens and their vectors are added up, so two CPU cores embed thousands of prompts a
second. The method is that of Model2Vec; ``weights/static-v1/README.md`` says how the vectors were made, and
``tools/distill_static.py`` makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from tokenizers import Tokenizer

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import CheckpointError
from routellm_batch.routers.embedders.wordpiece import TOKEN_TYPE, PieceCache, token_bytes
from routellm_batch.routers.models.builtin import read_checked, sha256, shipped

MAX_CHARS = 16_384
"""Characters of the start of a text that are read, so that a longer text costs no more time or memory."""
MANIFEST = "config.json"


class StaticEmbedder:
    """An ``Embedder`` that looks vectors up.

    Args:
        folder: weights to use instead of the shipped ``static-v1``.

    Raises:
        CheckpointError: the weights are absent or damaged.

    """

    name = "static"

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or shipped("static-v1")
        fields, files = read_checked(str(folder), MANIFEST, lambda name: (folder / name).read_bytes())
        try:
            tensors = load(files["model.safetensors"])
            quantised, scales = tensors["vectors"], tensors["scales"]  # int8 [V, D], float32 [V]
            tokenizer = Tokenizer.from_str(files["tokenizer.json"].decode())
        except (SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(f"{folder}: not the weights of a static embedder ({error})") from None
        self._vectors = quantised.astype(np.float32) * scales[:, None]  # [V, D]
        if not np.isfinite(self._vectors).all() or len(self._vectors) != tokenizer.get_vocab_size():
            raise CheckpointError(f"{folder}: a vector is not finite, or their number is not the tokenizer's")
        self._pieces = PieceCache(tokenizer)
        self.width = int(self._vectors.shape[1])
        digests = sorted(f"{name}={digest}" for name, digest in fields["files"].items())
        self.fingerprint = sha256(f"static {MAX_CHARS} {digests}".encode())[:16]

    @classmethod
    def from_config(cls, _config: EmbedderConfig) -> Self:
        """Return the embedder with the shipped weights; it has no settings.

        Raises:
            CheckpointError: the weights are absent or damaged.

        """
        return cls()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], unit length per row (zeros for a text with no known token).

        The first ``MAX_CHARS`` characters of each text are read. Memory beyond the result: one text's vectors.
        """
        sums = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, ids in enumerate(token_bytes(self._pieces, [text[:MAX_CHARS] for text in texts])):
            tokens = np.frombuffer(ids, dtype=TOKEN_TYPE)
            # Text by text: the order of each sum is then the same in any batch, and it stays in the processor's cache.
            np.add.reduce(self._vectors.take(tokens, axis=0), axis=0, out=sums[row])  # [T, D] → [D]
        # The mean and the sum differ by a factor, which the scaling to unit length removes.
        squares: NDArray[np.float32] = np.einsum("bd,bd->b", sums, sums)
        lengths = np.sqrt(squares)
        divisors = np.where(lengths > 0, lengths, 1).astype(np.float32)
        unit: NDArray[np.float32] = np.divide(sums, divisors[:, None], dtype=np.float32)
        return unit
