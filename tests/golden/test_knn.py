"""The knn router against its formula, one prompt at a time in float64 over the whole index, sorted in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.checkpoint import save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.knn.router import BLOCK, Index

TEXTS = [
    "What is 2 + 2?",
    "Prove that there are infinitely many primes.",
    "",
    "Übersetze: „Guten Tag“",
    "x " * 500,
]
ROWS = [
    f"Question {n}: what is {n} times {n + 1}, and why is it {'odd' if n % 2 else 'even'}?" for n in range(60)
]


def random_index(rows: int = 400, width: int = 32, *, k: int = 20, prior: float = 0.5) -> Index:
    """Return an index of random unit vectors and gains."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((rows, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Index(vectors, rng.uniform(-1, 1, rows).astype(np.float32), k, prior)


def queries(count: int, width: int = 32) -> NDArray[np.float32]:
    """Return random unit vectors."""
    vectors = np.random.default_rng(4).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reference(
    vectors: NDArray[Any], gain: NDArray[Any], k: int, prior: float, embedding: NDArray[Any]
) -> float:
    """Score one prompt by the formula at the head of the router's module."""
    gains = [float(g) for g in gain]
    similar = [sum(float(a) * float(b) for a, b in zip(row, embedding, strict=True)) for row in vectors]
    order = sorted(range(len(similar)), key=lambda n: (-similar[n], n))
    edge = similar[order[k]]
    weights = {n: max(0.0, similar[n] - edge) for n in order[:k]}
    mean = sum(gains) / len(gains)
    total = sum(weight * gains[n] for n, weight in weights.items()) + prior * mean
    return (total / (sum(weights.values()) + prior) + 1) / 2


@pytest.mark.parametrize(("k", "prior"), [(1, 0.1), (20, 0.5), (399, 10.0)])
def test_an_index_scores_by_the_formula(k: int, prior: float) -> None:
    """Each score is the reference's to 1e-5, from one neighbour to all."""
    index, asked = random_index(k=k, prior=prior), queries(7)
    expected = [reference(index.vectors, index.gain, k, prior, one) for one in asked]
    assert np.abs(index.score(asked) - np.array(expected)).max() < 1e-5


@pytest.mark.parametrize("options", [{}, {"k": 3}], ids=["its own k", "k of the options"])
def test_a_checkpoint_scores_by_the_formula(tmp_path: Path, options: dict[str, int]) -> None:
    """Half-precision vectors on storage give the reference's scores of the same vectors to 1e-5."""
    embedder = get_embedder("static")
    vectors = embedder.embed(ROWS).astype(np.float16)
    gain = np.random.default_rng(5).uniform(-1, 1, len(ROWS)).astype(np.float16)
    out = str(tmp_path / "out")
    save_checkpoint(
        out,
        {"vectors": vectors, "gain": gain},
        embedder,
        router="knn",
        name="tiny",
        card="# An index",
        fields={"k": 10, "prior": 0.2},
    )
    scores = make_router("knn", checkpoint=out, options=options).score(PromptBatch(range(5), TEXTS))
    k = options.get("k", 10)
    expected = [reference(vectors, gain, k, 0.2, one) for one in embedder.embed(TEXTS)]
    assert np.abs(scores - np.array(expected)).max() < 1e-5


def test_the_shipped_index_scores_by_the_formula() -> None:
    """So does ``builtin:knn-v1``, without options."""
    router = make_router("knn")
    index: Index = router.index  # type: ignore[attr-defined]
    embeddings = get_embedder("static").embed(TEXTS[:2])
    expected = [reference(index.vectors, index.gain, index.k, index.prior, one) for one in embeddings]
    assert np.abs(router.score(PromptBatch(range(2), TEXTS[:2])) - np.array(expected)).max() < 1e-5


def test_a_prompt_like_no_other_gets_the_mean() -> None:
    """A text without a known token has the score of the index's mean gain."""
    index = random_index()
    scores = index.score(np.zeros((1, 32), np.float32))
    assert scores[0] == pytest.approx((index.gain.astype(np.float64).mean() + 1) / 2, abs=1e-12)


def test_equal_neighbours_share_the_weight() -> None:
    """Where rows at the edge are equally similar, it does not matter which of them are taken."""
    index = random_index(40)
    twice = Index(np.tile(index.vectors, (5, 1)), np.repeat(index.gain[:5], 40), 17, 0.5)
    swapped = Index(twice.vectors[::-1], twice.gain[::-1], 17, 0.5)
    asked = queries(9)
    # 17 neighbours are three prompts five times each and two of the fourth: the edge is within a tie.
    assert np.abs(twice.score(asked) - swapped.score(asked)).max() < 1e-6


def test_blocks_do_not_show() -> None:
    """A prompt has one score in whatever place of whatever block, the filled-up last one too."""
    index, asked = random_index(), queries(2 * BLOCK + 3)
    alone = np.concatenate([index.score(asked[n : n + 1]) for n in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 2)])
    together = index.score(asked)[[0, BLOCK - 1, BLOCK, 2 * BLOCK + 2]]
    assert np.abs(alone - together).max() < 1e-6
