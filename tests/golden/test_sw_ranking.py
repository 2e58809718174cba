"""The similarity-weighted ranking against a scikit-learn fit for each prompt, as RouteLLM's code makes it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_sw_ranking import MODELS, write_battles, write_tiny
from safetensors.numpy import load_file, save
from sklearn.linear_model import LogisticRegression

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.sw_ranking.bradley_terry import solve, split_tiers
from routellm_batch.routers.sw_ranking.device import DeviceIndex
from routellm_batch.routers.sw_ranking.device import solve as solve_on_device
from routellm_batch.routers.training import TrainRequest, train

TEXTS = [
    "integral of seven primes",
    "hello blue sky",
    "",
    "translate the poem",
    "code code code",
    "Übersetze 😀",
]


def reference(folder: Path, embedding: np.ndarray, pair: tuple[int, int], *, compat: bool) -> float:
    """Fit one prompt: rows ±ln 10, each battle twice, a tie one win and one loss, Elo, win rate."""
    stored = load_file(folder / "model.safetensors")
    vectors = stored["vectors"].astype(np.float64)
    similar = vectors @ embedding.astype(np.float64)
    most = similar.max()
    of_prompt = 10 * 10 ** (similar / most) if most > 0.01 else np.ones(len(similar))
    battles = list(zip(*(stored[n].tolist() for n in ("prompt", "tier_a", "tier_b", "support")), strict=True))
    X, y, weights = [], [], []
    for copy in (0, 1):
        for prompt, a, b, support in battles:
            row = np.zeros(1 + int(max(stored["tier_a"].max(), stored["tier_b"].max())))
            row[a] = math.log(10)
            row[b] = -math.log(10) if compat or a != b else 0.0
            X.append(row)
            y.append(copy == 0 if support == 0.5 else support > 0.5)
            weights.append(of_prompt[prompt])
    fit = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000)
    fit.fit(np.array(X), np.array(y), sample_weight=np.array(weights) / np.mean(weights))
    elo = 400 * fit.coef_[0] + 1000
    return float(1 - 1 / (1 + 10 ** ((elo[pair[0]] - elo[pair[1]]) / 400)))


@pytest.mark.parametrize("compat", [True, False], ids=["upstream", "corrected"])
def test_scores_are_those_of_a_fit_for_each_prompt(tmp_path: Path, *, compat: bool) -> None:
    """Each score is the reference's to 1e-3, with RouteLLM's quirk for battles within a tier and without."""
    folder = Path(write_tiny(tmp_path / "index")["checkpoint"])
    router = make_router("sw_ranking", checkpoint=str(folder), options={"upstream_compat": compat})
    scores = router.score(PromptBatch(range(len(TEXTS)), TEXTS))
    manifest = json.loads((folder / "router.json").read_text())
    pair = tuple(manifest["tiers"][name] for name in manifest["pair"])
    embeddings = get_embedder("static").embed(TEXTS)
    expected = [reference(folder, embedding, pair, compat=compat) for embedding in embeddings]
    assert np.abs(scores - np.array(expected)).max() < 1e-3
    assert np.ptp(scores) > 1e-3  # The prompts matter.


def test_a_gpu_s_arithmetic_gives_the_same_ratings(tmp_path: Path) -> None:
    """The torch path, here on the processor, rates as numpy does, for a block that is not full too."""
    folder = write_tiny(tmp_path / "index")["checkpoint"]
    index = make_router("sw_ranking", checkpoint=folder, options={"device": "cpu"}).index
    embeddings = get_embedder("static").embed(TEXTS)
    actual = DeviceIndex(index, torch.device("cpu")).ratings(embeddings)
    assert np.abs(actual - index.ratings(embeddings)).max() < 1e-5


def test_a_device_solves_where_nobody_lost_and_where_nobody_met_the_anchor() -> None:
    """Both solvers agree on prompts of which one has converged long before the other."""
    rng = np.random.default_rng(0)
    beaten = rng.random((3, 5, 5)) * 4
    beaten[1, :, -1] = beaten[1, -1, :] = 0
    beaten[2] = 0
    beaten[2, 0, 1] = 5
    actual = solve_on_device(torch.tensor(beaten)).numpy()
    assert np.abs(actual - solve(beaten)).max() < 1e-6


def test_the_index_stays_in_its_file(tmp_path: Path) -> None:
    """Its vectors are float16 views of the mapped file, not a copy."""
    folder = write_tiny(tmp_path / "index")["checkpoint"]
    vectors = make_router("sw_ranking", checkpoint=folder, options={"device": "cpu"}).index.vectors
    assert vectors.dtype == np.float16
    assert not vectors.flags.owndata
    assert not vectors.flags.writeable


@pytest.mark.parametrize("damage", ["header", "values", "tensor", "prompt"])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    """Even where the manifest agrees with the file, no index that can't be right is used."""
    folder = Path(write_tiny(tmp_path / "index")["checkpoint"])
    tensors = load_file(folder / "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    if damage == "header":
        data = data[:8] + b"x" + data[9:]
    elif damage == "values":
        data = data[:-100]
    elif damage == "tensor":
        data = save({name: value for name, value in tensors.items() if name != "support"})
    else:
        data = save({**tensors, "prompt": tensors["prompt"] + 10_000})
    (folder / "model.safetensors").write_bytes(data)
    manifest = json.loads((folder / "router.json").read_text())
    manifest["files"]["model.safetensors"] = hashlib.sha256(data).hexdigest()
    (folder / "router.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not the weights|support is missing|make the index again"):
        make_router("sw_ranking", checkpoint=str(folder))


def test_the_quirk_changes_scores(tmp_path: Path) -> None:
    """Battles within a tier are there, so the two settings differ."""
    folder = write_tiny(tmp_path / "index")["checkpoint"]
    batch = PromptBatch(range(len(TEXTS)), TEXTS)
    actual = [
        make_router("sw_ranking", checkpoint=folder, options={"upstream_compat": c}).score(batch)
        for c in (True, False)
    ]
    assert np.abs(actual[0] - actual[1]).max() > 1e-4


def test_tiers_are_the_best_of_all_splits() -> None:
    """The split has the least sum of variances, found by trying every one."""
    ratings = np.random.default_rng(1).standard_normal(9)
    ranked = np.sort(ratings)[::-1]

    def cost(cuts: tuple[int, ...]) -> float:
        return sum(float(part.var()) for part in np.split(ranked, cuts))

    best = min(cost(cuts) for cuts in itertools.combinations(range(1, 9), 3))
    tier = split_tiers(ratings, 4)
    assert sum(float(ratings[tier == t].var()) for t in range(4)) == pytest.approx(best)
    assert all(tier[a] <= tier[b] for a in range(9) for b in range(9) if ratings[a] > ratings[b])


def test_fewer_models_than_tiers_are_a_tier_each() -> None:
    """Three models in ten tiers are three tiers, the best first."""
    assert split_tiers(np.array([0.1, 0.9, 0.5]), 10).tolist() == [2, 0, 1]


def test_who_never_lost_is_rated_finitely() -> None:
    """A player without a loss has no finite best rating; the solver stops at a bound."""
    beaten = np.zeros((1, 3, 3))
    beaten[0, 0, 1] = 5.0
    theta = solve(beaten)
    assert np.isfinite(theta).all()
    assert theta[0, 0] > theta[0, 1] + 2


def test_training_says_what_it_made(tmp_path: Path) -> None:
    """The card has the tiers and the accuracy on battles held out, and better models are in better tiers."""
    lines: list[str] = []
    file = write_battles(tmp_path / "b.parquet")
    report: Any = train(
        TrainRequest([file], str(tmp_path / "out"), progress=lines.append), router="sw_ranking"
    )
    assert report.tiers[MODELS[0]] < report.tiers[MODELS[-1]]
    assert "600 battles of 14 models in 10 tiers" in lines[0]
    assert "## Tiers" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"checkpoint": None}, ConfigError, "sw_ranking comes without battles; make an index"),
        (
            {"options": {"strong_model": "model-99"}},
            ConfigError,
            "strong_model: the checkpoint knows no 'model-99'; near: model-9",
        ),
        (
            {"options": {"strong_model": "model-0", "weak_model": "model-0"}},
            ConfigError,
            "both models are in tier 0, which the ranking can't tell apart",
        ),
        (
            {"checkpoint": "builtin:knn-v1"},
            CheckpointError,
            "is format 1 of router 'knn', not 1 of 'sw_ranking'",
        ),
    ],
    ids=["none", "unknown", "same", "other"],
)
def test_bad_settings_are_refused(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The error names the key and what to do."""
    made = write_tiny(tmp_path / "index")
    with pytest.raises(error, match=message):
        make_router("sw_ranking", **{**made, **settings})
