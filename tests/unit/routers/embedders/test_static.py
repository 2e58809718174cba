"""The static embedder: vectors, token ids, and weights that are checked before they are used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.patience import patience
from tokenizers import Tokenizer

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.routers.embedders import EMBEDDERS, get_embedder
from routellm_batch.routers.embedders.static import MAX_CHARS, StaticEmbedder
from routellm_batch.routers.embedders.wordpiece import CACHE_CHARS, TOKEN_TYPE, PieceCache, token_bytes
from routellm_batch.routers.models.builtin import sha256, shipped

TEXTS = [
    "",
    " \n\t ",
    "How many apples are left?",
    "A. one\nB. two\nAnswer:",
    "def f(x): return {x: [1, 2]}",
    "naïve café, 中文 и русский, İstanbul ﬁne é e\u0301 😀👩‍👩‍👧",
    "\x00a\x0bb\x0cc\x1cd\x7fe\x85f\u00a0g\u2028h\u3000i\ufffdj\u200bk",
    "[UNK] [PAD] ##ing [CLS]",
    "x" * 300,
    "É" * 120,
    "𝐀𝐁 ꯍ ﷽ \U000e0001",
    "tab\tnew\r\nline",
]


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    """Return the shipped embedder."""
    return StaticEmbedder()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Return the shipped tokenizer, as its library reads it."""
    return Tokenizer.from_file(str(shipped("static-v1") / "tokenizer.json"))


def test_ids_equal_the_tokenizers(tokenizer: Tokenizer) -> None:
    """Piece by piece, every text has the very ids that the tokenizer gives it whole."""
    actual = [np.frombuffer(b, TOKEN_TYPE).tolist() for b in token_bytes(PieceCache(tokenizer), TEXTS)]
    assert actual == [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]


def test_ids_survive_a_full_cache(tokenizer: Tokenizer) -> None:
    """A cache that has forgotten everything in the middle gives the same ids."""
    cache = PieceCache(tokenizer)
    cache._chars = CACHE_CHARS + 1
    actual = token_bytes(cache, ["one two three"])[0]
    assert np.frombuffer(actual, TOKEN_TYPE).tolist() == tokenizer.encode("one two three").ids


def test_cache_is_bounded(tokenizer: Tokenizer) -> None:
    """However many new words come, the cache holds about CACHE_CHARS characters."""
    cache = PieceCache(tokenizer)
    token_bytes(cache, [f"{n:x}" + "q" * 9_990 for n in range(250)])
    assert sum(map(len, cache)) < CACHE_CHARS + 20_000


def test_lone_surrogate_is_no_crash(embedder: StaticEmbedder) -> None:
    """Half a surrogate pair, which no UTF-8 has, still gives a finite vector."""
    assert np.isfinite(embedder.embed(["ok \ud800 ok"])).all()


def test_vectors_have_unit_length(embedder: StaticEmbedder) -> None:
    """Rows are float32 of unit length, or zeros where no token is known."""
    vectors = embedder.embed(TEXTS)
    lengths = np.linalg.norm(vectors, axis=1)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), 256))
    assert [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1] == lengths.round(5).tolist()


def test_vector_is_the_mean_of_token_vectors(embedder: StaticEmbedder, tokenizer: Tokenizer) -> None:
    """An embedding is the normalised mean of its tokens' vectors."""
    rows = embedder._vectors[tokenizer.encode("What is seven times six?").ids].mean(axis=0)
    assert np.allclose(
        rows / np.linalg.norm(rows), embedder.embed(["What is seven times six?"])[0], atol=1e-6
    )


def test_meaning_is_near_meaning(embedder: StaticEmbedder) -> None:
    """A paraphrase is nearer than another subject."""
    a, b, c = embedder.embed(
        ["How do I cook rice?", "The best way to boil rice", "Stock prices fell on Monday"]
    )
    assert a @ b > a @ c + 0.2


def test_batch_size_changes_nothing(embedder: StaticEmbedder) -> None:
    """Alone or in company, a text has the same vector, bit for bit."""
    alone = np.vstack([embedder.embed([text]) for text in TEXTS])
    assert np.array_equal(alone, embedder.embed(TEXTS))


def test_long_text_costs_no_more_than_its_start(embedder: StaticEmbedder) -> None:
    """Of 1 MiB only the first MAX_CHARS characters are read."""
    long = "seven times six is forty two " * 40_000
    assert np.array_equal(embedder.embed([long]), embedder.embed([long[:MAX_CHARS]]))


