"""Fine-tuning the bert router, on a tiny random encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_bert import write_tiny  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from routellm_batch.core.errors import CheckpointError, ConfigError, DataError  # noqa: E402
from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402
from routellm_batch.routers.bert.rows import read_classifier_rows  # noqa: E402
from routellm_batch.routers.bert.train import train_bert  # noqa: E402
from routellm_batch.routers.training import TrainRequest  # noqa: E402

HARD = [f"Why do primes need a question {n}?" for n in range(30)]
EASY = [f"café naïve model {n}" for n in range(30)]
QUICK = {"steps": 40, "batch": 16, "lr": 3e-3, "device": "cpu"}


def outcomes(path: Path) -> str:
    """Write outcomes: only the strong model answers the hard ones, both answer the easy ones."""
    weak = [0.0] * len(HARD) + [1.0] * len(EASY)
    pq.write_table(
        pa.table({"prompt": HARD + EASY, "strong_score": [1.0] * len(weak), "weak_score": weak}), path
    )
    return str(path)


def request(tmp_path: Path, out: str, **options: object) -> TrainRequest:
    base = tmp_path / "base"
    if not base.exists():
        write_tiny(base, kind="bert", labels=2)
    data = outcomes(tmp_path / "outcomes.parquet")
    return TrainRequest([data], out, seed=3, options={"base": str(base), **QUICK, **options})


def test_training_separates_two_kinds_of_prompts(tmp_path: Path) -> None:
    """The loss falls, the router reads what was written, and hard prompts score above easy ones."""
    lines: list[str] = []
    asked = request(tmp_path, str(tmp_path / "out"))
    report = train_bert(
        TrainRequest(asked.paths, asked.out, seed=3, options=asked.options, progress=lines.append)
    )
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("step ")]
    assert losses[-1] < 0.5 * losses[0]
    assert (report.trained, report.held_out, report.accuracy) == (57, 3, 1.0)
    assert report.loss < 0.5
    router = make_router("bert", checkpoint=report.out, options={"device": "cpu"})
    scores = router.score(PromptBatch(range(60), HARD + EASY))
    assert scores[:30].min() > scores[30:].max()
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert all(word in card for word in ("outcomes.parquet", "Licence", "| accuracy | 1.0 |", "| seed | 3 |"))


def test_training_repeats(tmp_path: Path) -> None:
    """The same seed makes the same weights, and leaves the process's own random numbers alone."""
    state = torch.random.get_rng_state()
    for out in ("a", "b"):
        train_bert(request(tmp_path, str(tmp_path / out), steps=3))
    assert torch.equal(state, torch.random.get_rng_state())
    a, b = ((tmp_path / out / "model.safetensors").read_bytes() for out in ("a", "b"))
    assert a == b


def test_training_writes_to_a_store(tmp_path: Path) -> None:
    """A URI is as good a place as a path, for writing and for reading."""
    report = train_bert(request(tmp_path, "memory://bert-out", steps=2))
    router = make_router("bert", checkpoint=report.out, options={"device": "cpu"})
    assert router.score(PromptBatch([1], ["Why?"])).shape == (1,)


def test_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    """Nothing is trained, and nothing overwritten, where something is already."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(ConfigError, match="out: .* is there already; name a new folder"):
        train_bert(request(tmp_path, str(tmp_path / "out")))


def test_base_is_required(tmp_path: Path) -> None:
    """Without a base the error names the option."""
    with pytest.raises(ConfigError, match="options.base"):
        train_bert(TrainRequest([outcomes(tmp_path / "o.parquet")], str(tmp_path / "out")))


def test_base_with_a_hole_is_refused(tmp_path: Path) -> None:
    """Only the classifier may be new: a tensor missing below it is named."""
    asked = request(tmp_path, str(tmp_path / "out"))
    path = tmp_path / "base" / "model.safetensors"
    tensors = load_file(path)
    del tensors["bert.encoder.layer.0.output.dense.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="tensor bert.encoder.layer.0.output.dense.weight is missing"):
        train_bert(asked)


def test_loss_that_is_no_number_stops_training(tmp_path: Path) -> None:
    """Where training blows up the option is named, and nothing is written."""
    asked = request(tmp_path, str(tmp_path / "out"))
    path = tmp_path / "base" / "model.safetensors"
    tensors = load_file(path)
    tensors["bert.embeddings.word_embeddings.weight"].fill_(3e38)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ConfigError, match="option lr: the loss is no finite number any more"):
        train_bert(asked)
    assert not (tmp_path / "out").exists()


def battles(path: Path, *, dev: list[int]) -> str:
    rows = [
        ("the first prompt of all", "big", "small", "model_a"),
        ("the second prompt of all", "small", "big", "model_a"),
        ("the third prompt of all", "small", "big", "tie"),
        ("the fourth prompt of all", "small", "big", "model_b"),
        ("the first prompt of all", "small", "big", "model_b"),
    ]
    columns = dict(
        zip(("prompt", "model_a", "model_b", "winner"), map(list, zip(*rows, strict=True)), strict=True)
    )
    columns["split"] = ["dev" if n in dev else "train" for n in range(len(rows))]
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_battles_are_turned_to_the_stronger_model(tmp_path: Path) -> None:
    """Whichever way round a battle is written, class 0 says that the model that wins more won."""
    rows = read_classifier_rows([battles(tmp_path / "b.parquet", dev=[])], seed=0)
    assert rows.labels.tolist() == [0, 2, 1, 0, 0]


def test_held_out_prompts_are_not_trained_on(tmp_path: Path) -> None:
    """A prompt with a row marked dev is held out in all its rows; without marks some prompts are chosen."""
    marked = read_classifier_rows([battles(tmp_path / "m.parquet", dev=[0])], seed=0)
    assert marked.held_out.tolist() == [True, False, False, False, True]
    chosen = read_classifier_rows([outcomes(tmp_path / "o.parquet")], seed=0)
    assert (int(chosen.held_out.sum()), len(chosen)) == (3, 60)
    again = read_classifier_rows([outcomes(tmp_path / "p.parquet")], seed=0)
    assert np.array_equal(chosen.held_out, again.held_out)


def test_one_prompt_alone_is_refused(tmp_path: Path) -> None:
    """There must be something to train on beside what is held out."""
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"prompt": ["only"], "strong_score": [1.0], "weak_score": [0.0]}), path)
    with pytest.raises(DataError, match="every prompt is held out"):
        read_classifier_rows([str(path)], seed=0)
