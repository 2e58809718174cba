"""The bert router against one forward pass a prompt and a softmax written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_bert import write_tiny  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402

TEXTS = [
    "",
    "Why?",
    "Which prompts need the strong model? " * 30,
    *(f"A question about primes {n}: " + "why " * (n * 7 % 60) for n in range(40)),
    "naïve café, 这道题怎么做",
    "</s> <pad> [SEP] in a text",
]


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_those_of_single_forwards(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """In batches the score is softmax[0] of the published formula to 1e-5, a long prompt cut on the right."""
    settings = write_tiny(tmp_path, kind=kind)
    settings["options"]["batch_tokens"] = 256
    scores = make_router("bert", **settings).score(PromptBatch(range(len(TEXTS)), TEXTS))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    expected = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=192)["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0].double().numpy()
        odds = np.exp(logits - logits.max())
        expected.append(1 - (odds[1] + odds[2]) / odds.sum())
    assert np.abs(scores - np.array(expected)).max() <= 1e-5
    assert np.ptp(scores) > 0.05
