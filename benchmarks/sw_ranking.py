"""Prompts a second of the similarity-weighted ranking, beside a scikit-learn fit for each prompt."""

from __future__ import annotations

import statistics
import time
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.table import Table
from routellm_batch.routers.sw_ranking.index import BattleIndex, make_index

TIERS, WIDTH, RUNS = 10, 256, 5
LN10 = float(np.log(10))


def run(*, quick: bool) -> Table:
    """Time both on the same battles; the peer on fewer prompts."""
    battles, ours_on, peer_on = (2_000, 64, 1) if quick else (50_000, 512, 3)
    rng = np.random.default_rng(0)
    vectors = _unit(rng, battles)
    tier_a, tier_b = rng.integers(0, TIERS, (2, battles))
    chance = 1 / (1 + np.exp(0.3 * (tier_a - tier_b)))
    support = np.where(rng.random(battles) < 0.3, 0.5, (rng.random(battles) < chance).astype(float))
    index = make_index(vectors, np.arange(battles), (tier_a, tier_b), support, TIERS, compat=True)
    queries = _unit(rng, ours_on)
    X = np.zeros((2 * battles, TIERS))
    rows = np.arange(2 * battles)
    X[rows, np.tile(tier_a, 2)] = LN10
    X[rows, np.tile(tier_b, 2)] = -LN10
    y = np.concatenate([support > 0, support == 1])  # A tie is a win in one copy and a loss in the other.
    ours, peer, apart = [], [], 0.0
    for _ in range(1 if quick else RUNS):
        begun = time.perf_counter()
        theta = index.ratings(queries)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        fitted = [_fit(index, query, X, y) for query in queries[:peer_on]]
        peer.append(time.perf_counter() - begun)
        scores = [1 - 1 / (1 + 10 ** (t[:, 0] - t[:, 4])) for t in (theta[:peer_on], np.array(fitted))]
        apart = max(apart, float(np.abs(scores[0] - scores[1]).max()))
    rates = (ours_on / statistics.median(ours), peer_on / statistics.median(peer))
    lines = [
        ["ours, batched", f"{ours_on}", f"{rates[0]:,.0f}", f"{rates[0] / rates[1]:,.0f}"],
        ["scikit-learn, a fit for each prompt", f"{peer_on}", f"{rates[1]:,.2f}", "1"],
    ]
    note = (
        f"Medians, n = {len(ours)}, {battles:,} battles on as many prompts, embeddings {WIDTH} wide, {TIERS} tiers; "
        f"largest difference of two scores {apart:.1e} (the peer stops at its default tolerance)."
    )
    return Table("sw_ranking", ["", "prompts", "prompts/s", "times the peer"], lines, [note])


def _unit(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    made = rng.standard_normal((count, WIDTH)).astype(np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def _fit(
    index: BattleIndex, query: NDArray[np.float32], X: NDArray[np.float64], y: NDArray[np.bool_]
) -> NDArray[np.float64]:
    similar = index.vectors @ query
    weight = np.tile(10 * 10 ** (similar / similar.max()), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = LogisticRegression(C=np.inf, fit_intercept=False).fit(X, y, sample_weight=weight)
    found: NDArray[np.float64] = fit.coef_[0]
    return found
