"""A tiny random Llama classifier in the format that RouteLLM publishes, with a tokenizer in the manner of Llama 3's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from routellm_batch.routers.causal_llm.prompt import BOS, EOT, HEADER, HEADER_END, TEMPLATE

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 splits a text before its merges."""
SYSTEM = (
    "[Instruction]\nSay how well a small model will answer the question, from [[1]] (badly) to [[5]] (perfectly).\n"
    "Think of how hard the question is, of what it asks one to know, and of how long a good answer would be.\n"
    "Answer with one of [[1]], [[2]], [[3]], [[4]], [[5]] and nothing else.\n"
)
TEXT = f"{SYSTEM}[Question]\nWhich prompts need the strong model?\n\nPrediction:\n\n\n\n\n12 345 primes   \n\n\nsystem user"
SPECIAL = (BOS, "<|end_of_text|>", HEADER, HEADER_END, EOT)


@lru_cache(maxsize=2)
def _trained(texts: tuple[str, ...], size: int) -> str:
    bpe = Tokenizer(models.BPE(ignore_merges=True))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return bpe.to_str()


def tiny_tokenizer(texts: Sequence[str] = (TEXT,) * 20, size: int = 400) -> Tokenizer:
    """Return a byte-level BPE of some texts, with Llama 3's special tokens after its vocabulary and no label tokens."""
    return Tokenizer.from_str(_trained(tuple(texts), size))


def tiny_llama(
    vocab_size: int, *, seed: int = 0, layers: int = 2, width: int = 32, positions: int = 512
) -> LlamaForCausalLM:
    """Return a random Llama whose scores differ between questions."""
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=1.1 / width**0.5,  # Wide enough apart that questions differ in score.
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(shape)


def write_tiny(folder: Path) -> dict[str, Any]:
    """Write a checkpoint, without a tokenizer, and beside it a tokenizer; return what makes the router of them."""
    tokenizer = tiny_tokenizer()
    checkpoint, words = folder / "checkpoint", folder / "tokenizer"
    words.mkdir(parents=True)
    tokenizer.save(str(words / "tokenizer.json"))
    model = tiny_llama(tokenizer.get_vocab_size() + 5)
    model.save_pretrained(checkpoint, max_shard_size="20KB")  # In shards, as the published one is.
    (checkpoint / "system_ft_v5.txt").write_text(SYSTEM, "utf-8")
    (checkpoint / "classifier_ft_v5.txt").write_text(TEMPLATE, "utf-8")
    (checkpoint / "new_embeddings.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    return {"checkpoint": str(checkpoint), "options": {"tokenizer": str(words), "device": "cpu"}}
