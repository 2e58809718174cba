"""Tiny random three-class classifiers, an XLM-R and a BERT, with tokenizers tokenizer on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

WORDS = [
    "Which prompts need the strong model? Why? A question about primes: 12 345 67890.",
    "naïve café, 这道题怎么做",
]


def write_tiny(
    folder: Path, *, kind: str = "xlm-roberta", labels: int = 3, width: int = 32, seed: int = 0
) -> dict[str, Any]:
    """Write a checkpoint in the manner of a Trainer's; return what makes the router of it."""
    torch.manual_seed(seed)
    tokenizer = _sentencepiece() if kind == "xlm-roberta" else _wordpiece()
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_labels": labels,
        "initializer_range": 0.4,
    }
    if kind == "xlm-roberta":
        config = XLMRobertaConfig(**shape, max_position_embeddings=194, pad_token_id=1, type_vocab_size=1)
        XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    else:
        BertForSequenceClassification(BertConfig(**shape, max_position_embeddings=192)).save_pretrained(
            folder
        )
    tokenizer.save_pretrained(folder)
    for leftover in ("optimizer.pt", "scheduler.pt", "training_args.bin"):
        (folder / leftover).write_bytes(b"a pickle that must not be read")
    (folder / "trainer_state.json").write_text("{}", "utf-8")
    return {"checkpoint": str(folder), "options": {"device": "cpu"}}


def _sentencepiece() -> PreTrainedTokenizerFast:
    """Return a unigram tokenizer with XLM-R's special tokens in XLM-R's order."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def _wordpiece() -> PreTrainedTokenizerFast:
    """Return a WordPiece tokenizer with BERT's special tokens in BERT's order."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted({word.lower() for line in WORDS for word in line.split()})
    letters = sorted(set("".join(words)))
    # Written out, as a trainer's order of equal pieces differs from one call to the next, and with it every token id.
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *(w for w in words if len(w) > 1)]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )
