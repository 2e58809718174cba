"""The transformer embedder against one text at a time, pooled by hand; what it reads of a folder and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_bert import write_tiny
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from routellm_batch.config.embedder import EmbedderConfig, parse_embedder
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.routers.embedders import get_embedder

TEXTS = ["What is two plus two?", "", "why is the sky blue " * 30, "é 😀 ok", "sun", "a b c d e f g h"]


def tiny(folder: Path) -> Path:
    """Write a tiny random encoder with its tokenizer."""
    return Path(write_tiny(folder)["checkpoint"])


def embedder(folder: Path, **settings: Any) -> Any:
    """Return the embedder of a folder."""
    return get_embedder(EmbedderConfig(name="transformer", model=str(folder), **settings))


def reference(folder: Path, text: str, pooling: str, max_tokens: int) -> np.ndarray:
    """Embed one text alone: the mean of its last hidden states, or the first, at unit length."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    given = tokenizer(
        text, truncation=True, max_length=max_tokens, return_tensors="pt", return_token_type_ids=False
    )
    with torch.inference_mode():
        hidden = model(**given).last_hidden_state[0].double().numpy()
    vector = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_one_text_at_a_time(tmp_path: Path, pooling: str) -> None:
    """Neither padding nor the order of micro-batches shows: each vector is the reference's to 1e-5."""
    folder = tiny(tmp_path)
    loaded = embedder(folder, pooling=pooling, batch_tokens=64)
    vectors = loaded.embed(TEXTS)
    assert (np.float32, (len(TEXTS), loaded.width)) == (vectors.dtype, vectors.shape)
    for text, vector in zip(TEXTS, vectors, strict=True):
        if text:
            expected = reference(folder, text, pooling, loaded._words.max_tokens)
            assert np.abs(vector - expected).max() < 1e-5
        else:
            assert not vector.any()


@pytest.mark.parametrize("batch_tokens", [8, 40, 4096])
def test_the_token_bound_changes_nothing(tmp_path: Path, batch_tokens: int) -> None:
    """Micro-batches of any size give the same vectors to 1e-6."""
    folder = tiny(tmp_path)
    actual = embedder(folder, batch_tokens=batch_tokens).embed(TEXTS)
    alone = np.concatenate([embedder(folder).embed([text]) for text in TEXTS])
    assert np.abs(actual - alone).max() < 1e-6


def test_bfloat16_is_as_good_as_equal(tmp_path: Path) -> None:
    """Vectors of both precisions have a cosine of .99 at least, and so one fingerprint."""
    folder = tiny(tmp_path)
    full, half = embedder(folder), embedder(folder, precision="bfloat16")
    cosine = (full.embed(TEXTS[2:]) * half.embed(TEXTS[2:])).sum(axis=1)
    assert cosine.min() > 0.99
    assert full.fingerprint == half.fingerprint


def test_pooling_and_bound_are_the_models_own(tmp_path: Path) -> None:
    """A sentence-transformers folder says how it pools and how far it reads; both are in the fingerprint."""
    folder = tiny(tmp_path)
    plain = embedder(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    own = get_embedder(
        EmbedderConfig(name="transformer", model=str(folder), batch_tokens=16)
    )  # not the one kept
    assert ("cls", 8) == (own._pooling, own._words.max_tokens)  # type: ignore[attr-defined]
    assert own.fingerprint != plain.fingerprint


def test_a_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """The error says which it is and what to set."""
    folder = tiny(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(
        CheckpointError, match="pools by max_tokens; set router.embedder.pooling to mean or cls"
    ):
        embedder(folder)


def change(folder: Path, name: str, tensor: Any) -> None:
    """Replace a tensor of a checkpoint; None takes it away."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensor_name = next(key for key in tensors if name in key)
    tensors.pop(tensor_name)
    if tensor is not None:
        tensors[tensor_name] = tensor
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    """The library would fill it at random; the error names it."""
    folder = tiny(tmp_path)
    change(folder, "word_embeddings", None)
    with pytest.raises(CheckpointError, match="word_embeddings.weight is missing"):
        embedder(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A hub name without its prefix gets a hint; without a revision it is refused."""
    with pytest.raises(
        CheckpointError, match="no such folder; a name on the hub is written hub:org/name@REVISION"
    ):
        embedder(Path("org/name"))
    with pytest.raises(ConfigError, match="without a revision the weights may change"):
        get_embedder(parse_embedder("transformer:hub:org/name"))
    with pytest.raises(ConfigError, match="no such package is installed"):
        get_embedder(parse_embedder("transformer:package:nowhere"))


def test_pickles_are_refused(tmp_path: Path) -> None:
    """A folder whose only weights are a pickle could run code."""
    folder = tiny(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin is a pickle, which could run code"):
        embedder(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("transformer", "needs a model"),
        ("static:x", "model is not a setting of embedder 'static'"),
        ("{name: remote, model: m}", "needs base_url and price"),
        ("{name: transformer, model: m, size: 3}", "--embedder size: unknown key"),
    ],
)
def test_bad_settings_are_refused(text: str, message: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match=message):
        parse_embedder(text)


def test_cuda_without_a_gpu_is_refused(tmp_path: Path) -> None:
    """A GPU that was asked for and is not there is an error, not a slow run."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="router.embedder.device: is cuda, and this process sees no GPU"):
        embedder(tiny(tmp_path), device="cuda")
