"""Load a pretrained model and its tokenizer, and check that no part of them is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from routellm_batch.core.errors import CheckpointError, ConfigError

CLASSES = 3
"""Classes of a classifier: the strong model wins, a tie, the weak model wins."""
CHARS_PER_TOKEN = 32
"""A text is cut to this number of characters for each token that the model can read, before it is tokenised."""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""A folder with none of these has no tokenizer."""
UNUSABLE = (SafetensorError, ImportError, OSError, RuntimeError, ValueError, KeyError, TypeError)
"""Errors that the libraries raise on files that they can't use."""


class TokenIds:
    """A tokenizer with its bound: texts to token ids; threads take turns.

    Args:
        tokenizer: of transformers.
        max_tokens: a longer text loses its tail.
        pad: id that fills short rows up.

    """

    def __init__(self, tokenizer: Any, *, max_tokens: int, pad: int) -> None:
        self._tokenizer = tokenizer
        self._lock = Lock()
        self.max_tokens = max_tokens
        self.pad = pad

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, without padding; a lone surrogate is read as "?"."""
        longest = self.max_tokens * CHARS_PER_TOKEN
        cut = [text[:longest].encode("utf-8", "replace").decode("utf-8") for text in texts]
        if not cut:
            return []
        with self._lock:  # It stores how it truncates, and can't be called twice at once.
            encoded = self._tokenizer(
                cut,
                truncation=True,
                max_length=self.max_tokens,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        return [ids or [self.pad] for ids in encoded["input_ids"]]

    def padded(self, rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask`` of B rows of ids, int64 [B, T] on the device, padded on the right."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def load_classifier(folder: Path, location: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """Return a classifier of three classes, with frozen weights, ready to compute.

    Args:
        folder: with ``config.json`` and weights.
        location: its name, for errors.
        dtype: of the weights.
        device: where to compute.

    Raises:
        CheckpointError: a file is damaged, or a tensor is missing, of another shape or not finite; the text names it.

    """
    config = _read_config(folder, location)
    if config.num_labels != CLASSES:
        raise CheckpointError(
            f"{location}: config.json gives {config.num_labels} labels; bert needs {CLASSES}: "
            "the strong model wins, a tie, the weak model wins"
        )
    model = load_checked(AutoModelForSequenceClassification, folder, location, config, dtype=dtype)
    return frozen(model, device)


def load_encoder(folder: Path, location: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """Return a model without a head, with frozen weights; only a pooler, which is not used, may be missing.

    Args:
        folder: with ``config.json`` and weights.
        location: its name, for errors.
        dtype: of the weights.
        device: where to compute.

    Raises:
        CheckpointError: a tensor is missing, of another shape or not finite, or a file is damaged.

    """
    config = _read_config(folder, location)
    model = load_checked(
        AutoModel, folder, location, config, dtype=dtype, may_be_new=lambda _, name: "pooler." in name
    )
    return frozen(model, device)


def load_base(folder: Path, location: str) -> Any:
    """Return a model to be fine-tuned, float32 on the CPU; only its classifier may be new.

    Args:
        folder: with ``config.json`` and weights.
        location: its name, for errors.

    Raises:
        CheckpointError: it can't be used, or a tensor below its classifier is missing; the tensor is named.

    """
    config = _read_config(folder, location)
    config.num_labels = CLASSES

    def may_be_new(model: Any, name: str) -> bool:
        return not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name

    return load_checked(
        AutoModelForSequenceClassification,
        folder,
        location,
        config,
        dtype=torch.float32,
        may_be_new=may_be_new,
        ignore_mismatched_sizes=True,
    )


def load_checked(
    kind: Any,
    folder: Path,
    location: str,
    config: Any,
    *,
    dtype: torch.dtype,
    may_be_new: Callable[[Any, str], bool] = lambda _model, _name: False,
    **options: Any,
) -> Any:
    """Return a model with the weights of ``*.safetensors``, all of its tensors present and finite.

    Args:
        kind: the class of transformers to load.
        folder: with the weights, whole or in shards.
        location: its name, for errors.
        config: of the model.
        dtype: of the weights.
        may_be_new: (model, tensor) → whether the tensor may be absent; the library then fills it with random numbers.
        options: further arguments of ``from_pretrained``.

    Raises:
        CheckpointError: a file is damaged, or a tensor is missing, of another shape or not finite; the text names it.

    """
    with _quietly():
        try:
            model, report = kind.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
        except UNUSABLE as error:
            raise CheckpointError(f"{location}: its weights can't be loaded ({_first(error)})") from None
    for problem, keys in (("is missing", "missing_keys"), ("has another shape", "mismatched_keys")):
        # The library fills such tensors with random numbers and goes on.
        for name in _names(report[keys]):
            if not may_be_new(model, name):
                raise CheckpointError(
                    f"{location}: tensor {name} {problem}; fetch or train the weights again"
                )
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{location}: tensor {name} holds a number that is not finite")
    return model


def frozen(model: Any, device: torch.device) -> Any:
    """Return a model moved to its device, ready to compute, with weights that can't be trained."""
    return model.to(device).eval().requires_grad_(requires_grad=False)


def load_token_ids(folder: Path, location: str, model: Any, *, bound: int | None, key: str) -> TokenIds:
    """Return the tokenizer of a model, with its bound.

    Args:
        folder: with the model's and the tokenizer's files.
        location: its name, for errors.
        model: the loaded model.
        bound: most tokens of a text; None is what the tokenizer and the model allow.
        key: the config key of ``bound``, for errors.

    Raises:
        CheckpointError: the tokenizer is absent, damaged, or another model's.
        ConfigError: the model can't read as many tokens as ``bound``.

    """
    if not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{location}: holds no tokenizer; copy tokenizer.json of the model it was trained from into it"
        )
    try:
        for path in sorted(folder.glob("tokenizer*.json")):
            json.loads(path.read_bytes())
    except ValueError:
        raise CheckpointError(f"{location}: {path.name} is damaged; fetch it again") from None
    with _quietly():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except UNUSABLE as error:
            raise CheckpointError(f"{location}: its tokenizer can't be loaded ({_first(error)})") from None
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise CheckpointError(
            f"{location}: its tokenizer has {len(tokenizer)} tokens and the model knows {rows}; "
            "they don't belong together"
        )
    readable = positions(model)
    if bound is not None and bound > readable:
        raise ConfigError(key, f"is {bound}; the model reads {readable} tokens")
    tokenizer.truncation_side = "right"
    pads = (model.config.pad_token_id, tokenizer.pad_token_id, 0)
    pad = next(number for number in pads if number is not None)
    return TokenIds(tokenizer, max_tokens=bound or min(readable, tokenizer.model_max_length), pad=pad)


def positions(model: Any) -> int:
    """Return how many tokens a model can read at once; models like RoBERTa lose the positions up to that of the padding."""
    bound = int(getattr(model.config, "max_position_embeddings", None) or 512)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return bound - int(module.padding_idx) - 1
    return bound


def _read_config(folder: Path, location: str) -> Any:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{location}: holds no config.json; is it a folder of weights?")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except UNUSABLE as error:
        raise CheckpointError(f"{location}: config.json can't be used ({_first(error)})") from None


def _names(keys: Any) -> list[str]:
    """Return tensor names, sorted; a mismatched one is reported with its shapes."""
    return sorted(key if isinstance(key, str) else str(key[0]) for key in keys)


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the library while a model is loaded: this module raises an error where it would warn."""
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
