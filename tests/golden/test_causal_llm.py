"""The causal-LLM router against an unbatched forward pass of the whole text, one prompt at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_causal_llm import SYSTEM, write_tiny  # noqa: E402
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402
from routellm_batch.routers.causal_llm.router import CausalLlmRouter, label_scores  # noqa: E402

QUESTIONS = [
    "What challenges did FDR face while in office",
    "",
    "\n",
    "  two spaces, and a tail of them  \n\n",
    "Prediction:\n\nPrediction:",
    "] closes what the template opens",
    "这道题怎么做？😀 é",
    "12345 67 8 " * 9,
    "{question} {0} %s",
]
LABELS = ["[[1]]", "[[2]]", "[[3]]", "[[4]]", "[[5]]"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write a tiny checkpoint."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def words(tiny: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Return its tokenizer as upstream makes it: Llama 3's and five special tokens."""
    path = Path(tiny["options"]["tokenizer"]) / "tokenizer.json"
    made = PreTrainedTokenizerFast(tokenizer_file=str(path), bos_token="<|begin_of_text|>")
    made.add_special_tokens({"additional_special_tokens": LABELS})
    return made


def upstream_ids(words: PreTrainedTokenizerFast, question: str) -> list[int]:
    """Return the ids of the whole text, tokenised at once, as RouteLLM lays it out, and of the answer's header."""
    user = f"[Question]\n{question}\n\nPrediction:\n"
    text = "<|begin_of_text|>"
    for role, content in (("system", SYSTEM), ("user", user)):
        text += f"<|start_header_id|>{role}<|end_header_id|>\n\n{content.strip()}<|eot_id|>"
    text += "<|start_header_id|>assistant<|end_header_id|>\n\n"
    return list(words.encode(text, add_special_tokens=False))


def router(tiny: dict[str, Any], **options: Any) -> CausalLlmRouter:
    """Return the router, with further options."""
    made = make_router("causal_llm", **{**tiny, "options": {**tiny["options"], **options}})
    assert isinstance(made, CausalLlmRouter)
    return made


@pytest.fixture(scope="module")
def reference(tiny: dict[str, Any], words: PreTrainedTokenizerFast) -> np.ndarray[Any, Any]:
    """Return float64 logits of the five labels by full forward passes of the whole text, one at a time."""
    model = LlamaForCausalLM.from_pretrained(
        tiny["checkpoint"], dtype=torch.float64, attn_implementation="eager"
    )
    labels = words.convert_tokens_to_ids(LABELS)
    with torch.no_grad():
        rows = [model(torch.tensor([upstream_ids(words, q)])).logits[0, -1, labels] for q in QUESTIONS]
    return torch.stack(rows).numpy()


def test_ids_are_those_of_the_whole_text(tiny: dict[str, Any], words: PreTrainedTokenizerFast) -> None:
    """Prefix, body and suffix, tokenised apart, are the ids of the whole text tokenised at once."""
    prompt = router(tiny).prompt
    actual = [prompt.prefix + row for row in prompt.encode(QUESTIONS)]
    assert actual == [upstream_ids(words, question) for question in QUESTIONS]
    assert prompt.labels == words.convert_tokens_to_ids(LABELS)
    assert prompt.labels[0] in prompt.prefix  # The system text names the labels, as tokens.


@pytest.mark.parametrize("batch_tokens", [None, 16, 400])
@pytest.mark.parametrize("prefix_reuse", [True, False])
def test_logits_are_the_references(
    tiny: dict[str, Any], reference: np.ndarray[Any, Any], *, prefix_reuse: bool, batch_tokens: int | None
) -> None:
    """Batched, padded, with and without the cached prefix, logits and scores are those of one whole pass each."""
    made = router(tiny, prefix_reuse=prefix_reuse, batch_tokens=batch_tokens)
    for _ in range(2):  # The second time shows that the first left the cached prefix as it was.
        assert np.abs(made.logits(QUESTIONS) - reference).max() < 1e-4
    odds = np.exp(reference)
    expected = 1 - odds[:, 3:].sum(axis=1) / odds.sum(axis=1)
    actual = made.score(PromptBatch(range(len(QUESTIONS)), QUESTIONS))
    assert np.abs(actual - expected).max() < 1e-4
    assert np.ptp(expected) > 0.01


def test_score_of_the_published_example() -> None:
    """The logits that RouteLLM's authors show give the score that they show."""
    logits = np.array([[10.3125, 10.9375, 11.4375, 14.4375, 15.0]])
    assert abs(float(label_scores(logits, 4)[0]) - (1 - 0.9662781)) < 1e-6


def test_score_threshold_moves_the_sum(tiny: dict[str, Any], reference: np.ndarray[Any, Any]) -> None:
    """With threshold 5 only a perfect weak answer is good enough."""
    odds = np.exp(reference)
    actual = router(tiny, score_threshold=5).score(PromptBatch(range(len(QUESTIONS)), QUESTIONS))
    assert np.abs(actual - (1 - odds[:, 4] / odds.sum(axis=1))).max() < 1e-4
