"""Bradley–Terry fits (Bradley & Terry, 1952) for many prompts at once: only who beat whom, and how often, enters the loss.

    minimise over θ   Σ_ij A_ij · log(1 + 10^(θ_j − θ_i))

with A_ij the weight of "i beat j". The last player is an anchor at θ = 0; where nobody met it, the θ add up to 0. RouteLLM
fits the same model by logistic regression (arXiv 2406.18665, §4.1; ``routers/similarity_weighted/utils.py``).
"""

from __future__ import annotations

import math

import numpy as np

from routellm_batch.core.arrays import Floats, Ints

LN10 = math.log(10)
STEPS = 60
"""Newton steps at most."""
TOLERANCE = 1e-11
"""A prompt has converged when its gradient is below this part of the whole weight."""
LARGEST_STEP = 1.0
"""In θ; Newton overshoots where the curve is flat."""
BOUND = 20.0
"""|θ| at most: without a bound, the θ of a tier that never lost would be infinite."""
RIDGE = 1e-9
"""Added to the diagonal of the Hessian, so that it can be inverted."""


def solve(beaten: Floats) -> Floats:
    """Return θ, float64 [B, T], that minimises the loss; Elo is 400 θ + 1000.

    Newton's method on T parameters, for all prompts in step; a prompt that has converged is not moved any further.

    Args:
        beaten: float64 [B, T + 1, T + 1], weights of "i beat j"; the last player is the anchor.

    """
    count, players = len(beaten), beaten.shape[1] - 1
    theta = np.zeros((count, players))
    whole = np.maximum(beaten.sum(axis=(1, 2)), 1e-300)
    both = (beaten + beaten.transpose(0, 2, 1)) / whole[:, None, None]
    won = beaten / whole[:, None, None]
    free = ~(both[:, -1, :-1] > 0).any(axis=1)  # Without the anchor only differences are known.
    diagonal = np.arange(players)
    active = np.arange(count)
    for _ in range(STEPS):
        if not len(active):
            break
        full = np.concatenate([theta[active], np.zeros((len(active), 1))], axis=1)
        p = 0.5 * (1 + np.tanh(0.5 * LN10 * (full[:, :, None] - full[:, None, :])))  # i's chance to beat j
        gradient = LN10 * (both[active] * p - won[active]).sum(axis=2)[:, :-1]
        curve = LN10**2 * both[active] * p * (1 - p)
        hessian = -curve[:, :-1, :-1]
        hessian[:, diagonal, diagonal] += curve.sum(axis=2)[:, :-1] + RIDGE
        hessian += free[active][:, None, None] / players
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1, LARGEST_STEP / np.maximum(longest, 1e-300))
        going = np.abs(gradient).max(axis=1) >= TOLERANCE
        theta[active] = np.clip(theta[active] - step * going[:, None], -BOUND, BOUND)
        active = active[going]
    return theta


def split_tiers(ratings: Floats, tiers: int) -> Ints:
    """Return each model's tier, int64 [M], 0 the best: the split of sorted ratings with the least sum of variances.

    Each tier's variance counts once, however many models it has, as in RouteLLM (arXiv 2406.18665, §4.1). Where there are
    fewer models than tiers, each model is a tier.

    Args:
        ratings: float64 [M].
        tiers: number of tiers.

    """
    order = np.argsort(-ratings, kind="stable")
    ranked = ratings[order]
    models = len(ranked)
    tiers = min(tiers, models)
    cost = np.array(
        [[ranked[a : b + 1].var() if a <= b else 0 for b in range(models)] for a in range(models)]
    )
    best = np.full((tiers + 1, models + 1), np.inf)
    cut = np.zeros((tiers + 1, models + 1), dtype=np.int64)
    best[0, 0] = 0
    for tier in range(1, tiers + 1):
        for end in range(tier, models + 1):
            sums = [best[tier - 1, start] + cost[start, end - 1] for start in range(tier - 1, end)]
            cut[tier, end] = tier - 1 + int(np.argmin(sums))
            best[tier, end] = min(sums)
    tier_of = np.zeros(models, dtype=np.int64)
    end = models
    for tier in range(tiers, 0, -1):
        tier_of[order[cut[tier, end] : end]] = tier - 1
        end = int(cut[tier, end])
    return tier_of


def cells(a: Ints, b: Ints, support: Floats, players: int, *, compat: bool) -> list[tuple[Ints, Floats]]:
    """Return what each of N battles adds to the flat [T + 1, T + 1] matrix of "i beat j".

    Each battle counts twice; a tie is one win for either side. A battle within a tier says nothing about the tiers. With
    ``compat`` it is fitted as RouteLLM's code does: there the +ln 10 of a battle's row in the design matrix is overwritten
    by −ln 10, which makes the battle one against the anchor, won by the anchor where model_a won.

    Args:
        a: tier of model_a, int64 [N].
        b: tier of model_b, int64 [N].
        support: for model_a, float64 [N] in [0, 1].
        players: T, the number of tiers.
        compat: fit battles within a tier as RouteLLM's code does; otherwise they have no weight.

    Returns:
        Two pairs of (cells, weights), int64 [N] and float64 [N]: of model_a's wins and of model_b's.

    """
    size = players + 1
    same = a == b
    first, second = np.where(same, players, a), b  # Overwritten, model_a's side is the anchor's 0.
    weight = np.where(same & (not compat), 0.0, 2.0)
    return [(first * size + second, weight * support), (second * size + first, weight * (1 - support))]
