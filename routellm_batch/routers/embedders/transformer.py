"""The transformer embedder: any Hugging Face encoder, its token vectors pooled as its own config says.

The poolings are those of sentence-transformers (arXiv 1908.10084): the mean of a text's token vectors, or the vector of its
first token. ``models/batches.py`` says how texts are batched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import CheckpointError
from routellm_batch.routers.models.batches import BATCH_TOKENS, halving, token_batches
from routellm_batch.routers.models.builtin import sha256
from routellm_batch.routers.models.device import choose_device, choose_dtype
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.models.pretrained import TokenIds, load_encoder, load_token_ids

KEY = "router.embedder"
FINGERPRINTED = ("*.safetensors", "tokenizer.json", "vocab.txt", "*.model", "config.json")
"""Files whose content is in the fingerprint."""
MODES = frozenset(
    (
        *("cls_token", "mean_tokens", "max_tokens"),
        *("mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
    )
)
"""Poolings that a sentence-transformers folder can name."""


class TransformerEmbedder:
    """An ``Embedder`` that runs an encoder; threads take turns at it.

    Args:
        model: of transformers, with frozen weights.
        words: makes its token ids.
        pooling: ``mean`` over a text's tokens, or ``cls``, its first one's vector.
        fingerprint: digest of weights, tokenizer, pooling and bound; not of device and precision, which hardly change a
            vector.
        batch_tokens: bound on tokens of a micro-batch, padding included; None: ``BATCH_TOKENS`` of the device.

    """

    name = "transformer"

    def __init__(
        self, model: Any, words: TokenIds, *, pooling: str, fingerprint: str, batch_tokens: int | None = None
    ) -> None:
        self._model, self._words, self._pooling = model, words, pooling
        self._batch_tokens = batch_tokens or BATCH_TOKENS[model.device.type]
        self._lock = Lock()
        self._specials = len(words.encode([""])[0])
        self.width = int(model.config.hidden_size)
        self.fingerprint = fingerprint

    @classmethod
    def from_config(cls, config: EmbedderConfig) -> Self:
        """Return the embedder of a model.

        Raises:
            CheckpointError: it is absent or damaged, a tensor is missing, or it has no tokenizer.
            ConfigError: a hub name without a revision, an absent device, or more tokens than the model can read.

        """
        location = config.model or ""
        folder = local_folder(location, key=f"{KEY}.model")
        device = choose_device(config.device, key=f"{KEY}.device")
        model = load_encoder(folder, location, dtype=choose_dtype(config.precision, device), device=device)
        bound = config.max_tokens or _own_bound(folder)
        words = load_token_ids(folder, location, model, bound=bound, key=f"{KEY}.max_tokens")
        pooling = _own_pooling(folder, location) if config.pooling == "auto" else config.pooling
        digest = _fingerprint(folder, pooling, words.max_tokens)
        return cls(model, words, pooling=pooling, fingerprint=digest, batch_tokens=config.batch_tokens)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], unit length per row; zeros for a text without a token.

        Raises:
            CheckpointError: a vector is not finite.

        """
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for indices, rows in token_batches(texts, self._words.encode, self._batch_tokens):
            filled = [n for n, row in enumerate(rows) if len(row) > self._specials]
            if filled:
                vectors[[indices[n] for n in filled]] = self._forward([rows[n] for n in filled])
        if not np.isfinite(vectors).all():
            raise CheckpointError(
                "embedder 'transformer' gave a vector that is not finite; its weights are unusable"
            )
        return vectors

    def _forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the unit vectors of B rows of token ids, float32 [B, D]."""

        def compute(part: list[int]) -> torch.Tensor:
            inputs = self._words.padded([rows[n] for n in part], self._model.device)
            hidden = self._model(**inputs).last_hidden_state.float()  # [B, T, D]
            return _pooled(hidden, inputs["attention_mask"], self._pooling).cpu()

        with self._lock, torch.inference_mode():
            vectors: NDArray[np.float32] = halving(compute, list(range(len(rows)))).numpy()
        return vectors


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return unit vectors, float32 [B, D], from token vectors [B, T, D] and their mask [B, T]."""
    if pooling == "cls":
        return torch.nn.functional.normalize(hidden[:, 0], dim=1)
    # A sum has the direction of the mean, and padding adds nothing to it.
    return torch.nn.functional.normalize((hidden * mask[:, :, None]).sum(dim=1), dim=1)


def _own_bound(folder: Path) -> int | None:
    """Return the number of tokens that a sentence-transformers folder says it reads; None where it says nothing."""
    bound = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    return bound if isinstance(bound, int) and bound > 0 else None


def _own_pooling(folder: Path, location: str) -> str:
    """Return the pooling that a sentence-transformers folder names; the mean where it names none.

    Raises:
        CheckpointError: it names another pooling than the mean or the first token.

    """
    configs = sorted(folder.glob("*_Pooling/config.json"))
    fields = _json(configs[0]) if configs else {}
    on = {name.removeprefix("pooling_mode_") for name, value in fields.items() if value is True}
    mode = str(fields.get("pooling_mode") or "") or "+".join(sorted(on & MODES)) or "mean_tokens"
    pooling = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls"}.get(mode)
    if pooling is None:
        raise CheckpointError(f"{location}: pools by {mode}; set router.embedder.pooling to mean or cls")
    return pooling


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise CheckpointError(f"{path.name} is damaged; fetch the model again") from None
    return content if isinstance(content, dict) else {}


def _fingerprint(folder: Path, pooling: str, max_tokens: int) -> str:
    files = sorted({path for pattern in FINGERPRINTED for path in folder.glob(pattern)})
    digests = [f"{path.name}={sha256(path.read_bytes())}" for path in files]
    return sha256(f"transformer {pooling} {max_tokens} {digests}".encode())[:16]
