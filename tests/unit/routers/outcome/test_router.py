"""Routers one by one: what each score means, and which settings and weights are refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import get_router, make_router
from routellm_batch.routers.checkpoint import load_tensors
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.features import FEATURES, surface_features
from routellm_batch.routers.heads import Heads, combine, sigmoid
from routellm_batch.routers.length import FULL_CHARS
from routellm_batch.routers.models.builtin import sha256, shipped
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.outcome.weights import save_heads


def feature(text: str, name: str) -> float:
    """Return one surface feature of one text."""
    return float(surface_features([text])[0, FEATURES.index(name)])


def test_length_counts_characters() -> None:
    """The score is characters / 2^21, and 1 from there on."""
    texts = ["", "a", "é" * 1024, "x" * FULL_CHARS, "x" * (FULL_CHARS + 5)]
    scores = make_router("length").score(PromptBatch(range(5), texts))
    assert scores.tolist() == [0, 1 / FULL_CHARS, 1024 / FULL_CHARS, 1, 1]


@pytest.mark.parametrize("chars", [0, 1, 4_095, 1_000_000, FULL_CHARS - 1])
def test_length_keeps_neighbours_apart(chars: int) -> None:
    """One character more is a higher float32, at any length."""
    scores = make_router("length").score(PromptBatch([0, 1], ["x" * chars, "x" * (chars + 1)]))
    assert scores[0] < scores[1]


def test_random_is_uniform() -> None:
    """Ten thousand rows fall evenly into ten bins, and none reaches 1."""
    scores = make_router("random").score(PromptBatch(range(10_000), [""] * 10_000))
    counts, _ = np.histogram(scores, bins=10, range=(0, 1))
    assert counts.min() > 880
    assert counts.max() < 1_120
    assert scores.max() < 1


def test_random_depends_on_id_and_seed_alone() -> None:
    """The text plays no part; the id, its type and the seed do."""
    one = make_router("random", seed=1)
    scores = one.score(PromptBatch(["1", 1, "2"], ["a", "a", "a"]))
    assert np.array_equal(scores, one.score(PromptBatch(["1", 1, "2"], ["b", "c", "d"])))
    assert len(set(scores.tolist())) == 3
    assert not np.array_equal(
        scores, make_router("random", seed=2).score(PromptBatch(["1", 1, "2"], ["a"] * 3))
    )


def test_random_has_golden_scores() -> None:
    """The hash never changes: yesterday's plan still holds."""
    scores = make_router("random", seed=7).score(PromptBatch(["a", 17], ["", ""]))
    assert [f"{score:.9f}" for score in scores] == ["0.759740174", "0.896965563"]


@pytest.mark.parametrize("name", ["random", "length"])
def test_routers_without_weights_refuse_a_checkpoint(name: str) -> None:
    """A checkpoint for a router that has no weights is a mistake worth stopping for."""
    with pytest.raises(ConfigError, match=f"router.checkpoint: router '{name}' has no weights"):
        make_router(name, checkpoint="builtin:outcome-v1")


@pytest.mark.parametrize("name", ["random", "length", "outcome"])
def test_unknown_options_are_refused(name: str) -> None:
    """An option that nothing reads is refused by its key."""
    with pytest.raises(ConfigError, match="router.options.depth"):
        make_router(name, options={"depth": 3})


def test_unknown_router_lists_the_known() -> None:
    """The error names the key and the routers there are."""
    with pytest.raises(ConfigError, match="router.name: .*'gpt'.*length, mf, outcome, random"):
        make_router("gpt")


def test_routers_are_made_once() -> None:
    """The same arguments give the same object; others do not."""
    assert get_router("random", seed=3) is get_router("random", seed=3)
    assert get_router("random", seed=3) is not get_router("random", seed=4)


def test_lengths_leave_options_out() -> None:
    """Two or more option lines end the stem; a single one is part of it."""
    question = "Which of these is prime?"
    stem = math.log1p(len(question))
    assert feature(f"{question}\nA. 4\nB. 5\n(c) 6", "log_stem_chars") == stem
    assert feature(f"{question}\nA. 4\nB. 5\n(c) 6", "log_options") == math.log1p(3)
    assert feature(f"{question}\nA. 4", "log_stem_chars") == math.log1p(len(f"{question}\nA. 4"))


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("One, two, three", "log_commas", math.log1p(2)),
        ("a\nb\nc", "log_stem_lines", math.log1p(2)),
        ("1,200 apples and 3.5 pears, 7 left", "log_numbers", math.log1p(3)),
        ("1a2b", "digit_share", 0.5),
        ("x = 3^2", "log_maths_symbols", math.log1p(2)),
        ("f(x)[0];", "log_code_symbols", math.log1p(5)),
        ("Это", "non_ascii_share", 1.0),
        ("Why?", "ends_with_question", 1.0),
        ("Which is NOT true, except never?", "negations", 2.0),
        ("The capital is ____.", "has_blank", 1.0),
        ("It rains. It pours. End", "log_sentences", math.log1p(2)),
        ("four four", "chars_per_word", 3.0),
    ],
)
def test_surface_features(text: str, name: str, expected: float) -> None:
    """Each feature counts what its name says."""
    assert feature(text, name) == pytest.approx(expected)


