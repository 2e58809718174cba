"""A causal-LLM checkpoint as RouteLLM publishes it, and its tokenizer beside it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.routers.causal_llm.model import CONFIG_FILE
from routellm_batch.routers.causal_llm.prompt import BOS, EOT, LABELS, TOKENIZER_FILE
from routellm_batch.storage.store import FsStore

SHARD = "4GB"
WORDS = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOT}


def refuse_existing(out: str) -> None:
    """Refuse a folder that holds something.

    Raises:
        ConfigError: it does.

    """
    store = FsStore(out)
    for found in store.list(""):
        raise ConfigError("out", f"{store.uri(found.path)} is there already; name a new folder")


def grow(model: LlamaForCausalLM, tokenizer: Tokenizer, location: str) -> None:
    """Give a model rows for the label tokens, which begin as the mean of all others.

    Raises:
        CheckpointError: model and tokenizer don't belong together.

    """
    have, wanted = model.config.vocab_size, tokenizer.get_vocab_size(with_added_tokens=True)
    if have == wanted:
        return
    if have + len(LABELS) != wanted:
        raise CheckpointError(
            f"{location}: has {have} tokens, and the tokenizer has {wanted - len(LABELS)} beside the labels"
        )
    means = [
        part.weight.mean(dim=0) for part in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    model.resize_token_embeddings(wanted, mean_resizing=False)
    with torch.no_grad():
        for part, mean in zip(
            (model.get_input_embeddings(), model.get_output_embeddings()), means, strict=True
        ):
            part.weight[have:] = mean


def write_folder(
    out: str, model: LlamaForCausalLM, tokenizer: Tokenizer, texts: Mapping[str, str], card: str
) -> None:
    """Write weights (bfloat16 from a GPU, float32 from a CPU), tokenizer, texts and card; ``config.json`` last.

    Raises:
        ConfigError: one of the files is there already.

    """
    store = FsStore(out)
    if model.device.type == "cuda":
        model.to(torch.bfloat16)
    tokenizer.encode_special_tokens = False  # As other programs expect it; the router sets it for itself.
    with tempfile.TemporaryDirectory(prefix="routellm-causal-") as name:
        folder = Path(name)
        model.save_pretrained(folder, max_shard_size=SHARD)
        tokenizer.save(str(folder / TOKENIZER_FILE))
        (folder / "tokenizer_config.json").write_text(json.dumps(WORDS, indent=2) + "\n", "utf-8")
        for file, text in {**texts, "README.md": card}.items():
            (folder / file).write_text(text, "utf-8")
        for path in sorted(folder.iterdir(), key=lambda p: (p.name == CONFIG_FILE, p.name)):
            if not store.create(path.name, path.read_bytes()):
                raise ConfigError("out", f"{store.uri(path.name)} is there already; name a new folder")
