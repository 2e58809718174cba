"""The ensemble against arithmetic by hand: z-scores with fixed constants, weighted, added up, through a logistic."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.models.builtin import shipped

TEXTS = ["", "Hi", "What is 2 + 2?", "Prove that there are infinitely many primes.", "x " * 500]
BATCH = PromptBatch(range(5), TEXTS)


def logistic(z: float) -> float:
    """Return 1 / (1 + e^−z)."""
    return 1 / (1 + math.exp(-z))


def reference(members: list[dict[str, Any]], row: int) -> float:
    """Score one prompt from its members' own scores of it alone."""
    z = 0.0
    for member in members:
        router = make_router(
            member["router"], checkpoint=member.get("checkpoint"), options=member.get("options")
        )
        score = float(router.score(PromptBatch([row], [TEXTS[row]]))[0])
        if member.get("transform") == "log":
            score = math.log(max(score, 2**-21))
        z += member.get("weight", 1.0) * (score - member["mean"]) / member["deviation"]
    return logistic(z)


def test_logarithms_of_lengths_by_hand() -> None:
    """64 characters are 2^-15 of the longest: with mean −15 ln 2 they score one half, twice as many σ(weight)."""
    member = {"router": "length", "transform": "log", "mean": -15 * math.log(2), "deviation": math.log(2)}
    texts = ["x" * 64, "x" * 128, "x" * 16, "x", ""]
    router = make_router("ensemble", options={"members": [{**member, "weight": 0.5}]})
    expected = [0.5, logistic(0.5), logistic(-1.0), logistic(-3.0), logistic(-3.0)]
    assert np.abs(router.score(PromptBatch(range(5), texts)) - np.array(expected)).max() < 1e-6


def test_weights_add_by_hand() -> None:
    """Two members whose z-scores are 2 and 1 give σ(3 · 2 − 1), where their weights are 3 and −1."""
    members = [
        {"router": "length", "weight": 3.0, "mean": 0.0, "deviation": 2.0**-18},
        {"router": "length", "weight": -1.0, "mean": 2.0**-18, "deviation": 2.0**-18},
    ]
    router = make_router("ensemble", options={"members": members})
    assert router.score(PromptBatch([0], ["x" * 16]))[0] == pytest.approx(logistic(5), abs=1e-6)


def test_the_shipped_ensemble_is_its_members() -> None:
    """Without settings it is outcome-v1, knn-v1 and length with the constants of its manifest."""
    members = json.loads((shipped("ensemble-v1") / "router.json").read_text())["members"]
    assert [m["router"] for m in members] == ["outcome", "knn", "length"]
    expected = [reference(members, row) for row in range(5)]
    assert np.abs(make_router("ensemble").score(BATCH) - np.array(expected)).max() < 1e-5


def test_members_have_their_own_settings() -> None:
    """Options and checkpoints reach the members they are for."""
    members: list[dict[str, Any]] = [
        {
            "router": "knn",
            "checkpoint": "builtin:knn-v1",
            "options": {"k": 5},
            "mean": 0.59,
            "deviation": 0.01,
        },
        {"router": "mf", "weight": 0.5, "mean": 0.6, "deviation": 0.1},
    ]
    expected = [reference(members, row) for row in range(5)]
    scores = make_router("ensemble", options={"members": members}).score(BATCH)
    assert np.abs(scores - np.array(expected)).max() < 1e-5


def test_other_rows_do_not_count(tmp_path: Path) -> None:
    """A score comes from the manifest's constants: what else is in the batch changes nothing."""
    fields = {"mean": 0.001, "deviation": 0.0005}
    manifest = {"format": 1, "router": "ensemble", "members": [{"router": "length", **fields}]}
    (tmp_path / "router.json").write_text(json.dumps(manifest))
    router = make_router("ensemble", checkpoint=str(tmp_path))
    alone = [router.score(PromptBatch([n], [TEXTS[n]]))[0] for n in range(5)]
    assert np.array_equal(router.score(BATCH), alone)
