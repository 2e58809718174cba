"""Loading a pretrained model and its tokenizer, and proving that nothing of them is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
"""The strong model wins, a tie, the weak model wins."""
CHARS_PER_TOKEN = 32
"""Of a longer text only so many characters per readable token are tokenised at all."""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
"""A folder with none of these has no tokenizer."""
UNUSABLE = (SafetensorError, ImportError, OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What the libraries raise on files that they can't use."""


class TokenIds:
    """Texts to token ids; threads take turns.

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
        """Return the ids of each text, special tokens included, unpadded; a lone surrogate reads as "?"."""
        longest = self.max_tokens * CHARS_PER_TOKEN
        cut = [text[:longest].encode("utf-8", "replace").decode("utf-8") for text in texts]
        if not cut:
            return []
        with self._lock:  # It remembers how it truncates, and can't be asked twice at once.
            found = self._tokenizer(
                cut,
                truncation=True,
                max_length=self.max_tokens,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
        return [ids or [self.pad] for ids in found["input_ids"]]

    def padded(self, rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask``, int64 [B, T], filled up on the right."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad] * (longest - len(row))] for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def load_classifier(folder: Path, location: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a classifier of three classes, with no tensor missing, of another shape, or not finite.

    Raises:
        CheckpointError: any of that, or a damaged file; the tensor or file is named.

    """
    config = _read_config(folder, location)
    if config.num_labels != CLASSES:
        raise CheckpointError(
            f"{location}: config.json gives {config.num_labels} labels; bert needs {CLASSES}: "
            "the strong model wins, a tie, the weak model wins"
        )
    model, report = _load(folder, location, config, dtype=dtype)
    for problem, names in (("is missing", "missing_keys"), ("has another shape", "mismatched_keys")):
        # The library fills such tensors at random and goes on.
        for name in _names(report[names]):
            raise CheckpointError(f"{location}: tensor {name} {problem}; fetch or train the weights again")
    _refuse_not_finite(model, location)
    return model.to(device).eval().requires_grad_(requires_grad=False)


def load_encoder(folder: Path, location: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a model without a head; only a pooler, which is not used, may be missing.

    Raises:
        CheckpointError: a tensor is missing, of another shape or not finite, or a file is damaged.

    """
    config = _read_config(folder, location)
    model, report = _load(folder, location, config, dtype=dtype, kind=AutoModel)
    for problem, names in (("is missing", "missing_keys"), ("has another shape", "mismatched_keys")):
        for name in _names(report[names]):
            if "pooler." not in name:
                raise CheckpointError(f"{location}: tensor {name} {problem}; fetch the weights again")
    _refuse_not_finite(model, location)
    return model.to(device).eval().requires_grad_(requires_grad=False)


def load_base(folder: Path, location: str) -> Any:
    """Load a model to be fine-tuned, float32 on the CPU; only its classifier may be new.

    Raises:
        CheckpointError: it can't be used, or a tensor below its classifier is missing; the tensor is named.

    """
    config = _read_config(folder, location)
    config.num_labels = CLASSES
    model, report = _load(folder, location, config, dtype=torch.float32, ignore_mismatched_sizes=True)
    inner = f"{model.base_model_prefix}."
    for name in [*_names(report["missing_keys"]), *_names(report["mismatched_keys"])]:
        if name.startswith(inner) and ".pooler." not in name:
            raise CheckpointError(
                f"{location}: tensor {name} is missing or has another shape; fetch it again"
            )
    _refuse_not_finite(model, location)
    return model


def load_token_ids(folder: Path, location: str, model: Any, *, asked: int | None, key: str) -> TokenIds:
    """Load the tokenizer of a model.

    Args:
        folder: with both.
        location: its name, for errors.
        model: with its weights.
        asked: bound on tokens of a text; None is what the tokenizer and the model allow.
        key: the config key of ``asked``, for errors.

    Raises:
        CheckpointError: there is none, or it is damaged, or of another model.
        ConfigError: the model can't read so many tokens.

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
    known = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise CheckpointError(
            f"{location}: its tokenizer has {len(tokenizer)} tokens and the model knows {known}; "
            "they don't belong together"
        )
    readable = positions(model)
    if asked is not None and asked > readable:
        raise ConfigError(key, f"is {asked}; the model reads {readable} tokens")
    tokenizer.truncation_side = "right"
    pads = (model.config.pad_token_id, tokenizer.pad_token_id, 0)
    pad = next(number for number in pads if number is not None)
    return TokenIds(tokenizer, max_tokens=asked or min(readable, tokenizer.model_max_length), pad=pad)


def positions(model: Any) -> int:
    """Return how many tokens a model can read at once; RoBERTa's kin lose those up to the padding's position."""
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


def _load(
    folder: Path,
    location: str,
    config: Any,
    *,
    dtype: torch.dtype,
    ignore_mismatched_sizes: bool = False,
    kind: Any = AutoModelForSequenceClassification,
) -> tuple[Any, dict[str, Any]]:
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
                ignore_mismatched_sizes=ignore_mismatched_sizes,
            )
        except UNUSABLE as error:
            raise CheckpointError(f"{location}: its weights can't be loaded ({_first(error)})") from None
    return model, report


def _refuse_not_finite(model: Any, location: str) -> None:
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{location}: tensor {name} holds a number that is not finite")


def _names(keys: Any) -> list[str]:
    """Return tensor names, sorted; a mismatched one is reported with its shapes."""
    return sorted(key if isinstance(key, str) else str(key[0]) for key in keys)


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the library: what it would warn of is refused here."""
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
