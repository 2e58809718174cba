"""Prompts a second on one GPU, and what of its bfloat16 ceiling that is: random weights in the published shapes.

python -m benchmarks gpu_routers          (needs a GPU; ``--quick`` takes tiny shapes and runs on anything)
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)
from transformers import PreTrainedTokenizerFast as Words

from benchmarks.prompts import MMLU_ROWS, REPO, load_prompts
from benchmarks.table import Table
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.bert.router import BertRouter
from routellm_batch.routers.causal_llm.prompt import LABELS, TEMPLATE, ClassifierPrompt
from routellm_batch.routers.causal_llm.router import CausalLlmRouter
from routellm_batch.routers.embedders.transformer import TransformerEmbedder
from routellm_batch.routers.models.builtin import shipped
from routellm_batch.routers.models.pretrained import TokenIds
from routellm_batch.routers.sw_ranking.index import make_index
from routellm_batch.routers.sw_ranking.router import Rated

RUNS, SIDE, SYSTEM_BYTES = 3, 8192, 886
READABLE = 512
TIERS, BATTLES, WIDTH = 10, 50_000, 1536
HEADINGS = ["", "prompts", "prompts/s", "aim", "of the FLOP ceiling"]
MINILM, XLM_R = "embedder, MiniLM-shaped", "bert, XLM-R-base-shaped"
CAUSAL, SW = "causal_llm, 8B-shaped", "sw_ranking, 50,000 battles, embeddings at hand"
AIMS = {MINILM: "20,000", XLM_R: "4,000", CAUSAL: "150", SW: "5,000"}
"""Prompts a second."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A model on a device, ready to be timed."""

    name: str
    work: Callable[[Sequence[str]], object]
    texts: Sequence[str]
    flops: float
    """Of all its texts: 2 · parameters of the layers · tokens, attention and padding left out."""


def run(*, quick: bool) -> Table:
    """Build each model on the device, time it, and free it before the next."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not quick:
        unmeasured = [[name, "–", "not measured", aim, "–"] for name, aim in AIMS.items()]
        return Table("On one GPU", HEADINGS, unmeasured, ["This process sees no GPU."])
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    ceiling = _ceiling(device, dtype, 256 if quick else SIDE)
    texts, what = load_prompts(24 if quick else MMLU_ROWS)
    rows = []
    for make in (_minilm, _xlm_r, _causal, _sw):
        rows.append(_timed(make(texts, device, dtype, quick=quick), ceiling, runs=1 if quick else RUNS))
        torch.cuda.empty_cache()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU, tiny shapes"
    note = (
        f"{name}, {dtype}; medians, n = {1 if quick else RUNS}, after a warm-up; {what}, tokenising included. "
        f"Ceiling: a product of {SIDE:,}² matrices, {ceiling / 1e12:.1f} TFLOP/s."
    )
    return Table("On one GPU", HEADINGS, rows, [note])


def _timed(given: Contender, ceiling: float, *, runs: int) -> list[str]:
    given.work(given.texts)
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        given.work(given.texts)  # Its result is on the processor, so the device has finished.
        taken.append(time.perf_counter() - begun)
    seconds = statistics.median(taken)
    rate = len(given.texts) / seconds
    share = f"{given.flops / seconds / ceiling:.0%}"
    return [given.name, f"{len(given.texts):,}", f"{rate:,.0f}", AIMS[given.name], share]


def _minilm(texts: Sequence[str], device: torch.device, dtype: torch.dtype, *, quick: bool) -> Contender:
    model = _placed(BertModel(BertConfig(num_hidden_layers=1 if quick else 6, **_mini())), device, dtype)
    words = _words()
    embedder = TransformerEmbedder(model, words, pooling="mean", fingerprint="random")
    return Contender(MINILM, embedder.embed, texts, _flops(model, words.encode(texts)))


def _xlm_r(texts: Sequence[str], device: torch.device, dtype: torch.dtype, *, quick: bool) -> Contender:
    shape = {"vocab_size": 250_002, "max_position_embeddings": READABLE + 2, "type_vocab_size": 1}
    small = {**_mini(), **shape, "num_hidden_layers": 1}
    config = XLMRobertaConfig(**{**(small if quick else shape), "pad_token_id": 1, "num_labels": 3})
    model = _placed(XLMRobertaForSequenceClassification(config), device, dtype)
    words = _words()
    work = partial(_scored, BertRouter(model, words))
    return Contender(XLM_R, work, texts, _flops(model, words.encode(texts)))


def _causal(texts: Sequence[str], device: torch.device, dtype: torch.dtype, *, quick: bool) -> Contender:
    if str(REPO / "tests") not in sys.path:
        sys.path.append(str(REPO / "tests"))
    from helpers.tiny_causal_llm import SYSTEM, tiny_tokenizer

    texts = texts[: 24 if quick else 2048]
    tokenizer = tiny_tokenizer([*texts, SYSTEM], 4000)
    tokenizer.add_special_tokens(list(LABELS))
    large: dict[str, Any] = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    large |= {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256 + 5}
    small: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 8192}
    config = LlamaConfig(**(small if quick else large), max_position_embeddings=8192)
    with torch.device(device):  # 16 GB in bfloat16: made where they are used.
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(before)
    model = model.eval().requires_grad_(requires_grad=False)
    system = (SYSTEM * (SYSTEM_BYTES // len(SYSTEM) + 1))[:SYSTEM_BYTES]
    router = CausalLlmRouter(
        model, ClassifierPrompt(tokenizer, system=system, template=TEMPLATE, max_tokens=2048)
    )
    flops = _flops(model.model, router.prompt.encode(texts))
    return Contender(CAUSAL, partial(_scored, router), texts, flops)


def _sw(texts: Sequence[str], device: torch.device, dtype: torch.dtype, *, quick: bool) -> Contender:
    del dtype  # Its products are float32 everywhere.
    from routellm_batch.routers.sw_ranking.device import DeviceIndex

    rng = np.random.default_rng(0)
    battles, width = (1000, 64) if quick else (BATTLES, WIDTH)
    vectors = rng.standard_normal((battles, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tier = rng.integers(0, TIERS, (2, battles))
    support = rng.choice([0.0, 0.5, 1.0], battles)
    index = make_index(vectors, np.arange(battles), (tier[0], tier[1]), support, TIERS, compat=True)
    placed: Rated = DeviceIndex(index, device)
    queries = vectors[rng.integers(0, battles, len(texts))]
    flops = 2.0 * len(texts) * battles * (width + len(index.cells))
    return Contender(SW, lambda _: placed.ratings(queries), texts, flops)


def _mini() -> dict[str, Any]:
    shape = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
    return {**shape, "max_position_embeddings": READABLE, "pad_token_id": 0}


def _placed(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    return model.to(device=device, dtype=dtype).eval().requires_grad_(requires_grad=False)


def _words() -> TokenIds:
    words = Words(tokenizer_file=str(shipped("static-v1") / "tokenizer.json"))
    return TokenIds(words, max_tokens=READABLE - 2, pad=0)


def _scored(router: Any, texts: Sequence[str]) -> object:
    return router.score(PromptBatch(range(len(texts)), texts))


def _flops(model: Any, rows: Sequence[Sequence[int]]) -> float:
    inner = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name)
    return 2.0 * inner * sum(map(len, rows))


def _ceiling(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return FLOP/s of a matrix product, the best of five."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        begun = time.perf_counter()
        (a @ b).sum().item()
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best
