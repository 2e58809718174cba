"""A causal-LLM checkpoint as RouteLLM publishes it, with its tokenizer beside it: loading and writing a Llama."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from routellm_batch.core.errors import CheckpointError
from routellm_batch.routers.causal_llm.prompt import BOS, EOT, LABELS, TOKENIZER_FILE
from routellm_batch.routers.checkpoint import CARD, create_files
from routellm_batch.routers.models.pretrained import frozen, load_checked

CONFIG_FILE = "config.json"
SHARD = "4GB"
"""Size of a file of weights, at most."""
WORDS = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOT}
"""Content of ``tokenizer_config.json``."""


def read_config(folder: Path, location: str) -> LlamaConfig:
    """Return the configuration of a model.

    Args:
        folder: with ``config.json``.
        location: its name, for errors.

    Raises:
        CheckpointError: there is no ``config.json``, or it is damaged or not a Llama's.

    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_bytes())
        model_type = fields.get("model_type")
    except FileNotFoundError:
        raise CheckpointError(f"{location}: holds no {CONFIG_FILE}; is it a folder of weights?") from None
    except (ValueError, AttributeError):
        raise CheckpointError(f"{location}: {CONFIG_FILE} is damaged; fetch it again") from None
    if model_type != "llama":
        raise CheckpointError(
            f"{location}: {CONFIG_FILE} says model_type {model_type!r}; causal_llm reads 'llama'"
        )
    try:
        return LlamaConfig.from_dict(fields)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{location}: {CONFIG_FILE}: {type(error).__name__}: {error}") from None


def load_llama(
    folder: Path, location: str, config: LlamaConfig, *, dtype: torch.dtype, device: torch.device
) -> LlamaForCausalLM:
    """Return a Llama with frozen weights, ready to compute.

    Args:
        folder: with ``model.safetensors``, whole or in shards.
        location: its name, for errors.
        config: of the model.
        dtype: of the weights.
        device: where to compute.

    Raises:
        CheckpointError: a file is damaged, or a tensor is missing, of another shape or not finite; the text names it.

    """
    model = load_checked(LlamaForCausalLM, folder, location, config, dtype=dtype, attn_implementation="sdpa")
    llama: LlamaForCausalLM = frozen(model, device)
    return llama


def grow(model: LlamaForCausalLM, tokenizer: Tokenizer, location: str) -> None:
    """Add rows for the five label tokens to a model's embeddings; each begins as the mean of all other rows.

    Args:
        model: changed in place, unless it has the rows already.
        tokenizer: with the label tokens.
        location: name of the model, for errors.

    Raises:
        CheckpointError: model and tokenizer don't belong together.

    """
    rows, needed = model.config.vocab_size, tokenizer.get_vocab_size(with_added_tokens=True)
    if rows == needed:
        return
    if rows + len(LABELS) != needed:
        raise CheckpointError(
            f"{location}: has {rows} tokens, and the tokenizer has {needed - len(LABELS)} beside the labels"
        )
    means = [
        part.weight.mean(dim=0) for part in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    model.resize_token_embeddings(needed, mean_resizing=False)
    with torch.no_grad():
        for part, mean in zip(
            (model.get_input_embeddings(), model.get_output_embeddings()), means, strict=True
        ):
            part.weight[rows:] = mean


def write_folder(
    out: str, model: LlamaForCausalLM, tokenizer: Tokenizer, texts: Mapping[str, str], card: str
) -> None:
    """Write a checkpoint to a new folder, ``config.json`` last; weights are bfloat16 from a GPU, float32 from a CPU.

    Args:
        out: path or URI of the folder.
        model: the Llama.
        tokenizer: with the label tokens.
        texts: name → content of further text files: the system text and the template.
        card: the model card, Markdown.

    Raises:
        ConfigError: one of the files is there already.

    """
    if model.device.type == "cuda":
        model.to(torch.bfloat16)
    tokenizer.encode_special_tokens = False  # As other programs expect it; the router sets it for itself.
    with tempfile.TemporaryDirectory(prefix="routellm-causal-") as name:
        folder = Path(name)
        model.save_pretrained(folder, max_shard_size=SHARD)
        tokenizer.save(str(folder / TOKENIZER_FILE))
        (folder / "tokenizer_config.json").write_text(json.dumps(WORDS, indent=2) + "\n", "utf-8")
        for file, text in {**texts, CARD: card}.items():
            (folder / file).write_text(text, "utf-8")
        create_files(out, _files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir(), key=lambda p: (p.name == CONFIG_FILE, p.name)):
        yield path.name, path.read_bytes()
