"""Training: what each kind of file says, which rows are used, how choices are made, and what is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import PromptBatch
from routellm_batch.pipeline.recipes.outcome import builtin_sources
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.fitting import Penalties, choose, fit_heads
from routellm_batch.routers.outcome.logistic import fit_logistic
from routellm_batch.routers.outcome.router import design_matrix
from routellm_batch.routers.training import TrainRequest, train
from routellm_batch.routers.training.held_out import rounds
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources


def write(path: Path, **columns: list[Any]) -> str:
    """Write a Parquet file; return its path."""
    pq.write_table(pa.table(columns), path)
    return str(path)


def sums(rows: int) -> dict[str, list[Any]]:
    """Return outcomes where long sums defeat the weak model."""
    return {
        "prompt_id": [str(n) for n in range(rows)],
        "prompt": ["Add: " + "17 + " * (n % 40) + str(n) for n in range(rows)],
        "strong_score": [1.0] * rows,
        "weak_score": [float(n % 40 < 20) for n in range(rows)],
    }


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep matrices this small on one thread, as training does."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def test_logistic_equals_a_reference() -> None:
    """With hard targets and one penalty the coefficients are scikit-learn's."""
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 5))
    y = (random.random(300) < 1 / (1 + np.exp(-X @ [1, -2, 0, 0.5, 0]))).astype(np.float64)
    weight = random.uniform(0.5, 2, 300)
    reference = LogisticRegression(C=1 / 3, fit_intercept=False, tol=1e-10, max_iter=1_000).fit(X, y, weight)
    assert np.allclose(reference.coef_[0], fit_logistic(X, y, weight, np.full(5, 3.0)), atol=1e-4)


def test_logistic_takes_soft_targets() -> None:
    """A target of .75 is three ones and a zero."""
    X = np.array([[1.0, 0.2], [1.0, -1.0]])
    soft = fit_logistic(X, np.array([0.75, 0.25]), np.full(2, 4.0), np.full(2, 0.1))
    hard = fit_logistic(
        np.repeat(X, 4, axis=0), np.array([1.0, 1, 1, 0, 1, 0, 0, 0]), np.ones(8), np.full(2, 0.1)
    )
    assert np.allclose(soft, hard, atol=1e-6)


def test_logistic_is_finite_on_separable_rows() -> None:
    """All targets alike, or a perfect split, end at finite coefficients."""
    X = np.array([[1.0, 100.0], [1.0, -100.0]])
    for target in ([1.0, 1.0], [1.0, 0.0]):
        assert np.isfinite(fit_logistic(X, np.array(target), np.full(2, 1e4), np.full(2, 0.01))).all()


def test_outcomes_are_taken_as_they_are(tmp_path: Path) -> None:
    """Scores within [0, 1] are not changed."""
    file = write(tmp_path / "o.parquet", prompt=["a", "b"], strong_score=[1.0, 0.5], weak_score=[0.25, 0.0])
    rows = read_sources([Source(file)])
    assert (rows.strong.tolist(), rows.weak.tolist()) == ([1, 0.5], [0.25, 0])


def test_outcomes_beyond_one_are_scaled(tmp_path: Path) -> None:
    """Judge scores from 2 to 10 become 0 to 1, both columns alike."""
    file = write(tmp_path / "o.parquet", prompt=["a", "b"], strong_score=[10.0, 8.0], weak_score=[6.0, 2.0])
    rows = read_sources([Source(file)])
    assert (rows.strong.tolist(), rows.weak.tolist()) == ([1, 0.75], [0.5, 0])


def test_matrix_tiers_follow_the_means(tmp_path: Path) -> None:
    """The best two models are strong, the middle third weak, whatever the order of columns; gaps are left out."""
    models = {
        "worst": [0.0, 0.0],
        "best": [1.0, 1.0],
        "third": [0.5, 0.5],
        "second": [1.0, 0.5],
        "fifth": [0.0, 0.2],
        "fourth": [None, 0.4],
    }
    rows = read_sources([Source(write(tmp_path / "m.parquet", prompt=["a", "b"], **models))])
    assert (rows.strong.tolist(), rows.weak.tolist()) == ([1, 0.75], [0.5, 0.45])


def test_battles_are_averaged_by_prompt(tmp_path: Path) -> None:
    """The model that wins more is strong; a prompt's battles give one row."""
    file = write(
        tmp_path / "b.parquet",
        prompt=["p", "p", "q"],
        model_a=["good", "bad", "good"],
        model_b=["bad", "good", "bad"],
        preference=[1.0, 0.5, 0.0],
        winner=["model_a", "tie", "model_b"],
    )
    rows = read_sources([Source(file)])
    assert (list(rows.prompts), rows.strong.tolist(), rows.weak.tolist()) == (
        ["p", "q"],
        [0.75, 0],
        [0.25, 1],
    )