@pytest.mark.parametrize("text", ["\n" * (1 << 20), "中" * (1 << 20), "a" * (1 << 20), "A. " * 300_000])
def test_odd_long_texts_are_quick(embedder: StaticEmbedder, text: str) -> None:
    """No text makes a pattern run away: a mebibyte of anything takes far less than a few seconds."""
    start = time.perf_counter()
    embedder.embed([text])
    assert time.perf_counter() - start < patience(5)


def test_embedder_is_loaded_once() -> None:
    """A process has one static embedder."""
    assert get_embedder("static") is get_embedder("static")


def test_unknown_embedder_is_a_config_error() -> None:
    """The error names the key and what there is."""
    with pytest.raises(
        ConfigError, match="router.embedder.name: no such name 'word2vec'; there are: remote, static"
    ):
        get_embedder("word2vec")


def test_a_name_nearly_right_is_suggested() -> None:
    """A misspelt name gets the likely one."""
    with pytest.raises(
        ConfigError, match="no such name 'statik'; did you mean static[?] There are: remote, static"
    ):
        get_embedder("statik")


def test_listing_embedders_loads_nothing() -> None:
    """Importing the table imports neither torch, transformers, model2vec nor tokenizers."""
    heavy = "{'torch', 'transformers', 'model2vec', 'tokenizers'}"
    code = f"import sys, routellm_batch.routers.embedders, routellm_batch.routers; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert {"remote", "static"} <= set(EMBEDDERS)


def test_scoring_needs_no_torch() -> None:
    """Loading and scoring with the shipped weights imports neither torch, transformers nor model2vec."""
    heavy = "{'torch', 'transformers', 'model2vec', 'sklearn', 'scipy'}"
    code = (
        "import sys\nfrom routellm_batch.routers import get_router\nfrom routellm_batch.core.types import PromptBatch\n"
        f"get_router('outcome').score(PromptBatch(['a'], ['hi']))\nprint({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the shipped weights that a test may damage."""
    return shutil.copytree(shipped("static-v1"), tmp_path / "static")


def test_copy_has_the_same_fingerprint(copy: Path, embedder: StaticEmbedder) -> None:
    """A fingerprint depends on the files, not on where they are."""
    assert StaticEmbedder(copy).fingerprint == embedder.fingerprint


def test_damaged_weights_are_refused(copy: Path) -> None:
    """One changed byte is found, and the file is named."""
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        StaticEmbedder(copy)


def test_missing_file_is_refused(copy: Path) -> None:
    """A missing file is named."""
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer.json is missing"):
        StaticEmbedder(copy)


@pytest.mark.parametrize("manifest", ["{", "[]", "{}", '{"files": 3}'])
def test_broken_manifest_is_refused(copy: Path, manifest: str) -> None:
    """A manifest that is none is refused."""
    (copy / "config.json").write_text(manifest)
    with pytest.raises(CheckpointError, match="config.json is not the manifest"):
        StaticEmbedder(copy)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    """A folder of something else says so."""
    with pytest.raises(CheckpointError, match=r"holds no config.json; is it a folder of weights\?"):
        StaticEmbedder(tmp_path)


def test_not_safetensors_is_refused(copy: Path) -> None:
    """Weights of another kind are refused even where their sha256 is as stated."""
    (copy / "model.safetensors").write_bytes(b"\x80\x04pickle")
    fields = json.loads((copy / "config.json").read_text())
    fields["files"]["model.safetensors"] = sha256(b"\x80\x04pickle")
    (copy / "config.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="not the weights of a static embedder"):
        StaticEmbedder(copy)


def test_shipped_weights_are_small_and_come_with_their_papers() -> None:
    """The shipped folders hold a model card each, the notice, and at most 8.5 MB and 1 MB."""
    static, outcome = shipped("static-v1"), shipped("outcome-v1")
    assert {p.name for p in static.iterdir()} == {
        *("NOTICE", "README.md", "config.json", "model.safetensors", "tokenizer.json")
    }
    assert {p.name for p in outcome.iterdir()} == {"README.md", "model.safetensors", "router.json"}
    assert sum(p.stat().st_size for p in static.iterdir()) <= 8_500_000
    assert sum(p.stat().st_size for p in outcome.iterdir()) <= 1_000_000
