"""Prompts a second of the bert router against one forward pass a prompt, and what of the FLOP ceiling that is."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, XLMRobertaConfig

from benchmarks.prompts import load_prompts
from benchmarks.table import Table
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.models.builtin import shipped

SIDE = 1024
"""Of the matrices whose product measures the ceiling."""
READABLE = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """A classifier of random weights, and how often it is run."""

    name: str
    config: Any
    prompts: int
    runs: int


def run(*, quick: bool) -> Table:
    """Time both in turns on each shape, so that a busy moment hits both alike."""
    base = {"num_labels": 3, "max_position_embeddings": READABLE, "pad_token_id": 0}
    mini = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
    large = {"vocab_size": 250_002, "type_vocab_size": 1, "num_labels": 3, "pad_token_id": 1}
    shapes = [Shape("MiniLM-sized", BertConfig(**base, **mini), 24 if quick else 192, 1 if quick else 3)]
    if not quick:
        xlm_r = XLMRobertaConfig(**large, max_position_embeddings=READABLE + 2)
        shapes.append(Shape("XLM-R-base-sized", xlm_r, 32, 3))
    rows = [cells for shape in shapes for cells in _measure(shape)]
    headings = ["", "prompts", "tokens, mean", "prompts/s", "of one by one", "of the FLOP ceiling"]
    note = (
        "Medians, in turns; random weights, float32, CPU, the bundled WordPiece tokenizer, prompts of "
        f"{load_prompts(1)[1]}. Ceiling: a float32 product of {SIDE:,}² matrices in the same run; work: 2 · parameters "
        "of the layers and the classifier · tokens, padding and attention left out."
    )
    return Table("BERT router", headings, rows, [note])


def _measure(shape: Shape) -> list[list[str]]:
    texts, _ = load_prompts(shape.prompts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(shape.config).save_pretrained(folder)
        _copy_tokenizer(folder)
        router = make_router("bert", checkpoint=name, options={"device": "cpu", "max_tokens": READABLE})
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    parameters = sum(
        p.numel() for n, p in model.named_parameters() if ".embeddings." not in n and p.requires_grad
    )
    tokens = sum(len(ids) for ids in tokenizer(texts, truncation=True, max_length=READABLE)["input_ids"])
    ours, peer, ceiling = [], [], []
    router.score(PromptBatch(range(4), texts[:4]))  # Both once before the clock runs.
    _one(model, tokenizer, texts[0])
    for _ in range(shape.runs):
        ceiling.append(_ceiling())
        begun = time.perf_counter()
        scores = router.score(PromptBatch(range(len(texts)), texts))
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        expected = [_one(model, tokenizer, text) for text in texts]
        peer.append(time.perf_counter() - begun)
    if np.abs(scores - np.array(expected)).max() > 1e-5:
        message = "the scores differ from those of single forward passes"
        raise RuntimeError(message)
    flops = 2 * parameters * tokens / statistics.median(ceiling)
    found = []
    for label, seconds in (("bert", statistics.median(ours)), ("one by one", statistics.median(peer))):
        ratio = statistics.median(peer) / seconds
        cells = [
            f"{tokens / len(texts):.0f}",
            f"{len(texts) / seconds:.1f}",
            f"{ratio:.2f}",
            f"{flops / seconds:.0%}",
        ]
        found.append([f"{label}, {shape.name}", str(len(texts)), *cells])
    return found


def _copy_tokenizer(folder: Path) -> None:
    data = (shipped("static-v1") / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(data)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")


def _one(model: Any, tokenizer: Any, text: str) -> float:
    given = tokenizer(text, return_tensors="pt", truncation=True, max_length=READABLE)
    with torch.inference_mode():
        logits = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
    return float(torch.softmax(logits[0].double(), dim=0)[0])


def _ceiling() -> float:
    """Return float32 FLOP/s of a matrix product, the best of five."""
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begun)
    return 2 * SIDE**3 / best