def test_rows_of_evaluation_sets_are_dropped(tmp_path: Path) -> None:
    """Overlaps, MMLU's own questions and contaminated rows are never trained on, nor other splits."""
    file = write(
        tmp_path / "o.parquet",
        prompt=list("abcdefg"),
        strong_score=[1.0] * 7,
        weak_score=[0.0] * 7,
        overlaps_eval=["", "mmlu", "", "", "", "", ""],
        from_mmlu=[False, False, True, False, False, False, False],
        contaminated=[False, False, False, True, False, False, None],
        split=["train", "train", "train", "train", "dev", "test", "train"],
    )
    rows = read_sources([Source(file)])
    assert (list(rows.prompts), rows.held_out.tolist()) == (["a", "e", "g"], [False, True, False])


def test_categories_can_be_left_out_and_be_tasks(tmp_path: Path) -> None:
    """A source leaves out categories and may name the rest as tasks of their own."""
    columns = {
        "prompt": list("abc"),
        "strong_score": [1.0] * 3,
        "weak_score": [0.0] * 3,
        "category": ["x", "y", "z"],
    }
    file = write(tmp_path / "o.parquet", **columns)
    rows = read_sources([Source(file, weight=0.5, without=frozenset("y"), tasks=True)])
    assert (list(rows.task), rows.weight.tolist()) == (["0 x", "0 z"], [0.5, 0.5])


def test_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    """The error says what the three kinds look like."""
    file = write(tmp_path / "x.parquet", prompt=["a"], answer=["b"])
    with pytest.raises(
        DataError, match=r"neither outcomes \(prompt, strong_score, weak_score\), battles .* nor a score"
    ):
        read_sources([Source(file)])


def test_nothing_left_to_train_on_is_refused(tmp_path: Path) -> None:
    """A file whose rows are all held out or dropped says which columns decide."""
    file = write(
        tmp_path / "o.parquet", prompt=["a"], strong_score=[1.0], weak_score=[0.0], overlaps_eval=["mmlu"]
    )
    with pytest.raises(DataError, match="no row may be trained on"):
        read_sources([Source(file)])


def rows_of(columns: dict[str, list[Any]], **changes: Any) -> TrainingRows:
    """Return training rows of one task, none held out."""
    n = len(columns["prompt"])
    fields: dict[str, Any] = {
        "prompts": columns["prompt"],
        "strong": np.array(columns["strong_score"]),
        "weak": np.array(columns["weak_score"]),
        "weight": np.ones(n),
        "file": np.zeros(n, dtype=np.int64),
        "task": ["0"] * n,
        "held_out": np.zeros(n, dtype=np.bool_),
    }
    return TrainingRows(**{**fields, **changes})


def test_task_levels_do_not_leak_into_the_order() -> None:
    """That the weak model fails throughout one task says little about which prompts look hard.

    Two tasks differ in one word; the weak model fails on long sums, and on all translations. With an intercept for each
    task the word moves a score less than with one for both.
    """
    adds = sums(80)
    columns = {key: value * 2 for key, value in adds.items()}
    columns["prompt"] = [*adds["prompt"], *(p.replace("Add", "Translate") for p in adds["prompt"])]
    weak = np.array([*adds["weak_score"], *[0.0] * 80])
    design = design_matrix(get_embedder("static"), columns["prompt"])

    def effect_of_the_word(tasks: list[str]) -> float:
        rows = rows_of(columns, weak=weak, task=tasks)
        heads = fit_heads(rows, design, np.ones(160, dtype=np.bool_), Penalties(3.0, 30.0), alpha=0.0)
        scores = heads.score(design)
        return float(np.mean(scores[80:] - scores[:80]))

    apart = effect_of_the_word(["sums"] * 80 + ["translations"] * 80)
    assert abs(apart) < effect_of_the_word(["all"] * 160) / 2


def test_constant_features_do_no_harm() -> None:
    """A feature that never varies in training says nothing about a prompt where it does."""
    rows = rows_of(sums(40))
    design = design_matrix(get_embedder("static"), rows.prompts)
    heads = fit_heads(rows, design, np.ones(40, dtype=np.bool_), Penalties(1.0, 30.0), alpha=1.0)
    odd = design_matrix(get_embedder("static"), ["NOT {x}; ____? 中文\nA. 1\nB. 2"])
    assert np.isfinite(heads.score(odd)).all()


def test_choice_is_made_on_rows_held_out() -> None:
    """With dev rows, those choose; without, five folds of all rows do."""
    held_out = np.arange(80) % 4 == 0
    marked, plain = rows_of(sums(80), held_out=held_out), rows_of(sums(80))
    design = design_matrix(get_embedder("static"), plain.prompts)
    actual = choose(plain, design, seed=0)
    assert (choose(marked, design, seed=0).rows, actual.rows) == (20, 80)
    assert actual.quality > 0.65


