"""Matrix factorisation against the published formula, one prompt at a time in float64, on checkpoints of its format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.mf.model_ids import MODEL_IDS

TEXTS = [
    "What is 2 + 2?",
    "Prove that there are infinitely many primes.",
    "",
    "Übersetze: „Guten Tag“",
    "x " * 500,
]


def tensors(seed: int = 0, **changes: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    """Return random weights in the published format, for embeddings of the static embedder's width."""
    rng = np.random.default_rng(seed)
    width = get_embedder("static").width
    made = {
        "P.weight": rng.standard_normal((64, 128)).astype(np.float32),
        "text_proj.0.weight": rng.standard_normal((128, width)).astype(np.float32),
        "classifier.0.weight": rng.standard_normal((1, 128)).astype(np.float32),
    }
    made |= {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in made.items() if changes.get(name, 0) is not None}


def published(folder: Path, **changes: Any) -> str:
    """Write such a checkpoint; it has no manifest and no config."""
    folder.mkdir(exist_ok=True)
    save_file(tensors(**changes), folder / "model.safetensors")
    return str(folder)


def reference(weights: dict[str, NDArray[Any]], strong: int, weak: int, embedding: NDArray[Any]) -> float:
    """Score one prompt by the published formula, unfolded: σ(δ(strong, q) − δ(weak, q))."""
    P, W1, w2 = (
        weights[name].astype(np.float64) for name in ("P.weight", "text_proj.0.weight", "classifier.0.weight")
    )
    projected = [sum(W1[k, d] * float(embedding[d]) for d in range(len(embedding))) for k in range(len(W1))]

    def delta(model: int) -> float:
        vector = P[model]
        length = math.sqrt(sum(float(x) ** 2 for x in vector))
        return sum(float(w2[0, k]) * float(vector[k]) / length * projected[k] for k in range(len(vector)))

    return 1 / (1 + math.exp(-(delta(strong) - delta(weak))))


@pytest.mark.parametrize(
    "pair",
    [("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"), ("claude-2.1", "zephyr-7b-beta")],
    ids=["default", "named"],
)
def test_scores_are_the_published_formulas(tmp_path: Path, pair: tuple[str, str]) -> None:
    """A published checkpoint loads unchanged, and each score is the reference's to 1e-5."""
    checkpoint, weights = published(tmp_path), tensors()
    named = {"strong_model": pair[0], "weak_model": pair[1]} if pair[0] != "gpt-4-1106-preview" else {}
    scores = make_router("mf", checkpoint=checkpoint, options=named).score(PromptBatch(range(5), TEXTS))
    rows = [MODEL_IDS.index(name) for name in pair]
    embeddings = get_embedder("static").embed(TEXTS)
    expected = [reference(weights, rows[0], rows[1], embedding) for embedding in embeddings]
    assert np.abs(scores - np.array(expected)).max() < 1e-5
    assert scores[2] == 0.5  # No token, no opinion.


def test_the_published_rows_are_where_they_are() -> None:
    """The default pair has the row numbers of the published table of 64 models."""
    assert (64, 24, 36) == (
        len(MODEL_IDS),
        MODEL_IDS.index("gpt-4-1106-preview"),
        MODEL_IDS.index("mixtral-8x7b-instruct-v0.1"),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"P.weight": None}, "tensor P.weight is missing; there are: classifier.0.weight"),
        ({"P.weight": np.zeros((3, 128), np.float32)}, r"P.weight has shape \[3, 128\], not \[64, any\]"),
        ({"classifier.0.weight": np.zeros((2, 128), np.float32)}, "classifier.0.weight has shape"),
        (
            {"text_proj.0.weight": np.zeros((128, 1536), np.float32)},
            "reads embeddings 1536 wide, and embedder 'static' makes them 256 wide",
        ),
        ({"P.weight": np.full((64, 128), np.nan, np.float32)}, "a weight of P.weight is not finite"),
    ],
    ids=["missing", "models", "classifier", "width", "nan"],
)
def test_wrong_weights_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """The error names the tensor and what is wrong with it."""
    with pytest.raises(CheckpointError, match=message):
        make_router("mf", checkpoint=published(tmp_path, **changes))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    """Half a file is no checkpoint."""
    file = Path(published(tmp_path)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not the weights of router 'mf'"):
        make_router("mf", checkpoint=str(tmp_path))


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    """The error names the option and models of a like name."""
    with pytest.raises(ConfigError, match=r"strong_model: the checkpoint knows no 'gpt-4o'; near: .*gpt-4"):
        make_router("mf", checkpoint=published(tmp_path), options={"strong_model": "gpt-4o"})


def test_a_model_is_not_compared_with_itself(tmp_path: Path) -> None:
    """Every score would be one half; the error names the model."""
    options = {"weak_model": "gpt-4-1106-preview"}
    with pytest.raises(ConfigError, match="strong_model and weak_model are both 'gpt-4-1106-preview'"):
        make_router("mf", checkpoint=published(tmp_path), options=options)


def test_an_unknown_option_is_refused() -> None:
    """The error lists those there are."""
    with pytest.raises(
        ConfigError, match=r"router.options.pair: is no option of router 'mf'; there are: strong_model"
    ):
        make_router("mf", options={"pair": "a/b"})


def test_a_hub_name_needs_a_revision() -> None:
    """Weights that may change under the user are refused."""
    with pytest.raises(ConfigError, match="without a revision the weights may change"):
        make_router("mf", checkpoint="hub:routellm/mf_gpt4_augmented")
