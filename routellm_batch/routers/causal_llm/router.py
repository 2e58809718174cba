"""RouteLLM's causal-LLM classifier: a Llama that predicts, from 1 to 5, how good the weak model's answer will be.

    p = softmax of the five label tokens' logits      s = 1 − Σ_{k ≥ threshold} p_k      (threshold 4: "good enough")

Source: arXiv 2406.18665, §4.2, and ``routers/causal_llm/model.py`` of its repository. There the model writes its answer
token by token. It always writes the same header first, so here the header is appended to the prompt, and one forward pass
gives the five logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from transformers import LlamaForCausalLM

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.causal_llm.checkpoint import load_llama, read_config
from routellm_batch.routers.causal_llm.prefix import last_states, prefix_cache
from routellm_batch.routers.causal_llm.prompt import (
    LABELS,
    SYSTEM_FILE,
    TEMPLATE,
    TEMPLATE_FILE,
    ClassifierPrompt,
    read_text,
    read_tokenizer,
)
from routellm_batch.routers.models.batches import by_length, halving
from routellm_batch.routers.models.device import choose_device, choose_dtype
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.settings import RouterSettings

BATCH_TOKENS = {"cpu": 8192, "cuda": 65_536}
"""Kind of device → tokens in a micro-batch, prefix and padding included."""
MASK_ENTRIES = 1 << 26
"""Largest attention mask that is made, that of 8,192 tokens: it grows with the square of a prompt's length."""


class CausalLlmOptions(BaseModel):
    """Settings of ``causal_llm``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: str | None = None
    """A folder or ``hub:ORG/NAME@REVISION`` with Llama 3's tokenizer, where the checkpoint has none."""
    system_prompt: str | None = None
    """A text file; None is the checkpoint's own ``system_ft_v5.txt``."""
    score_threshold: Annotated[int, Field(ge=2, le=5)] = 4
    """Least points of a weak answer that is good enough."""
    max_tokens: Annotated[int, Field(ge=16)] | None = None
    """Bound on the tokens of a whole prompt; a longer question loses its end. None: the model's context."""
    batch_tokens: Annotated[int, Field(ge=16)] | None = None
    """Bound on tokens of a micro-batch, prefix and padding included; None: ``BATCH_TOKENS`` of the device."""
    prefix_reuse: bool = True
    """Compute the prefix that all prompts share only once; the scores are the same."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is the GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto`` is float32 on a CPU and bfloat16 on a GPU."""