def test_features_of_nothing_are_zero() -> None:
    """The empty text is all zeros."""
    assert surface_features([""]).tolist() == [[0.0] * len(FEATURES)]


def test_sigmoid_does_not_overflow() -> None:
    """Log-odds of any size give a probability."""
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(("alpha", "expected"), [(0, [0, 1, 0.5]), (1, [0, 1, 0.75]), (0.5, [0, 1, 2 / 3])])
def test_score_is_scaled_to_unit(alpha: float, expected: list[float]) -> None:
    """(α·p_strong − p_weak + 1) / (1 + α) runs from 0 (only weak answers well) to 1 (only strong does)."""
    probabilities = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.5]])
    assert combine(probabilities, alpha).tolist() == pytest.approx(expected)


@dataclass
class WideEmbedder:
    """An embedder of another width and fingerprint."""

    name: str = "wide"
    width: int = 300
    fingerprint: str = "feedfeedfeedfeed"

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return zeros."""
        return np.zeros((len(texts), self.width), dtype=np.float32)


@pytest.fixture
def heads() -> Heads:
    """Return heads for the static embedder, with made-up weights."""
    columns = get_embedder("static").width + len(FEATURES)
    weight = np.random.default_rng(0).normal(size=(2, columns)).astype(np.float32).astype(np.float64)
    return Heads(weight, np.array([0.5, -0.5]), np.zeros(len(FEATURES)), np.ones(len(FEATURES)), alpha=0.75)


@pytest.fixture
def saved(heads: Heads, tmp_path: Path) -> Path:
    """Return a folder with a checkpoint of those heads."""
    folder = tmp_path / "checkpoint"
    save_heads(
        str(folder),
        OutcomeRouter(heads, get_embedder("static")),
        name="test",
        trained={"rows": 3},
        card="# card\n",
    )
    return folder


def edit(folder: Path, change: Callable[[dict[str, NDArray[np.float32]], dict[str, object]], None]) -> None:
    """Change a checkpoint's tensors and manifest and make its sha256 fit again."""
    tensors = load((folder / "model.safetensors").read_bytes())
    fields = json.loads((folder / "router.json").read_text())
    change(tensors, fields)
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    fields["files"] = {"model.safetensors": sha256(data)}
    (folder / "router.json").write_text(json.dumps(fields))


def test_checkpoint_comes_back_as_it_was(heads: Heads, saved: Path) -> None:
    """What is loaded is what was saved; the model card lies beside it."""
    actual = make_router("outcome", checkpoint=str(saved)).heads
    assert np.array_equal(heads.weight, actual.weight)
    assert np.array_equal(heads.bias, actual.bias)
    assert actual.alpha == 0.75
    assert (saved / "README.md").read_text() == "# card\n"


def test_checkpoint_is_never_overwritten(heads: Heads, saved: Path) -> None:
    """Saving other weights to the same folder is refused."""
    with pytest.raises(ConfigError, match="is there already; name a new folder"):
        save_heads(
            str(saved),
            OutcomeRouter(replace(heads, bias=heads.bias + 1), get_embedder("static")),
            name="test",
            trained={},
            card="# other\n",
        )


def test_checkpoint_of_another_embedder_names_both(saved: Path) -> None:
    """A fingerprint mismatch names what the weights want and what is configured."""
    with pytest.raises(CheckpointError, match=r"'fingerprint': '[0-9a-f]{16}', 'width': 256.*feedfeed.*300"):
        load_tensors(str(saved), "outcome", WideEmbedder())


