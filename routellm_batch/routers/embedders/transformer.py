"""The transformer embedder: any Hugging Face encoder, its token vectors pooled as its own config says.

Texts are sorted by length and go through the model in micro-batches of a bounded number of tokens, the next ones being
tokenised meanwhile. On a CPU the bound is small: the work then stays in the processor's cache.
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
from routellm_batch.routers.models.batches import ahead, by_length, halving
from routellm_batch.routers.models.builtin import sha256
from routellm_batch.routers.models.device import choose_device, choose_dtype
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.models.pretrained import TokenIds, load_encoder, load_token_ids

CHUNK_TEXTS = 512
"""Texts tokenised at once."""
BATCH_TOKENS = {"cpu": 512, "cuda": 65_536}
"""Tokens in a micro-batch, padding included, where the config doesn't say."""
KEY = "router.embedder"
FINGERPRINTED = ("*.safetensors", "tokenizer.json", "vocab.txt", "*.model", "config.json")


class TransformerEmbedder:
    """An ``Embedder`` that runs an encoder; threads take turns at it.

    Args:
        model: of transformers, with frozen weights.
        words: makes its token ids.
        pooling: ``mean`` over a text's tokens, or ``cls``, its first one's vector.
        fingerprint: digest of weights, tokenizer, pooling and bound; not of device and precision, whose
            vectors are as good as equal.
        batch_tokens: bound on tokens of a micro-batch, padding included; None suits the device.

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
        """Load a model.

        Raises:
            CheckpointError: it is absent or damaged, a tensor is missing, or it has no tokenizer.
            ConfigError: a hub name without a revision, a device that is not there, or too many tokens asked for.

        """
        location = config.model or ""
        folder = local_folder(location, key=f"{KEY}.model")
        device = choose_device(config.device, key=f"{KEY}.device")
        model = load_encoder(folder, location, dtype=choose_dtype(config.precision, device), device=device)
        asked = config.max_tokens or _own_bound(folder)
        words = load_token_ids(folder, location, model, asked=asked, key=f"{KEY}.max_tokens")
        pooling = _own_pooling(folder, location) if config.pooling == "auto" else config.pooling
        digest = _fingerprint(folder, pooling, words.max_tokens)
        return cls(model, words, pooling=pooling, fingerprint=digest, batch_tokens=config.batch_tokens)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], unit length per row (zeros for a text without a token).

        Raises:
            CheckpointError: a vector is not finite.

        """
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda n: (-len(texts[n]), n))
        chunks = [order[start : start + CHUNK_TEXTS] for start in range(0, len(order), CHUNK_TEXTS)]
        encoded = ahead(lambda chunk: self._words.encode([texts[n] for n in chunk]), chunks)
        for chunk, rows in zip(chunks, encoded, strict=True):
            for batch in by_length([len(row) for row in rows], self._batch_tokens):
                some = [n for n in batch if len(rows[n]) > self._specials]
                if some:
                    found[[chunk[n] for n in some]] = self._forward(rows, some)
        if not np.isfinite(found).all():
            raise CheckpointError(
                "embedder 'transformer' gave a vector that is not finite; its weights are unusable"
            )
        return found

    def _forward(self, rows: Sequence[Sequence[int]], batch: list[int]) -> NDArray[np.float32]:
        def compute(part: list[int]) -> torch.Tensor:
            given = self._words.padded([rows[n] for n in part], self._model.device)
            hidden = self._model(**given).last_hidden_state.float()  # [B, T, D]
            return _pooled(hidden, given["attention_mask"], self._pooling).cpu()

        with self._lock, torch.inference_mode():
            found: NDArray[np.float32] = halving(compute, batch).numpy()
        return found


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return unit vectors, float32 [B, D], of token vectors [B, T, D] and their mask [B, T]."""
    if pooling == "cls":
        return torch.nn.functional.normalize(hidden[:, 0], dim=1)
    # A sum has the direction of the mean, and padding adds nothing to it.
    return torch.nn.functional.normalize((hidden * mask[:, :, None]).sum(dim=1), dim=1)


def _own_bound(folder: Path) -> int | None:
    """Return how many tokens a sentence-transformers folder says it reads, if it says so."""
    found = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    return found if isinstance(found, int) and found > 0 else None


def _own_pooling(folder: Path, location: str) -> str:
    """Return the pooling that a sentence-transformers folder says it has; the mean where it says nothing.

    Raises:
        CheckpointError: it says another one than the mean or the first token.

    """
    configs = sorted(folder.glob("*_Pooling/config.json"))
    fields = _json(configs[0]) if configs else {}
    on = {name.removeprefix("pooling_mode_") for name, value in fields.items() if value is True}
    mode = str(fields.get("pooling_mode") or "") or "+".join(sorted(on & MODES)) or "mean_tokens"
    pooling = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls"}.get(mode)
    if pooling is None:
        raise CheckpointError(f"{location}: pools by {mode}; set router.embedder.pooling to mean or cls")
    return pooling


MODES = frozenset(
    (
        *("cls_token", "mean_tokens", "max_tokens"),
        *("mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
    )
)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise CheckpointError(f"{path.name} is damaged; fetch the model again") from None
    return found if isinstance(found, dict) else {}


def _fingerprint(folder: Path, pooling: str, max_tokens: int) -> str:
    files = sorted({path for pattern in FINGERPRINTED for path in folder.glob(pattern)})
    digests = [f"{path.name}={sha256(path.read_bytes())}" for path in files]
    return sha256(f"transformer {pooling} {max_tokens} {digests}".encode())[:16]
