"""RouteLLM's BERT router: a sequence classifier of three classes, the score is the chance that the strong model wins.

    s = softmax(logits)[strong] = 1 − P(tie) − P(weak wins)          (RouteLLM, ``routers/routers.py``)

The published one is an XLM-R; any classifier of three classes that transformers knows will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import STRONG, PromptBatch
from routellm_batch.routers.models.batches import ahead, by_length, halving
from routellm_batch.routers.models.device import choose_device, choose_dtype
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.models.pretrained import CLASSES, TokenIds, load_classifier, load_token_ids
from routellm_batch.routers.settings import RouterSettings

BATCH_TOKENS = {"cpu": 512, "cuda": 65_536}
CHUNK_TEXTS = 512
"""Texts that are tokenised at once, while those before them are computed."""

Label = Literal["strong", "tie", "weak"]
LABELS: tuple[Label, Label, Label] = ("strong", "tie", "weak")
"""The classes in the published order: who wins."""


class BertOptions(BaseModel):
    """Settings of ``bert``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, Label, Label] = LABELS
    """What the classes mean, in the checkpoint's order: who wins."""
    max_tokens: Annotated[int, Field(ge=8)] | None = None
    """A longer prompt loses its tail; None is what the tokenizer and the model allow."""
    batch_tokens: Annotated[int, Field(ge=8)] | None = None
    """Tokens in a micro-batch, padding included; None suits the device."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` is float32 on a CPU and bfloat16 on a GPU."""

    @field_validator("labels")
    @classmethod
    def _each_once(cls, value: tuple[Label, Label, Label]) -> tuple[Label, Label, Label]:
        if sorted(value) != sorted(LABELS):
            message = f"must name each of {', '.join(LABELS)} once"
            raise ValueError(message)
        return value


class BertRouter:
    """A ``Router`` of a classifier; threads take turns at its model.

    Args:
        model: of transformers, with frozen weights.
        words: makes its token ids.
        strong: index of the class "the strong model wins".
        batch_tokens: bound on tokens of a micro-batch, padding included; None suits the device.

    """

    name = "bert"

    def __init__(
        self, model: Any, words: TokenIds, *, strong: int = 0, batch_tokens: int | None = None
    ) -> None:
        self._model, self._words, self._strong = model, words, strong
        self._batch_tokens = batch_tokens or BATCH_TOKENS[model.device.type]
        self._lock = Lock()

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Load its weights and tokenizer.

        Raises:
            CheckpointError: they are absent, damaged, not finite, or not of three classes.
            ConfigError: no checkpoint, or an option that can't be used.

        """
        options = settings.read_options(BertOptions, cls.name)
        if settings.checkpoint is None:
            raise ConfigError(
                "router.checkpoint",
                "bert comes without weights; name a folder, or hub:routellm/bert_gpt4_augmented@REVISION, "
                "or train one: routellm-batch train --router bert",
            )
        location = settings.checkpoint
        device = choose_device(options.device, key="router.options.device")
        dtype = choose_dtype(options.precision, device)
        folder = local_folder(location, key="router.checkpoint")
        model = load_classifier(folder, location, dtype=dtype, device=device)
        words = load_token_ids(
            folder, location, model, asked=options.max_tokens, key="router.options.max_tokens"
        )
        strong = options.labels.index(STRONG)
        return cls(model, words, strong=strong, batch_tokens=options.batch_tokens)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        logits = self.logits(batch.texts)
        if not np.isfinite(logits).all():
            raise CheckpointError("router 'bert' gave a score that is not a number; its weights are unusable")
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: NDArray[np.float64] = odds[:, self._strong] / odds.sum(axis=1)
        return scores.astype(np.float32)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the classes' logits of each of B texts, float64 [B, 3]."""
        found = np.empty((len(texts), CLASSES))
        # Roughly by length, so that a chunk of texts packs as well as all of them would.
        order = sorted(range(len(texts)), key=lambda n: (-len(texts[n]), n))
        chunks = [order[start : start + CHUNK_TEXTS] for start in range(0, len(order), CHUNK_TEXTS)]
        encoded = ahead(lambda chunk: self._words.encode([texts[n] for n in chunk]), chunks)
        for chunk, rows in zip(chunks, encoded, strict=True):
            for batch in by_length([len(row) for row in rows], self._batch_tokens):
                found[[chunk[n] for n in batch]] = self._forward(rows, batch)
        return found

    def _forward(self, rows: Sequence[Sequence[int]], batch: list[int]) -> NDArray[np.float64]:
        def compute(part: list[int]) -> torch.Tensor:
            given = self._words.padded([rows[n] for n in part], self._model.device)
            logits: torch.Tensor = self._model(**given).logits
            return logits.double().cpu()

        with self._lock, torch.inference_mode():
            found: NDArray[np.float64] = halving(compute, batch).numpy()
        return found
