"""The bert router's options and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_bert import write_tiny  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from routellm_batch.core.errors import CheckpointError, ConfigError  # noqa: E402
from routellm_batch.core.protocols import Router  # noqa: E402
from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402
from routellm_batch.routers.models.pretrained import CHARS_PER_TOKEN  # noqa: E402

BATCH = PromptBatch(range(4), ["Why?", "A question about primes", "", "the strong model " * 50])
WEIGHTS = "model.safetensors"


def made(folder: Path, **options: object) -> Router:
    return make_router("bert", checkpoint=str(folder), options={"device": "cpu", **options})


def test_labels_say_which_class_is_the_strong_models(tmp_path: Path) -> None:
    """With the classes named in each order, the three scores add up to one."""
    write_tiny(tmp_path)
    orders = (["strong", "tie", "weak"], ["weak", "strong", "tie"], ["tie", "weak", "strong"])
    scores = [made(tmp_path, labels=order).score(BATCH) for order in orders]
    assert np.allclose(np.sum(scores, axis=0), 1, atol=1e-6)
    assert np.array_equal(scores[0], made(tmp_path).score(BATCH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labels": ["strong", "strong", "weak"]},
            "router.options.labels: must name each of strong, tie, weak",
        ),
        ({"precision": "int8"}, "router.options.precision"),
        ({"max_tokens": 193}, "router.options.max_tokens: is 193; the model reads 192 tokens"),
        ({"pairs": 2}, "router.options.pairs: is no option of router 'bert'"),
    ],
)
def test_option_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    """An option that can't be used is named."""
    write_tiny(tmp_path)
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, **options)


def test_no_checkpoint_says_where_to_get_one() -> None:
    """Without a checkpoint the error says where one is and how one is trained."""
    with pytest.raises(ConfigError, match="hub:routellm/bert_gpt4_augmented@REVISION.*train --router bert"):
        make_router("bert")


def test_max_tokens_cuts_on_the_right(tmp_path: Path) -> None:
    """A prompt of too many tokens scores as its beginning does, however long it is."""
    write_tiny(tmp_path)
    start = "why question " * 40
    texts = [start, start + "the strong model", start + "x" * CHARS_PER_TOKEN * 20]
    scores = made(tmp_path, max_tokens=16).score(PromptBatch(range(3), texts))
    assert np.ptp(scores) <= 1e-6


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    """In bfloat16 scores stay near those of float32."""
    write_tiny(tmp_path)
    near = made(tmp_path, precision="bfloat16").score(BATCH)
    assert np.abs(near - made(tmp_path).score(BATCH)).max() < 0.05


def test_other_number_of_classes_is_refused(tmp_path: Path) -> None:
    """A classifier of two classes is no router."""
    write_tiny(tmp_path, labels=2)
    with pytest.raises(CheckpointError, match="config.json gives 2 labels; bert needs 3"):
        made(tmp_path)


@pytest.mark.parametrize("name", ["classifier.out_proj.weight", "roberta.encoder.layer.1.output.dense.bias"])
def test_missing_tensor_is_refused(tmp_path: Path, name: str) -> None:
    """A tensor that is not there is named, and never made up."""
    write_tiny(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors[name]
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"tensor {name} is missing"):
        made(tmp_path)


def test_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    """A classifier of another width is not used."""
    write_tiny(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["classifier.out_proj.weight"] = torch.zeros(3, 7)
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match="weights can't be loaded"):
        made(tmp_path)


def test_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """A NaN among the weights names its tensor."""
    write_tiny(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["classifier.dense.bias"][3] = torch.nan
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(
        CheckpointError, match="tensor classifier.dense.bias holds a number that is not finite"
    ):
        made(tmp_path)


def test_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """Finite weights that overflow raise instead of scoring."""
    write_tiny(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["classifier.out_proj.weight"].fill_(3e38)
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match="a score that is not a number"):
        made(tmp_path).score(BATCH)


def _truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def _only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"vo', "utf-8")


def _larger_tokenizer(folder: Path) -> None:
    fields = json.loads((folder / "tokenizer.json").read_bytes())
    fields["model"]["vocab"] += [[f"w{n}", -9.0] for n in range(500)]
    (folder / "tokenizer.json").write_text(json.dumps(fields), "utf-8")


def _own_code(folder: Path) -> None:
    fields = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(fields), "utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "its weights can't be loaded"),
        (_only_pickle, "is a pickle, which could run code; convert it to safetensors"),
        (_no_tokenizer, "holds no tokenizer; copy tokenizer.json"),
        (_damaged_tokenizer, "tokenizer.json is damaged"),
        (_larger_tokenizer, "they don't belong together"),
        (_own_code, "config.json can't be used"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
    ],
)
def test_damaged_checkpoint_is_refused(tmp_path: Path, damage: object, message: str) -> None:
    """A file that is absent, damaged, a pickle or brings code is refused with its name and what to do."""
    write_tiny(tmp_path)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        made(tmp_path)
