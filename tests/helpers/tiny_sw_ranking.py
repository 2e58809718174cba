"""A small index of battles with random likes and dislikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routellm_batch.routers.training import TrainRequest, train

MODELS = [f"model-{n}" for n in range(14)]


def write_battles(path: Path, count: int = 600, seed: int = 0) -> str:
    """Write battles in which a model of a lower number wins more often, and three in ten are ties."""
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(len(MODELS), 2, replace=False) for _ in range(count)])
    a_wins = rng.random(count) < 1 / (1 + np.exp((pairs[:, 0] - pairs[:, 1]) * 0.3))
    winner = np.where(rng.random(count) < 0.3, "tie", np.where(a_wins, "model_a", "model_b"))
    words = ["sky", "sum", "prime", "poem", "code", "blue", "seven", "hello", "integral", "translate"]
    table = {
        "prompt": [" ".join(rng.choice(words, 6)) + f" number {n % 400}" for n in range(count)],
        "model_a": [MODELS[n] for n in pairs[:, 0]],
        "model_b": [MODELS[n] for n in pairs[:, 1]],
        "winner": winner,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path)
    return str(path)


def write_tiny(folder: Path) -> dict[str, Any]:
    """Write an index; return what makes the router of it."""
    file = write_battles(folder.with_name(f"{folder.name}-battles.parquet"))
    return {"checkpoint": train(TrainRequest([file], str(folder)), router="sw_ranking").out}
