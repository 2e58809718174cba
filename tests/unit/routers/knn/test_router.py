"""The knn router and its trainer: options, damaged indexes, what training writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from routellm_batch.core.errors import CheckpointError, ConfigError, DataError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.checkpoint import parse_tensors, save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.knn.train import centred_gain
from routellm_batch.routers.training import TrainRequest, train
from routellm_batch.routers.training.rows import Source, read_sources

MATHS = [f"Compute the integral of x to the power of {n} from zero to one." for n in range(40)]
CHAT = [f"Say hello to my friend number {n}, please." for n in range(40)]
UNSEEN = ["Compute the integral of sine x from zero to two.", "Say hello to my aunt, please."]


def outcomes(path: Path, **columns: Any) -> str:
    """Write outcomes: the strong model gains at maths, and nothing at chat."""
    table = {
        "prompt": [*MATHS, *CHAT],
        "strong_score": [1.0] * 80,
        "weak_score": [0.0] * 40 + [1.0] * 40,
        **columns,
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def index(folder: Path, **changes: Any) -> str:
    """Write a small index of random vectors; ``changes`` go to its tensors and its manifest."""
    embedder = get_embedder("static")
    rng = np.random.default_rng(0)
    tensors: dict[str, NDArray[Any]] = {
        "vectors": rng.standard_normal((8, embedder.width)).astype(np.float16),
        "gain": rng.uniform(-1, 1, 8).astype(np.float16),
    }
    fields: dict[str, Any] = {"k": 3, "prior": 1.0}
    for name, value in changes.items():
        (tensors if name in tensors else fields)[name] = value
    out = str(folder / "index")
    save_checkpoint(out, tensors, embedder, router="knn", name="small", card="# An index", fields=fields)
    return out


def test_it_learns_which_prompts_need_the_strong_model(tmp_path: Path) -> None:
    """The trained index is loaded by the router and ranks unseen prompts of both kinds right."""
    lines: list[str] = []
    request = TrainRequest([outcomes(tmp_path / "o.parquet")], str(tmp_path / "out"), progress=lines.append)
    trained = train(request, router="knn")
    scores = make_router("knn", checkpoint=trained.out).score(PromptBatch([0, 1], UNSEEN))
    assert scores[0] > scores[1]
    assert "of the gain held out" in lines[0]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "An index of 80 labelled prompts" in card
    assert "`o.parquet`" in card
    assert str(tmp_path) not in card


def test_no_prompt_is_in_the_checkpoint(tmp_path: Path) -> None:
    """Vectors and gains are all that is kept of a row."""
    train(TrainRequest([outcomes(tmp_path / "o.parquet")], str(tmp_path / "out")), router="knn")
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(files) == ["README.md", "model.safetensors", "router.json"]
    assert sorted(parse_tensors("", files["model.safetensors"], "knn")) == ["gain", "vectors"]
    assert not any(b"friend number" in data for data in files.values())


def test_training_repeats(tmp_path: Path) -> None:
    """The same data and seed give the same files."""
    file = outcomes(tmp_path / "o.parquet")
    for name in ("one", "two"):
        train(TrainRequest([file], str(tmp_path / name), seed=7), router="knn")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_rows_held_out_are_not_in_the_index(tmp_path: Path) -> None:
    """Rows marked ``dev`` choose k and the prior, and are no neighbours."""
    file = outcomes(tmp_path / "o.parquet", split=["dev" if n % 4 == 0 else "train" for n in range(80)])
    train(TrainRequest([file], str(tmp_path / "out")), router="knn")
    tensors = parse_tensors("", (tmp_path / "out" / "model.safetensors").read_bytes(), "knn")
    assert tensors["gain"].shape == (60,)


def test_gains_are_centred_task_by_task(tmp_path: Path) -> None:
    """A task that is graded leniently has the mean gain of all, and the order of its rows."""
    file = outcomes(
        tmp_path / "o.parquet",
        category=["maths"] * 40 + ["chat"] * 40,
        weak_score=[0.1] * 20 + [0.3] * 20 + [0.8] * 20 + [1.0] * 20,
    )
    gain = centred_gain(read_sources([Source(file, tasks=True)]))
    assert np.allclose(gain, [0.55] * 20 + [0.35] * 20 + [0.55] * 20 + [0.35] * 20)


def test_one_row_is_no_index(tmp_path: Path) -> None:
    """Training says how many rows it takes."""
    columns = {"prompt": ["Hi"], "strong_score": [1.0], "weak_score": [0.0]}
    file = outcomes(tmp_path / "o.parquet", **columns)
    with pytest.raises(DataError, match=r"o\.parquet.*at least two rows"):
        train(TrainRequest([file], str(tmp_path / "out")), router="knn")


def test_the_trainer_has_no_options(tmp_path: Path) -> None:
    """An option is refused by its name."""
    file = outcomes(tmp_path / "o.parquet")
    with pytest.raises(ConfigError, match=r"option k: the trainer of router 'knn' has no options"):
        train(TrainRequest([file], str(tmp_path / "out"), options={"k": 3}), router="knn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"router\.options\.k: must be 1 or more"),
        ({"temperature": 1}, r"router\.options\.temperature: is no option of router 'knn'; there are: k"),
    ],
    ids=["k", "unknown"],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match=message):
        make_router("knn", options=options)


def test_more_neighbours_than_rows_are_all_rows(tmp_path: Path) -> None:
    """A k beyond the index is all that there is to weigh: all but the least similar row, whose weight is nothing."""
    checkpoint = index(tmp_path)
    batch = PromptBatch([0, 1], UNSEEN)
    every, many = (
        make_router("knn", checkpoint=checkpoint, options={"k": k}).score(batch) for k in (7, 10_000)
    )
    assert np.array_equal(every, many)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "holds no positive k and prior"),
        ({"k": "ten"}, "holds no positive k and prior"),
        ({"prior": 0}, "holds no positive k and prior"),
        ({"gain": np.zeros(7, np.float16)}, r"tensor gain has shape \[7\], not \[8\]"),
        (
            {"vectors": np.zeros((8, 100), np.float16)},
            r"tensor vectors has shape \[8, 100\], not \[any, 256\]",
        ),
        ({"gain": np.full(8, np.nan, np.float16)}, "a weight of gain is not finite"),
    ],
    ids=["k", "k kind", "prior", "gain", "width", "nan"],
)
def test_a_bad_index_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """The error names the folder and what is wrong in it."""
    checkpoint = index(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        make_router("knn", checkpoint=checkpoint)
    assert checkpoint in str(caught.value)


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    """A file that is not the one that was written is found by its sha256."""
    file = Path(index(tmp_path)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-2] + b"\x00\x01")
    with pytest.raises(CheckpointError, match="is damaged"):
        make_router("knn", checkpoint=str(file.parent))


def test_another_embedders_index_is_refused(tmp_path: Path) -> None:
    """Vectors are only compared with vectors of the embedder that made them."""
    file = Path(index(tmp_path)) / "router.json"
    fields = json.loads(file.read_text())
    fields["embedder"]["fingerprint"] = "0" * 16
    file.write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="was trained with embedder"):
        make_router("knn", checkpoint=str(file.parent))