def test_choice_without_a_gap_falls_back() -> None:
    """Where nothing can be recovered, the default penalties are taken and the quality is NaN."""
    columns = sums(40)
    rows = rows_of(columns, weak=np.array(columns["strong_score"]))
    actual = choose(rows, design_matrix(get_embedder("static"), rows.prompts), seed=0)
    assert np.isnan(actual.quality)
    assert actual.penalties == Penalties(3.0, 300.0)


def test_repeated_prompts_stay_in_one_fold() -> None:
    """Copies of a prompt don't let a fold be tested on what it was fitted on."""
    rows = rows_of({key: value * 3 for key, value in sums(20).items()})
    (only,) = rounds(rows, seed=0)
    for fitted, tested in only.splits:
        prompts = np.array(rows.prompts, dtype=object)
        assert not set(prompts[fitted]) & set(prompts[tested])


def test_trained_router_can_be_loaded(tmp_path: Path) -> None:
    """Training writes a checkpoint that a run can name, and its card says what from."""
    file = write(tmp_path / "sums.parquet", **sums(120))
    report = train(TrainRequest([file], str(tmp_path / "out")))
    router = make_router("outcome", checkpoint=report.out)
    scores = router.score(PromptBatch([0, 1], ["Add: 17 + 3", "Add: " + "17 + " * 38 + "3"]))
    assert scores[0] < scores[1]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| sums.parquet | 120 | 0 | 1 |" in card
    assert str(tmp_path) not in card + (tmp_path / "out" / "router.json").read_text()


def test_training_repeats(tmp_path: Path) -> None:
    """The same data and seed give the same weights."""
    file = write(tmp_path / "sums.parquet", **sums(60))
    for out in ("one", "two"):
        train(TrainRequest([file], str(tmp_path / out), seed=3))
    first, second = ((tmp_path / out / "model.safetensors").read_bytes() for out in ("one", "two"))
    assert first == second


@pytest.mark.parametrize(
    ("router", "message"),
    [("random", "'random' has no weights to train"), ("gpt", "'gpt' is none of bert, causal_llm, ensemble")],
)
def test_a_router_without_weights_is_not_trained(tmp_path: Path, router: str, message: str) -> None:
    """A router without weights is refused before any file is read."""
    with pytest.raises(ConfigError, match=message):
        train(TrainRequest(["nowhere.parquet"], str(tmp_path / "out")), router=router)


def test_no_file_is_refused(tmp_path: Path) -> None:
    """Something must be trained on."""
    with pytest.raises(ConfigError, match="no file to train on"):
        train(TrainRequest([], str(tmp_path / "out")))


def test_job_ends_with_where_the_weights_are(tmp_path: Path, repo: Path) -> None:
    """The job says what it trained on, how good that is on rows not seen, and what comes next; the folder stands last."""
    file, out = write(tmp_path / "sums.parquet", **sums(60)), str(tmp_path / "out")
    command = [sys.executable, "jobs/train_router.py", file, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repo)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, out), done.stderr
    assert re.match(
        r"Trained the router outcome on 60 rows; APGR [.\d]+ \(random has 0.5\) on 60 ", done.stdout
    )
    assert f"next     routellm-batch evaluate OUTCOMES --router outcome:{out}\n" in done.stdout
    assert (
        json.loads((tmp_path / "out" / "router.json").read_text())["trained"]["sources"][0]["trained"] == 60
    )


def test_shipped_recipe_leaves_evaluation_sets_out() -> None:
    """Nothing of MMLU, GSM8K, MT-Bench or AlpacaEval, and no task of a doubtful licence, is in the recipe."""
    sources = builtin_sources("data")
    assert [source.uri.rpartition("/")[2] for source in sources] == [
        "scores_mmlupro-visible_matrix.parquet",
        "scores_llmrouter_matrix.parquet",
        "battles_pandalm.parquet",
    ]
    assert sources[1].without == {
        *("math", "natural_qa", "arc_challenge", "mbpp", "mmlu", "gsm8k", "agentverse-mgsm")
    }


@pytest.mark.shared
def test_shipped_recipe_reads_only_free_rows(shared: Callable[[str], Path]) -> None:
    """On the real files the recipe trains on the rows its card states, and on no prompt of an evaluation set."""
    data = shared("data")
    rows = read_sources(builtin_sources(str(data)))
    trained = [int(np.count_nonzero((rows.file == n) & ~rows.held_out)) for n in range(3)]
    assert trained == [2_311, 1_677, 132]
    evaluated: set[str] = set()
    for file in data.glob("outcomes_*"):
        if file.name.startswith(("outcomes_mmlu_", "outcomes_gsm8k", "outcomes_mtbench")):
            evaluated |= set(pq.read_table(file, columns=["prompt"]).column("prompt").to_pylist())
    assert not evaluated & set(rows.prompts)
