"""RouteLLM's BERT router: a sequence classifier of three classes; the score is the chance that the strong model wins.

    s = softmax(logits)[strong] = 1 − P(tie) − P(weak wins)

Source: arXiv 2406.18665, §4.2, and ``routers/routers.py`` of its repository. The published model is an XLM-R; any classifier
of three classes that transformers can load will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import STRONG, PromptBatch
from routellm_batch.routers.models.batches import BATCH_TOKENS, halving, token_batches
from routellm_batch.routers.models.device import choose_device, choose_dtype
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.models.pretrained import CLASSES, TokenIds, load_classifier, load_token_ids
from routellm_batch.routers.settings import RouterSettings

Label = Literal["strong", "tie", "weak"]
LABELS: tuple[Label, Label, Label] = ("strong", "tie", "weak")
"""The classes in the published order: which model wins."""


class BertOptions(BaseModel):
    """Settings of ``bert``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, Label, Label] = LABELS
    """Meaning of the classes, in the checkpoint's order: which model wins."""
    max_tokens: Annotated[int, Field(ge=8)] | None = None
    """Bound on the tokens of a prompt; a longer prompt is truncated. None: as many as tokenizer and model allow."""
    batch_tokens: Annotated[int, Field(ge=8)] | None = None
    """Bound on tokens of a micro-batch, padding included; None: ``BATCH_TOKENS`` of the device."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is the GPU where there is one."""
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
        batch_tokens: bound on tokens of a micro-batch, padding included; None: ``BATCH_TOKENS`` of the device.

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
        """Return the router of a checkpoint, with its weights and tokenizer loaded.

        Raises:
            CheckpointError: they are absent, damaged, not finite, or not of three classes.
            ConfigError: no checkpoint is named, or an option can't be used.

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
            folder, location, model, bound=options.max_tokens, key="router.options.max_tokens"
        )
        strong = options.labels.index(STRONG)
        return cls(model, words, strong=strong, batch_tokens=options.batch_tokens)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        logits = self.logits(batch.texts)
        if not np.isfinite(logits).all():
            raise CheckpointError("router 'bert' gave a score that is not a number; its weights are unusable")
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores: Floats = odds[:, self._strong] / odds.sum(axis=1)
        return scores.astype(np.float32)

    def logits(self, texts: Sequence[str]) -> Floats:
        """Return the logits of the classes, in the checkpoint's order, for B texts, float64 [B, 3]."""
        logits = np.empty((len(texts), CLASSES))
        for indices, rows in token_batches(texts, self._words.encode, self._batch_tokens):
            logits[indices] = self._forward(rows)
        return logits

    def _forward(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Return the logits of B rows of token ids, float64 [B, 3]."""

        def compute(part: list[int]) -> torch.Tensor:
            inputs = self._words.padded([rows[n] for n in part], self._model.device)
            logits: torch.Tensor = self._model(**inputs).logits
            return logits.double().cpu()

        with self._lock, torch.inference_mode():
            logits: Floats = halving(compute, list(range(len(rows)))).numpy()
        return logits