class CausalLlmRouter:
    """A ``Router`` of a Llama classifier; threads take turns at its model.

    Args:
        model: with frozen weights.
        prompt: makes its token ids.
        score_threshold: least points of a weak answer that is good enough, 2 to 5.
        batch_tokens: bound on tokens of a micro-batch, prefix and padding included; None: ``BATCH_TOKENS`` of the device.
        prefix_reuse: compute the prefix that all prompts share only once.

    """

    name = "causal_llm"

    def __init__(
        self,
        model: LlamaForCausalLM,
        prompt: ClassifierPrompt,
        *,
        score_threshold: int = 4,
        batch_tokens: int | None = None,
        prefix_reuse: bool = True,
    ) -> None:
        self.prompt = prompt
        """Makes the token ids of texts."""
        self._model = model
        self._threshold = score_threshold
        self._batch_tokens = batch_tokens or BATCH_TOKENS[model.device.type]
        self._prefix = prefix_cache(model, prompt.prefix) if prefix_reuse else None
        self._rows = model.lm_head.weight[prompt.labels].float()  # [5, D]
        self._lock = Lock()

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router of a checkpoint, with its weights and tokenizer loaded.

        Raises:
            CheckpointError: they are absent, damaged, not finite, or don't belong together.
            ConfigError: no checkpoint is named, or an option can't be used.

        """
        options = settings.read_options(CausalLlmOptions, cls.name)
        if settings.checkpoint is None:
            raise ConfigError("router.checkpoint", "causal_llm comes without weights; name a folder of them")
        device = choose_device(options.device, key="router.options.device")
        dtype = choose_dtype(options.precision, device)
        location = settings.checkpoint
        folder = local_folder(location, key="router.checkpoint")
        config = read_config(folder, location)
        prompt = _prompt(folder, location, options, config.vocab_size, config.max_position_embeddings)
        return cls(
            load_llama(folder, location, config, dtype=dtype, device=device),
            prompt,
            score_threshold=options.score_threshold,
            batch_tokens=options.batch_tokens,
            prefix_reuse=options.prefix_reuse,
        )

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        if len(batch.texts) == 0:
            return np.zeros(0, np.float32)
        return label_scores(self.logits(batch.texts), self._threshold)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits of [[1]]…[[5]] for B texts, float32 [B, 5]."""
        rows = self.prompt.encode(texts)
        logits = np.empty((len(rows), len(LABELS)), np.float32)
        attended = [len(self.prompt.prefix) + len(row) for row in rows]

        def compute(batch: list[int]) -> torch.Tensor:
            longest = max(attended[n] for n in batch)
            # Without the shared prefix there is no mask, so that memory grows with a prompt's length, not with its square.
            prefix = self._prefix if longest**2 <= MASK_ENTRIES else None
            states = last_states(self._model, [rows[n] for n in batch], prefix, self.prompt.prefix)
            return (states.float() @ self._rows.T).cpu()

        with self._lock, torch.inference_mode():
            for batch in by_length(attended, self._batch_tokens):
                logits[batch] = halving(compute, batch).numpy()
        return logits


def label_scores(logits: NDArray[np.floating], threshold: int) -> NDArray[np.float32]:
    """Return s = 1 − Σ_{k ≥ threshold} softmax(logits)_k for each row, float32 [B] in [0, 1].

    Args:
        logits: of [[1]]…[[5]], floating point [B, 5].
        threshold: the least points of a good enough answer, 2 to 5.

    Raises:
        CheckpointError: a logit is not finite.

    """
    if not np.isfinite(logits).all():
        raise CheckpointError(
            "router 'causal_llm' gave a score that is not a number; its weights are unusable"
        )
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    # The sum of the other labels is 1 minus this one's, without the cancellation.
    scores: NDArray[np.float64] = odds[:, : threshold - 1].sum(axis=1) / odds.sum(axis=1)
    return scores.astype(np.float32)


def _prompt(
    folder: Path, location: str, options: CausalLlmOptions, vocab_size: int, positions: int
) -> ClassifierPrompt:
    words = (
        local_folder(options.tokenizer, key="router.options.tokenizer", weights=False)
        if options.tokenizer is not None
        else folder
    )
    if options.max_tokens is not None and options.max_tokens > positions:
        raise ConfigError(
            "router.options.max_tokens", f"is {options.max_tokens}; the model reads {positions}"
        )
    return ClassifierPrompt(
        read_tokenizer(words, vocab_size),
        system=system_text(options.system_prompt, folder, location),
        template=read_text(folder, TEMPLATE_FILE) or TEMPLATE,
        max_tokens=options.max_tokens or positions,
    )


def system_text(file: str | None, folder: Path, location: str) -> str:
    """Return the system text: that of a file, or the checkpoint's own.

    Args:
        file: path of a text file; None: the checkpoint's own.
        folder: of the checkpoint.
        location: its name, for errors.

    Raises:
        ConfigError: there is no such file.
        CheckpointError: the checkpoint has none, or it is not UTF-8.

    """
    if file is not None:
        text = read_text(Path(file).parent, Path(file).name)
        if text is None:
            raise ConfigError("router.options.system_prompt", f"{file}: no such file")
        return text
    text = read_text(folder, SYSTEM_FILE)
    if text is None:
        raise CheckpointError(
            f"{location}: holds no {SYSTEM_FILE}; set the option system_prompt to the file that it was trained with"
        )
    return text
