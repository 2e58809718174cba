"""Prompts a second of the causal-LLM router, with the prefix of all prompts computed once and with each prompt."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.prompts import REPO, load_prompts
from benchmarks.table import Table
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.causal_llm.prompt import LABELS, TEMPLATE, ClassifierPrompt
from routellm_batch.routers.causal_llm.router import CausalLlmRouter

ROWS, RUNS, ONE_BY_ONE = 512, 3, 64
VOCABULARY = 4000
LAYERS, WIDTH, POSITIONS = 4, 256, 2048
SYSTEM_BYTES = 886
"""Length of the published system text."""

Scored = Callable[[Sequence[str]], NDArray[np.float32]]


def run(*, quick: bool) -> Table:
    """Time them in turns, so that a busy moment hits all alike."""
    texts, what = load_prompts(24 if quick else ROWS)
    reuse, whole = (_router(texts, prefix_reuse=reused) for reused in (True, False))
    single = texts[: 4 if quick else ONE_BY_ONE]
    contenders: list[tuple[str, Scored, Sequence[str]]] = [
        ("batched, prefix computed once", lambda t: _batched(reuse, t), texts),
        ("batched, prefix computed with each prompt", lambda t: _batched(whole, t), texts),
        ("one prompt at a time, prefix with each", lambda t: _one_by_one(whole, t), single),
    ]
    seconds: list[list[float]] = [[] for _ in contenders]
    scores: list[NDArray[np.float32]] = []
    for number in range(1 if quick else RUNS):
        for taken, (_, work, given) in zip(seconds, contenders, strict=True):
            begun = time.perf_counter()
            found = work(given)
            taken.append(time.perf_counter() - begun)
            if number == 0:
                scores.append(found)
    rates = [len(given) / statistics.median(s) for s, (_, _, given) in zip(seconds, contenders, strict=True)]
    apart = [float(np.abs(scores[0][: len(found)] - found).max()) for found in scores]
    rows = [
        [name, f"{len(given):,}", f"{rate:,.1f}", f"{rates[0] / rate:.2f}", f"{off:.1e}"]
        for (name, _, given), rate, off in zip(contenders, rates, apart, strict=True)
    ]
    lengths = [len(row) for row in reuse.prompt.encode(texts)]
    note = (
        f"Medians, n = {len(seconds[0])}, in turns; {what}. A random Llama ({LAYERS} layers, width {WIDTH}, float32, "
        f"{torch.get_num_threads()} threads) with a tokenizer of {VOCABULARY:,} pieces; the prefix has "
        f"{len(reuse.prompt.prefix)} tokens (a system text of {SYSTEM_BYTES} bytes, as the published one), the rest of a "
        f"prompt {statistics.mean(lengths):.0f} on average."
    )
    headings = ["", "prompts", "prompts/s", "ours, times this", "greatest difference of scores"]
    return Table("Causal-LLM router, tiny Llama", headings, rows, [note])


def _router(texts: Sequence[str], *, prefix_reuse: bool) -> CausalLlmRouter:
    if str(REPO / "tests") not in sys.path:
        sys.path.append(str(REPO / "tests"))
    from helpers.tiny_causal_llm import SYSTEM, tiny_llama, tiny_tokenizer

    tokenizer = tiny_tokenizer([*texts, SYSTEM], VOCABULARY)
    tokenizer.add_special_tokens(list(LABELS))
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    model = tiny_llama(size, layers=LAYERS, width=WIDTH, positions=POSITIONS)
    model = model.eval().requires_grad_(requires_grad=False)
    system = (SYSTEM * (SYSTEM_BYTES // len(SYSTEM) + 1))[:SYSTEM_BYTES]
    prompt = ClassifierPrompt(tokenizer, system=system, template=TEMPLATE, max_tokens=POSITIONS)
    return CausalLlmRouter(model, prompt, prefix_reuse=prefix_reuse)


def _batched(router: CausalLlmRouter, texts: Sequence[str]) -> NDArray[np.float32]:
    return router.score(PromptBatch(range(len(texts)), texts))


def _one_by_one(router: CausalLlmRouter, texts: Sequence[str]) -> NDArray[np.float32]:
    return np.concatenate([router.score(PromptBatch([0], [text])) for text in texts])
