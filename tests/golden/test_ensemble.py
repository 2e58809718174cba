"""The ensemble against hand arithmetic; what it refuses; making one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.errors import CheckpointError, ConfigError
from routellm_batch.routers import make_router
from routellm_batch.training import TrainRequest, train
from routellm_batch.types import PromptBatch

BATCH = PromptBatch(range(3), ["Hi", "What is 2 + 2? " * 9, "Prove it. " * 40])
LENGTH = {"router": "length", "transform": "log", "weight": 2.0, "mean": -9.0, "deviation": 1.5}
OUTCOME = {"router": "outcome", "weight": 0.5, "mean": 0.6, "deviation": 0.04}


def test_scores_are_weighted_z_scores() -> None:
    """Each score is σ of the weighted sum of (transformed score − mean) / deviation."""
    scores = make_router("ensemble", options={"members": [LENGTH, OUTCOME]}).score(BATCH)
    length, outcome = make_router("length").score(BATCH), make_router("outcome").score(BATCH)
    for found, first, second in zip(scores, length, outcome, strict=True):
        z = 2.0 * (math.log(float(first)) + 9.0) / 1.5 + 0.5 * (float(second) - 0.6) / 0.04
        assert float(found) == pytest.approx(1 / (1 + math.exp(-z)), abs=1e-6)


def test_an_empty_text_has_a_finite_logarithm() -> None:
    """The log of a score of 0 is that of one character."""
    scores = make_router("ensemble", options={"members": [LENGTH]}).score(PromptBatch([0, 1], ["", "x"]))
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "an ensemble has at least one member"),
        ([{**LENGTH, "router": "ensemble"}], "can't be a member of an ensemble"),
        ([{**LENGTH, "router": "oracle"}], "no such name 'oracle'"),
        ([{**LENGTH, "deviation": 0}], r"router.options.members.0.deviation"),
        ([{"router": "length"}], r"router.options.members.0.mean"),
    ],
)
def test_bad_members_are_refused(members: list[dict[str, Any]], message: str) -> None:
    """The error names the member's key or what is wrong with it."""
    with pytest.raises(ConfigError, match=message):
        make_router("ensemble", options={"members": members})


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder of other weights, or with a damaged manifest, is no ensemble."""
    with pytest.raises(CheckpointError, match="is no ensemble"):
        make_router("ensemble", checkpoint="builtin:knn-v1")
    (tmp_path / "router.json").write_text(json.dumps({"format": 1, "router": "ensemble", "members": [{}]}))
    with pytest.raises(CheckpointError, match="is not the manifest of an ensemble"):
        make_router("ensemble", checkpoint=str(tmp_path))
    with pytest.raises(CheckpointError, match="holds no router.json"):
        make_router("ensemble", checkpoint=str(tmp_path / "nowhere"))


def test_a_trained_ensemble_prefers_the_member_that_knows(tmp_path: Path) -> None:
    """Where longer prompts need the strong model and the hash of an id says nothing, length gets the weight."""
    prompts = ["why " * (n + 5) for n in range(80)]
    columns = {
        "prompt": prompts,
        "strong_score": np.ones(80),
        "weak_score": (np.arange(80) < 40).astype(float),
    }
    pq.write_table(pa.table(columns), tmp_path / "o.parquet")
    members = [{"router": "random"}, {"router": "length", "transform": "log"}]
    request = TrainRequest([str(tmp_path / "o.parquet")], str(tmp_path / "out"), options={"members": members})
    report = train(request, router="ensemble")
    weights = {m.router: m.weight for m in report.members}  # type: ignore[attr-defined]
    assert weights["length"] > weights["random"]
    router = make_router("ensemble", checkpoint=report.out)
    scores = router.score(PromptBatch([0, 1], ["why " * 8, "why " * 70]))
    assert scores[0] < scores[1]
