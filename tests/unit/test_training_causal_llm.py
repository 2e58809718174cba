"""Training the causal-LLM router: what files mean, that it learns, and that the router loads what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_causal_llm import tiny_llama, tiny_tokenizer  # noqa: E402

from routellm_batch.core.errors import CheckpointError, ConfigError, DataError  # noqa: E402
from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402
from routellm_batch.routers.causal_llm.router import CausalLlmRouter  # noqa: E402
from routellm_batch.routers.causal_llm.rows import balanced, read_labelled  # noqa: E402
from routellm_batch.routers.causal_llm.train import CausalTrained, train_causal_llm  # noqa: E402
from routellm_batch.routers.training import TrainRequest  # noqa: E402

QUICK = {"lr": 4e-3, "steps": 40, "held_out": 0.2, "max_tokens": 500, "device": "cpu"}


def write(path: Path, **columns: list[Any]) -> str:
    """Write a Parquet file; return its path."""
    pq.write_table(pa.table(columns), path)
    return str(path)


def outcomes(path: Path, rows: int = 60) -> str:
    """Write outcomes where the weak model fails at sums and knows greetings."""
    sums = [n % 2 == 0 for n in range(rows)]
    return write(
        path,
        prompt_id=[str(n) for n in range(rows)],
        prompt=[f"Sum {n} and {n * 7}" if hard else f"Say hello, friend {n}" for n, hard in enumerate(sums)],
        strong_score=[1.0] * rows,
        weak_score=[0.0 if hard else 1.0 for hard in sums],
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Llama that knows nothing of labels, with its tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer.get_vocab_size()).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CausalTrained, list[str]]:
    """Train on outcomes; return what was measured, and the lines of progress."""
    folder = tmp_path_factory.mktemp("trained")
    lines: list[str] = []
    options = {"base": str(base), **QUICK}
    request = TrainRequest(
        [outcomes(folder / "data.parquet")], str(folder / "out"), options=options, progress=lines.append
    )
    return train_causal_llm(request), lines


def test_it_learns(trained: tuple[CausalTrained, list[str]]) -> None:
    """On prompts held out the loss falls far, the points are found, and the strong model gets the rows it gains."""
    report, lines = trained
    assert (report.held_out, report.trained % 2) == (12, 0)  # Half of those trained on are of either kind.
    assert report.loss < 0.3 * report.loss_before
    assert report.accuracy >= 0.9
    assert report.apgr > 0.7  # A perfect order of these rows has .75 to .8.
    assert any(line.startswith("step 40 of 40: loss ") for line in lines)
    assert lines[-1].startswith("held out: loss ")


def test_the_router_loads_what_is_saved(trained: tuple[CausalTrained, list[str]]) -> None:
    """The folder is a checkpoint in the published layout with its tokenizer; new hard prompts score higher."""
    out = Path(trained[0].out)
    router = make_router("causal_llm", checkpoint=str(out), options={"device": "cpu"})
    hard, easy = router.score(PromptBatch([0, 1], ["Sum 91 and 777", "Say hello, friend 91"])).tolist()
    assert hard > easy + 0.3
    assert isinstance(router, CausalLlmRouter)
    size = tiny_tokenizer().get_vocab_size() + 5
    assert router.prompt.labels == list(range(size - 5, size))
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "system_ft_v5.txt", "classifier_ft_v5.txt", "tokenizer.json", "README.md"} <= names
    card = (out / "README.md").read_text()
    assert all(part in card for part in ("Licence: (fill in", "data.parquet", "`lr`: 0.004", "APGR"))
    assert str(out.parent) not in card


def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path) -> None:
    """Training is repeatable, and another seed is another training."""
    data = outcomes(tmp_path / "data.parquet", rows=20)
    scores = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = {"base": str(base), **QUICK, "steps": 2}
        train_causal_llm(TrainRequest([data], str(tmp_path / out), seed=seed, options=options))
        made = make_router("causal_llm", checkpoint=str(tmp_path / out), options={"device": "cpu"})
        scores.append(made.score(PromptBatch([0, 1], ["Sum 1 and 2", "Say hello"])).tolist())
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


def test_outcomes_say_the_points(tmp_path: Path) -> None:
    """The weak score, scaled by the file's range and rounded, is 1…5."""
    path = write(
        tmp_path / "o.parquet",
        prompt=list("abcde"),
        strong_score=[10.0, 9.0, 10.0, 8.0, 2.0],
        weak_score=[2.0, 3.0, 6.0, 8.0, 10.0],
    )
    rows = read_labelled([path], held_out_share=0.2, seed=0)
    assert rows.points.tolist() == [1, 2, 3, 4, 5]
    assert rows.gain.tolist() == [1.0, 0.75, 0.5, 0.0, -1.0]
    assert rows.held_out.sum() == 1


def test_battles_say_the_points(tmp_path: Path) -> None:
    """The model that wins more is the strong one: its win is 1, a tie 4, its loss 5; one prompt is on one side."""
    long = "a question of some length, number"
    path = write(
        tmp_path / "b.parquet",
        prompt=[f"{long} {n // 2}" for n in range(6)],
        model_a=["big", "big", "small", "big", "small", "big"],
        model_b=["small", "small", "big", "small", "big", "small"],
        winner=["model_a", "tie", "model_a", "model_a", "model_b", "model_a"],
    )
    rows = read_labelled([path], held_out_share=0.3, seed=0)
    assert rows.points.tolist() == [1, 4, 5, 1, 1, 1]
    assert rows.gain.tolist() == [1.0, 0.0, -1.0, 1.0, 1.0, 1.0]
    assert rows.held_out[::2].tolist() == rows.held_out[1::2].tolist()
    assert rows.held_out.sum() == 2


def test_balancing_undersamples() -> None:
    """Each of the points that occurs is as frequent as the rarest."""
    points = np.array([1] * 50 + [4] * 7 + [5] * 30)
    kept = balanced(np.arange(80), points, seed=0)
    assert np.bincount(points[kept]).tolist() == [0, 7, 0, 0, 7, 7]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "router.options.base: name the Llama to start from"),
        ({"base": "no/such/folder"}, "router.options.base: no/such/folder: no such folder"),
        ({"base": "x", "epochs": 3}, "router.options.epochs: is no option"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    """A base model is needed, and an unknown option is named."""
    request = TrainRequest([outcomes(tmp_path / "d.parquet")], str(tmp_path / "out"), options=options)
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        train_causal_llm(request)
    assert problem in str(caught.value)


def test_a_base_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    """Model and tokenizer must belong together."""
    tiny_llama(999).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save(str(tmp_path / "base" / "tokenizer.json"))
    options = {"base": str(tmp_path / "base"), **QUICK}
    request = TrainRequest([outcomes(tmp_path / "d.parquet")], str(tmp_path / "out"), options=options)
    with pytest.raises(CheckpointError, match="has 999 tokens"):
        train_causal_llm(request)


def test_nothing_is_overwritten(base: Path, tmp_path: Path) -> None:
    """A folder that holds something is refused before any work, and so is a single prompt."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.md").write_text("mine")
    data = outcomes(tmp_path / "d.parquet")
    options = {"base": str(base), **QUICK}
    with pytest.raises(ConfigError, match="is there already"):
        train_causal_llm(TrainRequest([data], str(tmp_path / "out"), options=options))
    one = write(tmp_path / "one.parquet", prompt=["Hm?"], strong_score=[1.0], weak_score=[0.0])
    with pytest.raises(DataError, match="at least two distinct prompts"):
        train_causal_llm(TrainRequest([one], str(tmp_path / "new"), options=options))