@pytest.mark.parametrize("tensor", ["weight", "bias", "mean", "scale"])
def test_weights_that_are_no_numbers_are_refused(saved: Path, tensor: str) -> None:
    """One NaN anywhere makes weights unusable."""

    def spoil(tensors: dict[str, NDArray[np.float32]], _: dict[str, object]) -> None:
        tensors[tensor] = tensors[tensor].copy()
        tensors[tensor].flat[0] = np.nan

    edit(saved, spoil)
    with pytest.raises(CheckpointError, match="a weight of .* is not finite"):
        make_router("outcome", checkpoint=str(saved))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "is format 2 of router 'outcome'"),
        ("router", "bert", "is format 1 of router 'bert'"),
        ("features", ["length"], "other surface features"),
        ("alpha", -1.0, "α is negative or not finite, or a scale is not positive"),
        ("alpha", None, "holds no number alpha"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(saved: Path, key: str, value: object, message: str) -> None:
    """Another format, router or feature list, or an α that is none, is said plainly."""

    def change(_: dict[str, NDArray[np.float32]], fields: dict[str, object]) -> None:
        fields[key] = value

    edit(saved, change)
    with pytest.raises(CheckpointError, match=message):
        make_router("outcome", checkpoint=str(saved))


def test_tensors_of_another_shape_are_refused(saved: Path) -> None:
    """Weights for other columns are refused by shape."""

    def cut(tensors: dict[str, NDArray[np.float32]], _: dict[str, object]) -> None:
        tensors["weight"] = np.ascontiguousarray(tensors["weight"][:, :-1])

    edit(saved, cut)
    with pytest.raises(CheckpointError, match=r"tensor weight has shape \[2, 269\], not \[2, 270\]"):
        make_router("outcome", checkpoint=str(saved))


def test_missing_tensor_is_refused(saved: Path) -> None:
    """A tensor that is not there is named."""

    def drop(tensors: dict[str, NDArray[np.float32]], _: dict[str, object]) -> None:
        del tensors["bias"]

    edit(saved, drop)
    with pytest.raises(CheckpointError, match="bias"):
        make_router("outcome", checkpoint=str(saved))


def test_absent_checkpoints_are_refused(tmp_path: Path) -> None:
    """Neither an unknown built-in name nor an empty folder is taken for weights."""
    with pytest.raises(
        CheckpointError, match="builtin:outcome-v9: no such shipped weights; there are: .*outcome-v1"
    ):
        make_router("outcome", checkpoint="builtin:outcome-v9")
    with pytest.raises(CheckpointError, match="holds no router.json"):
        make_router("outcome", checkpoint=str(tmp_path))


def test_checkpoints_lie_on_any_store(bucket: str, heads: Heads) -> None:
    """Weights saved to S3 are loaded from there."""
    save_heads(
        f"{bucket}/weights",
        OutcomeRouter(heads, get_embedder("static")),
        name="test",
        trained={},
        card="# card\n",
    )
    router = make_router("outcome", checkpoint=f"{bucket}/weights")
    assert np.array_equal(
        OutcomeRouter(heads, get_embedder("static")).score(PromptBatch(["a"], ["Why?"])),
        router.score(PromptBatch(["a"], ["Why?"])),
    )


def test_scores_that_are_no_numbers_are_refused(heads: Heads) -> None:
    """A router whose weights overflow says so instead of planning on NaN."""
    broken = OutcomeRouter(replace(heads, bias=np.array([np.nan, 0])), get_embedder("static"))
    with pytest.raises(CheckpointError, match="not a number"):
        broken.score(PromptBatch(["a"], ["Why?"]))


def test_default_checkpoint_is_the_shipped_one() -> None:
    """Without a checkpoint, ``outcome`` is builtin:outcome-v2."""
    batch = PromptBatch(range(3), ["Hi", "What is 17 * 23 + 5?", "Prove that √2 is irrational."])
    default = make_router("outcome").score(batch)
    assert np.array_equal(make_router("outcome", checkpoint="builtin:outcome-v2").score(batch), default)
    assert np.array_equal(make_router("outcome", checkpoint=str(shipped("outcome-v2"))).score(batch), default)


def test_shipped_router_finds_sums_harder_than_greetings() -> None:
    """A multi-step sum needs the strong model more than a definition does."""
    sums = "A train leaves at 3:40 with 120 people. At each of 7 stops 13 get off and 9 get on. How many are left?"
    scores = make_router("outcome").score(PromptBatch([0, 1], ["What is a synonym of happy?", sums]))
    assert scores[0] < scores[1]


def test_weights_copied_elsewhere_load(tmp_path: Path) -> None:
    """A checkpoint is self-contained: its folder can be moved."""
    moved = shutil.copytree(shipped("outcome-v1"), tmp_path / "moved")
    assert make_router("outcome", checkpoint=str(moved)).score(PromptBatch(["a"], ["Hi"])).shape == (1,)
